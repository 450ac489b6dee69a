// What metrics see of a scorer that has nothing to do.
import type { ScorerState } from '../src/metrics-state.ts';

export const idleState = (): ScorerState => ({
  partitions: [],
  blocksUnderWay: 0,
  seen: { ends: new Map(), isStoreReady: true },
  challenger: null,
});
