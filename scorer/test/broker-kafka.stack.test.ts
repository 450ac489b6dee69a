// The Kafka broker adapter against a real Kafka: what only the real log does to its readers.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { createTopics, type Kafka, startKafka, topicRanges } from '@lonetree/devstack';
import { ConfigResourceTypes, Kafka as KafkaClient, logLevel, type Producer } from 'kafkajs';
import { bounds } from '../src/bounds.ts';
import { type Broker, bytesOf, type Fetched, MessageTooLarge, NothingPublished } from '../src/broker.ts';
import { createKafkaBroker } from '../src/broker-kafka.ts';
import { readConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';
import { sendPacked } from './send-packed.ts';

const deadlineMs = 30_000;
let kafka: Kafka;
let client: KafkaClient;
let producer: Producer;

beforeAll(async () => {
  kafka = await startKafka();
  client = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  producer = client.producer();
  await producer.connect();
}, 300_000);

afterAll(async () => {
  await producer.disconnect();
  await kafka.stop();
}, 60_000);

type Reader = {
  readonly broker: Broker;
  readonly blocks: Fetched[];
  /** Where the next block has to begin; others are dropped and the position sought, as the pipeline does. */
  position(): bigint;
  readonly dropped: bigint[];
};

const create = (topic: string): Broker =>
  createKafkaBroker({
    brokers: [kafka.brokers],
    security: readConfig({}).kafkaSecurity,
    clientId: 'test',
    group: `group-of-${topic}`,
    topic,
    log: createLog('silent'),
    isNews: () => true,
    bounds,
    onFatal(error) {
      throw error;
    },
  });

/** Reads a topic of one partition from its start, as the pipeline does with a position of its own. */
async function read(
  topic: string,
  handle = (_: Fetched, __: Promise<never>) => Promise.resolve(true),
): Promise<Reader> {
  const broker = create(topic);
  const blocks: Fetched[] = [];
  const dropped: bigint[] = [];
  let position = 0n;
  await broker.consume({
    assigned: (partitions) => {
      for (const partition of partitions) broker.seek(partition, position);
    },
    async block(fetched, left) {
      if (fetched.from !== position) {
        dropped.push(fetched.from);
        broker.seek(fetched.partition, position);
        return false;
      }
      if (!(await handle(fetched, left))) return false;
      blocks.push(fetched);
      position = fetched.next;
      return true;
    },
  });
  return { broker, blocks, dropped, position: () => position };
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!isSo()) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(20);
  }
}

const offsets = ({ blocks }: Reader) =>
  blocks.flatMap(({ messages }) => messages.map(({ offset }) => offset));

test('keys, values, headers and times arrive as they were sent, and what is absent is null', async () => {
  await createTopics(kafka, [{ name: 'shapes', partitions: 1 }]);
  const sentMs = Date.now() - 5_000;
  await producer.send({
    topic: 'shapes',
    messages: [
      { key: 'k', value: 'v', timestamp: String(sentMs), headers: { a: 'first', b: ['1', '2'], empty: '' } },
      { key: null, value: null, headers: { 'content-type': ['text/plain', 'application/json'], id: '1' } },
      { key: '', value: '', headers: { id: '2', 'content-type': 'application/json' } },
      { key: 'odd', value: 'v', headers: JSON.parse('{"__proto__": "p", "constructor": "c"}') },
    ],
  });
  const reader = await read('shapes');
  await until('four messages', () => offsets(reader).length === 4);
  const [first, second, third, odd] = reader.blocks.flatMap(({ messages }) => messages);
  const text = (bytes: Uint8Array | null | undefined) => bytes && Buffer.from(bytes).toString();
  expect([text(first?.key), text(first?.value && bytesOf(first.value)), first?.timeMs]).toEqual([
    'k',
    'v',
    sentMs,
  ]);
  expect(Object.entries(first?.headers ?? {}).map(([name, value]) => [name, text(value)])).toEqual([
    ['a', 'first'],
    ['b', '2'],
    ['empty', ''],
  ]);
  expect([first, second, third].map((message) => message?.contentType && text(message.contentType))).toEqual([
    null,
    'application/json', // The last one counts.
    'application/json',
  ]);
  expect(second?.contentType).toBe(third?.contentType as Uint8Array);
  expect(text(third?.headers.id)).toBe('2');
  expect(Object.entries(odd?.headers ?? {}).map(([name, value]) => [name, text(value)])).toEqual([
    ['__proto__', 'p'],
    ['constructor', 'c'],
  ]);
  expect([second?.key, second?.value]).toEqual([null, null]);
  expect([third?.key?.length, third?.value?.length]).toEqual([0, 0]);
  expect(await reader.broker.watermarks(0)).toEqual({ start: 0n, end: 4n });
  expect(reader.broker.isReady()).toBe(true);
  await reader.broker.close();
}, 60_000);

