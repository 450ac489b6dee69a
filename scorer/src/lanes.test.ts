import { expect, test } from 'bun:test';
import type { Fetched } from './broker.ts';
import { createLanes } from './lanes.ts';

/** Lanes whose blocks end when the test says so. */
function setUp(concurrentMax: number) {
  const begun: string[] = [];
  const ends = new Map<number, () => void>();
  const lanes = createLanes({
    concurrentMax,
    handle(fetched) {
      begun.push(nameOf(fetched));
      return new Promise((resolve) => ends.set(fetched.partition, resolve));
    },
  });
  const end = async (partition: number) => {
    ends.get(partition)?.();
    await Bun.sleep(0);
  };
  const add = (partition: number, from: number, next: number) =>
    lanes.add({ partition, from: BigInt(from), next: BigInt(next), messages: [] });
  return { lanes, begun, end, add };
}

const nameOf = ({ partition, from, next }: Fetched) => `${partition}: ${from}–${next}`;

const isSettled = async (promise: Promise<void>) => {
  await Bun.sleep(0);
  return Bun.peek.status(promise) === 'fulfilled';
};

test('blocks of one partition go one after the other, those of others at the same time, as many as allowed', async () => {
  const { begun, end, add } = setUp(2);
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

test('there is room as long as no block waits', async () => {
  const { lanes, end, add } = setUp(2);
  add(0, 0, 1);
  expect(await isSettled(lanes.room())).toBe(true);
  add(0, 1, 2);
  const room = lanes.room();
  expect(await isSettled(room)).toBe(false);
  await end(0);
  expect(await isSettled(room)).toBe(true);
  add(0, 2, 3);
  const more = lanes.room();
  expect(await isSettled(more)).toBe(false);
  lanes.forget(0);
  expect(await isSettled(more)).toBe(true);
});

test('what is forgotten never begins, and is told', async () => {
  const { lanes, begun, end, add } = setUp(1);
  add(0, 0, 1);
  add(0, 1, 2);
  add(1, 7, 8);
  expect(lanes.forgetAll().map(nameOf)).toEqual(['0: 1–2', '1: 7–8']);
  await end(0);
  expect(begun).toEqual(['0: 0–1']);
  expect(await isSettled(lanes.idle())).toBe(true);
});

test('idle is told when the last block has ended', async () => {
  const { lanes, end, add } = setUp(2);
  add(0, 0, 1);
  add(0, 1, 2);
  const idle = lanes.idle();
  await end(0);
  expect(await isSettled(idle)).toBe(false);
  await end(0);
  expect(await isSettled(idle)).toBe(true);
});
