// A fleet of stations: every reading follows from the seed and its place alone. Pure; no clock, no I/O.
import { FEATURES } from './distribution.ts';
import { createFaultDesk } from './fault-desk.ts';
import type { FaultLabel, FaultPlan } from './faults.ts';
import { correlatedSignal, independentSignal, type Shift, shiftedSignal } from './signal.ts';

export type FleetMode = 'independent' | 'correlated';

export type FleetOptions = {
  readonly stationCount: number;
  readonly seed: number;
  /** `independent`: every value drawn anew. `correlated`: daily cycle, memory, and features that go together. */
  readonly mode: FleetMode;
  /** From one reading of a station to its next. */
  readonly intervalMs: number;
  /** The time of the first reading, milliseconds since the Unix epoch. */
  readonly startMs: number;
  readonly faults: FaultPlan | null;
  /** The whole fleet measures this much more or less. */
  readonly shift?: Shift;
};

/** One row, valid until the next one is asked for. */
export type Reading = {
  stationIndex: number;
  timeMs: number;
  readonly values: Float32Array;
};

export type Fleet = {
  readonly stations: readonly string[];
  /** The next reading; stations take turns, spread evenly over the interval. Never ends. */
  next(): Reading;
  /** Labels of the faults that have begun since the last call. */
  takeLabels(): readonly FaultLabel[];
};

export const STATION_COUNT_MAX = 1_000_000;

export function createFleet(options: FleetOptions): Fleet {
  checkOptions(options);
  const { stationCount, seed, intervalMs, startMs } = options;
  const stations = Array.from(
    { length: stationCount },
    (_, index) => `station-${String(index + 1).padStart(3, '0')}`,
  );
  const unshifted = options.mode === 'independent' ? independentSignal(seed) : correlatedSignal(options);
  const signal = options.shift === undefined ? unshifted : shiftedSignal(unshifted, options.shift);
  const timeOf = (stationIndex: number, readingIndex: number): number =>
    Math.floor(startMs + intervalMs * (readingIndex + stationIndex / stationCount));
  const faults = createFaultDesk({ plan: options.faults, stations, seed, intervalMs, timeOf });
  const reading: Reading = { stationIndex: 0, timeMs: 0, values: new Float32Array(FEATURES.length) };
  let stationIndex = 0;
  let readingIndex = 0;
  return {
    stations,
    next() {
      if (stationIndex === 0) faults.begin(readingIndex);
      reading.stationIndex = stationIndex;
      reading.timeMs = timeOf(stationIndex, readingIndex);
      signal(reading, readingIndex, startMs + readingIndex * intervalMs);
      faults.apply(reading, readingIndex);
      stationIndex += 1;
      if (stationIndex === stationCount) {
        stationIndex = 0;
        readingIndex += 1;
      }
      return reading;
    },
    takeLabels: () => faults.takeLabels(),
  };
}

function checkOptions({ stationCount, intervalMs, startMs, faults }: FleetOptions): void {
  if (!Number.isInteger(stationCount) || stationCount < 1 || stationCount > STATION_COUNT_MAX) {
    throw new RangeError(
      `stationCount is ${stationCount}; give a whole number from 1 to ${STATION_COUNT_MAX}`,
    );
  }
  if (!(intervalMs > 0) || !Number.isFinite(intervalMs)) {
    throw new RangeError(`intervalMs is ${intervalMs}; give a number above 0`);
  }
  if (!Number.isFinite(startMs)) throw new RangeError(`startMs is ${startMs}; give milliseconds since 1970`);
  if (faults === null) return;
  const frequency = 'everyMs' in faults ? faults.everyMs : faults.perStationHour;
  if (!(frequency > 0) || !Number.isFinite(frequency)) {
    throw new RangeError(`the fault plan says ${frequency}; give a number above 0, or null for no faults`);
  }
  if (faults.kinds?.length === 0)
    throw new RangeError('the fault plan names no kind; leave `kinds` out for all');
}
