// What a running scorer tells of itself, metrics and log, beside what Kafka and PostgreSQL really hold.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  ensurePackages,
  type Kafka,
  type Postgres,
  startKafka,
  startPostgres,
  topicRanges,
} from '@lonetree/devstack';
import { Kafka as KafkaClient, logLevel } from 'kafkajs';
import postgres, { type Sql } from 'postgres';
import { createMetrics } from '../src/metrics.ts';
import { type FakeMlflow, registeredAtMs, startFakeMlflow } from './fake-mlflow.ts';
import { moreAlarming, shippedForest } from './forest-variants.ts';
import { idleState } from './idle-state.ts';

const deadlineMs = 60_000;
const partitionCount = 4;
const readingCount = 40_000;
const badCount = 3;
const adminToken = 'token-that-nobody-may-read';
const databasePassword = 'password-that-nobody-may-read';
const repository = join(import.meta.dir, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'lonetree-metrics-'));
const children = new Set<Bun.Subprocess>();
let kafka: Kafka;
let database: Postgres;
let sql: Sql;
let mlflow: FakeMlflow;
let first: Scorer;

beforeAll(async () => {
  [kafka, database] = await Promise.all([
    startKafka(),
    startPostgres(),
    ensurePackages({
      what: 'promtool',
      packages: ['prometheus'],
      isThere: () => Bun.which('promtool') !== null,
    }),
  ]);
  sql = postgres(database.url, { max: 1, onnotice() {} });
  mlflow = startFakeMlflow();
  mlflow.versions.set('1', { artifact: shippedForest() });
  mlflow.versions.set('2', { artifact: moreAlarming() });
  mlflow.aliases.set('champion', '1');
  mlflow.aliases.set('challenger', '2');
  await createTopics(kafka, [
    { name: 'readings', partitions: partitionCount },
    { name: 'anomalies', partitions: 1 },
    { name: 'readings.dead-letter', partitions: 1 },
    { name: 'model-updates', partitions: 1 },
  ]);
  first = startScorer('first');
  await first.ready();
  await first.until('the challenger is there', 'lonetree_challenger_info', (infos) => infos.length === 1);
}, 300_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map(({ exited }) => exited));
  await Promise.all([sql.end(), mlflow.stop(), kafka.stop(), database.stop()]);
  rmSync(folder, { recursive: true });
}, 60_000);

type Sample = { readonly labels: string; readonly value: number };
type Scorer = ReturnType<typeof startScorer>;

/** Its secrets are in files. */
function startScorer(id: string) {
  const log = join(folder, `${id}.log`);
  const secretFile = (name: string, secret: string) => {
    const file = join(folder, `${id}-${name}`);
    writeFileSync(file, `${secret}\n`);
    return file;
  };
  const child = Bun.spawn([process.execPath, join(repository, 'scorer/src/main.ts')], {
    cwd: repository,
    env: {
      ...process.env,
      KAFKA_BROKERS: kafka.brokers,
      DATABASE_URL_FILE: secretFile(
        'database',
        database.url.replace('postgres@', `postgres:${databasePassword}@`),
      ),
      ADMIN_TOKEN_FILE: secretFile('token', adminToken),
      MLFLOW_TRACKING_URI: mlflow.uri,
      SHADOW_SAMPLE_RATE: '1',
      MODEL_POLL_SECONDS: '1',
      SCORER_ID: id,
      DATA_DIR: join(folder, id),
      PORT: '0',
      LOG_LEVEL: 'info',
    },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: Bun.file(log),
  });
  children.add(child);
  const text = () => readFileSync(log, 'utf8');
  const lines = () =>
    text()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const ask = async (path: string, request: RequestInit = {}) => {
    const address = await until(`${id} listens`, async () => /"address":"([^"]+)"/.exec(text())?.[1] ?? null);
    return await fetch(new URL(path, address), request);
  };
  const scrape = async () => await (await ask('/metrics')).text();
  const samples = async (name: string): Promise<Sample[]> =>
    (await scrape())
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .map((line) => ({
        labels: line.slice(name.length, line.lastIndexOf(' ')),
        value: Number(line.slice(line.lastIndexOf(' '))),
      }));
  return {
    child,
    text,
    lines,
    ask,
    scrape,
    samples,
    ready: () => until(`${id} is ready`, async () => ((await ask('/readyz')).ok ? true : null)),
    /** All samples of a metric together, or those whose labels have this in them. */
    sum: async (name: string, label = '') =>
      (await samples(name))
        .filter(({ labels }) => labels.includes(label))
        .reduce((sum, { value }) => sum + value, 0),
    until: (what: string, name: string, holds: (samples: readonly Sample[]) => boolean) =>
      until(what, async () => (holds(await samples(name)) ? true : null)),
  };
}

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await Bun.sleep(100)) {
    const found = await look();
    if (found !== null) return found;
  }
  throw new Error(`waited in vain: ${what}\n${first.text()}`);
}

