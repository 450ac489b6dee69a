// A challenger of other behaviour in shadow, under load: real Kafka, real PostgreSQL, a forest that lonetree_ml has trained, and
// a registry as MLflow answers.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@lonetree/core-wasm';
import {
  createTopics,
  type Kafka,
  type Postgres,
  runPython,
  startKafka,
  startPostgres,
  topicRanges,
} from '@lonetree/devstack';
import postgres, { type Sql } from 'postgres';
import { createSampler } from '../src/shadow-sample.ts';
import { compare, flawCount } from './chaos/checker.ts';
import { type FakeMlflow, startFakeMlflow } from './fake-mlflow.ts';
import { shippedForest, withOtherFeature } from './forest-variants.ts';

const deadlineMs = 60_000;
const sampleRate = 0.2;
const repository = join(import.meta.dir, '..', '..');
const folder = mkdtempSync(join(tmpdir(), 'lonetree-shadow-'));
const children = new Set<Bun.Subprocess>();
let kafka: Kafka;
let database: Postgres;
let sql: Sql;
let mlflow: FakeMlflow;
let trained: Uint8Array;

beforeAll(async () => {
  [kafka, database] = await Promise.all([startKafka(), startPostgres()]);
  sql = postgres(database.url, { max: 1, onnotice() {} });
  mlflow = startFakeMlflow();
  await createTopics(kafka, [
    { name: 'readings', partitions: 4 },
    { name: 'anomalies', partitions: 1 },
    { name: 'readings.dead-letter', partitions: 1 },
    { name: 'model-updates', partitions: 1 },
  ]);
  trained = await train();
}, 300_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...children].map(({ exited }) => exited));
  await Promise.all([sql.end(), mlflow.stop(), kafka.stop(), database.stop()]);
  rmSync(folder, { recursive: true });
}, 60_000);

function run(program: string, args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const log = join(folder, `${children.size}.log`);
  const child = Bun.spawn([process.execPath, join(repository, program), ...args], {
    cwd: repository,
    env: { ...process.env, ...environment },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: Bun.file(log),
  });
  children.add(child);
  return { child, log };
}

const simulate = (settings: Readonly<Record<string, string | number>>) =>
  run(
    'simulator/src/main.ts',
    Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]),
  ).child;

/** Few trees, of few samples, that call far more readings abnormal than the shipped model. */
async function train(): Promise<Uint8Array> {
  const [rows, output] = [join(folder, 'rows.csv'), join(folder, 'challenger.forest')];
  const simulator = simulate({ to: 'csv', output: rows, readings: 20_000, faults: 'none', seed: 9 });
  expect(await simulator.exited).toBe(0);
  const shape = ['--trees', '30', '--samples', '64', '--alarm-rate', '0.05', '--seed', '9'];
  const features = ['--features', 'temperature,humidity,sound'];
  await runPython(['-m', 'lonetree_ml', 'train', '--input', rows, '--output', output, ...shape, ...features]);
  return new Uint8Array(readFileSync(output));
}

async function until<T>(what: string, look: () => Promise<T | null>): Promise<T> {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await Bun.sleep(50)) {
    const found = await look();
    if (found !== null) return found;
  }
  const logs = [...children].map((_, index) => readFileSync(join(folder, `${index}.log`), 'utf8'));
  throw new Error(`waited in vain: ${what}\n${logs.join('\n')}`);
}

/** Looks at the registry by itself every second or so. */
function startScorer(id: string) {
  const { child, log } = run('scorer/src/main.ts', [], {
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: database.url,
    MLFLOW_TRACKING_URI: mlflow.uri,
    MODEL_POLL_SECONDS: '1',
    SHADOW_SAMPLE_RATE: String(sampleRate),
    SCORER_ID: id,
    DATA_DIR: join(folder, id),
    PORT: '0',
    LOG_LEVEL: 'info',
  });
  const ask = async (path: string) => {
    const address = await until(
      `${id} listens`,
      async () => /"address":"([^"]+)"/.exec(await Bun.file(log).text())?.[1] ?? null,
    );
    return await fetch(new URL(path, address));
  };
  return {
    child,
    ask,
    model: async () => (await (await ask('/v1/model')).json()) as Record<string, unknown>,
    ready: () => until(`${id} is ready`, async () => ((await ask('/readyz')).ok ? true : null)),
  };
}

