// One simulation from its options to its summary: fleet → batches → pace → whatever publishes.
import { type Batcher, createBatcher, type SimulatedMessage } from './batch.ts';
import { systemClock } from './clock.ts';
import { FEATURES } from './distribution.ts';
import { FAULT_KINDS, type FaultKind, type FaultLabel, type FaultPlan } from './faults.ts';
import { createFleet, type Fleet, type FleetMode } from './fleet.ts';
import { type Clock, type Publish, pace } from './pace.ts';
import type { Shift } from './signal.ts';

export type SimulatorOptions = {
  readonly stationCount: number;
  readonly seed: number;
  readonly mode: FleetMode;
  readonly faults: FaultPlan | null;
  readonly shift?: Shift;
  /** Of the whole fleet; null: as fast as the publisher takes them. */
  readonly readingsPerSecond: number | null;
  /** From one reading of a station to its next, in the readings' own time; by default what the rate gives, or 1 s. */
  readonly intervalMs?: number;
  /** The time of the first reading; by default now. */
  readonly startMs?: number;
  readonly batchSize: number;
  /** 0: every station sends its own messages. */
  readonly gatewayCount?: number;
  /** Ends the run; without it only the signal does. */
  readonly readingCountMax?: number;
  /** Takes messages whose time has come; the next ones wait until it resolves. */
  readonly publish: Publish;
  /** Labels go another way than readings, as soon as the fault begins. */
  readonly onLabels?: (labels: readonly FaultLabel[]) => void;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
};

export type SimulatorSummary = {
  readonly messageCount: number;
  readonly readingCount: number;
  /** Faults that have begun; null when the readings were not simulated. */
  readonly faultCounts: Readonly<Record<FaultKind, number>> | null;
  readonly durationMs: number;
  /** How far behind their scheduled times messages left; 0 when unpaced. */
  readonly latenessMaxMs: number;
  readonly latenessMeanMs: number;
};

/** Runs until the signal is aborted or `readingCountMax` is reached; rejects only when `publish` does. */
export async function runSimulator(options: SimulatorOptions): Promise<SimulatorSummary> {
  const { stationCount, readingsPerSecond, signal } = options;
  if (readingsPerSecond !== null && !(readingsPerSecond > 0)) {
    throw new RangeError(
      `readingsPerSecond is ${readingsPerSecond}; give a number above 0, or null for no limit`,
    );
  }
  const clock = options.clock ?? systemClock;
  const rowMs = readingsPerSecond === null ? 0 : 1_000 / readingsPerSecond;
  const intervalMs = options.intervalMs ?? (rowMs === 0 ? 1_000 : rowMs * stationCount);
  const fleet = createFleet({ ...options, intervalMs, startMs: options.startMs ?? Date.now() });
  const batcher = createBatcher({
    stations: fleet.stations,
    features: FEATURES,
    batchSize: options.batchSize,
    gatewayCount: options.gatewayCount ?? 0,
    isStaggered: rowMs > 0,
  });
  const faultCounts = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Record<FaultKind, number>;
  const onLabels = (labels: readonly FaultLabel[]): void => {
    for (const { kind } of labels) faultCounts[kind] += 1;
    options.onLabels?.(labels);
  };
  const readingCountMax = options.readingCountMax ?? Number.POSITIVE_INFINITY;
  const messages = simulate(fleet, batcher, { rowMs, readingCountMax, onLabels });
  const startedMs = clock.nowMs();
  const paced = await pace(messages, { publish: options.publish, clock, signal, isPaced: rowMs > 0 });
  return { ...paced, faultCounts, durationMs: clock.nowMs() - startedMs };
}

type SimulateOptions = {
  readonly rowMs: number;
  readonly readingCountMax: number;
  readonly onLabels: (labels: readonly FaultLabel[]) => void;
};

function* simulate(
  fleet: Fleet,
  batcher: Batcher,
  { rowMs, readingCountMax, onLabels }: SimulateOptions,
): Generator<SimulatedMessage> {
  for (let index = 0; index < readingCountMax; index++) {
    const message = batcher.add(fleet.next(), index * rowMs);
    const labels = fleet.takeLabels();
    if (labels.length > 0) onLabels(labels);
    if (message !== null) yield message;
  }
  yield* batcher.finish();
}
