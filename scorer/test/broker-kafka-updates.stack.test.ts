// How announcements of models come from a real Kafka: to every scorer, from its start on, and nothing is left behind.
import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test';
import { createTopics, type Kafka, startKafka } from '@lonetree/devstack';
import { type Admin, Kafka as KafkaClient, logLevel, type Producer } from 'kafkajs';
import { bounds } from '../src/bounds.ts';
import { createKafkaUpdates } from '../src/broker-kafka-updates.ts';
import { readConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';

const deadlineMs = 30_000;
let kafka: Kafka;
let producer: Producer;
let admin: Admin;
const closes: (() => Promise<void>)[] = [];

beforeAll(async () => {
  kafka = await startKafka();
  const client = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  producer = client.producer();
  admin = client.admin();
  await Promise.all([producer.connect(), admin.connect()]);
}, 300_000);
afterEach(() => Promise.all(closes.splice(0).map((close) => close())));
afterAll(async () => {
  await Promise.all([producer.disconnect(), admin.disconnect()]);
  await kafka.stop();
}, 60_000);

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(20);
  }
}

function follow(topic: string) {
  const updates = createKafkaUpdates({
    brokers: [kafka.brokers],
    security: readConfig({}).kafkaSecurity,
    clientId: 'the-same-for-all',
    topic,
    log: createLog('silent'),
    isNews: () => true,
    bounds: { ...bounds, updatesRetryMs: 50 },
  });
  const seen: string[] = [];
  updates.follow(({ value, headers }) => {
    const type = headers['content-type'];
    seen.push(
      `${Buffer.from(value ?? []).toString()}${type === undefined ? '' : ` as ${Buffer.from(type).toString()}`}`,
    );
  });
  closes.push(() => updates.close());
  return { seen, close: () => updates.close() };
}

const send = (topic: string, ...values: (string | null)[]) =>
  producer.send({ topic, messages: values.map((value) => ({ value })) });

/** Groups that read announcements and are at it. */
async function readingGroups(): Promise<string[]> {
  // At first the broker does not know its groups yet.
  const { groups: listed } = await admin.listGroups().catch(() => ({ groups: [] }));
  const names = listed.map(({ groupId }) => groupId);
  const ours = names.filter((name) => name.startsWith('model-updates-'));
  if (ours.length === 0) return [];
  const { groups } = await admin.describeGroups(ours);
  return groups.filter(({ state }) => state === 'Stable').map(({ groupId }) => groupId);
}

test('every scorer gets every announcement since its start, also two with one name, and leaves no group', async () => {
  await createTopics(kafka, [{ name: 'updates', partitions: 1 }]);
  await send('updates', 'long ago');
  const [first, second] = [follow('updates'), follow('updates')];
  await until('both have joined', async () => (await readingGroups()).length === 2);
  await send('updates', 'a', null, 'c');
  await producer.send({
    topic: 'updates',
    messages: [{ value: '{}', headers: { 'content-type': 'application/json', other: ['x', 'y'] } }],
  });
  await until('both have seen all', () => first.seen.length >= 4 && second.seen.length >= 4);
  const expected = ['a', '', 'c', '{} as application/json'];
  expect([first.seen, second.seen]).toEqual([expected, expected]);
  await Promise.all([first.close(), second.close()]);
  const { groups } = await admin.listGroups();
  expect(groups.map(({ groupId }) => groupId).filter((name) => name.startsWith('model-updates-'))).toEqual(
    [],
  );
}, 60_000);

test('a topic that is made later is read from its first message on', async () => {
  const { seen } = follow('late');
  await Bun.sleep(500); // Long enough to have looked for it, which nothing tells.
  expect(seen).toEqual([]);
  await createTopics(kafka, [{ name: 'late', partitions: 1 }]);
  await send('late', 'a');
  await until('it is seen', () => seen.length === 1);
}, 60_000);

test('what is announced while the broker restarts is seen when it is back', async () => {
  await createTopics(kafka, [{ name: 'restarted', partitions: 1 }]);
  const { seen } = follow('restarted');
  await until('it has joined', async () => (await readingGroups()).length === 1);
  await send('restarted', 'before');
  await until('the first is seen', () => seen.length === 1);
  await kafka.kill9();
  await kafka.start();
  const isSent = () =>
    send('restarted', 'after').then(
      () => true,
      () => false,
    );
  await until('it can be announced', isSent);
  await until('the second is seen', () => seen.includes('after'));
  expect(seen[0]).toBe('before');
}, 120_000);

test('closing ends it also when there is no topic and no broker', async () => {
  const { close } = follow('none');
  await close();
}, 30_000);
