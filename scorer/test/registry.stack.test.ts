// What lonetree_ml writes and a scorer reads: versions in a real MLflow with PostgreSQL behind it, announcements in a real Kafka.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  type Kafka,
  type Mlflow,
  type Postgres,
  runPython,
  startKafka,
  startMlflow,
  startPostgres,
} from '@lonetree/devstack';
import { sha256Of } from '../src/digest.ts';
import { decodeModelUpdate } from '../src/model-update.ts';
import { createRegistry, type Registry } from '../src/registry.ts';
import { createPostgresStore } from '../src/store-postgres.ts';
import { readTopic } from './chaos/topic-reader.ts';

const topic = 'model-updates';
const never = new AbortController().signal;
let folder: string;
let kafka: Kafka;
let database: Postgres;
let mlflow: Mlflow;
let registry: Registry;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-registry-'));
  [kafka, database] = await Promise.all([startKafka(), startPostgres()]);
  const startRegistry = async () => {
    await database.sql('create database mlflow');
    return await startMlflow({ databaseUrl: database.url.replace(/postgres$/, 'mlflow') });
  };
  [mlflow] = await Promise.all([
    startRegistry(),
    createTopics(kafka, [{ name: topic, partitions: 1 }]),
    makeTables(),
    trainTwo(),
  ]);
  registry = createRegistry({
    uri: mlflow.url,
    name: 'lonetree',
    forestSizeMax: 1 << 20,
    answerDeadlineMs: 30_000,
    downloadDeadlineMs: 30_000,
    tryCount: 1,
    retry: { firstMs: 1, maxMs: 1 },
    wait: () => Promise.resolve(),
    random: () => 0,
  });
}, 300_000);
afterAll(async () => {
  await Promise.all([mlflow.stop(), kafka.stop()]);
  await database.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

async function makeTables(): Promise<void> {
  const store = createPostgresStore({
    url: database.url,
    group: 'group',
    topic: 'readings',
    connectionCount: 1,
    queryConnectionCount: 1,
    deadlineMs: 30_000,
    schemaDeadlineMs: 30_000,
    lockTimeoutMs: 2_000,
    connectTimeoutMs: 2_000,
    partitionDaysAhead: 1,
  });
  await store.migrate();
  await store.close();
}

/** `1.forest` and `1.skops`, and the same of another seed. */
async function trainTwo(): Promise<void> {
  const rows = Array.from({ length: 500 }, (_, row) => `${Math.sin(row)},${Math.cos(row * 1.7)}`);
  writeFileSync(join(folder, 'rows.csv'), ['a,b', ...rows, ''].join('\n'));
  for (const seed of ['1', '2']) {
    const files = ['--input', 'rows.csv', '--output', `${seed}.forest`, '--save-sklearn', `${seed}.skops`];
    await runMl(
      'train',
      ...files,
      '--trees',
      '10',
      '--samples',
      '64',
      '--alarm-rate',
      '0.05',
      '--seed',
      seed,
    );
  }
}

async function runMl(...args: string[]): Promise<Record<string, unknown>> {
  const stdout = await runPython(['-m', 'lonetree_ml', ...args], {
    cwd: folder,
    env: {
      KAFKA_BROKERS: kafka.brokers,
      DATABASE_URL: database.url,
      ...(mlflow === undefined ? {} : { MLFLOW_TRACKING_URI: mlflow.url }),
    },
  });
  return JSON.parse(stdout) as Record<string, unknown>;
}

const register = (seed: string) =>
  runMl(
    ...['register', '--sklearn', `${seed}.skops`, '--model', `${seed}.forest`, '--rows', 'rows.csv'],
    ...['--alias', 'challenger', '--why', `seed ${seed}`],
  );
const forestOf = (seed: string) => new Uint8Array(readFileSync(join(folder, `${seed}.forest`)));

test('what lonetree_ml registers is found by its alias and downloaded, byte for byte', async () => {
  await expect(registry.find('champion', never)).rejects.toMatchObject({ reason: 'alias-missing' });
  const beganMs = Date.now();
  const registered = await register('1');
  const sha256 = await sha256Of(forestOf('1'));
  expect(registered).toMatchObject({ name: 'lonetree', version: '1', sha256, alias: 'challenger' });
  await expect(registry.find('champion', never)).rejects.toMatchObject({ reason: 'alias-missing' });
  const found = await registry.find('challenger', never);
  expect(found).toMatchObject({ version: '1', sha256 });
  expect(found.createdAtMs).toBeWithin(beganMs, Date.now() + 1);
  expect(await registry.download(found, never)).toEqual(forestOf('1'));
});

test('promote and rollback move the alias, announce it where there is a topic, and record it, as what is registered is', async () => {
  await register('2');
  const told = { announced: true, recorded: true };
  const first = ['promote', '--version', '1', '--why', 'first', '--force', '--updates-topic', 'not-there'];
  expect(await runMl(...first)).toEqual({ promoted: '1', replaced: null, ...told, announced: false });
  const promote = ['promote', '--alias', 'challenger', '--why', 'straße heiß', '--by', 'ann', '--force'];
  expect(await runMl(...promote)).toEqual({ promoted: '2', replaced: '1', ...told });
  expect((await registry.find('champion', never)).version).toBe('2');
  await expect(registry.find('challenger', never)).rejects.toMatchObject({ reason: 'alias-missing' });
  expect(await runMl('rollback', '--why', 'it alarms')).toEqual({ promoted: '1', replaced: '2', ...told });
  expect((await registry.find('champion', never)).version).toBe('1');

  const announced = (await readTopic(kafka, topic)).map(({ value, headers }) => {
    const contentType = headers['content-type'] as Uint8Array;
    return decodeModelUpdate({ value, headers: { 'content-type': contentType } });
  });
  const update = { name: 'lonetree', alias: 'champion', timeMs: expect.any(BigInt) };
  expect(announced).toMatchObject([
    { ...update, version: '2', sha256: await sha256Of(forestOf('2')), reason: 'ann: straße heiß' },
    { ...update, version: '1', sha256: await sha256Of(forestOf('1')), reason: 'it alarms' },
  ]);
  const events = await database.sql(
    "select kind, detail->>'version', detail->>'replaced', detail->>'by', detail->>'why' from event order by id",
  );
  expect(events.split('\n')).toEqual([
    'registration|1|||seed 1',
    'registration|2|||seed 2',
    'promotion|1|||first',
    'promotion|2|1|ann|straße heiß',
    'rollback|1|2||it alarms',
  ]);
});

test('a registry that was killed is named, and has kept everything when it is back', async () => {
  await mlflow.kill9();
  await expect(runMl('rollback', '--why', 'x')).rejects.toThrow(`The registry ${mlflow.url} fails`);
  await expect(registry.find('champion', never)).rejects.toMatchObject({ reason: 'registry-away' });
  await mlflow.start();
  const champion = await registry.find('champion', never);
  expect(champion.version).toBe('1');
  expect(await registry.download(champion, never)).toEqual(forestOf('1'));
});
