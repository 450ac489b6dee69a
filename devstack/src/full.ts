// `bun run devstack full`: the whole system on this machine, from the broker to the one who hears of alerts, until Ctrl-C.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startAirflow } from './airflow.ts';
import { projectFolder } from './folders.ts';
import { launchHttp } from './http.ts';
import { startKafka } from './kafka.ts';
import { startMlflow } from './mlflow.ts';
import {
  startAlertmanager,
  startBlackboxExporter,
  startNodeExporter,
  startPostgresExporter,
  startPrometheus,
} from './monitoring.ts';
import { freePort } from './port.ts';
import { startPostgres } from './postgres.ts';
import { memoryMb } from './process-tree.ts';
import { progress } from './progress.ts';
import { runPython } from './python.ts';
import { Server } from './server.ts';
import { createTopics, projectTopics } from './topics.ts';

const startDeadlineMs = 60_000;
const pollMs = 500;
const trainingReadings = 40_000;
const features = 'temperature,humidity,sound';
const adminToken = 'devstack';

type Part = {
  readonly name: string;
  readonly address: string;
  pids(): number[];
  readonly isRunning?: boolean;
};
export type FullStack = {
  readonly parts: readonly Part[];
  /** What to set to use it from a shell. */
  readonly environment: Readonly<Record<string, string>>;
  /** Rejects with the part's name when one ends by itself. */
  readonly broken: Promise<never>;
  stop(): Promise<void>;
};