async function simulate(readings: number, seed: number): Promise<void> {
  const child = Bun.spawn(
    [
      ...[process.execPath, join(repository, 'simulator/src/main.ts'), '--brokers', kafka.brokers],
      ...['--readings', String(readings), '--stations', '80', '--rate', '20000', '--batch', '50'],
      ...['--faults', 'every:1s', '--seed', String(seed)],
    ],
    { stdin: 'ignore', stdout: 'ignore', stderr: 'inherit' },
  );
  children.add(child);
  expect(await child.exited).toBe(0);
}

/** Messages that nobody can score, all in the first partition. */
async function sendBad(): Promise<void> {
  const client = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  const producer = client.producer();
  await producer.connect();
  const messages = Array.from({ length: badCount }, () => ({ value: '{"station": ', partition: 0 }));
  await producer.send({ topic: 'readings', messages });
  await producer.disconnect();
}

async function count(query: string): Promise<number> {
  const [row] = await sql.unsafe(`select (${query})::int as count`);
  return row?.count as number;
}

async function untilStored(): Promise<void> {
  await until('all is stored', async () => {
    const ends = await topicRanges(kafka, 'readings');
    const rows = await sql`select partition, next_offset from consumer_offset where topic = 'readings'`;
    const nexts = new Map(rows.map((row) => [row.partition as number, BigInt(row.next_offset)]));
    return ends.every(({ partition, end }) => (nexts.get(partition) ?? 0n) === end) ? true : null;
  });
}

const messageCount = async () =>
  (await topicRanges(kafka, 'readings')).reduce((sum, { end }) => sum + Number(end), 0);

test('metrics count what the log and the database hold', async () => {
  await simulate(readingCount, 1);
  await sendBad();
  await untilStored();
  // It leaves out what comes while it is behind.
  await until('the shadow is done', async () => {
    const dropped = await first.sum('lonetree_shadow_dropped_total');
    return (await count('select count(*) from shadow_score')) + dropped === readingCount ? true : null;
  });
  const abnormal = await count('select count(*) from anomaly');
  expect(abnormal).toBeGreaterThan(10);
  const told = {
    readings: await first.sum('lonetree_readings_total'),
    abnormal: await first.sum('lonetree_readings_total', '"abnormal"'),
    messages: await first.sum('lonetree_messages_total'),
    deadLetters: await first.sum('lonetree_dead_letters_total'),
    badJson: await first.sum('lonetree_dead_letters_total', '"bad-json"'),
    reasons: await first.sum('lonetree_anomaly_reasons_total'),
    blockReadings: await first.sum('lonetree_block_readings_sum'),
    blockMessages: await first.sum('lonetree_block_messages_sum'),
    latencies: await first.sum('lonetree_reading_latency_seconds_count'),
    scores: await first.sum('lonetree_reading_score_count'),
    shadow: await first.sum('lonetree_shadow_readings_total'),
    challenger: await first.sum('lonetree_shadow_anomalies_total', '"challenger"'),
    disagreements: await first.sum('lonetree_shadow_disagreements_total'),
  };
  expect(told).toEqual({
    readings: readingCount,
    abnormal,
    messages: await messageCount(),
    deadLetters: badCount,
    badJson: badCount,
    reasons: await count('select sum(cardinality(reasons)) from anomaly'),
    blockReadings: readingCount,
    blockMessages: await messageCount(),
    latencies: readingCount,
    scores: readingCount,
    shadow: await count('select count(*) from shadow_score'),
    challenger: await count('select count(*) from shadow_score where challenger_is_anomaly'),
    disagreements: await count(
      'select count(*) from shadow_score where challenger_is_anomaly <> champion_is_anomaly',
    ),
  });
  expect(await first.sum('lonetree_reading_score_sum')).toBeCloseTo(
    -Number((await sql`select sum(score) from prediction`)[0]?.sum),
    6,
  );
  const blocks = await first.sum('lonetree_block_readings_count');
  expect(await first.sum('lonetree_stage_duration_seconds_count', '"store"')).toBe(blocks);
  for (const stage of ['decode', 'score'])
    expect(await first.sum('lonetree_stage_duration_seconds_count', `"${stage}"`)).toBeGreaterThanOrEqual(
      blocks,
    );
  expect(await first.sum('lonetree_stage_duration_seconds_count', '"publish"')).toBeGreaterThan(0);
}, 120_000);

