import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { createTopics, type Kafka, type Postgres, startKafka, startPostgres } from '@lonetree/devstack';
import { DeadLetterSchema, SensorBatchSchema } from '@lonetree/proto';
import {
  type Admin,
  ConfigResourceTypes,
  Kafka as KafkaClient,
  logLevel,
  type Message,
  type Producer,
} from 'kafkajs';
import { bounds } from '../src/bounds.ts';
import { readConfig } from '../src/config.ts';
import { createLog } from '../src/log.ts';
import { migrations } from '../src/migrations-postgres.ts';
import { type Service, startService } from '../src/service.ts';
import { readTopic } from './chaos/topic-reader.ts';
import { sendPacked } from './send-packed.ts';

// What senders get wrong and what goes wrong around a scorer, on real Kafka and PostgreSQL.

const deadlineMs = 60_000;
const timeMs = Date.UTC(2026, 10, 23);
const log = createLog('silent');
let kafka: Kafka;
let database: Postgres;
let client: KafkaClient;
let producer: Producer;
let admin: Admin;

const folder = mkdtempSync(join(tmpdir(), 'lonetree-bad-input-'));
beforeAll(async () => {
  [kafka, database] = await Promise.all([startKafka(), startPostgres()]);
  client = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  producer = client.producer();
  admin = client.admin();
  await Promise.all([producer.connect(), admin.connect()]);
}, 300_000);

afterAll(async () => {
  await Promise.all([producer.disconnect(), admin.disconnect()]);
  await Promise.all([kafka.stop(), database.stop()]);
  rmSync(folder, { recursive: true });
}, 60_000);

/** A scorer in this process with topics and a group of its own. */
async function startScorer(name: string, changes: Record<string, string> = {}): Promise<Service> {
  const config = readConfig({
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: database.url,
    DATA_DIR: folder,
    PORT: '0',
    KAFKA_GROUP: name,
    READINGS_TOPIC: name,
    ANOMALIES_TOPIC: `${name}.anomalies`,
    DEAD_LETTER_TOPIC: `${name}.dead`,
    ...changes,
  });
  return await startService(config, log, {
    onFatal(error) {
      throw error;
    },
  });
}

const makeTopics = (name: string) =>
  createTopics(
    kafka,
    [name, `${name}.anomalies`, `${name}.dead`].map((topic) => ({ name: topic, partitions: 1 })),
  );

const limitMessageSize = (name: string, bytes: number) =>
  admin.alterConfigs({
    validateOnly: false,
    resources: [
      {
        type: ConfigResourceTypes.TOPIC,
        name,
        configEntries: [{ name: 'max.message.bytes', value: String(bytes) }],
      },
    ],
  });

async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(50);
  }
}

const isReady = async (service: Service) => (await fetch(`${service.address}readyz`)).ok;
const storedCount = async (topic: string) =>
  Number(await database.sql(`select count(*) from prediction where topic = '${topic}'`));

type Columns = Readonly<Record<string, readonly number[]>>;
const good: Columns = { temperature: [28, 29], humidity: [17, 18], sound: [54, 55] };

const batch = (columns: Columns, changes: { baseMs?: number; readingCount?: number } = {}) =>
  Buffer.from(
    toBinary(
      SensorBatchSchema,
      create(SensorBatchSchema, {
        stations: ['press-1'],
        baseTimeMs: BigInt(changes.baseMs ?? timeMs),
        timeDeltasMs: Array<bigint>(changes.readingCount ?? 2).fill(1n),
        columns: Object.entries(columns).map(([name, values]) => ({ name, values: [...values] })),
      }),
    ),
  );