test('a message’s time is its sender’s, however the times of a batch lie, or the broker’s where the topic says so', async () => {
  await createTopics(kafka, [
    { name: 'sent', partitions: 1 },
    { name: 'appended', partitions: 1 },
  ]);
  const admin = client.admin();
  await admin.connect();
  const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }];
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: 'appended', configEntries }],
  });
  await admin.disconnect();
  const sentMs = Date.now() - 86_400_000;
  const timesMs = [0, 1, -1, 63, 64, -64, -65, 8_191, 8_192, -40_000_000, 50_000_000].map(
    (delta) => sentMs + delta,
  );
  const messages = timesMs.map((timeMs) => ({ value: 'v', timestamp: String(timeMs) }));
  const beganMs = Date.now();
  for (const topic of ['sent', 'appended']) await producer.send({ topic, messages });
  const [sent, appended] = [await read('sent'), await read('appended')];
  const timesOf = ({ blocks }: Reader) =>
    blocks.flatMap((block) => block.messages.map(({ timeMs }) => timeMs));
  await until('all messages', () =>
    [sent, appended].every((reader) => timesOf(reader).length === timesMs.length),
  );
  expect(timesOf(sent)).toEqual(timesMs);
  for (const timeMs of timesOf(appended)) expect(timeMs).toBeWithin(beganMs, Date.now() + 1);
  await Promise.all([sent.broker.close(), appended.broker.close()]);
});

test('markers of transactions and aborted messages are passed without a block begun elsewhere', async () => {
  await createTopics(kafka, [{ name: 'transactions', partitions: 1 }]);
  const transactional = client.producer({
    transactionalId: 'writer',
    idempotent: true,
    maxInFlightRequests: 1,
    retry: { initialRetryTime: 20 },
  });
  await transactional.connect();
  const reader = await read('transactions');
  const committed: number[] = [];
  for (let round = 0; round < 6; round += 1) {
    const transaction = await transactional.transaction();
    // Larger than what one fetch brings of a partition, so that the marker before it comes alone.
    const value = Buffer.alloc(bounds.fetchSizePerPartitionMax + 1_000 * round, round);
    const [sent] = await transaction.send({ topic: 'transactions', messages: [{ value }] });
    if (round % 3 === 2) {
      await transaction.abort();
      continue;
    }
    await transaction.commit();
    committed.push(Number(sent?.baseOffset ?? -1));
    await until(`message of round ${round}`, () => offsets(reader).length === committed.length);
  }
  expect(offsets(reader)).toEqual(committed);
  expect(reader.dropped).toEqual([]);
  await transactional.disconnect();
  await reader.broker.close();
}, 90_000);

test.each(['gzip', 'snappy', 'lz4', 'zstd'])('batches that Kafka packs by %s are read', async (codec) => {
  const topic = `packed-by-${codec}`;
  await createTopics(kafka, [{ name: topic, partitions: 1, settings: { 'compression.type': codec } }]);
  const values = Array.from({ length: 3_000 }, (_, index) => `{"station": "press-${index}", "sound": 54.1}`);
  for (const part of [values.slice(0, 1), values.slice(1, 2_000), values.slice(2_000)])
    await producer.send({ topic, messages: part.map((value) => ({ key: 'k', value, headers: { a: 'b' } })) });
  const reader = await read(topic);
  await until('all messages', () => offsets(reader).length === values.length);
  const messages = reader.blocks.flatMap((block) => block.messages);
  expect(messages.map(({ value }) => value && Buffer.from(bytesOf(value)).toString())).toEqual(values);
  expect(messages.map(({ offset }) => offset)).toEqual(values.map((_, index) => index));
  expect(Buffer.from(messages[7]?.headers.a ?? []).toString()).toBe('b');
  await reader.broker.close();
});

test('fetches of what is packed bring less, so that no more comes out than of what is not', async () => {
  const topic = 'dense';
  await createTopics(kafka, [{ name: topic, partitions: 1 }]);
  const batchSize = 65_536;
  const batchCount = 100;
  for (let sent = 0; sent < batchCount; sent += 1)
    await sendPacked(producer, topic, [{ value: `${sent} `.repeat(batchSize).slice(0, batchSize) }]);
  const reader = await read(topic);
  await until('all messages', () => offsets(reader).length === batchCount);
  const sizes = reader.blocks.map(({ messages }) =>
    messages.reduce((sum, { value }) => sum + (value?.length ?? 0), 0),
  );
  // The first fetch knows nothing of them yet.
  expect(Math.max(...sizes.slice(1))).toBeLessThanOrEqual(bounds.fetchSizePerPartitionMax + batchSize);
  await reader.broker.close();
});

