// The store on PostgreSQL: binary COPY and the position in one transaction. The only file that knows the client.
import { copyColumns, type Model } from '@lonetree/core-wasm';
import type { ReservedSql, Sql } from 'postgres';
import { createBuffers } from './buffers.ts';
import { anomalyColumns, describeAnomalies, encodeAnomalies } from './copy-anomalies.ts';
import { encodeShadowScores, shadowColumns } from './copy-shadow-scores.ts';
import { migrations } from './migrations-postgres.ts';
import type { Position, Store, Verdicts } from './store.ts';
import { createClient } from './store-postgres-client.ts';
import { createDayPartitions, indexNewTimes, schemaLock } from './store-postgres-partitions.ts';
import { blockAnomalies, queryAnomalies, queryPredictions } from './store-postgres-queries.ts';

export type PostgresOptions = {
  readonly url: string;
  readonly group: string;
  readonly topic: string;
  /** Blocks that can be stored at the same time. */
  readonly connectionCount: number;
  /** Of those who ask for verdicts, who must not keep blocks from being stored. */
  readonly queryConnectionCount: number;
  /** What takes longer has failed. Shorter than the time after which the group gives a scorer up. */
  readonly deadlineMs: number;
  /** The same for changes of tables. */
  readonly schemaDeadlineMs: number;
  /** Blocks that come while a table is to be locked wait at most this long. */
  readonly lockTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly partitionDaysAhead: number;
  /** Called at named places of a write: a test stops or kills the process there. */
  readonly atFaultPoint?: (place: FaultPoint) => void;
};
export type FaultPoint =
  | 'before-begin'
  | 'before-copy'
  | 'in-copy'
  | 'before-move'
  | 'after-commit'
  | 'fenced';

/** So many anomalies go with the position; more are copied, which takes a round trip, but less time for each. */
const anomaliesTogetherMax = 256;
/** PostgreSQL's code for it. */
const divisionByZero = '22012';
/** The engine makes pieces of that size. */
const copyPieceSize = 1 << 20;
/** Pieces of a block of usual size; those of larger blocks are not kept. */
const keptPiecesPerBlock = 8;