test('each bad message becomes a dead letter with its reason and origin, and the next message is scored', async () => {
  await makeTopics('bad');
  const json = { 'content-type': 'application/json' };
  const { sound: _, ...withoutSound } = good;
  const messages: [reason: string, message: Message][] = [
    ['truncated', { value: batch(good).subarray(0, 40) }],
    ['malformed', { value: Buffer.from('ffffffffffffffffffffffff', 'hex') }],
    ['missing-feature', { value: batch(withoutSound) }],
    ['column-length', { value: batch({ ...good, sound: [54] }) }],
    ['no-readings', { value: batch({}, { readingCount: 0 }) }],
    ['empty-message', { value: null }],
    ['too-large', { value: Buffer.alloc(20_000_000, 1) }],
    ['bad-json', { value: '['.repeat(200_000), headers: json }],
    ['bad-json', { value: '{"station":', key: 'press-1' }],
    ['time-out-of-range', { value: batch(good, { baseMs: Date.UTC(1999, 11, 31) }) }],
    ['time-out-of-range', { value: batch(good, { baseMs: Date.UTC(2101, 0, 1) }) }],
  ];
  const sentOffsets: string[] = [];
  for (const [, message] of messages) {
    const [metadata] = await producer.send({ topic: 'bad', messages: [message] });
    sentOffsets.push(metadata?.baseOffset ?? '');
    await producer.send({ topic: 'bad', messages: [{ value: batch(good) }] });
  }
  const service = await startScorer('bad');
  await until('all good readings stored', async () => {
    const isMigrated = (await database.sql("select to_regclass('prediction') is not null")) === 't';
    return isMigrated && (await storedCount('bad')) === 2 * messages.length;
  });
  const letters = (await readTopic(kafka, 'bad.dead')).map(({ value }) =>
    fromBinary(DeadLetterSchema, value),
  );
  expect(letters.map(({ offset, reason }) => [String(offset), reason])).toEqual(
    messages.map(([reason], index) => [sentOffsets[index] ?? '', reason]),
  );
  for (const [index, letter] of letters.entries()) {
    const [, message] = messages[index] as [string, Message];
    expect(letter).toMatchObject({ topic: 'bad', partition: 0 });
    expect(letter.detail.length).toBeGreaterThan(10);
    expect(Buffer.from(letter.value).equals(Buffer.from(message.value ?? ''))).toBe(true);
  }
  const metrics = await (await fetch(`${service.address}metrics`)).text();
  expect(metrics).toContain('lonetree_dead_letters_total{reason="bad-json"} 2');
  await service.stop();
}, 180_000);

test('a batch that unpacks into too much becomes one dead letter with its bytes, and the next message is scored', async () => {
  await makeTopics('packed');
  await sendPacked(producer, 'packed', [{ value: batch(good) }, { value: batch(good) }]);
  await sendPacked(producer, 'packed', [
    { value: batch(good) },
    { value: Buffer.alloc(bounds.unpackedSizeMax) },
  ]);
  await sendPacked(producer, 'packed', [{ value: batch(good) }]);
  const service = await startScorer('packed');
  await until('the readings that can be read are stored', async () => (await storedCount('packed')) === 6);
  const letters = (await readTopic(kafka, 'packed.dead')).map(({ value }) =>
    fromBinary(DeadLetterSchema, value),
  );
  expect(letters).toMatchObject([{ topic: 'packed', offset: 3n, reason: 'unreadable' }]);
  const [letter] = letters;
  expect(letter?.detail).toStartWith('A batch of 2 messages, of which this is the last one’s offset');
  expect(letter?.detail).toContain('ZSTD: more than 33554432 bytes would come out');
  const content = zstdDecompressSync(letter?.value ?? new Uint8Array());
  expect(content.length).toBeGreaterThan(bounds.unpackedSizeMax);
  expect(content.includes('press-1')).toBe(true);
  await service.stop();
});

test('a dead letter that its topic does not take goes without the message, and says where that is', async () => {
  await makeTopics('tight');
  await limitMessageSize('tight.dead', 1_000);
  const large = { value: Buffer.from(`{${' '.repeat(5_000)}`), key: 'press-1', headers: { trace: 'x' } };
  const beforeMs = Date.now();
  await producer.send({ topic: 'tight', messages: [{ value: batch(good) }, large] });
  const service = await startScorer('tight');
  await until('the good readings stored', async () => (await storedCount('tight')) === 2);
  const [letter, ...others] = (await readTopic(kafka, 'tight.dead')).map(({ value }) =>
    fromBinary(DeadLetterSchema, value),
  );
  expect(others).toEqual([]);
  expect(letter).toMatchObject({ topic: 'tight', partition: 0, offset: 1n, reason: 'bad-json', headers: {} });
  expect([letter?.key.length, letter?.value.length]).toEqual([0, 0]);
  expect(Number(letter?.messageTimeMs)).toBeGreaterThanOrEqual(beforeMs);
  expect(letter?.detail).toContain('value 5001 bytes');
  await service.stop();
}, 120_000);

