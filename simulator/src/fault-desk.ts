// Lets the planned faults happen in a fleet, one at a time per station, and writes their labels. Pure.
import { FEATURES, standardDeviation } from './distribution.ts';
import {
  type ActiveFault,
  distort,
  type FaultLabel,
  type FaultPlan,
  type PlannedFault,
  planFaults,
} from './faults.ts';
import type { Reading } from './fleet.ts';
import { createStream } from './random.ts';

export type FaultDesk = {
  /** Lets the faults begin that are due when every station makes this reading. */
  begin(readingIndex: number): void;
  apply(reading: Reading, readingIndex: number): void;
  takeLabels(): readonly FaultLabel[];
};

type StationFault = ActiveFault & { readonly startIndex: number };

const NO_LABELS: readonly FaultLabel[] = [];

type DeskOptions = {
  readonly plan: FaultPlan | null;
  readonly stations: readonly string[];
  readonly seed: number;
  readonly intervalMs: number;
  readonly timeOf: (stationIndex: number, readingIndex: number) => number;
};

export function createFaultDesk({ plan, stations, seed, intervalMs, timeOf }: DeskOptions): FaultDesk {
  const stationCount = stations.length;
  if (plan === null) return { begin: () => {}, apply: () => {}, takeLabels: () => NO_LABELS };
  const planned = planFaults(plan, stationCount, createStream(seed, 'faults'));
  const noise = createStream(seed, 'noise');
  const active = new Map<number, StationFault>();
  const lastValues = new Float32Array(stationCount * FEATURES.length);
  let labels: FaultLabel[] = [];
  let coming = planned.next().value as PlannedFault;
  const start = (fault: PlannedFault, startIndex: number): void => {
    const stationIndex = freeStation(fault.stationDraw, stationCount, active);
    if (stationIndex === null) return;
    const featureIndex = Math.floor(fault.featureDraw * FEATURES.length);
    const feature = FEATURES[featureIndex] as (typeof FEATURES)[number];
    const hasSize = fault.kind !== 'stuck' && fault.kind !== 'dropout';
    const magnitude = hasSize ? fault.deviations * standardDeviation(feature) : 0;
    const { kind, readingCount } = fault;
    const heldValue = lastValues[stationIndex * FEATURES.length + featureIndex] as number;
    active.set(stationIndex, { kind, featureIndex, readingCount, magnitude, heldValue, startIndex });
    labels.push({
      kind,
      station: stations[stationIndex] as string,
      feature: feature.name,
      startMs: timeOf(stationIndex, startIndex),
      endMs: timeOf(stationIndex, startIndex + readingCount - 1),
      readingCount,
      magnitude,
    });
  };
  return {
    begin(readingIndex) {
      for (const [stationIndex, fault] of active) {
        if (readingIndex >= fault.startIndex + fault.readingCount) active.delete(stationIndex);
      }
      // Not before the second reading: a stuck sensor needs one to be stuck at.
      while (readingIndex > 0 && coming.startMs <= readingIndex * intervalMs) {
        start(coming, readingIndex);
        coming = planned.next().value as PlannedFault;
      }
    },
    apply({ stationIndex, values }, readingIndex) {
      lastValues.set(values, stationIndex * FEATURES.length);
      const fault = active.get(stationIndex);
      if (fault === undefined) return;
      const { featureIndex, startIndex } = fault;
      const [noiseDraw] = noise.at(readingIndex, stationIndex);
      values[featureIndex] = distort(
        fault,
        readingIndex - startIndex,
        values[featureIndex] as number,
        noiseDraw,
      );
    },
    takeLabels() {
      if (labels.length === 0) return NO_LABELS;
      const taken = labels;
      labels = [];
      return taken;
    },
  };
}

/** The drawn station, or the next one that has no fault at present; null when all have one. */
function freeStation(
  draw: number,
  stationCount: number,
  active: ReadonlyMap<number, unknown>,
): number | null {
  const drawn = Math.floor(draw * stationCount);
  for (let step = 0; step < stationCount; step++) {
    const stationIndex = (drawn + step) % stationCount;
    if (!active.has(stationIndex)) return stationIndex;
  }
  return null;
}
