// What the load test asks PostgreSQL: how far the positions are, again and again, and afterwards which rows there are.
import { setImmediate } from 'node:timers/promises';
import postgres from 'postgres';
import { nowMs, pause } from './clock.ts';
import { createLatencyHistogram, type Percentiles } from './histogram.ts';
import type { OffsetRange } from './latencies.ts';

/** From one answer to the next question: latencies are at most that and one answer too long, and the server has time for others. */
const POLL_PAUSE_MS = 0.2;
/** PostgreSQL's code for a user that may not do this. */
const INSUFFICIENT_PRIVILEGE = '42501';

/** For one partition: from `seenMs` on, a query answered with `nextOffset`. */
export type PositionChange = { readonly seenMs: number; readonly nextOffset: number };
export type PositionHistory = ReadonlyMap<number, readonly PositionChange[]>;

export type PositionWatch = {
  /** First offset that is not stored yet; 0 for a partition without a position. */
  nextOffset(partition: number): number;
  stop(): Promise<{ readonly history: PositionHistory; readonly spacing: Percentiles }>;
};

export type Consumed = { readonly group: string; readonly topic: string };

export type StoredRows = {
  readonly rows: number;
  /** Different places (partition, offset, row). */
  readonly distinctRows: number;
  readonly anomalies: number;
};

export type Database = {
  /** What earlier load left to be written is written, so that a step is not slowed by it; where the user may ask for that. */
  settle(): Promise<void>;
  partitionsWithPosition(): Promise<number>;
  watchPositions(): PositionWatch;
  /** Rows of these messages, which have `batchSize` readings each, made within the given times. */
  countStored(sent: {
    readonly ranges: readonly OffsetRange[];
    readonly batchSize: number;
    readonly timesMs: readonly [number, number];
  }): Promise<StoredRows>;
  close(): Promise<void>;
};

export function openDatabase(url: string, { group, topic }: Consumed): Database {
  const connect = () => postgres(url, { max: 1, onnotice: () => {}, connect_timeout: 5 });
  const polling = connect();
  const counting = connect();
  const readPositions = () =>
    polling<{ partition: number; next_offset: string }[]>`
      select partition, next_offset from consumer_offset where consumer = ${group} and topic = ${topic}`;

  return {
    async settle() {
      try {
        await counting`checkpoint`;
      } catch (error) {
        if ((error as { readonly code?: string }).code !== INSUFFICIENT_PRIVILEGE) throw error;
      }
    },

    partitionsWithPosition: async () => {
      const [table] = await polling`select to_regclass('consumer_offset') as name`;
      return table?.name === null ? 0 : (await readPositions()).length;
    },

    watchPositions() {
      const history = new Map<number, PositionChange[]>();
      const last = new Map<number, number>();
      const spacing = createLatencyHistogram();
      let isStopping = false;
      const poll = async () => {
        for (let previousMs = nowMs(); !isStopping; await setImmediate()) {
          pause(POLL_PAUSE_MS);
          const positions = await readPositions();
          // Not before a client has the answer: a latency is never measured too short.
          const seenMs = nowMs();
          spacing.record(seenMs - previousMs);
          previousMs = seenMs;
          for (const { partition, next_offset: text } of positions) {
            const nextOffset = Number(text);
            if (last.get(partition) === nextOffset) continue;
            last.set(partition, nextOffset);
            const changes = history.get(partition) ?? [];
            changes.push({ seenMs, nextOffset });
            history.set(partition, changes);
          }
        }
      };
      const polled = poll();
      polled.catch(() => {}); // Whoever stops the watch sees it.
      return {
        nextOffset: (partition) => last.get(partition) ?? 0,
        async stop() {
          isStopping = true;
          await polled;
          return { history, spacing: spacing.percentiles() };
        },
      };
    },

    async countStored({ ranges, batchSize, timesMs: [fromMs, toMs] }) {
      const partitions = ranges.map(({ partition }) => partition);
      const first = ranges.map((range) => range.first);
      const last = ranges.map((range) => range.last);
      const [counts] = await counting`
        with sent as (
          select * from unnest(${partitions}::int[], ${first}::bigint[], ${last}::bigint[]) as sent (partition, first, last)
        ), message as (
          select count(*) as rows, count(distinct row) as distinct_rows
          from prediction join sent using (partition)
          where topic = ${topic} and "offset" between first and last and row < ${batchSize}
            and time between ${new Date(fromMs)} and ${new Date(toMs)}
          group by partition, "offset"
        )
        select coalesce(sum(rows), 0)::float8 as rows, coalesce(sum(distinct_rows), 0)::float8 as distinct_rows
        from message`;
      const [found] = await counting`
        select count(*)::float8 as anomalies
        from unnest(${partitions}::int[], ${first}::bigint[], ${last}::bigint[]) as sent (partition, first, last)
        join anomaly using (partition) where topic = ${topic} and "offset" between first and last`;
      return {
        rows: Number(counts?.rows),
        distinctRows: Number(counts?.distinct_rows),
        anomalies: Number(found?.anomalies),
      };
    },

    async close() {
      await Promise.all([polling.end({ timeout: 5 }), counting.end({ timeout: 5 })]);
    },
  };
}
