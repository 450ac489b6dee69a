// The system as an operator sees it: a scorer under load, watched by the real Prometheus with the rules that are shipped. Every
// query of every dashboard has data; a store that is away and a message that is refused are heard of, and so is their end.
import { afterAll, beforeAll, expect, test } from 'bun:test';
import { copyFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createTopics,
  freePort,
  type Kafka,
  type Postgres,
  projectFolder,
  projectTopics,
  runPython,
  type ScorerProcess,
  startAlertmanager,
  startBlackboxExporter,
  startKafka,
  startNodeExporter,
  startPostgres,
  startPostgresExporter,
  startPrometheus,
  startScorer,
  type Watcher,
} from '@lonetree/devstack';
import { Kafka as KafkaClient, logLevel } from 'kafkajs';
import { type DashboardQuery, fillIn, listQueries, listVariables } from '../src/queries.ts';

const deadlineMs = 120_000;
const pollMs = 500;
const adminToken = 'monitoring-test';
const folder = mkdtempSync(join(tmpdir(), 'lonetree-monitoring-'));
const champion = join(folder, 'champion.forest');
const scorerAddress = `127.0.0.1:${freePort()}`;
const ends: (() => Promise<unknown>)[] = [];

let kafka: Kafka;
let postgres: Postgres;
let scorer: ScorerProcess;
let prometheus: Watcher;
/** What the example of who hears of alerts has printed. */
const heard: Record<string, string>[] = [];

function launch(program: string, args: readonly string[], env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, join(projectFolder, program), ...args], {
    env: { ...process.env, ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'ignore',
  });
  ends.push(async () => {
    child.kill('SIGTERM');
    await child.exited;
  });
  return child;
}

