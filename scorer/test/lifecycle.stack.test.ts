// The whole loop on real servers: a fleet's readings shift under load, Airflow finds it, trains, checks and promotes a new
// model, and running scorers change to it; then everything that was sent is compared with what was stored.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Airflow,
  createTopics,
  type DagRun,
  type Kafka,
  type Mlflow,
  type Postgres,
  runPython,
  startAirflow,
  startKafka,
  startMlflow,
  startPostgres,
  topicRanges,
} from '@lonetree/devstack';
import postgres, { type Sql } from 'postgres';
import { compare, flawCount } from './chaos/checker.ts';

const windowSeconds = 8;
const readingsPerSecond = 52_000;
const readingsPerSecondMin = 50_000;
const trainingReadings = 40_000;
const driftRowsMax = 20_000;
const features = 'temperature,humidity,sound';
const deadlineMs = 60_000;
const pollMs = 100;
/** So long the new version scores before everything is compared. */
const newVersionMs = 5_000;
/** So long after it was measured a reading is in the topic: a station's message is full after a third of a second. */
const sendingMs = 1_000;
const repository = join(import.meta.dir, '..', '..');

const folder = mkdtempSync(join(tmpdir(), 'lonetree-lifecycle-'));
const scorerIds = ['first', 'second'];
const ledgers: string[] = [];
const children: Bun.Subprocess[] = [];
const servers: { stop(): Promise<void> }[] = [];

let kafka: Kafka;
let database: Postgres;
let mlflow: Mlflow;
let airflow: Airflow;
let sql: Sql;
let scorers: ReturnType<typeof startScorer>[];
/** What the commands of lonetree_ml and the DAGs' tasks see. */
let environment: Record<string, string>;
let load: ReturnType<typeof startLoad>;

beforeAll(async () => {
  [kafka, database, mlflow] = await Promise.all([
    toBeStopped(startKafka()),
    toBeStopped(startPostgres()),
    toBeStopped(startMlflow()),
    trainFirst(),
  ]);
  environment = {
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: database.url,
    MLFLOW_TRACKING_URI: mlflow.url,
    DRIFT_WINDOW: `${windowSeconds}s`,
    DRIFT_COOL_DOWN: '1s',
    DRIFT_ROWS_MAX: String(driftRowsMax),
    RETRAIN_ROWS_MAX: '50000',
    SHADOW_SECONDS: '8',
    CONFIRM_TIMEOUT: '30s',
  };
  sql = postgres(database.url, { max: 1, onnotice() {} });
  servers.push({ stop: () => sql.end({ timeout: 1 }) });
  await createTopics(kafka, [
    { name: 'readings', partitions: 4 },
    { name: 'anomalies', partitions: 1 },
    { name: 'readings.dead-letter', partitions: 1 },
    { name: 'model-updates', partitions: 1 },
  ]);
  [airflow] = await Promise.all([toBeStopped(startAirflow({ env: environment })), startScorers()]);
}, 240_000);
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(children.map(({ exited }) => exited));
  // Whatever has been started by then, the last first.
  const ends = await Promise.allSettled(servers.toReversed().map((server) => server.stop()));
  rmSync(folder, { recursive: true });
  expect(ends.filter(({ status }) => status === 'rejected')).toEqual([]);
}, 60_000);

async function toBeStopped<T extends { stop(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  const server = await starting;
  servers.push(server);
  return server;
}

function start(log: string, program: string, args: readonly string[], env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, join(repository, program), ...args], {
    cwd: repository,
    env: { ...process.env, ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: Bun.file(join(folder, log)),
  });
  children.push(child);
  return child;
}