function propose(version: string, artifact: Uint8Array): void {
  mlflow.versions.set(version, { artifact });
  mlflow.aliases.set('challenger', version);
}

const countOf = async (what: string): Promise<number> => {
  const [row] = await sql.unsafe(`select count(*)::int as count from ${what}`);
  return row?.count as number;
};

test('a challenger in shadow leaves the champion’s rows as they are, and its rows pair with them', async () => {
  mlflow.versions.set('1', { artifact: shippedForest() });
  mlflow.aliases.set('champion', '1');
  propose('2', trained);
  const scorers = ['first', 'second'].map(startScorer);
  const [first, second] = scorers as [(typeof scorers)[0], (typeof scorers)[0]];
  await Promise.all(scorers.map((scorer) => scorer.ready()));
  const compares = (version: string | null, of = scorers) =>
    until(`the challenger is ${version}`, async () => {
      const challengers = await Promise.all(of.map(async (scorer) => (await scorer.model()).challenger));
      return challengers.every((one) => ((one as { version: string } | null)?.version ?? null) === version)
        ? true
        : null;
    });
  const shadowed = (least: number) =>
    until(`${least} rows in shadow`, async () => ((await countOf('shadow_score')) >= least ? true : null));
  await compares('2');

  const ledger = join(folder, 'ledger.tsv');
  const load = { stations: 60, rate: 50_000, batch: 100, seed: 1, faults: 'every:1s' };
  const simulator = simulate({ to: 'kafka', brokers: kafka.brokers, ledger, ...load });
  await shadowed(20_000);

  // One that does not fit is ignored with its reason, while the champion goes on.
  propose('3', withOtherFeature());
  await until('both say why', async () => {
    const models = await Promise.all(scorers.map((scorer) => scorer.model()));
    return models.every(({ challengerFailure }) => challengerFailure !== null) ? true : null;
  });
  for (const scorer of scorers)
    expect(await scorer.model()).toMatchObject({
      version: '1',
      challenger: null,
      challengerFailure: { what: expect.stringContaining('it needs pitch') },
    });
  const predictions = await countOf('prediction');
  await until('predictions go on', async () =>
    (await countOf('prediction')) > predictions + 50_000 ? true : null,
  );

  // What a killed scorer has stored is compared by nobody else.
  propose('2', trained);
  await compares('2');
  await shadowed((await countOf('shadow_score')) + 10_000);
  first.child.kill('SIGKILL');
  await until('the other scorer has all partitions', async () => {
    const ends = await topicRanges(kafka, 'readings');
    await Bun.sleep(500);
    const nexts = await positions();
    return ends.every(({ partition, end }) => (nexts.get(partition) ?? 0n) >= end) ? true : null;
  });

  // A shadow that cannot be stored is counted, and the champion does not notice.
  await sql`alter table shadow_score rename to shadow_score_away`;
  await until('the shadow’s failures are counted', async () =>
    (await metric(second, 'lonetree_shadow_dropped_total{reason="failed"}')) > 1_000 ? true : null,
  );
  await sql`alter table shadow_score_away rename to shadow_score`;
  await shadowed((await countOf('shadow_score')) + 10_000);
  expect((await second.ask('/readyz')).status).toBe(200);

  simulator.kill('SIGTERM');
  await simulator.exited;
  const ends = await topicRanges(kafka, 'readings');
  await until('all is stored', async () => {
    const nexts = await positions();
    return ends.every(({ partition, end }) => nexts.get(partition) === end) ? true : null;
  });
  second.child.kill('SIGTERM');
  expect(await second.child.exited).toBe(0);

  const comparison = await compare(kafka, database.url, [ledger]);
  const shadow = await describeShadow();
  console.error(JSON.stringify({ ...comparison, ...shadow }));
  expect(flawCount(comparison), JSON.stringify(comparison)).toBe(0);
  expect(comparison.lost + comparison.twice).toBe(0);
  expect(await countOf('prediction')).toBe(comparison.readings);
  expect(shadow).toMatchObject({ distinct: shadow.rows, paired: shadow.rows, cut: 0 });
  expect(shadow.challengerAnomalies).toBeGreaterThan(2 * shadow.championAnomalies);
  const told = JSON.parse(
    await runPython(['-m', 'lonetree_ml', 'shadow', '--challenger', '2', '--database-url', database.url]),
  ) as { rows: number; disagreements: number; spearman: number };
  expect([told.rows, told.disagreements]).toEqual([shadow.rows, shadow.disagreements]);
  expect(told.spearman).toBeGreaterThan(0.3);
  expect(told.spearman).toBeLessThan(0.999);
  const versions = await sql`select distinct version from model join
    (select model_id from prediction union select model_id from anomaly) as used on id = model_id`;
  expect(versions.map(({ version }) => version)).toEqual(['1']);
  await checkSample();
  await checkChallengerScores();
}, 180_000);

