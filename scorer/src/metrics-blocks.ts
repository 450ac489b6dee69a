// Counters and histograms of the blocks that went through the pipeline: the only metrics that cost anything per reading.
import { rejectionReasons } from '@lonetree/core-wasm';
import { Counter, type Registry } from 'prom-client';
import { LogLinearHistogram } from './log-linear-histogram.ts';
import type { PipelineObserver, Stage } from './pipeline.ts';

/** Seconds. With edges at the objectives: 3, 15, 60 and 100 ms. */
const durationBounds = [
  0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15,
  0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
];
const scoreBounds = [
  0.3, 0.35, 0.4, 0.425, 0.45, 0.475, 0.5, 0.525, 0.55, 0.575, 0.6, 0.625, 0.65, 0.675, 0.7, 0.75, 0.8, 0.9,
];
const sizeBounds = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536];
const stages: readonly Stage[] = ['decode', 'score', 'store', 'publish'];
const dropReasons = ['elsewhere', 'fenced', 'error'] as const;
const guardKinds = ['high', 'low', 'missing'] as const;

export type BlockMetrics = PipelineObserver & {
  /** Readings have these features from now on: what can be counted of them is shown, if only as 0. */
  expect(features: readonly string[]): void;
};

export function createBlockMetrics(registry: Registry): BlockMetrics {
  const registers = [registry];
  const readings = new Counter({
    name: 'lonetree_readings_total',
    help: 'Readings stored, by verdict.',
    labelNames: ['verdict'] as const,
    registers,
  });
  const messages = new Counter({
    name: 'lonetree_messages_total',
    help: 'Messages whose readings are stored, or that are dead letters.',
    registers,
  });
  const deadLetters = new Counter({
    name: 'lonetree_dead_letters_total',
    help: 'Messages that could not be scored, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  const anomalies = new Counter({
    name: 'lonetree_anomaly_reasons_total',
    help: 'Reasons of abnormal readings, by kind and, but for the forest, by feature. A reading may have several.',
    labelNames: ['kind', 'feature'] as const,
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
  const blockReadings = new LogLinearHistogram({
    name: 'lonetree_block_readings',
    help: 'Readings per stored block.',
    bounds: sizeBounds,
    registry,
  });
  const blockMessages = new LogLinearHistogram({
    name: 'lonetree_block_messages',
    help: 'Messages per stored block.',
    bounds: sizeBounds,
    registry,
  });
  const latencies = new LogLinearHistogram({
    name: 'lonetree_reading_latency_seconds',
    help: 'From the timestamp that a reading’s message has in the log until its verdict is committed.',
    bounds: durationBounds,
    registry,
  });
  const durations = new LogLinearHistogram({
    name: 'lonetree_stage_duration_seconds',
    help: 'What each stage of a block took.',
    bounds: durationBounds,
    label: { name: 'stage', values: stages },
    registry,
  });
  const scores = new LogLinearHistogram({
    name: 'lonetree_reading_score',
    help: 'Anomaly scores of the readings stored: 0 to 1, the higher the more abnormal (the opposite of score_samples).',
    bounds: scoreBounds,
    registry,
  });
  for (const verdict of ['normal', 'abnormal']) readings.inc({ verdict }, 0);
  for (const reason of rejectionReasons) deadLetters.inc({ reason }, 0);
  for (const reason of dropReasons) dropped.inc({ reason }, 0);
  return {
    spent: (stage, milliseconds) => durations.of(stage).observe(milliseconds / 1_000),
    scored(block, given, firstIndex) {
      const blockScores = scores.counts();
      blockScores.observeEach(block.scores, -1);
      const arrivals = collectArrivals(block.messageRows, given, firstIndex);
      return () => {
        scores.of().add(blockScores);
        const nowMs = Date.now();
        // Of clocks that differ the log's may be ahead.
        for (const { timeMs, rowCount } of arrivals)
          latencies.of().observe(Math.max(nowMs - timeMs, 0) / 1_000, rowCount);
      };
    },
    stored(block) {
      readings.inc({ verdict: 'abnormal' }, block.anomalies.length);
      readings.inc({ verdict: 'normal' }, block.readingCount - block.anomalies.length);
      messages.inc(block.messageCount);
      ignored.inc(block.ignoredFeatureCount);
      blockReadings.of().observe(block.readingCount);
      blockMessages.of().observe(block.messageCount);
      for (const [reason, count] of countEach(block.refused.map((rejection) => rejection.reason)))
        deadLetters.inc({ reason }, count);
      for (const [reason, count] of countEach(block.anomalies.flatMap(({ reasons }) => reasons)))
        anomalies.inc(labelsOf(reason), count);
    },
    dropped: (_, reason) => dropped.inc({ reason }),
    gapSkipped: (_, messageCount) => gaps.inc(Number(messageCount)),
    expect(features) {
      anomalies.inc(labelsOf('forest'), 0);
      for (const feature of features) for (const kind of guardKinds) anomalies.inc({ kind, feature }, 0);
    },
  };
}

type Arrival = { readonly timeMs: number; rowCount: number };

/** When the block's readings came into the log: neighbours of one millisecond together. */
function collectArrivals(
  messageRows: Uint32Array,
  messages: readonly { readonly timeMs: number }[],
  firstIndex: number,
): readonly Arrival[] {
  const arrivals: Arrival[] = [];
  let last: Arrival | undefined;
  // An iterator would take ten times as long.
  for (let index = 0; index < messageRows.length; index += 1) {
    const rowCount = messageRows[index] as number;
    const { timeMs } = messages[firstIndex + index] as { readonly timeMs: number };
    if (last?.timeMs === timeMs) {
      last.rowCount += rowCount;
      continue;
    }
    last = { timeMs, rowCount };
    arrivals.push(last);
  }
  return arrivals;
}

/** `high:temperature` is of the kind `high` and the feature `temperature`, which may have colons itself. */
function labelsOf(reason: string): { readonly kind: string; readonly feature: string } {
  const colon = reason.indexOf(':');
  return colon === -1
    ? { kind: reason, feature: '' }
    : { kind: reason.slice(0, colon), feature: reason.slice(colon + 1) };
}

/** How often each word occurs: adding up here costs a tenth of an increment of a metric. */
function countEach(words: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}