async function listen(): Promise<string> {
  const port = freePort();
  const child = launch('monitoring/webhook/main.ts', [], { PORT: String(port) });
  void (async () => {
    let rest = '';
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop() ?? '';
      heard.push(...parts.map((line) => JSON.parse(line) as Record<string, string>));
    }
  })();
  const url = `http://127.0.0.1:${port}/`;
  await until('the webhook listens', () =>
    fetch(`${url}healthz`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  return url;
}

beforeAll(async () => {
  const stopLater = async <T extends { stop(): Promise<unknown> }>(starting: Promise<T>): Promise<T> => {
    const server = await starting;
    ends.push(() => server.stop());
    return server;
  };
  [kafka, postgres] = await Promise.all([
    stopLater(startKafka({ hasMetrics: true })),
    stopLater(startPostgres()),
  ]);
  await createTopics(kafka, projectTopics);
  copyFileSync(join(projectFolder, 'models', 'default.forest'), champion);
  scorer = startScorer({
    brokers: kafka.brokers,
    databaseUrl: postgres.url,
    environment: {
      PORT: scorerAddress.split(':')[1] as string,
      MODEL_FILE: champion,
      ADMIN_TOKEN: adminToken,
    },
  });
  ends.push(() => scorer.stop());
  const load = [
    '--to',
    'kafka',
    '--brokers',
    kafka.brokers,
    '--stations',
    '30',
    '--rate',
    '20000',
    '--batch',
    '50',
  ];
  launch('simulator/src/main.ts', [...load, '--faults', 'every:1s']);
  const [alertmanager, postgresExporter, node, blackbox] = await Promise.all([
    listen().then((url) => stopLater(startAlertmanager(url))),
    stopLater(startPostgresExporter(postgres.url)),
    stopLater(startNodeExporter(folder)),
    stopLater(startBlackboxExporter()),
  ]);
  const host = ({ url }: Watcher) => new URL(url).host;
  prometheus = await stopLater(
    startPrometheus({
      intervalSeconds: 1,
      targets: {
        scraped: {
          scorer: [scorerAddress],
          alertmanager: [host(alertmanager)],
          kafka: [kafka.metricsAddress as string],
          postgresql: [host(postgresExporter)],
          node: [host(node)],
        },
        // Neither runs here: that they do not answer is an answer too.
        probed: {
          prober: host(blackbox),
          urls: { mlflow: 'http://127.0.0.1:9/', airflow: 'http://127.0.0.1:9/' },
        },
      },
    }),
  );
  await until('readings are stored', async () => (await ask('sum(lonetree_readings_total) > 50000')) > 0);
}, 300_000);

afterAll(async () => {
  postgres?.thaw();
  for (const end of ends.reverse()) await end();
  rmSync(folder, { recursive: true });
}, 60_000);

async function until(what: string, isSo: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + deadlineMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain: ${what}`);
    await Bun.sleep(pollMs);
  }
}

type Sample = { readonly value: readonly [seconds: number, text: string] };

/** How many series answer with a number. Of shadow scores there are none here, so shares of them are 0 / 0. */
async function ask(expr: string): Promise<number> {
  const answer = await fetch(`${prometheus.url}/api/v1/query`, {
    method: 'POST',
    body: new URLSearchParams({ query: expr }),
  });
  const body = (await answer.json()) as { status: string; error?: string; data?: { result: Sample[] } };
  if (body.status !== 'success') throw new Error(`${expr}: ${body.error}`);
  const isNumber = ({ value: [, text] }: Sample) => expr.includes('lonetree_shadow') || text !== 'NaN';
  return body.data?.result.filter(isNumber).length ?? 0;
}

/** What a dashboard's variables have to choose from, by Prometheus' own answer to what Grafana asks. */
async function listChoices(): Promise<Record<string, Record<string, string[]>>> {
  const choices: Record<string, Record<string, string[]>> = {};
  for (const { dashboard, name, selector, label } of listVariables()) {
    choices[dashboard] ??= {};
    const of = choices[dashboard];
    const match = new URLSearchParams({ 'match[]': fillIn(selector, of) });
    const answer = await fetch(`${prometheus.url}/api/v1/label/${label}/values?${String(match)}`);
    of[name] = ((await answer.json()) as { data: string[] }).data;
  }
  return choices;
}

/** The verdict on drift as Airflow's task leaves it, a training run, and another model: what some panels are about. */
async function makeHistory(): Promise<void> {
  const env = { DATABASE_URL: postgres.url, MLFLOW_TRACKING_URI: `sqlite:///${join(folder, 'mlflow.db')}` };
  const at = new Date(Math.floor(Date.now() / 1_000) * 1_000).toISOString();
  const drift = ['drift', '--record', '--at', at, '--window', '2s', '--model', champion];
  await runPython(['-m', 'lonetree_ml', ...drift, '--metrics', join(folder, 'drift.prom')], { env });
  const span = ['--from', new Date(Date.parse(at) - 60_000).toISOString(), '--to', at];
  await runPython(['-m', 'lonetree_ml', 'retrain', ...span, '--register', '--why', 'test'], { env });
  await runPython(['-m', 'lonetree_ml', 'gate', ...span], { env });
  const rows = join(folder, 'rows.csv');
  await launch('simulator/src/main.ts', [
    '--to',
    'csv',
    '--output',
    rows,
    '--readings',
    '20000',
    '--faults',
    'none',
  ]).exited;
  const features = ['--features', 'temperature,humidity,sound'];
  const next = join(folder, 'next.forest');
  await runPython(['-m', 'lonetree_ml', 'train', '--input', rows, '--output', next, ...features]);
  renameSync(next, champion);
  const answer = await fetch(`http://${scorerAddress}/v1/model/swap`, {
    method: 'POST',
    headers: { authorization: `Bearer ${adminToken}` },
    body: JSON.stringify({ by: 'test', why: 'monitoring' }),
  });
  expect(await answer.json()).toMatchObject({ swapped: true });
}

test('every target answers, and every rule can be evaluated', async () => {
  // The two that are probed fail; that they could be asked is what counts here.
  await until('all targets are up', async () => (await ask('up == 1')) === 8);
  await until('all rules were evaluated', async () => {
    const rules = await readRules();
    return rules.length > 0 && rules.every(({ health }) => health === 'ok');
  });
});

type Rule = { readonly name: string; readonly type: string; readonly health: string };
async function readRules(): Promise<Rule[]> {
  const answer = await fetch(`${prometheus.url}/api/v1/rules`);
  const { data } = (await answer.json()) as { data: { groups: { rules: Rule[] }[] } };
  return data.groups.flatMap(({ rules }) => rules);
}

test('every query of every dashboard has data', async () => {
  await makeHistory();
  const queries = listQueries();
  const choices = await listChoices();
  for (const { dashboard, name } of listVariables()) expect(choices[dashboard]?.[name]).not.toBeEmpty();
  let silent = [...queries];
  const hasData = async ({ dashboard, text, datasource }: DashboardQuery) => {
    const query = fillIn(text, choices[dashboard] ?? {});
    return datasource === 'prometheus' ? (await ask(query)) > 0 : (await postgres.sql(query)) !== '';
  };
  const end = performance.now() + deadlineMs;
  // An annotation has data for a minute after what it marks.
  while (silent.length > 0 && performance.now() < end) {
    const answers = await Promise.all(silent.map(hasData));
    silent = silent.filter((_, index) => answers[index] === false);
    await Bun.sleep(pollMs);
  }
  expect(silent).toEqual([]);
  const panels = new Set(queries.map(({ dashboard, panel }) => `${dashboard} ${panel}`)).size;
  console.error(
    JSON.stringify({
      dashboards: new Set(queries.map(({ dashboard }) => dashboard)).size,
      panels,
      variables: listVariables().length,
      queries: queries.length,
      rules: (await readRules()).length,
    }),
  );
}, 180_000);

test('with All chosen the dashboard Scoring counts scorers, not all that Prometheus scrapes', async () => {
  const choices = (await listChoices())['lonetree-scoring'] ?? {};
  expect(choices).toEqual({ job: ['scorer'], instance: [scorerAddress] });
  const { text } = listQueries().find(({ panel }) => panel === 'Scorers up') as DashboardQuery;
  expect(await ask('up == 1')).toBe(8);
  expect(await ask(`${fillIn(text, choices)} == 1`)).toBe(1);
});

/** A message that is no SensorBatch. */
async function sendNonsense(): Promise<void> {
  const producer = new KafkaClient({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic: 'readings', messages: [{ value: Buffer.of(0xff, 0xff) }] });
  await producer.disconnect();
  await until('it is a dead letter', async () => (await ask('sum(lonetree_dead_letters_total) > 0')) > 0);
}

const heardOf = (alertname: string, status: string) =>
  heard.some((alert) => alert.alertname === alertname && alert.status === status);

test('a refused message and a store that is away reach whoever is to hear of them, and so does the end', async () => {
  await sendNonsense();
  postgres.freeze();
  await until('StoreAway was heard', () => heardOf('LonetreeStoreAway', 'firing'));
  await until('DeadLetters was heard', () => heardOf('LonetreeDeadLetters', 'firing'));
  const away = heard.find(({ alertname }) => alertname === 'LonetreeStoreAway');
  expect(away).toMatchObject({
    severity: 'page',
    job: 'scorer',
    instance: scorerAddress,
    runbook: 'docs/RUNBOOK.md#the-store-is-away',
  });
  // The scorer itself is well, and says what it waits for.
  expect(heardOf('LonetreeScorerDown', 'firing')).toBe(false);
  expect(await ask('lonetree_partitions{state="standing"} > 0')).toBe(1);
  postgres.thaw();
  await until('the end was heard', () => heardOf('LonetreeStoreAway', 'resolved'));
  scorer.checkRunning();
}, 240_000);
