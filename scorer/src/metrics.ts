// What Prometheus sees of the scorer. Counted once a block, never once a reading, and never by station.
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import manifest from '../package.json';
import type { ChallengerOptions } from './challenger-keeper.ts';
import { createBlockMetrics } from './metrics-blocks.ts';
import { createModelMetrics } from './metrics-models.ts';
import { createStateMetrics, type ScorerState } from './metrics-state.ts';
import type { KeeperObserver } from './model-keeper.ts';
import type { PipelineObserver } from './pipeline.ts';
import type { ShadowObserver } from './shadow.ts';

export type Metrics = PipelineObserver &
  KeeperObserver &
  ShadowObserver &
  ChallengerOptions['observer'] & {
    readonly registry: Registry;
  };

/** What Node tells of its inside and Bun does not, or tells wrongly: always 0, more bytes than there are, a version of Node. */
const notOfBun = /^(nodejs_(active|heap|external|version)_|process_heap_bytes)/;

/** `state` is asked when Prometheus asks. */
export function createMetrics(state: () => ScorerState): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const { name } of registry.getMetricsAsArray())
    if (notOfBun.test(name)) registry.removeSingleMetric(name);
  new Gauge({
    name: 'lonetree_build_info',
    help: 'The scorer’s own version, and that of Bun that runs it: 1.',
    labelNames: ['version', 'bun'] as const,
    registers: [registry],
  }).set({ version: manifest.version, bun: Bun.version }, 1);
  createStateMetrics(registry, state);
  const blocks = createBlockMetrics(registry);
  const models = createModelMetrics(registry);
  return {
    ...blocks,
    ...models,
    modelUsed(model, cause) {
      models.modelUsed(model, cause);
      blocks.expect(model.features);
    },
    registry,
  };
}
