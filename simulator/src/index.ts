// What other parts use of the simulator: run one in-process, or draw readings from a fleet.

export { createBatcher, type SimulatedMessage } from './batch.ts';
export { FEATURES } from './distribution.ts';
export type { FaultKind, FaultLabel, FaultPlan } from './faults.ts';
export { createFleet, type Fleet, type FleetMode, type FleetOptions, type Reading } from './fleet.ts';
export { runSimulator, type SimulatorOptions, type SimulatorSummary } from './run.ts';

/** What `bun run start` simulates: a small lively fleet where something breaks every few seconds. */
export const defaultDemo = {
  stationCount: 12,
  seed: 1,
  // The shipped model is trained on this mode; drawn anew each time, its alarm rate is the nominal one at any hour.
  mode: 'independent',
  faults: { everyMs: 9_000 },
  readingsPerSecond: 12,
  batchSize: 1,
} as const;
