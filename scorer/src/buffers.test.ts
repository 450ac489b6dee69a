import { expect, test } from 'bun:test';
import { createBuffers } from './buffers.ts';

test('what was given back is taken again, the smallest that is large enough', () => {
  const buffers = createBuffers({ countMax: 2, sizeMax: 1_000 });
  const [small, large] = [buffers.take(100), buffers.take(500)];
  expect(small.length).toBeGreaterThanOrEqual(100);
  buffers.giveBack(large);
  buffers.giveBack(small);
  expect(buffers.take(100)).toBe(small);
  expect(buffers.take(100)).toBe(large);
  expect(buffers.take(100)).not.toBe(small);
});

test('nobody gets what somebody else has', () => {
  const buffers = createBuffers({ countMax: 3, sizeMax: 1_000 });
  const taken = [buffers.take(10), buffers.take(10), buffers.take(10)];
  expect(new Set(taken).size).toBe(3);
});

test('no more is kept than allowed, and nothing too large', () => {
  const buffers = createBuffers({ countMax: 1, sizeMax: 1_000 });
  const [first, second, huge] = [buffers.take(10), buffers.take(200), buffers.take(1_001)];
  expect(huge).toHaveLength(1_001);
  for (const bytes of [second, first, huge]) buffers.giveBack(bytes);
  expect(buffers.take(200)).toBe(second);
  expect(buffers.take(1)).not.toBe(first);
  expect(buffers.take(1_001)).not.toBe(huge);
});
