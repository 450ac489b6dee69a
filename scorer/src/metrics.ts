// What Prometheus sees of the scorer. Counted once a block, never once a reading, and never by station.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { ChallengerOptions } from './challenger-keeper.ts';
import type { KeeperObserver } from './model-keeper.ts';
import type { PipelineObserver } from './pipeline.ts';
import type { ShadowObserver } from './shadow.ts';

export type Metrics = PipelineObserver &
  KeeperObserver &
  ShadowObserver &
  ChallengerOptions['observer'] & {
    readonly contentType: string;
    text(): Promise<string>;
  };

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const readings = new Counter({
    name: 'lonetree_readings_total',
    help: 'Readings stored, by verdict.',
    labelNames: ['verdict'] as const,
    registers,
  });
  const messages = new Counter({ name: 'lonetree_messages_total', help: 'Messages handled.', registers });
  const deadLetters = new Counter({
    name: 'lonetree_dead_letters_total',
    help: 'Messages that could not be scored, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  const anomalies = new Counter({
    name: 'lonetree_anomaly_reasons_total',
    help: 'Reasons of abnormal readings, by kind.',
    labelNames: ['kind'] as const,
    registers,
  });
  const dropped = new Counter({
    name: 'lonetree_blocks_dropped_total',
    help: 'Blocks that were not stored and are read again, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  const gaps = new Counter({
    name: 'lonetree_gap_messages_total',
    help: 'Messages that the log deleted before they were read.',
    registers,
  });
  const ignored = new Counter({
    name: 'lonetree_ignored_columns_total',
    help: 'Columns of features that the model does not know.',
    registers,
  });
  const blockSizes = new Histogram({
    name: 'lonetree_block_readings',
    help: 'Readings per stored block.',
    buckets: [1, 10, 100, 1_000, 10_000, 100_000],
    registers,
  });
  const model = new Gauge({
    name: 'lonetree_model_info',
    help: 'The model that scores: 1.',
    labelNames: ['name', 'version', 'sha256'] as const,
    registers,
  });
  const swaps = new Counter({
    name: 'lonetree_model_swaps_total',
    help: 'Models that came into use, by what made the scorer look for them.',
    labelNames: ['cause'] as const,
    registers,
  });
  const modelFailures = new Counter({
    name: 'lonetree_model_failures_total',
    help: 'Looks for another model that failed or found one that is refused, by reason. The running model went on.',
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
  const challengerFailures = new Counter({
    name: 'lonetree_challenger_failures_total',
    help: 'Looks for the challenger that failed or found one that is refused, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  return {
    contentType: registry.contentType,
    stored(block) {
      readings.inc({ verdict: 'abnormal' }, block.anomalies.length);
      readings.inc({ verdict: 'normal' }, block.readingCount - block.anomalies.length);
      messages.inc(block.messageCount);
      ignored.inc(block.ignoredFeatureCount);
      blockSizes.observe(block.readingCount);
      for (const [reason, count] of countEach(block.refused.map((rejection) => rejection.reason)))
        deadLetters.inc({ reason }, count);
      for (const [kind, count] of countEach(block.anomalies.flatMap(({ reasons }) => reasons.map(kindOf))))
        anomalies.inc({ kind }, count);
    },
    dropped: (_, reason) => dropped.inc({ reason }),
    gapSkipped: (_, messageCount) => gaps.inc(Number(messageCount)),
    modelUsed({ name, version, sha256 }, cause) {
      model.reset();
      model.set({ name, version, sha256 }, 1);
      swaps.inc({ cause });
    },
    modelFailed: ({ reason }) => modelFailures.inc({ reason }),
    shadowStored({ rowCount, championAnomalyCount, challengerAnomalyCount, disagreementCount }) {
      shadowReadings.inc(rowCount);
      shadowAnomalies.inc({ model: 'champion' }, championAnomalyCount);
      shadowAnomalies.inc({ model: 'challenger' }, challengerAnomalyCount);
      shadowDisagreements.inc(disagreementCount);
    },
    shadowDropped: (reason, rowCount) => shadowDropped.inc({ reason }, rowCount),
    challengerFailed: ({ reason }) => challengerFailures.inc({ reason }),
    text: () => registry.metrics(),
  };
}

/** `high:temperature` is of the kind `high`. */
const kindOf = (reason: string): string => reason.split(':', 1)[0] as string;

/** How often each word occurs: adding up here costs a tenth of an increment of a metric. */
function countEach(words: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}
