// The store on PostgreSQL: binary COPY and the position in one transaction. The only file that knows the client.
import type { Model } from '@lonetree/core-wasm';
import type { Sql, TransactionSql } from 'postgres';
import { createBuffers } from './buffers.ts';
import { anomalyColumns, encodeAnomalies } from './copy-anomalies.ts';
import { encodePredictions, predictionColumns } from './copy-format.ts';
import { migrations } from './migrations-postgres.ts';
import type { Position, Store } from './store.ts';
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
  | 'before-commit'
  | 'after-commit'
  | 'fenced';

/** So much is handed to the client at once: it copies what it is given. */
const copyPieceSize = 1 << 20;
/** An encoded block of more bytes is rare: its memory is not kept. */
const keptBufferSizeMax = 16 << 20;

export function createPostgresStore(options: PostgresOptions): Store {
  const { url, group, topic, deadlineMs, connectTimeoutMs } = options;
  const atFaultPoint = options.atFaultPoint ?? (() => {});
  const common = { url, connectTimeoutMs, deadlineMs };
  const buffers = createBuffers({ countMax: options.connectionCount, sizeMax: keptBufferSizeMax });
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
  const schema = createClient({
    ...common,
    applicationName: `lonetree ${group} schema`,
    connectionCount: 1,
    deadlineMs: options.schemaDeadlineMs,
    session: { lock_timeout: options.lockTimeoutMs },
  });

  return {
    migrate: () => schema.run(migrate),

    registerModel: (model, name) => blocks.run((db) => registerModel(db, model, name)),

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
      // The block's memory is used again from the first wait on.
      let encoded: Uint8Array | undefined;
      const reserve = (size: number) => {
        encoded = buffers.take(size);
        return encoded;
      };
      const predictions = verdicts.block.rowCount === 0 ? null : encodePredictions(topic, verdicts, reserve);
      const settle = (isStored: boolean) => {
        // After a failure the server's answer is open: the client may still hold it.
        if (encoded !== undefined) buffers.giveBack(encoded);
        return isStored;
      };
      const fenced = new Error('fenced');
      atFaultPoint('before-begin');
      return blocks.run((db) =>
        db
          .begin(async (tx) => {
            atFaultPoint('before-copy');
            if (predictions !== null) {
              const inCopy = () => atFaultPoint('in-copy');
              await copyIn(tx, {
                table: 'prediction',
                columns: predictionColumns,
                bytes: predictions,
                inCopy,
              });
            }
            if (anomalies.length > 0) {
              const bytes = encodeAnomalies(anomalies, modelId);
              await copyIn(tx, { table: 'anomaly', columns: anomalyColumns, bytes });
            }
            atFaultPoint('before-move');
            // Last: a scorer that is frozen in its copy must not hold this row's lock.
            const moved = await tx`update consumer_offset set next_offset = ${next}, block_offset = ${from}
              where consumer = ${group} and topic = ${topic} and partition = ${partition} and next_offset = ${from}`;
            atFaultPoint('before-commit');
            if (moved.count !== 1) throw fenced;
            return true;
          })
          .then((isMoved) => {
            atFaultPoint('after-commit');
            return settle(isMoved);
          })
          .catch((error: unknown) => {
            if (error !== fenced) throw error;
            atFaultPoint('fenced');
            return settle(false);
          }),
      );
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

    predictions: (query) => queries.run((db) => queryPredictions(db, query)),

    anomalies: (query) => queries.run((db) => queryAnomalies(db, query)),

    async maintain(nowMs) {
      await schema.run((db) => createDayPartitions(db, nowMs, options.partitionDaysAhead));
      await schema.run(indexNewTimes);
    },

    isReady: () =>
      queries
        .run((db) => db`select 1 from schema_migration limit 1`)
        .then(
          () => true,
          () => false,
        ),

    async close() {
      await Promise.all([blocks.close(), queries.close(), schema.close()]);
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

async function registerModel(db: Sql, { sha256, features, offset }: Model, name: string): Promise<number> {
  await db`insert into model (sha256, name, features, score_offset)
    select ${sha256}, ${name}, array(select jsonb_array_elements_text(${JSON.stringify(features)}::text::jsonb)), ${offset}
    on conflict (sha256) do nothing`;
  const [row] = await db`select id from model where sha256 = ${sha256}`;
  if (row === undefined) throw new Error('the model was not recorded');
  return row.id;
}

type Copy = {
  readonly table: string;
  readonly columns: readonly string[];
  readonly bytes: Uint8Array;
  readonly inCopy?: () => void;
};

/** Hands over the bytes piece by piece. What the server refuses after the last one may never settle: callers have a deadline. */
async function copyIn(tx: TransactionSql, { table, columns, bytes, inCopy }: Copy): Promise<void> {
  const names = tx.unsafe(columns.map((column) => `"${column}"`).join(', '));
  const stream = await tx`copy ${tx(table)} (${names}) from stdin with (format binary)`.writable();
  inCopy?.();
  const failed = new Promise<never>((_, reject) => stream.on('error', reject));
  failed.catch(() => {}); // Whoever waits below sees it.
  for (let at = 0; at < bytes.length; at += copyPieceSize) {
    const piece = bytes.subarray(at, at + copyPieceSize);
    await Promise.race([failed, new Promise<unknown>((resolve) => stream.write(piece, resolve))]);
  }
  await Promise.race([failed, new Promise<void>((resolve) => stream.on('finish', resolve).end())]);
}