test('a feature that the model does not know is ignored and counted; NaN and infinity are missing values', async () => {
  await makeTopics('odd');
  const values = { ...good, temperature: [Number.NaN, Number.POSITIVE_INFINITY], pressure: [1, 2] };
  await producer.send({ topic: 'odd', messages: [{ value: batch(values) }] });
  const service = await startScorer('odd');
  await until('two readings stored', async () => (await storedCount('odd')) === 2);
  expect(
    await database.sql(
      `select "values"[1] is null, is_anomaly from prediction where topic = 'odd' order by row`,
    ),
  ).toBe('t|t\nt|t');
  expect(await database.sql(`select distinct reasons from anomaly where topic = 'odd'`)).toBe(
    '{missing:temperature}',
  );
  const metrics = await (await fetch(`${service.address}metrics`)).text();
  expect(metrics).toContain('lonetree_ignored_columns_total 1');
  await service.stop();
}, 120_000);

test('requests beyond what the log or the database takes are the sender’s mistake, never a failure', async () => {
  await makeTopics('http');
  await limitMessageSize('http', 1_000);
  const service = await startScorer('http');
  await until('ready', () => isReady(service));
  const post = (body: Buffer) =>
    fetch(`${service.address}v1/readings`, {
      method: 'POST',
      body: new Uint8Array(body),
      headers: { 'content-type': 'application/x-protobuf' },
    });
  const many = Array<number>(1_000).fill(28);
  const large = batch({ temperature: many, humidity: many, sound: many }, { readingCount: 1_000 });
  const refused = await post(large);
  expect(refused.status).toBe(413);
  expect(await refused.json()).toMatchObject({ reason: 'too-large' });
  expect((await post(batch(good))).status).toBe(202);
  await until('stored', async () => (await storedCount('http')) === 2);

  const cursor = (place: string) => Buffer.from(`[${place}]`).toString('base64url');
  for (const path of ['v1/predictions', 'v1/anomalies']) {
    for (const [query, status] of [
      ['from=0000-01-01&to=%2B200000-01-01T00:00:00Z&limit=1000', 200],
      ['from=-271821-04-20T00:00:00Z', 200],
      [`station=${encodeURIComponent("'; drop table prediction; --")}`, 200],
      ['station=%00', 400],
      [`cursor=${cursor(`${timeMs},2147483647,"999999999999999999",2147483647`)}`, 200],
      [`cursor=${cursor('9e300,0,"0",0')}`, 400],
      [`cursor=${cursor(`${timeMs},2147483648,"0",0`)}`, 400],
    ] as const) {
      expect((await fetch(`${service.address}${path}?${query}`)).status, query).toBe(status);
    }
  }
  const all = await fetch(`${service.address}v1/predictions?from=0000-01-01&to=%2B200000-01-01T00:00:00Z`);
  expect(((await all.json()) as { items: unknown[] }).items.length).toBeGreaterThanOrEqual(2);
  await service.stop();
}, 120_000);

test('readings are unconfirmed when Kafka dies under the request, and refused for sure while it is known to be away', async () => {
  await makeTopics('away');
  const service = await startScorer('away');
  await until('ready', () => isReady(service));
  const post = () =>
    fetch(`${service.address}v1/readings`, {
      method: 'POST',
      body: new Uint8Array(batch(good)),
      headers: { 'content-type': 'application/x-protobuf' },
    });
  await kafka.kill9();
  const unconfirmed = await post();
  expect(unconfirmed.status).toBe(504);
  expect(await unconfirmed.json()).toMatchObject({ reason: 'unconfirmed' });
  await until('known to be away', async () => !(await isReady(service)));
  const refused = await post();
  expect(refused.status).toBe(503);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  await kafka.start();
  // As a sender does that repeats after 503.
  await until('taken', async () => (await post()).status === 202);
  await until('stored', async () => (await storedCount('away')) > 0);
  await service.stop();
}, 180_000);

