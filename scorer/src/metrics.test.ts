import { expect, test } from 'bun:test';
import { createMetrics } from './metrics.ts';
import { ModelFailure } from './model-failure.ts';
import type { AnomalyRecord } from './store.ts';

const abnormal = (...reasons: readonly string[]) => ({ reasons }) as AnomalyRecord;

/** The samples of one metric, as Prometheus would read them. */
async function samplesOf(metrics: ReturnType<typeof createMetrics>, name: string) {
  const lines = (await metrics.text()).split('\n').filter((line) => line.startsWith(name));
  return Object.fromEntries(
    lines.map((line) => [
      line.slice(name.length, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' '))),
    ]),
  );
}

test('a stored block is counted by verdict, reason and size', async () => {
  const metrics = createMetrics();
  const block = {
    partition: 0,
    messageCount: 5,
    readingCount: 40,
    ignoredFeatureCount: 2,
    anomalies: [abnormal('forest', 'high:temperature', 'low:sound'), abnormal('high:sound')],
    refused: [
      { reason: 'truncated', detail: '' },
      { reason: 'bad-json', detail: '' },
      { reason: 'truncated', detail: '' },
    ],
  } as const;
  metrics.stored(block);
  metrics.stored(block);
  expect(await samplesOf(metrics, 'lonetree_readings_total')).toEqual({
    '{verdict="abnormal"}': 4,
    '{verdict="normal"}': 76,
  });
  expect(await samplesOf(metrics, 'lonetree_messages_total')).toEqual({ '': 10 });
  expect(await samplesOf(metrics, 'lonetree_ignored_columns_total')).toEqual({ '': 4 });
  expect(await samplesOf(metrics, 'lonetree_anomaly_reasons_total')).toEqual({
    '{kind="forest"}': 2,
    '{kind="high"}': 4,
    '{kind="low"}': 2,
  });
  expect(await samplesOf(metrics, 'lonetree_dead_letters_total')).toEqual({
    '{reason="truncated"}': 4,
    '{reason="bad-json"}': 2,
  });
  expect(await samplesOf(metrics, 'lonetree_block_readings_')).toMatchObject({ count: 2, sum: 80 });
});

test('dropped blocks and gaps are counted', async () => {
  const metrics = createMetrics();
  metrics.dropped(0, 'fenced');
  metrics.dropped(1, 'fenced');
  metrics.gapSkipped(0, 7n);
  expect(await samplesOf(metrics, 'lonetree_blocks_dropped_total')).toEqual({ '{reason="fenced"}': 2 });
  expect(await samplesOf(metrics, 'lonetree_gap_messages_total')).toEqual({ '': 7 });
});

test('only the model that scores now is named, and swaps and failures are counted by why', async () => {
  const metrics = createMetrics();
  metrics.modelUsed({ name: 'lonetree', version: '', sha256: 'aa' }, 'start');
  metrics.modelUsed({ name: 'lonetree', version: '7', sha256: 'bb' }, 'update');
  metrics.modelFailed(new ModelFailure('digest', ''));
  metrics.modelFailed(new ModelFailure('digest', ''));
  expect(await samplesOf(metrics, 'lonetree_model_info')).toEqual({
    '{name="lonetree",version="7",sha256="bb"}': 1,
  });
  expect(await samplesOf(metrics, 'lonetree_model_swaps_total')).toEqual({
    '{cause="start"}': 1,
    '{cause="update"}': 1,
  });
  expect(await samplesOf(metrics, 'lonetree_model_failures_total')).toEqual({ '{reason="digest"}': 2 });
});

test('what the challenger says is counted beside the champion’s verdicts, and what was left out by why', async () => {
  const metrics = createMetrics();
  const counts = {
    rowCount: 100,
    championAnomalyCount: 3,
    challengerAnomalyCount: 5,
    disagreementCount: 4,
  };
  metrics.shadowStored(counts);
  metrics.shadowStored(counts);
  metrics.shadowDropped('behind', 40);
  metrics.shadowDropped('behind', 2);
  metrics.shadowDropped('failed', 1);
  metrics.challengerFailed(new ModelFailure('features', ''));
  expect(await samplesOf(metrics, 'lonetree_shadow_')).toEqual({
    readings_total: 200,
    'anomalies_total{model="champion"}': 6,
    'anomalies_total{model="challenger"}': 10,
    disagreements_total: 8,
    'dropped_total{reason="behind"}': 42,
    'dropped_total{reason="failed"}': 1,
  });
  expect(await samplesOf(metrics, 'lonetree_challenger_failures_total')).toEqual({
    '{reason="features"}': 1,
  });
});
