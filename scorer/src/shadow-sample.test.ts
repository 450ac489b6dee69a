import { expect, test } from 'bun:test';
import { createSampler } from './shadow-sample.ts';

const shareOf = (flags: readonly boolean[]) => flags.filter(Boolean).length / flags.length;
const offsets = (from: number, count: number, step = 1) =>
  Array.from({ length: count }, (_, index) => from + index * step);

test('the share of messages is the rate, in every partition, for neighbours, for one in many, and far up', () => {
  for (const rate of [0.01, 0.1, 0.5, 0.9]) {
    const isSampled = createSampler('readings', rate);
    for (const partition of [0, 1, 7, 4_095]) {
      for (const [from, step] of [
        [0, 1],
        [5, 10],
        [2 ** 32 - 5_000, 1],
        [2 ** 40, 64],
        [0, 2 ** 32],
      ] as const) {
        const share = shareOf(offsets(from, 20_000, step).map((offset) => isSampled(partition, offset)));
        // Six standard deviations of what chance would do.
        expect(Math.abs(share - rate)).toBeLessThan(6 * Math.sqrt((rate * (1 - rate)) / 20_000));
      }
    }
  }
});

test('at 0 no message is chosen, at 1 each is', () => {
  const [none, all] = [createSampler('readings', 0), createSampler('readings', 1)];
  for (const offset of offsets(0, 50_000)) expect([none(0, offset), all(0, offset)]).toEqual([false, true]);
});

test('the same messages are chosen wherever and whenever it is asked', () => {
  const chosen = (topic: string, partition: number) =>
    offsets(0, 200).filter((offset) => createSampler(topic, 0.05)(partition, offset));
  expect(chosen('readings', 0)).toEqual(chosen('readings', 0));
  // Written down: another choice would part what scorers of two versions compare.
  expect(chosen('readings', 0)).toEqual([2, 4, 16, 37, 83, 102, 119, 129, 134, 158, 194]);
  expect(chosen('readings', 3)).toEqual([8, 25, 37, 52, 64, 85, 98, 115, 139, 166, 170]);
});

test('partitions and topics do not choose alike, and a higher rate keeps what a lower one chose', () => {
  const isSampled = createSampler('readings', 0.1);
  const other = createSampler('readings.2', 0.1);
  const more = createSampler('readings', 0.2);
  const both = (a: (offset: number) => boolean, b: (offset: number) => boolean) =>
    shareOf(offsets(0, 50_000).map((offset) => a(offset) && b(offset)));
  expect(
    both(
      (offset) => isSampled(0, offset),
      (offset) => isSampled(1, offset),
    ),
  ).toBeCloseTo(0.01, 2);
  expect(
    both(
      (offset) => isSampled(0, offset),
      (offset) => other(0, offset),
    ),
  ).toBeCloseTo(0.01, 2);
  for (const offset of offsets(0, 50_000)) if (isSampled(2, offset)) expect(more(2, offset)).toBe(true);
});