test('messages deleted from the log before they were read are skipped, recorded and counted', async () => {
  await makeTopics('gap');
  const first = await startScorer('gap');
  await producer.send({ topic: 'gap', messages: [{ value: batch(good) }] });
  await until('the first message stored', async () => (await storedCount('gap')) === 2);
  await first.stop();
  await producer.send({ topic: 'gap', messages: Array.from({ length: 5 }, () => ({ value: batch(good) })) });
  await admin.fetchTopicOffsets('gap'); // The client deletes only where it knows the topic.
  await admin.deleteTopicRecords({ topic: 'gap', partitions: [{ partition: 0, offset: '4' }] });
  const second = await startScorer('gap');
  await until('the rest stored', async () => (await storedCount('gap')) === 6);
  expect(await database.sql(`select from_offset, to_offset from position_gap where topic = 'gap'`)).toBe(
    '1|4',
  );
  expect(await (await fetch(`${second.address}metrics`)).text()).toContain('lonetree_gap_messages_total 3');
  await second.stop();
}, 120_000);

test('a position beyond the end of the log is refused: nothing is stored and /readyz says why', async () => {
  await makeTopics('cut');
  await database.sql(
    `insert into consumer_offset values ('cut', 'cut', 0, 1000, 1000) on conflict do nothing`,
  );
  await producer.send({ topic: 'cut', messages: [{ value: batch(good) }] });
  const service = await startScorer('cut');
  let answer = '';
  await until('readyz says why', async () => {
    answer = await (await fetch(`${service.address}readyz`)).text();
    return answer.includes('beyond');
  });
  expect(answer).toContain("position 1000 of cut/0 is beyond the log's end 1");
  expect(await storedCount('cut')).toBe(0);
  await service.stop();
}, 120_000);

test('a scorer that starts while PostgreSQL is away waits alive and not ready, and goes on by itself', async () => {
  await makeTopics('late');
  await producer.send({ topic: 'late', messages: [{ value: batch(good) }] });
  await database.kill9();
  const service = await startScorer('late');
  expect((await fetch(`${service.address}healthz`)).status).toBe(200);
  const answer = await fetch(`${service.address}readyz`);
  expect(answer.status).toBe(503);
  expect(await answer.text()).toContain('store: it does not answer');
  await database.start();
  await until('ready', () => isReady(service));
  await until('stored', async () => (await storedCount('late')) === 2);
  await service.stop();
}, 120_000);

test('two scorers that start at once on an empty database both become ready', async () => {
  await makeTopics('twins');
  await database.sql('drop schema public cascade; create schema public');
  const services = await Promise.all([startScorer('twins'), startScorer('twins')]);
  for (const service of services) await until('ready', () => isReady(service));
  expect(await database.sql('select count(*), max(version) from schema_migration')).toBe(
    `${migrations.length}|${migrations.length}`,
  );
  for (const service of services) await service.stop();
}, 120_000);

test('SIGTERM ends a scorer after its work with exit code 0', async () => {
  await makeTopics('stop');
  const child = Bun.spawn([process.execPath, 'scorer/src/main.ts'], {
    cwd: `${import.meta.dir}/../..`,
    env: {
      ...process.env,
      KAFKA_BROKERS: kafka.brokers,
      DATABASE_URL: database.url,
      DATA_DIR: folder,
      PORT: '0',
      READINGS_TOPIC: 'stop',
      KAFKA_GROUP: 'stop',
    },
    stdout: 'ignore',
    stderr: 'ignore',
  });
  await producer.send({ topic: 'stop', messages: [{ value: batch(good) }] });
  await until('stored', async () => (await storedCount('stop')) === 2);
  child.kill('SIGTERM');
  expect(await child.exited).toBe(0);
}, 120_000);
