// Labelled faults: when one begins, at which station and feature, and what it does to a value. Pure;
// `fleet.ts` applies them.
import type { Stream } from './random.ts';

export const FAULT_KINDS = ['spike', 'dropout', 'level-shift', 'noise-burst', 'slow-drift', 'stuck'] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** How often a fault begins; without `kinds` every kind occurs. */
export type FaultPlan = { readonly kinds?: readonly FaultKind[] } & (
  | {
      /** Poisson: the mean number per station and hour, the kind drawn at random. */ readonly perStationHour: number;
    }
  | { /** One somewhere in the fleet every so often, the kinds in turn. */ readonly everyMs: number }
);

/** A fault as the schedule has it; the fleet finds a free station for it. */
export type PlannedFault = {
  readonly kind: FaultKind;
  readonly startMs: number;
  readonly readingCount: number;
  /** In [0, 1): which station, which feature. */
  readonly stationDraw: number;
  readonly featureDraw: number;
  /** Signed, in standard deviations of the feature. */
  readonly deviations: number;
};

/** What stands in the label file: every reading of this station with startMs ≤ time ≤ endMs was changed, no other. */
export type FaultLabel = {
  readonly kind: FaultKind;
  readonly station: string;
  readonly feature: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly readingCount: number;
  /** In the feature's unit: height of spike, shift, drift's end or noise; 0 for stuck and dropout. */
  readonly magnitude: number;
};

/** Shortest and longest fault, in readings of its station. */
const READING_COUNTS: Readonly<Record<FaultKind, readonly [number, number]>> = {
  spike: [1, 3],
  dropout: [2, 6],
  'level-shift': [5, 15],
  'noise-burst': [5, 15],
  'slow-drift': [20, 40],
  stuck: [10, 30],
};

const DEVIATIONS_MIN = 7;
const DEVIATIONS_MAX = 12;
const HOUR_MS = 3_600_000;

/** Planned faults in the order they begin, for ever; the times count from the start of the simulation. */
export function* planFaults(plan: FaultPlan, stationCount: number, stream: Stream): Generator<PlannedFault> {
  const kinds = plan.kinds ?? FAULT_KINDS;
  let startMs = 0;
  for (let index = 0; ; index++) {
    const [timeDraw, kindDraw, stationDraw, featureDraw] = stream.at(index, 0);
    const [countDraw, sizeDraw, signDraw] = stream.at(index, 1);
    if ('everyMs' in plan) {
      // In the first half of its own slot, so the mean never drifts and the first one is not long in coming.
      startMs = (index + 0.1 + 0.4 * timeDraw) * plan.everyMs;
    } else {
      startMs += (-Math.log(timeDraw) * HOUR_MS) / (plan.perStationHour * stationCount);
    }
    const kindIndex = 'everyMs' in plan ? index % kinds.length : Math.floor(kindDraw * kinds.length);
    const kind = kinds[kindIndex] as FaultKind;
    const [countMin, countMax] = READING_COUNTS[kind];
    yield {
      kind,
      startMs,
      readingCount: countMin + Math.floor(countDraw * (countMax - countMin + 1)),
      stationDraw,
      featureDraw,
      deviations: (signDraw < 0.5 ? -1 : 1) * (DEVIATIONS_MIN + sizeDraw * (DEVIATIONS_MAX - DEVIATIONS_MIN)),
    };
  }
}

/** A fault at work on one station: `step` counts its readings from 0. */
export type ActiveFault = {
  readonly kind: FaultKind;
  readonly featureIndex: number;
  readonly readingCount: number;
  readonly magnitude: number;
  /** The last value before the fault, which a stuck sensor keeps. */
  readonly heldValue: number;
};

/** What the faulty sensor reports instead of `value`; `noise` is uniform in (0, 1). */
export function distort(fault: ActiveFault, step: number, value: number, noise: number): number {
  switch (fault.kind) {
    case 'spike':
    case 'level-shift':
      return value + fault.magnitude;
    case 'slow-drift':
      return value + (fault.magnitude * (step + 1)) / fault.readingCount;
    case 'noise-burst':
      return value + fault.magnitude * (2 * noise - 1);
    case 'stuck':
      return fault.heldValue;
    case 'dropout':
      return Number.NaN;
  }
}
