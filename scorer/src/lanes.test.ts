import { expect, test } from 'bun:test';
import type { Fetched } from './broker.ts';
import { createLanes } from './lanes.ts';

/** Lanes whose blocks end when the test says so. */
function setUp(bounds: { concurrentMax?: number; waitingSizeMax?: number; joinedSizeMax?: number } = {}) {
  const begun: string[] = [];
  const ends = new Map<number, () => void>();
  const lanes = createLanes({
    concurrentMax: 2,
    waitingSizeMax: 100,
    joinedSizeMax: 0,
    ...bounds,
    handle(fetched) {
      begun.push(nameOf(fetched));
      return new Promise((resolve) => ends.set(fetched.partition, resolve));
    },
  });
  const end = async (partition: number) => {
    ends.get(partition)?.();
    await Bun.sleep(0);
  };
  const add = (partition: number, from: number, next: number, size = 10) =>
    lanes.add({ size, fetched: { partition, from: BigInt(from), next: BigInt(next), messages: [] } });
  return { lanes, begun, end, add };
}

const nameOf = ({ partition, from, next }: Fetched) => `${partition}: ${from}–${next}`;

const isSettled = async (promise: Promise<void>) => {
  await Bun.sleep(0);
  return Bun.peek.status(promise) === 'fulfilled';
};

test('blocks of one partition go one after the other, those of others at the same time, as many as allowed', async () => {
  const { begun, end, add } = setUp();
  add(0, 0, 5);
  add(0, 5, 9);
  add(1, 0, 1);
  add(2, 0, 1);
  expect(begun).toEqual(['0: 0–5', '1: 0–1']);
  await end(1);
  expect(begun.slice(2)).toEqual(['2: 0–1']); // Not partition 0, which is busy.
  await end(0);
  expect(begun.slice(3)).toEqual(['0: 5–9']);
});

test('a partition with many blocks does not keep others waiting', async () => {
  const { begun, end, add } = setUp({ concurrentMax: 1 });
  add(0, 0, 1);
  add(0, 1, 2);
  add(0, 2, 3);
  add(1, 0, 1);
  for (const partition of [0, 0, 1, 0]) await end(partition);
  expect(begun).toEqual(['0: 0–1', '0: 1–2', '1: 0–1', '0: 2–3']);
});

test('small blocks that wait become one, if nothing is left out between them', async () => {
  const { begun, end, add } = setUp({ joinedSizeMax: 30 });
  add(0, 0, 1);
  for (const from of [1, 2, 3, 4]) add(0, from, from + 1);
  add(0, 7, 8);
  await end(0);
  await end(0);
  await end(0);
  expect(begun).toEqual(['0: 0–1', '0: 1–4', '0: 4–5', '0: 7–8']);
});

test('there is room until too much waits, and again when some of it has begun or is forgotten', async () => {
  const { lanes, end, add } = setUp({ concurrentMax: 1, waitingSizeMax: 20 });
  add(0, 0, 1, 1_000); // Does not wait.
  add(0, 1, 2);
  expect(await isSettled(lanes.room())).toBe(true);
  add(1, 0, 1);
  const room = lanes.room();
  expect(await isSettled(room)).toBe(false);
  await end(0);
  expect(await isSettled(room)).toBe(true);
  add(1, 1, 2);
  const more = lanes.room();
  expect(await isSettled(more)).toBe(false);
  lanes.forget(1);
  expect(await isSettled(more)).toBe(true);
});

test('what is forgotten never begins, and the first block of each partition is told', async () => {
  const { lanes, begun, end, add } = setUp({ concurrentMax: 1 });
  add(0, 0, 1);
  add(0, 1, 2);
  add(0, 2, 3);
  add(1, 7, 8);
  expect(lanes.forgetAll().map(nameOf)).toEqual(['0: 1–2', '1: 7–8']);
  await end(0);
  expect(begun).toEqual(['0: 0–1']);
  expect(await isSettled(lanes.idle())).toBe(true);
});

test('idle is told when the last block has ended', async () => {
  const { lanes, end, add } = setUp();
  add(0, 0, 1);
  add(0, 1, 2);
  const idle = lanes.idle();
  await end(0);
  expect(await isSettled(idle)).toBe(false);
  await end(0);
  expect(await isSettled(idle)).toBe(true);
});
