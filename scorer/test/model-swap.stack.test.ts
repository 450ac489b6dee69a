// Scorers under load change their model as it is announced: real Kafka, real PostgreSQL, and a registry as MLflow answers.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  createTopics,
  type Kafka,
  type Postgres,
  startKafka,
  startPostgres,
  topicRanges,
} from '@lonetree/devstack';
import { AnomalySchema, ModelUpdateSchema } from '@lonetree/proto';
import { type Admin, Kafka as KafkaClient, logLevel, type Producer } from 'kafkajs';
import postgres, { type Sql } from 'postgres';
import { compare, flawCount } from './chaos/checker.ts';
import { readTopic } from './chaos/topic-reader.ts';
import { type FakeMlflow, startFakeMlflow } from './fake-mlflow.ts';
import { damaged, retrained, shippedForest, withOtherFeature } from './forest-variants.ts';

const deadlineMs = 60_000;
const adminToken = 'let-me-change-models';
const repository = join(import.meta.dir, '..', '..');

let folder: string;
let kafka: Kafka;
let database: Postgres;
let sql: Sql;
let mlflow: FakeMlflow;
let producer: Producer;
let admin: Admin;
const children = new Set<Bun.Subprocess>();

beforeAll(async () => {
  [kafka, database] = await Promise.all([startKafka(), startPostgres()]);
  const client = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  producer = client.producer();
  admin = client.admin();
  await Promise.all([producer.connect(), admin.connect()]);
  sql = postgres(database.url, { max: 1, onnotice() {} });
  mlflow = startFakeMlflow();
}, 300_000);
afterAll(async () => {
  await Promise.all([producer.disconnect(), admin.disconnect(), sql.end(), mlflow.stop()]);
  await Promise.all([kafka.stop(), database.stop()]);
}, 60_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-swap-'));
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map(({ exited }) => exited));
  children.clear();
  rmSync(folder, { recursive: true });
});

function run(program: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = Bun.spawn([process.execPath, join(repository, program), ...args], {
    cwd: repository,
    env: { ...process.env, ...environment },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: Bun.file(join(folder, `${children.size}.log`)),
  });
  children.add(child);
  return child;
}

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await Bun.sleep(50)) {
    const found = await look();
    if (found !== null) return found;
  }
  const logs = [...children].map((_, index) => readFileSync(join(folder, `${index}.log`), 'utf8'));
  throw new Error(`waited in vain: ${what}\n${logs.join('\n')}`);
}

/** A scorer that asks the registry by itself so rarely that only announcements count. */
function startScorer(id: string) {
  const log = join(folder, `${children.size}.log`);
  const child = run('scorer/src/main.ts', [], {
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: database.url,
    MLFLOW_TRACKING_URI: mlflow.uri,
    MODEL_POLL_SECONDS: '3600',
    ADMIN_TOKEN: adminToken,
    SCORER_ID: id,
    DATA_DIR: join(folder, id),
    PORT: '0',
    LOG_LEVEL: 'info',
  });
  const address = () =>
    until(`${id} listens`, async () => /"address":"([^"]+)"/.exec(await Bun.file(log).text())?.[1] ?? null);
  return {
    child,
    /** Ready, and with its eye on the announcements. */
    async ready() {
      const base = await address();
      await until(`${id} is ready`, async () => {
        const { ok } = await fetch(new URL('/readyz', base));
        return ok && (await Bun.file(log).text()).includes('announcements of models are read') ? true : null;
      });
    },
    async ask(path: string, request: RequestInit = {}) {
      const response = await fetch(new URL(path, await address()), {
        ...request,
        headers: { authorization: `Bearer ${adminToken}` },
      });
      return { status: response.status, body: (await response.json()) as Record<string, unknown> };
    },
  };
}

function promote(version: string, artifact: Uint8Array): void {
  mlflow.versions.set(version, { artifact });
  mlflow.aliases.set('champion', version);
}

const announce = (value: Uint8Array | string) =>
  producer.send({
    topic: 'model-updates',
    messages: [{ value: typeof value === 'string' ? value : Buffer.from(value) }],
  });
const describeUpdate = (version: string, reason: string) => ({
  name: 'lonetree',
  alias: 'champion',
  version,
  reason,
});

/** How many verdicts there are by version. */
const verdictCounts = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    (
      await sql`select version, count(*)::int as rows from prediction join model on model.id = model_id group by 1`
    ).map(({ version, rows }) => [version, rows]),
  );
const verdictsOf = (version: string, countMin: number) =>
  until(`${countMin} verdicts of version ${version}`, async () =>
    ((await verdictCounts())[version] ?? 0) >= countMin ? true : null,
  );

