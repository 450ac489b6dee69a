// The store on PostgreSQL: binary COPY and the position in one transaction. The only file that knows the client.
import type { Model } from '@lonetree/core-wasm';
import postgres, { type Sql, type TransactionSql } from 'postgres';
import { copiedColumns, encodeCopy } from './copy-format.ts';
import { migrations } from './migrations-postgres.ts';
import type { AnomalyRecord, Position, PredictionRecord, ReadingQuery, Store, Verdicts } from './store.ts';

export type PostgresOptions = {
  readonly url: string;
  readonly group: string;
  readonly topic: string;
  readonly connectionCount: number;
  /** What takes longer has failed. Shorter than the time after which the group gives a scorer up. */
  readonly deadlineMs: number;
  readonly connectTimeoutMs: number;
  readonly partitionDaysAhead: number;
  /** Called at named places of a write: a test stops or kills the process there. */
  readonly atFaultPoint?: (place: FaultPoint) => void;
};
export type FaultPoint = 'before-copy' | 'in-copy' | 'before-move' | 'before-commit' | 'after-commit';

const dayMs = 86_400_000;
/** Any number that no other program on the database uses as an advisory lock. */
const migrationLock = 7_305_114;

export function createPostgresStore(options: PostgresOptions): Store {
  const { group, topic, deadlineMs } = options;
  const atFaultPoint = options.atFaultPoint ?? (() => {});
  let sql = connect(options);

  /**
   * Runs work under the deadline. On failure all connections are replaced: a transaction may still be under way on the old
   * ones, and late statements of a failed one would run inside the next transaction of a connection that is used again.
   */
  async function run<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    const used = sql;
    const { promise: deadline, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => reject(new Error(`PostgreSQL did not answer within ${deadlineMs} ms`)),
      deadlineMs,
    );
    try {
      return await Promise.race([work(used), deadline]);
    } catch (error) {
      if (sql === used) {
        sql = connect(options);
        used.end({ timeout: 0 }).catch(() => {}); // It is given up; how it ends does not matter.
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    migrate: () => run(migrate),

    registerModel: (model, name) => run((db) => registerModel(db, model, name)),

    position: (partition, start) =>
      run(async (db): Promise<Position> => {
        await db`insert into consumer_offset values (${group}, ${topic}, ${partition}, ${String(start)}, ${String(start)}) on conflict do nothing`;
        const [stored] = await db`select next_offset, block_offset from consumer_offset
          where consumer = ${group} and topic = ${topic} and partition = ${partition}`;
        if (stored === undefined) throw new Error('the position is gone');
        const anomalies = await db`${anomalyColumns(db)} where topic = ${topic} and partition = ${partition}
          and "offset" >= ${stored.block_offset} and "offset" < ${stored.next_offset} order by "offset", row`;
        return { next: BigInt(stored.next_offset), anomalies: anomalies.map(readAnomaly) };
      }),

    write(verdicts) {
      const copy = encodeCopy(topic, verdicts); // The block's memory is used again from the first wait on.
      const fenced = new Error('fenced');
      return run((db) =>
        db
          .begin(async (tx) => {
            atFaultPoint('before-copy');
            if (verdicts.block.rowCount > 0) await copyIn(tx, copy, () => atFaultPoint('in-copy'));
            await insertAnomalies(tx, verdicts);
            atFaultPoint('before-move');
            // Last: a scorer that is frozen in its copy must not hold this row's lock.
            const moved =
              await tx`update consumer_offset set next_offset = ${String(verdicts.next)}, block_offset = ${String(verdicts.from)}
              where consumer = ${group} and topic = ${topic} and partition = ${verdicts.partition} and next_offset = ${String(verdicts.from)}`;
            atFaultPoint('before-commit');
            if (moved.count !== 1) throw fenced;
            return true;
          })
          .then((isMoved) => {
            atFaultPoint('after-commit');
            return isMoved;
          })
          .catch((error: unknown) => {
            if (error === fenced) return false;
            throw error;
          }),
      );
    },

    skipGap: (partition, from, to) =>
      run((db) =>
        db.begin(async (tx) => {
          const moved =
            await tx`update consumer_offset set next_offset = ${String(to)}, block_offset = ${String(to)}
            where consumer = ${group} and topic = ${topic} and partition = ${partition} and next_offset = ${String(from)}`;
          if (moved.count !== 1) return false;
          await tx`insert into position_gap values (${group}, ${topic}, ${partition}, ${String(from)}, ${String(to)})`;
          return true;
        }),
      ),

    predictions: (query) =>
      run(async (db) => {
        const rows = await db`
          select topic, partition, "offset", row, (extract(epoch from time) * 1000)::float8 as time_ms, station,
            to_json("values") as "values", to_json(features) as features, score, score - score_offset as decision,
            severity::float8, is_anomaly, sha256
          from prediction join model on model.id = model_id
          where ${conditions(db, query)} order by time desc, partition desc, "offset" desc, row desc limit ${query.limit}`;
        return rows.map((row): PredictionRecord => ({ ...readReading(row), isAnomaly: row.is_anomaly }));
      }),

    anomalies: (query) =>
      run(async (db) => {
        const rows = await db`${anomalyColumns(db)} where ${conditions(db, query)}
          order by time desc, partition desc, "offset" desc, row desc limit ${query.limit}`;
        return rows.map(readAnomaly);
      }),

    maintain: (nowMs) => run((db) => createDayPartitions(db, nowMs, options.partitionDaysAhead)),

    isReady: () =>
      run((db) => db`select 1 from schema_migration limit 1`).then(
        () => true,
        () => false,
      ),

    close: () => sql.end({ timeout: deadlineMs / 1_000 }),
  };
}

function connect({ url, connectionCount, deadlineMs, connectTimeoutMs, group }: PostgresOptions): Sql {
  return postgres(url, {
    max: connectionCount,
    backoff: () => 0.2, // seconds; the default grows to 20 and delays recovery
    connect_timeout: connectTimeoutMs / 1_000,
    fetch_types: false, // saves a round trip, and an unhandled rejection when a connection is lost in it
    onnotice: () => {},
    connection: {
      application_name: `lonetree ${group}`,
      // On the server's side: a scorer that is frozen must not hold a lock for longer than others wait for it.
      statement_timeout: deadlineMs,
      idle_in_transaction_session_timeout: deadlineMs,
    },
  });
}

async function migrate(db: Sql): Promise<void> {
  await db.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${migrationLock})`;
    await tx`create table if not exists schema_migration (version integer primary key, applied_at timestamptz not null default now())`;
    const [applied] = await tx`select coalesce(max(version), 0)::int as version from schema_migration`;
    const version: number = applied?.version ?? 0;
    if (version > migrations.length) {
      throw new Error(
        `The database has schema version ${version}, this program knows ${migrations.length}: use the newer program.`,
      );
    }
    for (const [index, step] of migrations.entries()) {
      if (index < version) continue;
      await tx.unsafe(step);
      await tx`insert into schema_migration (version) values (${index + 1})`;
    }
  });
}

async function registerModel(db: Sql, { sha256, features, offset }: Model, name: string): Promise<number> {
  await db`insert into model (sha256, name, features, score_offset)
    select ${sha256}, ${name}, array(select jsonb_array_elements_text(${JSON.stringify(features)}::text::jsonb)), ${offset}
    on conflict (sha256) do nothing`;
  const [row] = await db`select id from model where sha256 = ${sha256}`;
  if (row === undefined) throw new Error('the model was not recorded');
  return row.id;
}

async function copyIn(tx: TransactionSql, bytes: Uint8Array, inCopy: () => void): Promise<void> {
  const columns = tx.unsafe(copiedColumns.map((column) => `"${column}"`).join(', '));
  const stream = await tx`copy prediction (${columns}) from stdin with (format binary)`.writable();
  inCopy();
  await new Promise<void>((resolve, reject) => {
    stream.on('finish', resolve).on('error', reject).end(bytes);
  });
}

async function insertAnomalies(tx: TransactionSql, { anomalies, modelId }: Verdicts): Promise<void> {
  if (anomalies.length === 0) return;
  const rows = anomalies.map(({ offset, timeMs, features: _, modelSha256: __, ...rest }) => ({
    ...rest,
    offset: String(offset),
    time: new Date(timeMs).toISOString(),
    model_id: modelId,
  }));
  await tx`insert into anomaly
    select id, topic, partition, "offset", row, time, station,
      array(select value::real from jsonb_array_elements_text("values") with ordinality as v(value, place) order by place),
      score, decision, severity,
      array(select value from jsonb_array_elements_text(reasons) with ordinality as r(value, place) order by place), model_id
    from jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) as anomaly(id text, topic text, partition integer, "offset" bigint,
      row integer, time timestamptz, station text, "values" jsonb, score double precision, decision double precision,
      severity double precision, reasons jsonb, model_id integer)`;
}

const anomalyColumns = (db: Sql) => db`
  select anomaly.id, topic, partition, "offset", row, (extract(epoch from time) * 1000)::float8 as time_ms, station,
    to_json("values") as "values", to_json(features) as features, score, decision, severity, to_json(reasons) as reasons, sha256
  from anomaly join model on model.id = model_id`;

function conditions(db: Sql, { station, fromMs, toMs, after }: ReadingQuery) {
  const time = (ms: number) => new Date(ms).toISOString();
  return db`true
    ${station === undefined ? db`` : db`and station = ${station}`}
    ${fromMs === undefined ? db`` : db`and time >= ${time(fromMs)}`}
    ${toMs === undefined ? db`` : db`and time < ${time(toMs)}`}
    ${after === undefined ? db`` : db`and (time, partition, "offset", row) < (${time(after.timeMs)}, ${after.partition}, ${String(after.offset)}, ${after.row})`}`;
}

const readReading = (row: postgres.Row) => ({
  topic: row.topic as string,
  partition: row.partition as number,
  offset: BigInt(row.offset),
  row: row.row as number,
  station: row.station as string,
  timeMs: row.time_ms as number,
  values: row.values as (number | null)[],
  features: row.features as string[],
  score: row.score as number,
  decision: row.decision as number,
  severity: row.severity as number | null,
  modelSha256: row.sha256 as string,
});

const readAnomaly = (row: postgres.Row): AnomalyRecord => ({
  ...readReading(row),
  id: row.id,
  reasons: row.reasons,
});

/** Partitions for yesterday, today and the days ahead. Scorers that meet here do it one after the other. */
async function createDayPartitions(db: Sql, nowMs: number, daysAhead: number): Promise<void> {
  const today = Math.floor(nowMs / dayMs);
  for (let day = today - 1; day <= today + daysAhead; day += 1) {
    const [from, to] = [new Date(day * dayMs).toISOString(), new Date((day + 1) * dayMs).toISOString()];
    const name = `prediction_${from.slice(0, 10).replaceAll('-', '')}`;
    const [known] = await db`select to_regclass(${name}) is not null as is_there`;
    if (known?.is_there) continue;
    await db.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${migrationLock})`;
      const [again] = await tx`select to_regclass(${name}) is not null as is_there`;
      if (again?.is_there) return;
      // Readings of that day may have come before its partition: they lie in the default one and move with it.
      await tx.unsafe(`
        create table ${name} (like prediction including all);
        lock table prediction_default in access exclusive mode;
        with moved as (delete from prediction_default where time >= '${from}' and time < '${to}' returning *)
          insert into ${name} select * from moved;
        alter table prediction attach partition ${name} for values from ('${from}') to ('${to}');
      `);
    });
  }
}
