// Messages encoded before a step, so that sending them costs the generator little. Pure.
import { createBatcher, type SimulatedMessage } from '../src/batch.ts';
import { FEATURES } from '../src/distribution.ts';
import { createFleet } from '../src/fleet.ts';

/** Rows that repeat soon would flatter caches and branch prediction: so many readings before the first comes again. */
const READINGS_MIN = 100_000;
const STATION_COUNT = 100;
/** From one reading of a station to its next. */
const INTERVAL_MS = 1;

export type MessageOptions = {
  readonly batchSize: number;
  readonly partitionCount: number;
  readonly seed: number;
  /** Time of the first reading. */
  readonly firstTimeMs: number;
};

type Pool = Pick<MessageOptions, 'batchSize' | 'partitionCount'>;

/** A multiple of the partitions: each message then always goes to the same one. */
const poolSize = ({ batchSize, partitionCount }: Pool) =>
  Math.ceil(READINGS_MIN / batchSize / partitionCount) * partitionCount;

/** All readings of a step are made within so much of their own time; a database finds them by it. */
export function timeSpanMs(pool: Pool): number {
  return Math.ceil(poolSize(pool) / STATION_COUNT) * pool.batchSize * INTERVAL_MS;
}

/** Messages of exactly `batchSize` readings each; a step takes them in turn, and begins again after the last. */
export function encodeMessages({ seed, firstTimeMs, ...pool }: MessageOptions): readonly SimulatedMessage[] {
  const fleet = createFleet({
    stationCount: STATION_COUNT,
    seed,
    mode: 'independent',
    intervalMs: INTERVAL_MS,
    startMs: firstTimeMs,
    faults: null,
  });
  const batcher = createBatcher({
    stations: fleet.stations,
    features: FEATURES,
    batchSize: pool.batchSize,
    gatewayCount: 0,
    isStaggered: false,
  });
  const messages: SimulatedMessage[] = [];
  while (messages.length < poolSize(pool)) {
    const message = batcher.add(fleet.next(), 0);
    if (message !== null) messages.push(message);
  }
  return messages;
}