test('a batch that unpacks into too much stands there as one message, and what follows is read', async () => {
  const topic = 'bombs';
  await createTopics(kafka, [{ name: topic, partitions: 1 }]);
  await producer.send({ topic, messages: [{ value: 'first' }] });
  const unpacked = new Uint8Array(bounds.unpackedSizeMax);
  await sendPacked(producer, topic, [{ value: Buffer.from('small') }, { value: Buffer.from(unpacked) }]);
  await producer.send({ topic, messages: [{ value: 'last' }] });
  const reader = await read(topic);
  await until('three messages', () => offsets(reader).length === 3);
  const [first, bomb, last] = reader.blocks.flatMap(({ messages }) => messages);
  expect([first?.offset, bomb?.offset, last?.offset, reader.position()]).toEqual([0, 2, 3, 4n]);
  expect([first?.unreadable, last?.unreadable, bomb?.value]).toEqual([undefined, undefined, null]);
  expect(bomb?.unreadable).toMatchObject({
    messageCount: 2,
    why: `ZSTD: more than ${bounds.unpackedSizeMax} bytes would come out`,
  });
  await reader.broker.close();
});

test('a message larger than a fetch is fetched, between others of any size', async () => {
  await createTopics(kafka, [{ name: 'large', partitions: 1 }]);
  const sizes = [10, 20 << 20, 10, bounds.fetchSizeMax + 1, 10];
  for (const size of sizes)
    await producer.send({ topic: 'large', messages: [{ value: Buffer.alloc(size) }] });
  const reader = await read('large');
  await until('all messages', () => offsets(reader).length === sizes.length);
  expect(reader.blocks.flatMap(({ messages }) => messages.map(({ value }) => value?.length))).toEqual(sizes);
  await reader.broker.close();
}, 90_000);

test('a message that its topic never takes is told apart from a broker that is away', async () => {
  await createTopics(kafka, [{ name: 'refusing', partitions: 1 }]);
  const reader = await read('refusing');
  const value = Buffer.alloc(40 << 20);
  await expect(reader.broker.publish('refusing', [{ key: null, value }])).rejects.toBeInstanceOf(
    MessageTooLarge,
  );
  const small = Array.from({ length: 5_000 }, (_, index) => ({
    key: 'same',
    value: Buffer.alloc(1_000, index),
  }));
  await reader.broker.publish('refusing', small);
  await until('all published messages', () => offsets(reader).length === small.length);
  const firstBytes = reader.blocks.flatMap(({ messages }) =>
    messages.map(({ value: span }) => span && bytesOf(span)[0]),
  );
  expect(firstBytes).toEqual(small.map(({ value: bytes }) => bytes[0]));
  await reader.broker.close();
}, 90_000);

test('before the connection and after the end it is certain that nothing is published', async () => {
  await createTopics(kafka, [{ name: 'unconnected', partitions: 1 }]);
  const message = { key: null, value: Buffer.from('v') };
  const unconnected = create('unconnected');
  await expect(unconnected.publish('unconnected', [message])).rejects.toBeInstanceOf(NothingPublished);
  const { broker } = await read('unconnected');
  await broker.publish('unconnected', [message]);
  await broker.close();
  await expect(broker.publish('unconnected', [message])).rejects.toBeInstanceOf(NothingPublished);
  expect(await topicRanges(kafka, 'unconnected')).toMatchObject([{ start: 0n, end: 1n }]);
}, 60_000);

test('what comes while a block is being stored waits behind it, and comes again when that one fails', async () => {
  await createTopics(kafka, [{ name: 'busy', partitions: 1 }]);
  const send = (value: string) => producer.send({ topic: 'busy', messages: [{ value }] });
  const begun: string[] = [];
  let fail = () => {};
  const isStored = new Promise<boolean>((resolve) => {
    fail = () => resolve(false);
  });
  const reader = await read('busy', ({ messages }) => {
    begun.push(messages.map(({ value }) => value && Buffer.from(bytesOf(value)).toString()).join(' '));
    return begun.length === 1 ? isStored : Promise.resolve(true);
  });
  await send('a');
  await until('the first block is under way', () => begun.length === 1);
  for (const value of ['b', 'c', 'd']) await send(value);
  await Bun.sleep(4 * bounds.fetchWaitMaxMs); // Long enough for the client to fetch them, which nothing tells.
  expect(begun).toEqual(['a']);
  fail();
  await until('all messages', () => offsets(reader).length === 4);
  expect(offsets(reader)).toEqual([0, 1, 2, 3]);
  expect(reader.dropped).toEqual([]);
  await reader.broker.close();
}, 60_000);

test('a scorer that stops leaves a block that waits, and its group', async () => {
  await createTopics(kafka, [{ name: 'stopping', partitions: 1 }]);
  await producer.send({ topic: 'stopping', messages: [{ value: 'v' }] });
  let isWaiting = false;
  const stuck = await read('stopping', async (_, left) => {
    isWaiting = true;
    return await left.catch(() => false);
  });
  await until('the block is under way', () => isWaiting);
  await stuck.broker.close();
  const admin = client.admin();
  await admin.connect();
  const { groups } = await admin.describeGroups(['group-of-stopping']);
  await admin.disconnect();
  expect(groups[0]?.members).toEqual([]);
  const other = await read('stopping');
  await until('another has the message', () => other.blocks.length === 1);
  await other.broker.close();
}, 60_000);
