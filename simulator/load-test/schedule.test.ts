import { expect, test } from 'bun:test';
import { createSchedule } from './schedule.ts';

const options = { messagesPerSecond: 2_000, messageCount: 100_000, seed: 7 } as const;

test('constant arrivals are evenly apart', () => {
  const dueMs = createSchedule({ ...options, arrivals: 'constant' });
  expect(dueMs[0]).toBe(0);
  expect(dueMs[99_999]).toBeCloseTo(99_999 / 2, 6);
});

test('Poisson arrivals have the mean and the variance of exponential gaps, and never go back', () => {
  const dueMs = createSchedule({ ...options, arrivals: 'poisson' });
  const gapsMs = Array.from(dueMs, (due, index) => due - (dueMs[index - 1] ?? 0));
  const mean = gapsMs.reduce((sum, gap) => sum + gap, 0) / gapsMs.length;
  const variance = gapsMs.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gapsMs.length;
  // Of 100,000 gaps the mean has a standard error of 0.3 %, the variance one of 0.9 %.
  expect(mean).toBeGreaterThan(0.5 * 0.98);
  expect(mean).toBeLessThan(0.5 * 1.02);
  expect(variance).toBeGreaterThan(0.25 * 0.95);
  expect(variance).toBeLessThan(0.25 * 1.05);
  expect(gapsMs.every((gap) => gap > 0)).toBeTrue();
});

test('a seed gives one schedule, another seed another', () => {
  const first = createSchedule({ ...options, arrivals: 'poisson' });
  expect(createSchedule({ ...options, arrivals: 'poisson' })).toEqual(first);
  expect(createSchedule({ ...options, arrivals: 'poisson', seed: 8 })[0]).not.toBe(first[0]);
});