test('two scorers under load swap as announced, survive what is bad, roll back, and lose and double nothing', async () => {
  await createTopics(kafka, [
    { name: 'readings', partitions: 4 },
    { name: 'anomalies', partitions: 1 },
    { name: 'readings.dead-letter', partitions: 1 },
    { name: 'model-updates', partitions: 1 },
  ]);
  promote('1', shippedForest());
  await announce(JSON.stringify(describeUpdate('1', 'before the scorers: nobody reads it')));
  const scorers = ['first', 'second'].map(startScorer);
  await Promise.all(scorers.map((scorer) => scorer.ready()));
  const models = () => Promise.all(scorers.map(async (scorer) => (await scorer.ask('/v1/model')).body));
  const allAt = (version: string) =>
    until(`both scorers are at version ${version}`, async () =>
      (await models()).every((model) => model.version === version) ? true : null,
    );

  const ledger = join(folder, 'ledger.tsv');
  const settings = {
    to: 'kafka',
    brokers: kafka.brokers,
    stations: 60,
    rate: 50_000,
    batch: 100,
    seed: 1,
    faults: 'every:1s',
    ledger,
  };
  const simulator = run(
    'simulator/src/main.ts',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
  );
  await verdictsOf('1', 50_000);

  promote('2', retrained(2));
  await announce(JSON.stringify({ ...describeUpdate('2', 'summer'), timeMs: '1700000000000', sha256: 'x' }));
  await allAt('2');
  await verdictsOf('2', 50_000);

  // What is bad is passed over, and the old model goes on.
  await announce('{"name": ');
  for (const [version, artifact] of [
    ['3', damaged(retrained(3))],
    ['4', withOtherFeature()],
  ] as const) {
    promote(version, artifact);
    await announce(toBinary(ModelUpdateSchema, create(ModelUpdateSchema, describeUpdate(version, 'bad'))));
    await until(`both scorers refuse version ${version}`, async () =>
      (await models()).every(({ lastFailure }) =>
        JSON.stringify(lastFailure).includes(version === '3' ? 'checksum' : 'pitch'),
      )
        ? true
        : null,
    );
  }
  for (const scorer of scorers) {
    expect((await scorer.ask('/readyz')).status).toBe(200);
    expect((await scorer.ask('/v1/model')).body).toMatchObject({ version: '2', previous: { version: '1' } });
    expect(await scorer.ask('/v1/model/swap', { method: 'POST' })).toMatchObject({
      status: 409,
      body: { reason: 'features' },
    });
  }

  promote('5', retrained(5));
  await announce(toBinary(ModelUpdateSchema, create(ModelUpdateSchema, describeUpdate('5', 'better'))));
  await allAt('5');
  await verdictsOf('5', 50_000);
  const before = (await verdictCounts())['2'] as number;
  for (const scorer of scorers) {
    const body = JSON.stringify({ by: 'ann', why: 'too loud' });
    expect(await scorer.ask('/v1/model/rollback', { method: 'POST', body })).toMatchObject({
      status: 200,
      body: { swapped: true, model: { version: '2', heldBack: '5' } },
    });
  }
  await verdictsOf('2', before + 50_000);

  simulator.kill('SIGTERM');
  await simulator.exited;
  const ends = await topicRanges(kafka, 'readings');
  await until('all is stored', async () => {
    const positions = await sql`select partition, next_offset from consumer_offset`;
    const nexts = new Map(positions.map((row) => [row.partition as number, BigInt(row.next_offset)]));
    return ends.every(({ partition, end }) => nexts.get(partition) === end) ? true : null;
  });
  for (const { child } of scorers) child.kill('SIGTERM');
  expect(await Promise.all(scorers.map(({ child }) => child.exited))).toEqual([0, 0]);

  const comparison = await compare(kafka, database.url, [ledger]);
  const versions = await verdictCounts();
  console.error(JSON.stringify({ ...comparison, versions }));
  expect(flawCount(comparison), JSON.stringify(comparison)).toBe(0);
  expect(comparison.lost + comparison.twice).toBe(0);
  expect(Object.keys(versions).toSorted()).toEqual(['1', '2', '5']);
  expect(Object.values(versions).reduce((sum, rows) => sum + rows, 0)).toBe(comparison.readings);

  const published = new Set(
    (await readTopic(kafka, 'anomalies')).map(({ value }) => fromBinary(AnomalySchema, value).modelVersion),
  );
  expect([...published].toSorted()).toEqual(['1', '2', '5']);
  for (const id of ['first', 'second']) {
    const swaps =
      await sql`select version, cause, requested_by, why from model_swap where scorer = ${id} order by id`;
    expect(swaps.map((swap) => Object.values(swap))).toEqual([
      ['1', 'start', '', ''],
      ['2', 'update', '', 'summer'],
      ['5', 'update', '', 'better'],
      ['2', 'rollback', 'ann', 'too loud'],
    ]);
  }
  // Groups of announcements are gone with their scorers.
  const { groups } = await admin.listGroups();
  expect(groups.map(({ groupId }) => groupId).filter((group) => group.startsWith('model-updates'))).toEqual(
    [],
  );
}, 180_000);
