import { beforeEach, expect, test } from 'bun:test';
import type { Block } from '@lonetree/core-wasm';
import { idleState } from '../test/idle-state.ts';
import type { Message } from './broker.ts';
import { createMetrics, type Metrics } from './metrics.ts';
import type { ScorerState } from './metrics-state.ts';
import { ModelFailure } from './model-failure.ts';
import type { AnomalyRecord } from './store.ts';

const abnormal = (...reasons: readonly string[]) => ({ reasons }) as AnomalyRecord;
const model = {
  name: 'lonetree',
  version: '7',
  sha256: 'bb',
  createdAtMs: 1_500,
  alarmRate: 0.01,
  features: ['temperature', 'a:b'],
};

let state: ScorerState;
let metrics: Metrics;

beforeEach(() => {
  state = idleState();
  metrics = createMetrics(() => state);
});

/** The samples of one metric, as Prometheus would read them. */
async function samplesOf(name: string): Promise<Record<string, number>> {
  const text = await metrics.registry.metrics();
  const lines = text.split('\n').filter((line) => line.startsWith(name));
  return Object.fromEntries(
    lines.map((line) => [
      line.slice(name.length, line.lastIndexOf(' ')),
      Number(line.slice(line.lastIndexOf(' '))),
    ]),
  );
}

const over0 = (samples: Record<string, number>) =>
  Object.fromEntries(Object.entries(samples).filter(([, value]) => value > 0));

test('a stored block is counted by verdict, reason and size', async () => {
  const block = {
    partition: 0,
    messageCount: 5,
    readingCount: 40,
    ignoredFeatureCount: 2,
    anomalies: [abnormal('forest', 'high:temperature', 'low:a:b'), abnormal('high:a:b')],
    refused: [
      { offset: 3, reason: 'truncated', detail: '' },
      { offset: 4, reason: 'bad-json', detail: '' },
      { offset: 7, reason: 'truncated', detail: '' },
    ],
  } as const;
  metrics.stored(block);
  metrics.stored(block);
  expect(await samplesOf('lonetree_readings_total')).toEqual({
    '{verdict="abnormal"}': 4,
    '{verdict="normal"}': 76,
  });
  expect(await samplesOf('lonetree_messages_total')).toEqual({ '': 10 });
  expect(await samplesOf('lonetree_ignored_columns_total')).toEqual({ '': 4 });
  expect(await samplesOf('lonetree_anomaly_reasons_total')).toEqual({
    '{kind="forest",feature=""}': 2,
    '{kind="high",feature="temperature"}': 2,
    '{kind="high",feature="a:b"}': 2,
    '{kind="low",feature="a:b"}': 2,
  });
  expect(over0(await samplesOf('lonetree_dead_letters_total'))).toEqual({
    '{reason="truncated"}': 4,
    '{reason="bad-json"}': 2,
  });
  expect(await samplesOf('lonetree_block_readings_')).toMatchObject({
    'bucket{le="16"}': 0,
    'bucket{le="64"}': 2,
    count: 2,
    sum: 80,
  });
  expect(await samplesOf('lonetree_block_messages_')).toMatchObject({
    'bucket{le="4"}': 0,
    count: 2,
    sum: 10,
  });
});

test('scores and latencies are those of the readings, and count when the block is stored', async () => {
  const nowMs = Date.now();
  const message = (ageMs: number) => ({ timeMs: nowMs - ageMs }) as Message;
  const block = {
    rowCount: 6,
    scores: Float64Array.of(-0.3, -0.41, -0.41, -0.62, -0.95, -0.5),
    messageRows: Uint32Array.of(1, 0, 3, 2),
  } as unknown as Block;
  // The first message is of an earlier part of the fetch; one is from a clock that is ahead.
  const messages = [message(1e6), message(20_000), message(20_000), message(20_000), message(-5_000)];
  const count = metrics.scored(block, messages, 1);
  expect(await samplesOf('lonetree_reading_score_')).toMatchObject({ count: 0 });
  block.scores.fill(0); // Another block has the memory by then.
  block.messageRows.fill(9);
  count();
  expect(await samplesOf('lonetree_reading_score_')).toMatchObject({
    'bucket{le="0.3"}': 1,
    'bucket{le="0.4"}': 1,
    'bucket{le="0.425"}': 3,
    'bucket{le="0.5"}': 4,
    'bucket{le="0.625"}': 5,
    'bucket{le="0.9"}': 5,
    'bucket{le="+Inf"}': 6,
    sum: expect.closeTo(3.19, 12),
  });
  expect(await samplesOf('lonetree_reading_latency_seconds_')).toMatchObject({
    'bucket{le="0.0001"}': 2,
    'bucket{le="10"}': 2,
    'bucket{le="300"}': 6,
    count: 6,
    sum: expect.closeTo(80, 0),
  });
});