test('the state is told: models, partitions, store and lag', async () => {
  expect(await first.samples('lonetree_model_info')).toMatchObject([
    { labels: expect.stringMatching(/name="lonetree",version="1",sha256="[0-9a-f]{64}"/), value: 1 },
  ]);
  expect(await first.samples('lonetree_challenger_info')).toMatchObject([
    { labels: expect.stringContaining('version="2"'), value: 1 },
  ]);
  expect(await first.sum('lonetree_model_created_timestamp_seconds')).toBe(registeredAtMs / 1_000);
  expect(await first.sum('lonetree_model_alarm_rate_ratio')).toBeWithin(0, 0.1);
  expect(await first.sum('lonetree_partitions', '"running"')).toBe(partitionCount);
  expect(await first.sum('lonetree_partitions', '"standing"')).toBe(0);
  // Looked at now and then.
  await first.until('the store is there', 'lonetree_store_available', ([store]) => store?.value === 1);
  await first.until(
    'no lag',
    'lonetree_consumer_lag_messages',
    (lags) => lags.length === partitionCount && lags.every(({ value }) => value === 0),
  );
});

test('all metrics of the code are there, and promtool has nothing to say against them', async () => {
  const text = await first.scrape();
  for (const { name } of createMetrics(idleState).registry.getMetricsAsArray()) {
    expect(text).toContain(`# HELP ${name} `);
    // A histogram of what never happened has no samples; all others are seen.
    if (name !== 'nodejs_gc_duration_seconds') expect(text).toMatch(new RegExp(`^${name}[_a-z]*[{ ]`, 'm'));
  }
  const promtool = Bun.spawn(['promtool', 'check', 'metrics'], {
    stdin: new Blob([text]),
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [output, complaint, exitCode] = await Promise.all([
    promtool.stdout.text(),
    promtool.stderr.text(),
    promtool.exited,
  ]);
  expect({ output, complaint, exitCode }).toEqual({ output: '', complaint: '', exitCode: 0 });
});

test('while the store is away it is told, partitions stand, and the lag grows by what is sent', async () => {
  const before = await messageCount();
  await database.kill9();
  await first.until(
    'the store is known to be away',
    'lonetree_store_available',
    ([store]) => store?.value === 0,
  );
  await simulate(4_000, 2);
  await simulate(4_000, 3);
  const missing = (await messageCount()) - before;
  expect(missing).toBeGreaterThan(0);
  await first.until(
    'the lag is all that was sent',
    'lonetree_consumer_lag_messages',
    (lags) => lags.reduce((sum, { value }) => sum + value, 0) === missing,
  );
  await first.until('partitions stand', 'lonetree_partitions', (states) =>
    states.some(({ labels, value }) => labels.includes('standing') && value > 0),
  );
  expect(await first.sum('lonetree_readings_total')).toBe(readingCount);

  for (const requestId of ['one', 'two'])
    expect((await first.ask('/v1/predictions', { headers: { 'x-request-id': requestId } })).status).toBe(503);

  await database.start();
  await untilStored();
  await first.until('nothing stands', 'lonetree_partitions', (states) =>
    states.every(({ labels, value }) => value === (labels.includes('running') ? partitionCount : 0)),
  );
  await first.until('no lag', 'lonetree_consumer_lag_messages', (lags) =>
    lags.every(({ value }) => value === 0),
  );
  await first.until('the store is back', 'lonetree_store_available', ([store]) => store?.value === 1);
  expect(await first.sum('lonetree_readings_total')).toBe(await count('select count(*) from prediction'));
}, 180_000);

test('an hour without the database would be a few lines: none of them stands there twice', () => {
  const troubles = first
    .lines()
    .filter(({ level }) => (level as number) >= 40)
    .map(({ msg, err, topic, partition, namespace, error, reason, requestId }) =>
      JSON.stringify({
        msg,
        why: (err as Error | undefined)?.message,
        topic,
        partition,
        namespace,
        error,
        reason,
        requestId,
      }),
    );
  expect(troubles.some((trouble) => trouble.includes('partition stands still'))).toBe(true);
  expect(troubles.filter((trouble, index) => troubles.indexOf(trouble) !== index)).toEqual([]);
  const failures = first.lines().filter(({ msg }) => msg === 'a request failed');
  expect(failures).toMatchObject([{ requestId: 'one', method: 'GET', path: '/v1/predictions', status: 503 }]);
});

test('the first dead letter is a line with its place and why', () => {
  const letters = first.lines().filter(({ msg }) => msg === 'a message became a dead letter');
  expect(letters).toMatchObject([
    { topic: 'readings', partition: 0, offset: expect.any(Number), reason: 'bad-json' },
  ]);
});

test('an order for another model is a line with its request, and is counted as a swap', async () => {
  mlflow.versions.set('3', { artifact: moreAlarming() });
  mlflow.aliases.delete('challenger');
  mlflow.aliases.set('champion', '3');
  const answer = await first.ask('/v1/model/swap', {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}`, 'x-request-id': 'order' },
    body: '{"by": "ann", "why": "summer"}',
  });
  expect(answer.status).toBe(200);
  expect(first.lines().filter(({ requestId }) => requestId === 'order')).toMatchObject([
    { order: 'swap', requestedBy: 'ann', why: 'summer' },
  ]);
  // It may have looked by itself at the same moment.
  const swaps = await first.samples('lonetree_model_swaps_total');
  expect(swaps.filter(({ value }) => value > 0).reduce((sum, { value }) => sum + value, 0)).toBe(2);
  expect(await first.samples('lonetree_model_info')).toMatchObject([
    { labels: expect.stringContaining('version="3"') },
  ]);
});

test('a partition that another scorer has is told by that one alone', async () => {
  const second = startScorer('second');
  await second.ready();
  const partitionsOf = async (scorer: Scorer) =>
    (await scorer.samples('lonetree_consumer_lag_messages')).map(({ labels }) => labels);
  await until('each has some, and both have all', async () => {
    const [ofFirst, ofSecond] = await Promise.all([partitionsOf(first), partitionsOf(second)]);
    const all = new Set([...ofFirst, ...ofSecond]);
    const isShared = ofFirst.length > 0 && ofSecond.length > 0;
    return isShared && all.size === partitionCount && ofFirst.length + ofSecond.length === partitionCount
      ? true
      : null;
  });
  second.child.kill('SIGTERM');
  expect(await second.child.exited).toBe(0);
  expect(second.lines().at(-1)).toMatchObject({ msg: 'stopped' });
}, 120_000);

test('no line has a secret, not even where the address of the database is told', () => {
  for (const secret of [databasePassword, adminToken]) expect(first.text()).not.toContain(secret);
});