/** `python -m lonetree_ml`; answers its line of JSON. */
async function lonetree(...args: string[]): Promise<Record<string, unknown>> {
  const stdout = await runPython(['-m', 'lonetree_ml', ...args], { env: environment });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Scorers that have a champion, and readings for them. */
async function startScorers(): Promise<void> {
  await promoteFirst();
  scorers = scorerIds.map(startScorer);
  await Promise.all(scorers.map((scorer) => scorer.isReady()));
  load = startLoad('usual', []);
}

const firstModel = {
  rows: join(folder, 'rows.csv'),
  model: join(folder, 'first.forest'),
  sklearn: join(folder, 'first.skops'),
};

/** On what the simulator measures before anything shifts. */
async function trainFirst(): Promise<void> {
  const { rows, model, sklearn } = firstModel;
  const readings = ['--readings', String(trainingReadings), '--seed', '3', '--faults', 'none'];
  await start('training.log', 'simulator/src/main.ts', ['--to', 'csv', '--output', rows, ...readings]).exited;
  const output = ['--output', model, '--save-sklearn', sklearn];
  await runPython(['-m', 'lonetree_ml', 'train', '--input', rows, '--features', features, ...output]);
}

async function promoteFirst(): Promise<void> {
  const { rows, model, sklearn } = firstModel;
  const registered = await lonetree('register', '--sklearn', sklearn, '--model', model, '--rows', rows);
  expect(registered).toMatchObject({ name: 'lonetree', version: '1' });
  const promoted = await lonetree('promote', '--version', '1', '--force', '--why', 'the first one');
  expect(promoted).toMatchObject({ promoted: '1', replaced: null });
}

function startScorer(id: string) {
  const log = `${id}.log`;
  const child = start(log, 'scorer/src/main.ts', [], {
    ...environment,
    // Challengers are not announced: who has time for a shadow has time to look.
    MODEL_POLL_SECONDS: '3',
    SCORER_ID: id,
    DATA_DIR: join(folder, id),
    PORT: '0',
    LOG_LEVEL: 'info',
  });
  const address = () =>
    until(`${id} listens`, async () => {
      return /"address":"([^"]+)"/.exec(await Bun.file(join(folder, log)).text())?.[1];
    });
  const ask = async (path: string) => await fetch(new URL(path, await address()));
  return {
    child,
    isReady: () =>
      until(`${id} is ready`, async () => {
        const isListening = (await Bun.file(join(folder, log)).text()).includes(
          'announcements of models are read',
        );
        return ((await ask('/readyz')).ok && isListening) || undefined;
      }),
    version: async () => ((await (await ask('/v1/model')).json()) as { version: string }).version,
  };
}

/** Simulated stations; with `shift`, ones that measure something else than the first champion was trained on. */
function startLoad(name: string, shift: readonly string[]) {
  const ledger = join(folder, `${name}.tsv`);
  ledgers.push(ledger);
  const settings = {
    to: 'kafka',
    brokers: kafka.brokers,
    stations: 100,
    rate: readingsPerSecond,
    batch: 200,
    seed: ledgers.length,
    faults: 'every:1s',
    ledger,
  };
  const args = Object.entries(settings).flatMap(([option, value]) => [`--${option}`, String(value)]);
  const child = start(`${name}.log`, 'simulator/src/main.ts', [...args, ...shift]);
  return {
    /** Ends it after what is under way has arrived; answers what it sent. */
    async stop() {
      child.kill('SIGTERM');
      const summary = await child.stdout.text();
      expect(await child.exited, readFileSync(join(folder, `${name}.log`), 'utf8')).toBe(0);
      return JSON.parse(summary) as { readings: number; readingsPerSecond: number };
    },
  };
}

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await Bun.sleep(pollMs)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  const logs = scorerIds.map((id) => readFileSync(join(folder, `${id}.log`), 'utf8').slice(-5_000));
  throw new Error(`waited in vain: ${what}\n${logs.join('\n')}`);
}

/** Until all that the topic holds now is stored. */
async function untilStored(): Promise<void> {
  const ends = await topicRanges(kafka, 'readings');
  await until('all is stored', async () => {
    const positions = await sql`select partition, next_offset from consumer_offset`;
    const nexts = new Map(positions.map((row) => [row.partition as number, BigInt(row.next_offset)]));
    return ends.every(({ partition, end }) => (nexts.get(partition) ?? 0n) >= end) || undefined;
  });
}

/** Until two windows of readings measured from this time on are stored; answers the time at which the second one ends. */
async function twoWindowsFrom(startMs: number): Promise<number> {
  const at = startMs + 2 * windowSeconds * 1_000;
  await Bun.sleep(at - Date.now() + sendingMs);
  await untilStored();
  return at;
}

const driftAt = (timeMs: number) =>
  lonetree(
    ...['drift', '--at', new Date(timeMs).toISOString(), '--window', `${windowSeconds}s`],
    ...['--rows-max', String(driftRowsMax)],
  );

type Verdicts = { readonly rows: number; readonly abnormal: number };