async function positions(): Promise<ReadonlyMap<number, bigint>> {
  const rows = await sql`select partition, next_offset from consumer_offset`;
  return new Map(rows.map((row) => [row.partition as number, BigInt(row.next_offset)]));
}

async function metric(scorer: ReturnType<typeof startScorer>, name: string): Promise<number> {
  const text = await (await scorer.ask('/metrics')).text();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length) ?? 0,
  );
}

/** Rows in shadow, and how they pair with the champion's: each with one prediction that says the same of the same reading. */
async function describeShadow() {
  const [row] = await sql`select count(*)::int as rows,
      count(distinct (partition, "offset", row))::int as distinct,
      (count(*) filter (where challenger_is_anomaly))::int as "challengerAnomalies",
      (count(*) filter (where champion_is_anomaly))::int as "championAnomalies",
      (count(*) filter (where champion_is_anomaly <> challenger_is_anomaly))::int as disagreements
    from shadow_score`;
  const [paired] = await sql`select count(*)::int as rows from shadow_score as s join prediction as p
    using (topic, partition, "offset", row, time, station)
    where p.model_id = s.champion_model_id and p.score = s.champion_score and p.is_anomaly = s.champion_is_anomaly
      and s.challenger_model_id = (select id from model where version = '2')`;
  const [cut] = await sql`select count(*)::int as messages from
      (select partition, "offset", count(*) as rows from shadow_score group by 1, 2) as s
    join (select partition, "offset", count(*) as rows from prediction group by 1, 2) as p using (partition, "offset")
    where s.rows <> p.rows`;
  const counts = row as unknown as Record<
    'rows' | 'distinct' | 'challengerAnomalies' | 'championAnomalies' | 'disagreements',
    number
  >;
  return { ...counts, paired: paired?.rows as number, cut: cut?.messages as number };
}

/** Both scorers chose what the sampler chooses, and nothing else. */
async function checkSample(): Promise<void> {
  const isSampled = createSampler('readings', sampleRate);
  const messages = await sql`select distinct partition, "offset" from shadow_score`;
  const foreign = messages.filter(({ partition, offset }) => !isSampled(partition, Number(offset)));
  expect(foreign).toEqual([]);
  expect(messages.length).toBeGreaterThan(300);
}

/** The challenger's rows are what it says of the stored values. */
async function checkChallengerScores(): Promise<void> {
  const rows =
    await sql`select p."values", s.challenger_score as score, s.challenger_is_anomaly as "isAnomaly"
    from shadow_score as s join prediction as p using (partition, "offset", row) limit 5000`;
  const challenger = await Engine.load(trained);
  const champion = await Engine.load(shippedForest());
  expect(challenger.model.features).toEqual(champion.model.features);
  challenger.loadRows(
    Float32Array.from(
      rows.flatMap(({ values }) => values.map((value: number | null) => value ?? Number.NaN)),
    ),
    rows.length,
  );
  const block = challenger.score();
  const differing = rows.filter(
    ({ score, isAnomaly }, row) =>
      !Object.is(score, block.scores[row]) || Number(isAnomaly) !== block.isAnomaly[row],
  );
  expect(rows).toHaveLength(5_000);
  expect(differing).toEqual([]);
}
