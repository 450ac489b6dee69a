import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BlockHandlers, type Broker, bytesOf, type Fetched, NothingPublished } from './broker.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import { type Database, openDatabase } from './sqlite.ts';

let folder: string;
let database: Database;
let broker: Broker;
let nowMs: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lonetree-broker-'));
  database = openDatabase(folder);
  nowMs = 1_000;
  broker = createSqliteBroker({
    database,
    topic: 'readings',
    blockMessagesMax: 3,
    blockSizeMax: 100,
    now: () => nowMs,
  });
});
afterEach(async () => {
  await broker.close();
  database.close();
  await rm(folder, { recursive: true });
});

const bytes = (size: number, first = 0) => Uint8Array.from({ length: size }, (_, i) => (i === 0 ? first : 7));
const publish = (...sizes: readonly number[]) =>
  broker.publish(
    'readings',
    sizes.map((size, index) => ({ key: 's', value: bytes(size, index) })),
  );

/** Consumes from `from` on and answers each block by `answer`; collects them. */
function consume(from: bigint, answer: BlockHandlers['block'] = () => Promise.resolve(true)) {
  const blocks: Fetched[] = [];
  const assigned: (readonly number[])[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  void broker.consume({
    assigned(partitions) {
      assigned.push(partitions);
      broker.seek(0, from);
    },
    block(fetched, left) {
      blocks.push(fetched);
      for (const { count, resolve } of waiting) if (blocks.length >= count) resolve();
      return answer(fetched, left);
    },
  });
  const arrived = (count: number) =>
    new Promise<void>((resolve) => {
      if (blocks.length >= count) resolve();
      else waiting.push({ count, resolve });
    });
  return { blocks, assigned, arrived };
}
const offsetsOf = ({ messages }: Fetched) => messages.map(({ offset }) => offset);

test('messages for which there is no room are certainly not in the log, and are taken when there is', async () => {
  const { page_count: pageCount } = database.query('pragma page_count').get() as { page_count: number };
  database.run(`pragma max_page_count = ${pageCount}`);
  await expect(publish(1, 1 << 20)).rejects.toBeInstanceOf(NothingPublished);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
  database.run('pragma max_page_count = 1000000');
  await publish(1, 1 << 20);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 2n });
});

test('messages come back as they were sent, with the log’s own time', async () => {
  nowMs = 1_795_000_000_000;
  await broker.publish('readings', [
    { key: 'Süd', value: bytes(3), headers: { 'content-type': 'application/json', größe: '"1"' } },
    { key: Uint8Array.of(1, 255), value: new Uint8Array() },
    { key: null, value: bytes(1) },
  ]);
  const { blocks, assigned, arrived } = consume(0n);
  await arrived(1);
  const [first, second, third] = blocks[0]?.messages ?? [];
  expect(assigned).toEqual([[0]]);
  expect(first).toMatchObject({ offset: 0, timeMs: nowMs, value: bytes(3) });
  expect(new TextDecoder().decode(first?.key ?? undefined)).toBe('Süd');
  expect(new TextDecoder().decode(first?.headers['content-type'])).toBe('application/json');
  expect(new TextDecoder().decode(first?.headers.größe)).toBe('"1"');
  expect(second).toMatchObject({
    offset: 1,
    key: Uint8Array.of(1, 255),
    value: new Uint8Array(),
    contentType: null,
    headers: {},
  });
  expect(third?.key).toBeNull();
});

test('a block is bounded in messages and in bytes, and a larger message is a block of its own', async () => {
  await publish(10, 10, 10, 10, 60, 60, 500, 10);
  const { blocks, arrived } = consume(0n);
  await arrived(5);
  expect(blocks.map(offsetsOf)).toEqual([[0, 1, 2], [3, 4], [5], [6], [7]]);
  expect(blocks.map(({ from, next }) => [Number(from), Number(next)])).toEqual([
    [0, 3],
    [3, 5],
    [5, 6],
    [6, 7],
    [7, 8],
  ]);
});

