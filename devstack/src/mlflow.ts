// Starts a real MLflow tracking server and model registry from ml's environment, in a temporary folder: loopback only.
import { join } from 'node:path';
import { launchHttp } from './http.ts';
import { freePort } from './port.ts';
import { progress } from './progress.ts';
import { ensurePython, pythonProgram } from './python.ts';
import { Server } from './server.ts';

/** The first start makes some forty tables, and imports for seconds where nothing is compiled yet. */
const startDeadlineMs = 120_000;

/** A running registry. Its port and data stay the same from `kill9` to `start`. */
export type Mlflow = {
  /** What `MLFLOW_TRACKING_URI` is set to. */
  readonly url: string;
  readonly pid: number;
  readonly isRunning: boolean;
  pids(): number[];
  log(): string;
  kill9(): Promise<void>;
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Ends the server and removes its files; not what it wrote into a database of yours. */
  stop(): Promise<void>;
};

/** Keeps its records in a SQLite file, or in the PostgreSQL that `databaseUrl` names. */
export async function startMlflow(options: { readonly databaseUrl?: string } = {}): Promise<Mlflow> {
  await ensurePython();
  return await progress('Starting MLflow', () => startServer(options.databaseUrl));
}

async function startServer(databaseUrl: string | undefined): Promise<Mlflow> {
  const server = new Server('MLflow');
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  const backend =
    databaseUrl === undefined
      ? `sqlite:///${join(server.folder, 'mlflow.db')}`
      : databaseUrl.replace(/^postgres(ql)?:/, 'postgresql+psycopg:'); // the driver that ml has
  const command = [
    ...[pythonProgram, '-m', 'mlflow', 'server', '--host', '127.0.0.1', '--port', String(port)],
    ...['--workers', '1', '--backend-store-uri', backend],
    ...['--artifacts-destination', join(server.folder, 'artifacts')],
    // Whatever it is called by, or it answers 403; by `/health` one would not notice.
    ...['--allowed-hosts', '127.0.0.1:*,localhost:*'],
  ];
  const env = {
    // Jobs belong to features that are not used here, and bring processes that outlive the server.
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false',
    MLFLOW_DISABLE_TELEMETRY: 'true',
    // Set for the tools that are run against this server; to the server itself it would be another server's address.
    MLFLOW_TRACKING_URI: '',
  };
  const start = () =>
    launchHttp(server, { command, env, readyUrl: `${url}/health`, deadlineMs: startDeadlineMs });
  try {
    await start();
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    url,
    start: () => progress('Starting MLflow again', start),
    get pid() {
      return server.pid;
    },
    get isRunning() {
      return server.isRunning;
    },
    pids: () => server.pids(),
    log: () => server.log(),
    kill9: () => server.kill9(),
    freeze: () => server.freeze(),
    thaw: () => server.thaw(),
    stop: () => server.stop(),
  };
}
