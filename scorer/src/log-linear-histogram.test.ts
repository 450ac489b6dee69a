import { expect, test } from 'bun:test';
import { Histogram, Registry } from 'prom-client';
import { seededRandom } from '../test/simulation.ts';
import { LogLinearHistogram } from './log-linear-histogram.ts';

const help = 'What it counts.';
const bounds = [0.0005, 0.001, 0.003, 0.1, 0.11, 0.111, 1, 60];

/** Values in all buckets: any, at the bounds, one float64 beside them, zeros and negative ones. */
function values(seed: number): number[] {
  const random = seededRandom(seed);
  const anywhere = Array.from({ length: 5_000 }, () => 10 ** (6 * random() - 4));
  const atBounds = bounds.flatMap((bound) => [bound, bound * (1 + 2 ** -52), bound * (1 - 2 ** -53)]);
  return [...anywhere, ...atBounds, 0, -0, -1, -1e300, 5e-324, 1e300];
}

test('a registry shows what prom-client’s own histogram would', async () => {
  for (let seed = 0; seed < 20; seed += 1) {
    const [ours, theirs] = [new Registry(), new Registry()];
    const histogram = new LogLinearHistogram({ name: 'x_seconds', help, bounds, registry: ours }).of();
    const reference = new Histogram({ name: 'x_seconds', help, buckets: bounds, registers: [theirs] });
    for (const value of values(seed)) {
      histogram.observe(value);
      reference.observe(value);
    }
    expect(await ours.metrics()).toBe(await theirs.metrics());
  }
});

test('with a label too, whose values are there before anything is counted', async () => {
  const [ours, theirs] = [new Registry(), new Registry()];
  const label = { name: 'stage', values: ['score', 'store'] } as const;
  const histogram = new LogLinearHistogram({ name: 'x_seconds', help, bounds, label, registry: ours });
  const reference = new Histogram({
    name: 'x_seconds',
    help,
    buckets: bounds,
    labelNames: ['stage'],
    registers: [theirs],
  });
  for (const stage of label.values) reference.zero({ stage });
  const sorted = async (registry: Registry) =>
    (await registry.metrics()).replaceAll(/\{(le="[^"]*"),(stage="[^"]*")\}/g, '{$2,$1}');
  expect(await sorted(ours)).toBe(await sorted(theirs));
  for (const value of values(1)) {
    histogram.of('store').observe(value);
    reference.observe({ stage: 'store' }, value);
  }
  expect(await sorted(ours)).toBe(await sorted(theirs));
});

test('a weight counts a value that often, and counts kept aside are as if they had been made at once', async () => {
  const [once, aside] = [new Registry(), new Registry()];
  const one = new LogLinearHistogram({ name: 'x', help, bounds, registry: once });
  const other = new LogLinearHistogram({ name: 'x', help, bounds, registry: aside });
  const counts = other.counts();
  for (const value of [0.25, 0.5, 4]) {
    for (let count = 0; count < 3; count += 1) one.of().observe(value);
    counts.observe(value, 3);
  }
  expect(await aside.metrics()).toContain('x_count 0');
  other.of().add(counts);
  expect(await aside.metrics()).toBe(await once.metrics());
  aside.resetMetrics();
  expect(await aside.metrics()).toContain('x_count 0');
});