test('each stage’s time is counted in seconds', async () => {
  metrics.spent('store', 4);
  metrics.spent('store', 40);
  metrics.spent('publish', 0.2);
  expect(await samplesOf('lonetree_stage_duration_seconds_')).toMatchObject({
    'bucket{stage="store",le="0.003"}': 0,
    'bucket{stage="store",le="0.005"}': 1,
    'bucket{stage="store",le="0.04"}': 2,
    'sum{stage="store"}': 0.044,
    'count{stage="publish"}': 1,
    'count{stage="score"}': 0,
    'count{stage="decode"}': 0,
  });
});

test('dropped blocks and gaps are counted', async () => {
  metrics.dropped(0, 'fenced');
  metrics.dropped(1, 'fenced');
  metrics.gapSkipped(0, 7n);
  expect(over0(await samplesOf('lonetree_blocks_dropped_total'))).toEqual({ '{reason="fenced"}': 2 });
  expect(await samplesOf('lonetree_gap_messages_total')).toEqual({ '': 7 });
});

test('only the model that scores now is described, and swaps and failures are counted by why', async () => {
  metrics.modelUsed({ ...model, version: '', sha256: 'aa', alarmRate: null }, 'start');
  expect(await samplesOf('lonetree_model_alarm_rate_ratio')).toEqual({ '': Number.NaN });
  metrics.modelUsed(model, 'update');
  metrics.modelFailed(new ModelFailure('digest', ''));
  metrics.modelFailed(new ModelFailure('digest', ''));
  expect(await samplesOf('lonetree_model_info')).toEqual({ '{name="lonetree",version="7",sha256="bb"}': 1 });
  expect(await samplesOf('lonetree_model_created_timestamp_seconds')).toEqual({ '': 1.5 });
  expect(await samplesOf('lonetree_model_alarm_rate_ratio')).toEqual({ '': 0.01 });
  expect(over0(await samplesOf('lonetree_model_swaps_total'))).toEqual({
    '{cause="start"}': 1,
    '{cause="update"}': 1,
  });
  expect(over0(await samplesOf('lonetree_model_failures_total'))).toEqual({ '{reason="digest"}': 2 });
});

test('what can be counted is shown before it happens: a first time is an increase', async () => {
  metrics.modelUsed(model, 'start');
  expect(await samplesOf('lonetree_anomaly_reasons_total')).toEqual({
    '{kind="forest",feature=""}': 0,
    ...Object.fromEntries(
      ['temperature', 'a:b'].flatMap((feature) =>
        ['high', 'low', 'missing'].map((kind) => [`{kind="${kind}",feature="${feature}"}`, 0]),
      ),
    ),
  });
  expect(await samplesOf('lonetree_dead_letters_total')).toMatchObject({ '{reason="bad-json"}': 0 });
  expect(await samplesOf('lonetree_blocks_dropped_total')).toMatchObject({ '{reason="fenced"}': 0 });
  expect(await samplesOf('lonetree_model_failures_total')).toMatchObject({ '{reason="registry-away"}': 0 });
  expect(await samplesOf('lonetree_shadow_dropped_total')).toMatchObject({ '{reason="behind"}': 0 });
});

test('what the challenger says is counted beside the champion’s verdicts, and what was left out by why', async () => {
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
  expect(over0(await samplesOf('lonetree_shadow_'))).toEqual({
    readings_total: 200,
    'anomalies_total{model="champion"}': 6,
    'anomalies_total{model="challenger"}': 10,
    disagreements_total: 8,
    'dropped_total{reason="behind"}': 42,
    'dropped_total{reason="failed"}': 1,
  });
  expect(over0(await samplesOf('lonetree_challenger_failures_total'))).toEqual({ '{reason="features"}': 1 });
});

test('lag is what the log has beyond the position, of this scorer’s partitions as far as both are known', async () => {
  const running = { isStanding: false };
  state = {
    partitions: [
      { partition: 0, next: 90n, ...running },
      { partition: 1, next: 12n, isStanding: true },
      { partition: 2, next: null, ...running },
      { partition: 3, next: 4n, ...running },
    ],
    blocksUnderWay: 2,
    // Of 1 the end was seen before what was stored since; 9 is another scorer's by now.
    seen: {
      ends: new Map(Object.entries({ 0: 100n, 1: 10n, 2: 5n, 9: 50n }).map(([p, end]) => [Number(p), end])),
      isStoreReady: false,
    },
    challenger: { version: '8', sha256: 'cc' },
  };
  expect(await samplesOf('lonetree_consumer_lag_messages')).toEqual({
    '{partition="0"}': 10,
    '{partition="1"}': 0,
  });
  expect(await samplesOf('lonetree_partitions')).toEqual({ '{state="standing"}': 1, '{state="running"}': 3 });
  expect(await samplesOf('lonetree_blocks_under_way')).toEqual({ '': 2 });
  expect(await samplesOf('lonetree_store_available')).toEqual({ '': 0 });
  expect(await samplesOf('lonetree_challenger_info')).toEqual({ '{version="8",sha256="cc"}': 1 });
  state = idleState();
  expect(await samplesOf('lonetree_consumer_lag_messages')).toEqual({});
  expect(await samplesOf('lonetree_challenger_info')).toEqual({});
  expect(await samplesOf('lonetree_store_available')).toEqual({ '': 1 });
});