test('delivery begins at the position that was sought', async () => {
  await publish(1, 1, 1, 1, 1);
  const { blocks, arrived } = consume(3n);
  await arrived(1);
  expect(blocks.map(offsetsOf)).toEqual([[3, 4]]);
});

test('nothing is delivered before a position is sought', async () => {
  await publish(1);
  let blockCount = 0;
  await broker.consume({
    assigned() {},
    block() {
      blockCount += 1;
      return Promise.resolve(true);
    },
  });
  await publish(1);
  await Bun.sleep(20);
  expect(blockCount).toBe(0);
});

test('a message that is published while nobody has anything to do is delivered', async () => {
  const { blocks, arrived } = consume(0n);
  for (let count = 1; count <= 20; count += 1) {
    await publish(1);
    await arrived(count);
  }
  expect(blocks.flatMap(offsetsOf)).toEqual(Array.from({ length: 20 }, (_, offset) => offset));
});

test('a block that was not stored is delivered again from where the position is', async () => {
  await publish(1, 1, 1, 1);
  let blockCount = 0;
  const { blocks, arrived } = consume(0n, () => {
    blockCount += 1;
    if (blockCount === 2) broker.seek(0, 1n);
    return Promise.resolve(blockCount !== 2);
  });
  await arrived(3);
  expect(blocks.map(offsetsOf)).toEqual([[0, 1, 2], [3], [1, 2, 3]]);
});

test('messages of other topics are kept and not delivered', async () => {
  await broker.publish('anomalies', [{ key: null, value: bytes(1) }]);
  await publish(1);
  const { blocks, arrived } = consume(0n);
  await arrived(1);
  expect(blocks.flatMap(offsetsOf)).toEqual([0]);
  expect(database.query('select topic from log order by topic').values().flat()).toEqual([
    'anomalies',
    'readings',
  ]);
});

test('of messages that do not all fit on the disk none is taken, and the next ones leave no hole', async () => {
  await publish(1);
  const { pages } = database.query('select page_count as pages from pragma_page_count').get() as {
    pages: number;
  };
  database.run(`pragma max_page_count = ${pages + 2}`);
  await expect(publish(1, 20_000, 1)).rejects.toThrow('full');
  database.run('pragma max_page_count = 1000000');
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 1n });
  await publish(1);
  const { blocks, arrived } = consume(0n);
  await arrived(1);
  expect(blocks.flatMap(offsetsOf)).toEqual([0, 1]);
});

test('what is published at once keeps its order, and is taken or refused as one', async () => {
  const each = Array.from({ length: 50 }, (_, index) => index);
  const publishEach = (size: number) =>
    Promise.allSettled(
      each.map((index) => broker.publish('readings', [{ key: null, value: bytes(size, index) }])),
    );
  database.run('pragma max_page_count = 40');
  const refused = await publishEach(20_000);
  expect(refused.every(({ status }) => status === 'rejected')).toBe(true);
  database.run('pragma max_page_count = 1000000');
  await publishEach(1);
  const { blocks, arrived } = consume(0n);
  await arrived(17);
  const messages = blocks.flatMap((block) => block.messages);
  expect(messages.map(({ offset }) => offset)).toEqual(each);
  expect(messages.map(({ value }) => value && bytesOf(value)[0])).toEqual(each);
});

test('closing takes what was published before', async () => {
  const publishing = publish(1, 1);
  await broker.close();
  await publishing;
  expect(database.query('select count(*) from log').values()).toEqual([[2]]);
});

test('an empty log begins and ends at 0, and publishing nothing changes nothing', async () => {
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
  await broker.publish('readings', []);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
});

test('closing waits for the block under way, delivers no other, and tells it to end long waits', async () => {
  await publish(1, 1, 1, 1);
  let isEnded = false;
  const { blocks, arrived } = consume(0n, async (_, left) => {
    await left.catch(() => {});
    await Bun.sleep(5);
    isEnded = true;
    return true;
  });
  await arrived(1);
  expect(broker.isReady()).toBe(true);
  await broker.close();
  expect(isEnded).toBe(true);
  expect(broker.isReady()).toBe(false);
  expect(blocks).toHaveLength(1);
});