/** Verdicts, and how many of them abnormal, by the version that gave them. */
async function verdicts(): Promise<Record<string, Verdicts>> {
  const rows =
    await sql`select version, count(*)::int as rows, (count(*) filter (where is_anomaly))::int as abnormal
    from prediction join model on model.id = model_id group by 1 order by 1`;
  return Object.fromEntries(rows.map(({ version, ...counts }) => [version, counts])) as never;
}

const sent = { readings: 0 };

test('while readings are what the champion was trained on, no drift is found', async () => {
  const at = await twoWindowsFrom(Date.now());
  expect(await driftAt(at)).toMatchObject({ drifted: false, kind: 'none' });
  expect(await Promise.all(scorers.map((scorer) => scorer.version()))).toEqual(['1', '1']);
}, 120_000);

test('a shift by one standard deviation is found in two windows, and leads to a model that every scorer runs', async () => {
  sent.readings += (await load.stop()).readings;
  const shiftedAtMs = Date.now();
  load = startLoad('shifted', ['--shift', 'temperature:1']);
  const at = await twoWindowsFrom(shiftedAtMs);
  const run = await airflow.runDag('drift_and_retrain', { at: new Date(at).toISOString() });
  const { drift, retrain, gate, shadow } = run.results as Record<string, Record<string, unknown>>;
  console.error(JSON.stringify({ drift, retrain, gate, shadow }));
  expectState(run, 'success');
  expect(drift).toMatchObject({ drifted: true, kind: 'fleet' });
  expect(retrain).toMatchObject({ version: '2' });
  expect(gate).toMatchObject({ passed: true });
  expect(Number(shadow?.rows)).toBeGreaterThan(1_000);
  expect(run.results['release.confirm']).toMatchObject({ confirmed: true });
  expect(await Promise.all(scorers.map((scorer) => scorer.version()))).toEqual(['2', '2']);
}, 240_000);

test('nothing was lost or stored twice under the load, every verdict names its version, and alarms became fewer', async () => {
  await Bun.sleep(newVersionMs);
  const shifted = await load.stop();
  sent.readings += shifted.readings;
  await untilStored();
  for (const { child } of scorers) child.kill('SIGTERM');
  expect(await Promise.all(scorers.map(({ child }) => child.exited))).toEqual([0, 0]);

  const comparison = await compare(kafka, database.url, ledgers, await cachedForests());
  const versions = await verdicts();
  const stored = Object.values(versions).reduce((sum, { rows }) => sum + rows, 0);
  const { lost, twice } = comparison;
  const counted = { sent: sent.readings, stored, lost, twice, versions };
  console.error(JSON.stringify({ ...counted, readingsPerSecond: shifted.readingsPerSecond, ...comparison }));
  expect(flawCount(comparison)).toBe(0);
  expect(stored).toBe(sent.readings);
  expect(comparison.readings).toBe(sent.readings);
  expect(Object.keys(versions)).toEqual(['1', '2']);
  const [first, second] = Object.values(versions) as [Verdicts, Verdicts];
  expect(second.rows).toBeGreaterThan(2 * readingsPerSecondMin);
  expect(second.abnormal / second.rows).toBeLessThan(first.abnormal / first.rows);
  // That it was under load is a condition of the test, not a result.
  expect(shifted.readingsPerSecond).toBeGreaterThanOrEqual(readingsPerSecondMin);
  for (const id of scorerIds) {
    const swaps = await sql`select version, cause from model_swap where scorer = ${id} order by id`;
    expect(swaps.map((swap) => Object.values(swap))).toEqual([
      ['1', 'start'],
      // Announced, or seen just before that.
      ['2', expect.stringMatching(/^(update|poll)$/)],
    ]);
  }
}, 120_000);

/** The forest files that the scorers have kept, by their SHA-256. */
async function cachedForests(): Promise<Map<string, Uint8Array>> {
  const forests = new Map<string, Uint8Array>();
  for await (const file of new Bun.Glob('*/models/*.forest').scan({ cwd: folder })) {
    const bytes = new Uint8Array(await Bun.file(join(folder, file)).arrayBuffer());
    forests.set(new Bun.CryptoHasher('sha256').update(bytes).digest('hex'), bytes);
  }
  return forests;
}

function expectState({ state, tasks, log }: DagRun, expected: DagRun['state']): void {
  if (state !== expected)
    throw new Error(`the run ended with ${state}: ${JSON.stringify(tasks)}\n${log.slice(-20_000)}`);
}