export async function startFullStack(): Promise<FullStack> {
  const ends: (() => Promise<void> | void)[] = [];
  const stop = async () => {
    const failures: unknown[] = [];
    for (let end = ends.pop(); end !== undefined; end = ends.pop())
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw new AggregateError(failures, 'parts of the stack did not end cleanly');
  };
  try {
    return await start(ends, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(ends: (() => Promise<void> | void)[], stop: () => Promise<void>): Promise<FullStack> {
  const parts: Part[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-full-'));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  const keep = async <T extends Omit<Part, 'name' | 'address'> & { stop(): Promise<void> }>(
    name: string,
    starting: Promise<T>,
    addressOf: (part: T) => string,
  ): Promise<T> => {
    const part = await starting;
    ends.push(() => part.stop());
    parts.push({
      name,
      address: addressOf(part),
      pids: () => part.pids(),
      ...('isRunning' in part
        ? {
            get isRunning() {
              return part.isRunning === true;
            },
          }
        : {}),
    });
    return part;
  };
  const launch = async (
    name: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    readyUrl: string | null,
  ) => {
    const server = new Server(name.replaceAll(' ', '-'));
    const command = [
      process.execPath,
      ...args.map((arg) => (arg.endsWith('.ts') ? join(projectFolder, arg) : arg)),
    ];
    const starting = async () => {
      try {
        if (readyUrl === null) server.launch(command, env);
        else await launchHttp(server, { command, env, readyUrl, deadlineMs: startDeadlineMs });
      } catch (error) {
        await server.stop();
        throw error;
      }
      return server;
    };
    await keep(name, progress(`Starting ${name}`, starting), () =>
      readyUrl === null ? '' : new URL(readyUrl).origin,
    );
  };

  const [kafka, postgres] = await Promise.all([
    keep('Kafka', startKafka({ hasMetrics: true }), ({ brokers }) => brokers),
    keep('PostgreSQL', startPostgres(), ({ url }) => url),
  ]);
  await createTopics(kafka, projectTopics);
  await postgres.sql('create database mlflow');
  const mlflow = await keep(
    'MLflow',
    startMlflow({ databaseUrl: postgres.url.replace(/\/postgres$/, '/mlflow') }),
    ({ url }) => url,
  );
  const environment = {
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: postgres.url,
    MLFLOW_TRACKING_URI: mlflow.url,
    ADMIN_TOKEN: adminToken,
  };
  await progress('Training and registering the first model', () => promoteFirst(folder, environment));
  const airflow = await startAirflow({ env: { ...environment, DRIFT_REPORTS: folder } });
  ends.push(() => airflow.stop());
  const service = await airflow.serve();
  parts.push({ name: 'Airflow', address: service.url, pids: () => airflow.pids() });

  const scorers: string[] = [];
  for (const number of [1, 2]) {
    const address = `127.0.0.1:${freePort()}`;
    await launch(
      `scorer ${number}`,
      ['scorer/src/main.ts'],
      {
        ...environment,
        SCORER_ID: `scorer-${number}`,
        PORT: address.split(':')[1] as string,
        DATA_DIR: join(folder, `scorer-${number}`),
      },
      `http://${address}/readyz`,
    );
    scorers.push(address);
  }
  const load = [
    '--to',
    'kafka',
    '--stations',
    '50',
    '--rate',
    '5000',
    '--batch',
    '50',
    '--faults',
    'every:9s',
  ];
  await launch('simulator', ['simulator/src/main.ts', ...load], environment, null);

  const host = ({ url }: { readonly url: string }) => new URL(url).host;
  const webhook = `127.0.0.1:${freePort()}`;
  await launch(
    'webhook',
    ['monitoring/webhook/main.ts'],
    { PORT: webhook.split(':')[1] as string },
    `http://${webhook}/healthz`,
  );
  const watch = <T extends Awaited<ReturnType<typeof startBlackboxExporter>>>(
    name: string,
    starting: Promise<T>,
  ) => keep(name, starting, ({ url }) => url);
  const [alertmanager, postgresExporter, node, blackbox] = await Promise.all([
    watch('Alertmanager', startAlertmanager(`http://${webhook}/`)),
    watch('PostgreSQL exporter', startPostgresExporter(postgres.url)),
    watch('node exporter', startNodeExporter(folder)),
    watch('blackbox exporter', startBlackboxExporter()),
  ]);
  const scraped = {
    scorer: scorers,
    alertmanager: [host(alertmanager)],
    kafka: [kafka.metricsAddress as string],
    postgresql: [host(postgresExporter)],
    node: [host(node)],
  };
  const urls = { mlflow: `${mlflow.url}/health`, airflow: `${service.url}/api/v2/monitor/health` };
  const targets = { scraped, probed: { prober: host(blackbox), urls } };
  await watch('Prometheus', startPrometheus({ targets, intervalSeconds: 15 }));
  return { parts, environment, broken: findBroken(parts), stop };
}

/** On what the simulator measures, so that the first model fits what comes. */
async function promoteFirst(folder: string, env: Readonly<Record<string, string>>): Promise<void> {
  const path = (name: string) => join(folder, name);
  const simulator = [process.execPath, join(projectFolder, 'simulator', 'src', 'main.ts')];
  const readings = ['--readings', String(trainingReadings), '--faults', 'none'];
  const made = Bun.spawn([...simulator, '--to', 'csv', '--output', path('rows.csv'), ...readings], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  });
  if ((await made.exited) !== 0) throw new Error(await new Response(made.stderr).text());
  const lonetree = (...args: string[]) => runPython(['-m', 'lonetree_ml', ...args], { env });
  const model = ['--model', path('first.forest')];
  const sklearn = path('first.skops');
  const output = ['--output', path('first.forest'), '--save-sklearn', sklearn];
  await lonetree('train', '--input', path('rows.csv'), '--features', features, ...output);
  await lonetree('register', '--sklearn', sklearn, ...model, '--rows', path('rows.csv'));
  await lonetree('promote', '--version', '1', '--force', '--why', 'the first one', '--by', 'devstack');
}

async function findBroken(parts: readonly Part[]): Promise<never> {
  for (;;) {
    await Bun.sleep(pollMs);
    const ended = parts.find(({ isRunning, pids }) => isRunning === false || pids().length === 0);
    if (ended !== undefined) throw new Error(`${ended.name} has ended by itself.`);
  }
}

/** A line a part: what it holds in memory, with its share of what several hold together. */
export function describeMemory({ parts }: Pick<FullStack, 'parts'>): string {
  const lines = parts.map(({ name, pids }) => [name, memoryMb(pids())] as const);
  const total = lines.reduce((sum, [, mb]) => sum + mb, 0);
  return [...lines, ['all', total] as const]
    .map(([name, mb]) => `  ${name.padEnd(20)} ${Math.round(mb).toLocaleString('en').padStart(6)} MB`)
    .join('\n');
}
