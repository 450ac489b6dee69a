// Metrics of the models: which one scores, what came of looks for another, and how the challenger compares.
import { Counter, Gauge, type Registry } from 'prom-client';
import type { ChallengerOptions } from './challenger-keeper.ts';
import type { FailureReason } from './model-failure.ts';
import type { KeeperObserver } from './model-keeper.ts';
import type { ShadowDropReason, ShadowObserver } from './shadow.ts';
import type { SwapCause } from './store.ts';

const causes: readonly SwapCause[] = ['start', 'update', 'request', 'poll', 'rollback'];
/** All but `superseded`, which is no failure that anybody is told of. */
const failureReasons: readonly FailureReason[] = [
  'registry-away',
  'registry-error',
  'alias-missing',
  'digest',
  'too-large',
  'file',
  'forest',
  'features',
  'store',
  'cache',
];
const dropReasons: readonly ShadowDropReason[] = ['behind', 'too-many', 'unpaired', 'failed'];

export type ModelMetrics = KeeperObserver & ShadowObserver & ChallengerOptions['observer'];

export function createModelMetrics(registry: Registry): ModelMetrics {
  const registers = [registry];
  const info = new Gauge({
    name: 'lonetree_model_info',
    help: 'The model that scores: 1.',
    labelNames: ['name', 'version', 'sha256'] as const,
    registers,
  });
  const created = new Gauge({
    name: 'lonetree_model_created_timestamp_seconds',
    help: 'When the model that scores was registered, or its file written.',
    registers,
  });
  const alarmRate = new Gauge({
    name: 'lonetree_model_alarm_rate_ratio',
    help: 'Share of readings like the training rows that the model that scores calls abnormal; NaN when its file does not say.',
    registers,
  });
  const swaps = new Counter({
    name: 'lonetree_model_swaps_total',
    help: 'Models that came into use, by what made the scorer look for them.',
    labelNames: ['cause'] as const,
    registers,
  });
  const failures = new Counter({
    name: 'lonetree_model_failures_total',
    help: 'Looks for another model that failed or found one that is refused, by reason. The running model went on.',
    labelNames: ['reason'] as const,
    registers,
  });
  const challengerFailures = new Counter({
    name: 'lonetree_challenger_failures_total',
    help: 'Looks for the challenger that failed or found one that is refused, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  const shadowReadings = new Counter({
    name: 'lonetree_shadow_readings_total',
    help: 'Readings that the challenger scored too.',
    registers,
  });
  const shadowAnomalies = new Counter({
    name: 'lonetree_shadow_anomalies_total',
    help: 'Those of them that are abnormal, by whose verdict.',
    labelNames: ['model'] as const,
    registers,
  });
  const shadowDisagreements = new Counter({
    name: 'lonetree_shadow_disagreements_total',
    help: 'Those of them that one of the models calls abnormal and the other does not.',
    registers,
  });
  const shadowDropped = new Counter({
    name: 'lonetree_shadow_dropped_total',
    help: 'Sampled readings that were left out, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  for (const cause of causes) swaps.inc({ cause }, 0);
  for (const reason of failureReasons) {
    failures.inc({ reason }, 0);
    challengerFailures.inc({ reason }, 0);
  }
  for (const model of ['champion', 'challenger']) shadowAnomalies.inc({ model }, 0);
  for (const reason of dropReasons) shadowDropped.inc({ reason }, 0);
  return {
    modelUsed({ name, version, sha256, ...model }, cause) {
      info.reset();
      info.set({ name, version, sha256 }, 1);
      created.set(model.createdAtMs / 1_000);
      alarmRate.set(model.alarmRate ?? Number.NaN);
      swaps.inc({ cause });
    },
    modelFailed: ({ reason }) => failures.inc({ reason }),
    challengerFailed: ({ reason }) => challengerFailures.inc({ reason }),
    shadowStored({ rowCount, championAnomalyCount, challengerAnomalyCount, disagreementCount }) {
      shadowReadings.inc(rowCount);
      shadowAnomalies.inc({ model: 'champion' }, championAnomalyCount);
      shadowAnomalies.inc({ model: 'challenger' }, challengerAnomalyCount);
      shadowDisagreements.inc(disagreementCount);
    },
    shadowDropped: (reason, rowCount) => shadowDropped.inc({ reason }, rowCount),
  };
}
