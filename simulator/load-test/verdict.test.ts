import { expect, test } from 'bun:test';
import type { Saturation, Step } from './results.ts';
import { findFailures, judgeObjectives } from './verdict.ts';

const percentiles = { count: 10, p50Ms: 2, p90Ms: 4, p99Ms: 8, p999Ms: 20, maxMs: 30 };
const summary = { p50Ms: 0.1, p99Ms: 0.5, maxMs: 1 };
const noLosses = { failedMessages: 0, lost: 0, duplicate: 0, anomaliesMissing: 0 };
const losses = { ...noLosses, sendError: null };
const processes = { scorer: { cpuPercent: 80, peakMb: 200 } };
const step: Step = {
  ...percentiles,
  ...losses,
  name: '64 × 1,000/s',
  batchSize: 64,
  arrivals: 'poisson',
  targetRate: 1_000,
  achievedRate: 999,
  rowsPerSecond: 63_900,
  messages: 30_000,
  readings: 1_920_000,
  anomaly: percentiles,
  lateness: summary,
  resolution: summary,
  lagPeakMessages: 20,
  lagEndMessages: 2,
  processes,
  othersCpuPercent: 0,
};
const saturation: Saturation = {
  ...losses,
  batchSize: 1,
  messagesPerSecond: 300_000,
  rowsPerSecond: 300_000,
  messages: 1_000_000,
  seconds: 3,
  hadBacklog: true,
  processes,
  othersCpuPercent: 0,
};
const baseline = { messages: 1_000, rowsPerSecond: 95, ratio: 3_158 };
const warmUp = { ...losses, name: 'warm-up' };
const good = { warmUps: [warmUp], steps: [step], saturations: [saturation], baseline };

const failuresOf = (measured: Parameters<typeof judgeObjectives>[0]) =>
  findFailures(measured, judgeObjectives(measured));

test('a run that loses nothing and meets its objectives has no failures', () => {
  expect(failuresOf(good)).toEqual([]);
  expect(judgeObjectives(good)).toHaveLength(5);
});

test.each(Object.keys(noLosses) as (keyof typeof noLosses)[])(
  'one %s is a failure, in a step, in the probe and while warming up',
  (loss) => {
    expect(failuresOf({ ...good, steps: [{ ...step, [loss]: 1 }] })).toHaveLength(1);
    expect(failuresOf({ ...good, saturations: [{ ...saturation, [loss]: 1 }] })).toHaveLength(1);
    expect(failuresOf({ ...good, warmUps: [{ ...warmUp, [loss]: 1 }] })).toHaveLength(1);
  },
);

test('a message that was not sent says why', () => {
  const failed = { ...step, failedMessages: 2, sendError: 'connection lost' };
  expect(failuresOf({ ...good, steps: [failed] })).toEqual([
    '64 × 1,000/s: 2 messages not acknowledged by Kafka (connection lost)',
  ]);
});

test.each([
  ['p50Ms', 3.01],
  ['p99Ms', 15.1],
  ['p999Ms', 60.1],
])('%s of %d ms misses its objective', (name, milliseconds) => {
  expect(failuresOf({ ...good, steps: [{ ...step, [name]: milliseconds }] })).toHaveLength(1);
});

test('latencies of other steps have no objective', () => {
  expect(failuresOf({ ...good, steps: [step, { ...step, targetRate: 4_000, p50Ms: 900 }] })).toEqual([]);
});

test('too much memory and too small a ratio are failures', () => {
  const heavy = { ...saturation, processes: { scorer: { cpuPercent: 80, peakMb: 350 } } };
  expect(failuresOf({ ...good, saturations: [heavy] })).toHaveLength(1);
  expect(failuresOf({ ...good, baseline: { ...baseline, ratio: 2_999 } })).toHaveLength(1);
});

test('without a scorer of ours and without a baseline there is nothing to judge about them', () => {
  const foreign = { warmUps: [], steps: [{ ...step, processes: {} }], saturations: [], baseline: null };
  expect(judgeObjectives(foreign)).toHaveLength(3);
});
