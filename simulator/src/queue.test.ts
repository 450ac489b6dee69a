// Proves order, bounds and ends of the queue.
import { describe, expect, test } from 'bun:test';
import { createQueue } from './queue.ts';

function open(sizeMax: number) {
  const stop = new AbortController();
  return { stop, queue: createQueue<number>({ sizeMax, sizeOf: () => 1, signal: stop.signal }) };
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const marker = Symbol('pending');
  return (await Promise.race([promise, Bun.sleep(5).then(() => marker)])) === marker;
}

describe('queue', () => {
  test('what goes in first comes out first, in portions that fit', async () => {
    const { queue } = open(100);
    await queue.put(Array.from({ length: 10 }, (_, index) => index));
    const taken = [await queue.take(3), await queue.take(4), await queue.take(100)];
    expect(taken).toEqual([
      [0, 1, 2],
      [3, 4, 5, 6],
      [7, 8, 9],
    ]);
  });

  test('an item larger than the portion still comes, alone', async () => {
    const { queue } = open(100);
    await queue.put([1, 2]);
    expect(await queue.take(0)).toEqual([1]);
  });

  test('whoever puts into a full queue waits until there is room', async () => {
    const { queue } = open(2);
    const waiting = queue.put([1, 2, 3, 4]);
    expect(await isPending(waiting)).toBe(true);
    await queue.take(1);
    expect(await isPending(waiting)).toBe(true);
    await queue.take(1);
    expect(await isPending(waiting)).toBe(false);
  });

  test('an abort lets the one who waits go, and keeps the items', async () => {
    const { queue, stop } = open(1);
    const waiting = queue.put([1, 2]);
    stop.abort();
    await waiting;
    expect(await queue.take(10)).toEqual([1, 2]);
  });

  test('whoever takes from an empty queue waits until something comes, or the end', async () => {
    const { queue } = open(1);
    const taking = queue.take(1);
    await queue.put([7]);
    expect(await taking).toEqual([7]);
    const last = queue.take(1);
    queue.close();
    expect(await last).toEqual([]);
  });

  test('what nobody takes can be abandoned', async () => {
    const { queue } = open(10);
    await queue.put([1, 2, 3]);
    expect(queue.abandon()).toEqual([1, 2, 3]);
    queue.close();
    expect(await queue.take(1)).toEqual([]);
  });
});
