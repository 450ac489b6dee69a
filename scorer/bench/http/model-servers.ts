// The servers that are compared: how each is started, what it is asked, and where its scores stand in the answer.
import { delimiter, join } from 'node:path';
import { freePort, installLocked, launchHttp, projectFolder, Server, toolsFolder } from '@lonetree/devstack';
import { z } from 'zod';
import type { RequestReadings } from './readings.ts';

export type Format = 'json' | 'protobuf';

export type ModelServer = {
  readonly name: string;
  readonly url: string;
  readonly formats: readonly Format[];
  request(readings: RequestReadings, format: Format): { contentType: string; body: Uint8Array };
  /** The scores in an answer; throws when it is another answer. */
  scores(answer: unknown): readonly number[];
  /** The first of its processes; the others descend from it. */
  readonly pid: number;
  stop(): Promise<void>;
};

/** One forest, as the scorer reads it and as scikit-learn's users have it. */
export type ForestFiles = { readonly forest: string; readonly sklearn: string };

const readyDeadlineMs = 60_000;
const utf8 = new TextEncoder();
/** The work for a request is compared, not the number of threads. */
const oneThread = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
const jsonRequest = (body: unknown) => ({
  contentType: 'application/json',
  body: utf8.encode(JSON.stringify(body)),
});

const verdictsAnswer = z.object({ verdicts: z.array(z.object({ score: z.number() })) });
const scoresAnswer = z.object({ scores: z.array(z.number()) });
const predictionsAnswer = z.object({ predictions: z.array(z.number()) });

/** The scorer as `bun run scorer` runs it without settings: one SQLite file, which scoring on request does not touch. */
export async function startLonetree(
  { forest }: ForestFiles,
  { name, folder }: { readonly name: string; readonly folder: string } = {
    name: 'lonetree',
    folder: projectFolder,
  },
): Promise<ModelServer> {
  const server = new Server(name);
  const port = freePort();
  const origin = `http://127.0.0.1:${port}`;
  await start(server, `${origin}/readyz`, {
    command: [process.execPath, join(folder, 'scorer', 'src', 'main.ts')],
    env: {
      PORT: String(port),
      DATA_DIR: server.folder,
      MODEL_FILE: forest,
      KAFKA_BROKERS: '',
      DATABASE_URL: '',
      LOG_LEVEL: 'warn',
    },
  });
  return {
    name,
    url: `${origin}/v1/score`,
    formats: ['json', 'protobuf'],
    request: ({ protobuf, readings }, format) =>
      format === 'json'
        ? jsonRequest({ readings })
        : { contentType: 'application/x-protobuf', body: protobuf },
    scores: (answer) => verdictsAnswer.parse(answer).verdicts.map(({ score }) => score),
    pid: server.pid,
    stop: () => server.stop(),
  };
}

/** peer-fastapi.py under uvicorn with its fast event loop and parser, one worker, no access log. */
export async function startFastApi({ sklearn }: ForestFiles): Promise<ModelServer> {
  const packages = await install('fastapi');
  const server = new Server('FastAPI');
  const port = freePort();
  const origin = `http://127.0.0.1:${port}`;
  await start(server, `${origin}/openapi.json`, {
    command: [
      ...['python3', '-m', 'uvicorn', 'peer-fastapi:app', '--app-dir', import.meta.dir],
      ...['--port', String(port), '--workers', '1', '--no-access-log', '--log-level', 'warning'],
    ],
    env: { ...oneThread, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: '1', MODEL: sklearn },
  });
  return {
    name: 'fastapi',
    url: `${origin}/v1/score`,
    formats: ['json'],
    request: ({ readings }) => jsonRequest({ readings }),
    scores: (answer) => scoresAnswer.parse(answer).scores,
    pid: server.pid,
    stop: () => server.stop(),
  };
}

/** `mlflow models serve` as it comes, one worker; asked with plain lists, which it answers faster than data frames. */
export async function startMlflow({ sklearn }: ForestFiles): Promise<ModelServer> {
  const packages = await install('mlflow');
  const server = new Server('MLflow');
  const port = freePort();
  const origin = `http://127.0.0.1:${port}`;
  const model = join(server.folder, 'model');
  const env = {
    ...oneThread,
    PYTHONPATH: packages,
    PATH: `${join(packages, 'bin')}${delimiter}${process.env.PATH}`,
    MLFLOW_DISABLE_TELEMETRY: 'true',
  };
  const save = ['python3', join(import.meta.dir, 'peer-mlflow.py'), sklearn, model];
  const serve = [
    ...['python3', '-m', 'mlflow', 'models', 'serve', '--model-uri', model],
    ...['--env-manager', 'local', '--host', '127.0.0.1', '--port', String(port), '--workers', '1'],
  ];
  await start(server, `${origin}/ping`, {
    command: ['sh', '-c', '"$1" "$2" "$3" "$4" && shift 4 && exec "$@"', 'sh', ...save, ...serve],
    env,
  });
  return {
    name: 'mlflow',
    url: `${origin}/invocations`,
    formats: ['json'],
    request: ({ readings }) => jsonRequest({ inputs: readings.map(({ values }) => Object.values(values)) }),
    scores: (answer) => predictionsAnswer.parse(answer).predictions,
    pid: server.pid,
    stop: () => server.stop(),
  };
}

async function install(peer: 'fastapi' | 'mlflow'): Promise<string> {
  const folder = join(toolsFolder, `bench-${peer}`);
  await installLocked({
    what: peer,
    lock: join(import.meta.dir, `requirements-${peer}.lock`),
    folder,
  });
  return folder;
}

async function start(
  server: Server,
  readyUrl: string,
  { command, env }: { readonly command: readonly string[]; readonly env: Readonly<Record<string, string>> },
): Promise<void> {
  try {
    await launchHttp(server, { command, env, readyUrl, deadlineMs: readyDeadlineMs });
  } catch (error) {
    await server.stop();
    throw error;
  }
}