export function createPostgresStore(options: PostgresOptions): Store {
  const { url, group, topic, deadlineMs, connectTimeoutMs } = options;
  const atFaultPoint = options.atFaultPoint ?? (() => {});
  const common = { url, connectTimeoutMs, deadlineMs };
  const buffers = createBuffers({
    countMax: keptPiecesPerBlock * options.connectionCount,
    sizeMax: copyPieceSize,
  });
  const blocks = createClient({
    ...common,
    applicationName: `lonetree ${group}`,
    connectionCount: options.connectionCount,
  });
  const queries = createClient({
    ...common,
    applicationName: `lonetree ${group} query`,
    connectionCount: options.queryConnectionCount,
    // A span of time is always better found by the index than by reading a table that may be of any size.
    session: { default_transaction_read_only: 'on', enable_seqscan: 'off' },
  });
  // Its own: whoever asks for much would otherwise make the store look away.
  const watch = createClient({ ...common, applicationName: `lonetree ${group} watch`, connectionCount: 1 });
  const shadow = createClient({
    ...common,
    applicationName: `lonetree ${group} shadow`,
    connectionCount: 1,
    // What a crash of the server takes is left out, and blocks are not kept from the disk.
    session: { synchronous_commit: 'off' },
  });
  const schema = createClient({
    ...common,
    applicationName: `lonetree ${group} schema`,
    connectionCount: 1,
    deadlineMs: options.schemaDeadlineMs,
    session: { lock_timeout: options.lockTimeoutMs },
  });

  /** The block's rows, out of the engine's memory, which is used again from the first wait on. */
  function copyRows({ block, partition, modelId, offsets }: Verdicts) {
    if (block.rowCount === 0) return [];
    return Array.from(block.copyPieces({ topic, partition, modelId, offsets }), (piece) => {
      const memory = buffers.take(piece.length);
      memory.set(piece);
      return { memory, bytes: memory.subarray(0, piece.length) };
    });
  }

  return {
    migrate: () => schema.run(migrate),

    registerModel: (model, registered) => blocks.run((db) => registerModel(db, model, registered)),

    async recordSwap({ scorer, modelId, version, sha256, cause, requestedBy, why }) {
      await blocks.run(
        (db) => db`insert into model_swap (scorer, model_id, version, sha256, cause, requested_by, why)
          values (${scorer}, ${modelId}, ${version}, ${sha256}, ${cause}, ${requestedBy}, ${why})`,
      );
    },

    position: (partition, start) =>
      blocks.run(async (db): Promise<Position> => {
        await db`insert into consumer_offset values (${group}, ${topic}, ${partition}, ${String(start)}, ${String(start)}) on conflict do nothing`;
        const [stored] = await db`select next_offset, block_offset from consumer_offset
          where consumer = ${group} and topic = ${topic} and partition = ${partition}`;
        if (stored === undefined) throw new Error('The position is gone.');
        const { next_offset: next, block_offset: from } = stored;
        return { next: BigInt(next), anomalies: await blockAnomalies(db, { topic, partition, from, next }) };
      }),

    write(verdicts) {
      const { partition, anomalies, modelId } = verdicts;
      const [from, next] = [String(verdicts.from), String(verdicts.next)];
      const predictions = copyRows(verdicts);
      const settle = (isStored: boolean) => {
        // After a failure the server's answer is open: the client may still hold them.
        for (const { memory } of predictions) buffers.giveBack(memory);
        return isStored;
      };
      atFaultPoint('before-begin');
      return blocks.runAlone(async (connection) => {
        const isMoved = await store(connection);
        atFaultPoint(isMoved ? 'after-commit' : 'fenced');
        return settle(isMoved);
      });

      /**
       * One transaction in one round trip. The server takes one statement after the other, and after one that fails it
       * refuses the others, so nothing is committed that was not moved.
       */
      async function store(connection: ReservedSql): Promise<boolean> {
        atFaultPoint('before-copy');
        const areCopied = anomalies.length > anomaliesTogetherMax;
        const records = describeAnomalies(areCopied ? [] : anomalies, modelId);
        // A prepared statement that the server has forgotten is sent again by the client, when the transaction has ended: then
        // nothing was written before it, and it moves nothing.
        const isAlone = predictions.length === 0;
        // Last: a scorer that is frozen in its copy must not hold this row's lock. A position that is not there to be moved
        // divides by zero, which undoes the transaction.
        const move = connection`with moved as (
            update consumer_offset set next_offset = ${next}, block_offset = ${from}
            where consumer = ${group} and topic = ${topic} and partition = ${partition} and next_offset = ${from}
              and (${isAlone} or pg_current_xact_id_if_assigned() is not null)
            returning 1),
          added as (
            insert into anomaly select * from json_populate_recordset(null::anomaly, ${records}::text::json))
          select 1 / count(*) from moved`;
        const results = await Promise.allSettled(
          [
            connection.unsafe('begin'),
            ...(isAlone ? [] : [copyIn(connection, 'prediction', copyColumns, passFaultPoints(predictions))]),
            ...(areCopied
              ? [copyIn(connection, 'anomaly', anomalyColumns, [encodeAnomalies(anomalies, modelId)])]
              : []),
            move,
            connection.unsafe('commit'),
          ].map((query) => query.execute()),
        );
        const failure = results.find((result) => result.status === 'rejected')?.reason as
          | (Error & { readonly code?: string })
          | undefined;
        const isFenced = failure?.code === divisionByZero;
        if (failure !== undefined && !isFenced) throw failure;
        const ended = results.at(-1);
        const command = ended?.status === 'fulfilled' ? ended.value.command : 'an error';
        if (command !== (isFenced ? 'ROLLBACK' : 'COMMIT'))
          throw new Error(`PostgreSQL answered the end of a block with ${command}.`);
        return !isFenced;
      }

      /** The rows as they are sent, piece by piece. */
      function* passFaultPoints(pieces: typeof predictions) {
        for (const { bytes } of pieces) {
          const middle = options.atFaultPoint === undefined ? 0 : bytes.length >> 1;
          if (middle > 0) yield bytes.subarray(0, middle);
          atFaultPoint('in-copy');
          yield bytes.subarray(middle);
        }
        atFaultPoint('before-move');
      }
    },

    skipGap: (partition, from, to) =>
      blocks.run((db) =>
        db.begin(async (tx) => {
          const moved =
            await tx`update consumer_offset set next_offset = ${String(to)}, block_offset = ${String(to)}
            where consumer = ${group} and topic = ${topic} and partition = ${partition} and next_offset = ${String(from)}`;
          if (moved.count !== 1) return false;
          await tx`insert into position_gap values (${group}, ${topic}, ${partition}, ${String(from)}, ${String(to)})`;
          return true;
        }),
      ),

    async writeShadow(scores) {
      const rows = encodeShadowScores(scores, topic);
      await shadow.runAlone((connection) => copyIn(connection, 'shadow_score', shadowColumns, [rows]));
    },

    predictions: (query) => queries.run((db) => queryPredictions(db, query)),

    anomalies: (query) => queries.run((db) => queryAnomalies(db, query)),

    async maintain(nowMs) {
      await schema.run((db) => createDayPartitions(db, nowMs, options.partitionDaysAhead));
      await schema.run(indexNewTimes);
    },

    isReady: () =>
      watch
        .run((db) => db`select 1 from schema_migration limit 1`)
        .then(
          () => true,
          () => false,
        ),

    async close() {
      await Promise.all([blocks, queries, watch, shadow, schema].map((client) => client.close()));
    },
  };
}

async function migrate(db: Sql): Promise<void> {
  await db.begin(async (tx) => {
    await tx`set local lock_timeout = 0`; // Scorers that start at once wait for the one that changes the tables.
    await tx`select pg_advisory_xact_lock(${schemaLock})`;
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

async function registerModel(
  db: Sql,
  { sha256, features, offset }: Model,
  { name, version }: { readonly name: string; readonly version: string },
): Promise<number> {
  await db`insert into model (sha256, version, name, features, score_offset)
    select ${sha256}, ${version}, ${name}, array(select jsonb_array_elements_text(${JSON.stringify(features)}::text::jsonb)), ${offset}
    on conflict (sha256, version) do nothing`;
  const [row] = await db`select id from model where sha256 = ${sha256} and version = ${version}`;
  if (row === undefined) throw new Error('the model was not recorded');
  return row.id;
}

/** Sends the data along with the statement: the server takes both, or ignores the data of what it refuses. */
function copyIn(
  connection: ReservedSql,
  table: string,
  columns: readonly string[],
  copyData: Iterable<Uint8Array>,
) {
  const names = columns.map((column) => `"${column}"`).join(', ');
  return connection.unsafe(`copy ${table} (${names}) from stdin with (format binary)`, [], { copyData });
}
