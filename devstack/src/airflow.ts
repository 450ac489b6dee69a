// Starts a real Airflow in a temporary home, with SQLite for its own tables and the DAGs of orchestrator/.
import { Database } from 'bun:sqlite';
import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { projectFolder } from './folders.ts';
import { run } from './install.ts';
import { freePort } from './port.ts';
import { progress, seconds } from './progress.ts';
import { ensureAirflow, ensurePython, pythonProgram } from './python.ts';
import { Server } from './server.ts';

const folder = join(projectFolder, 'orchestrator');
const programs = join(folder, '.venv', 'bin');
const airflow = join(programs, 'airflow');
const startDeadlineMs = 120_000;
const runDeadlineMs = 240_000;

/** How a run ended, and what each task did and answered. */
export type DagRun = {
  readonly state: 'success' | 'failed';
  readonly tasks: Readonly<Record<string, string>>;
  readonly results: Readonly<Record<string, unknown>>;
  /** For people: how long each task took. */
  readonly durations: string;
  readonly log: string;
};

/** Airflow's web server, scheduler, triggerer and DAG processor. */
export type AirflowService = {
  readonly url: string;
  /** For the `authorization` header of its REST API. */
  readonly bearer: string;
  log(): string;
};

export type Airflow = {
  /** Runs a DAG from its first task to its last in one process, as `airflow dags test` does. One run at a time. */
  runDag(dagId: string, conf?: Readonly<Record<string, unknown>>): Promise<DagRun>;
  /** Starts everything that a production has too; DAGs run by schedule and by REST. Instead of `runDag`. */
  serve(): Promise<AirflowService>;
  /** All processes of it. */
  pids(): number[];
  /** Ends it and removes its home. */
  stop(): Promise<void>;
};

/** `env` is what the tasks see, DATABASE_URL for instance. */
export async function startAirflow(
  options: { readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Airflow> {
  await Promise.all([ensurePython(), ensureAirflow()]);
  const server = new Server('Airflow');
  const env = { ...settings(server.folder), ...options.env };
  try {
    await progress("Preparing Airflow's tables", () => run([airflow, 'db', 'migrate'], { env }));
  } catch (error) {
    await server.stop();
    throw error;
  }
  return {
    async runDag(dagId, conf = {}) {
      const startMs = performance.now();
      server.launch([airflow, 'dags', 'test', dagId, '--conf', JSON.stringify(conf)], env);
      const exitCode = await server.untilEnded(runDeadlineMs);
      const result = { ...lastRun(server.folder, dagId), log: server.log() };
      // Airflow ends with 1 after a failed run, too.
      if (exitCode !== (result.state === 'success' ? 0 : 1)) {
        throw new Error(`airflow dags test ${dagId} ended with ${exitCode}:\n${result.log}`);
      }
      const duration = seconds(performance.now() - startMs);
      process.stderr.write(`Running ${dagId} … ${result.state} in ${duration}: ${result.durations}\n`);
      return result;
    },
    serve: () => progress('Starting Airflow', () => serve(server, env)),
    pids: () => server.pids(),
    stop: () => server.stop(),
  };
}

async function serve(server: Server, env: Readonly<Record<string, string>>): Promise<AirflowService> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  server.launch([airflow, 'standalone'], {
    ...env,
    AIRFLOW__API__HOST: '127.0.0.1',
    AIRFLOW__API__PORT: String(port),
    // Tasks report to the web server.
    AIRFLOW__CORE__EXECUTION_API_SERVER_URL: `${url}/execution/`,
    // What standalone starts, it finds by name.
    PATH: [programs, process.env.PATH].join(delimiter),
  });
  await server.untilReady(() => isHealthy(url), startDeadlineMs);
  const passwords = readFileSync(join(server.folder, 'simple_auth_manager_passwords.json.generated'), 'utf8');
  const { admin: password } = JSON.parse(passwords) as { admin: string };
  const answer = await fetch(`${url}/auth/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ username: 'admin', password }),
  });
  const { access_token: token } = (await answer.json()) as { access_token: string };
  return { url, bearer: `Bearer ${token}`, log: () => server.log() };
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/api/v2/monitor/health`);
    const parts = (await answer.json()) as Record<string, { status: string | null }>;
    const needed = ['metadatabase', 'scheduler', 'triggerer', 'dag_processor'];
    return needed.every((name) => parts[name]?.status === 'healthy');
  } catch {
    return false; // It does not listen yet.
  }
}

function settings(home: string): Record<string, string> {
  return {
    AIRFLOW_HOME: home,
    AIRFLOW__CORE__DAGS_FOLDER: join(folder, 'dags'),
    AIRFLOW__CORE__LOAD_EXAMPLES: 'False',
    AIRFLOW__CORE__EXECUTOR: 'LocalExecutor',
    AIRFLOW__CORE__PARALLELISM: '4',
    AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION: 'False',
    AIRFLOW__API__WORKERS: '1',
    AIRFLOW__LOGGING__COLORED_CONSOLE_LOG: 'False',
    LONETREE_PYTHON: pythonProgram,
  };
}

/** What Airflow's own tables say about the newest run. */
function lastRun(home: string, dagId: string): Omit<DagRun, 'log'> {
  const database = new Database(join(home, 'airflow.db'), { readonly: true });
  try {
    const row = database
      .query('select run_id, state from dag_run where dag_id = ? order by id desc limit 1')
      .get(dagId) as { run_id: string; state: DagRun['state'] } | null;
    if (row === null) throw new Error(`Airflow has no run of ${dagId}.`);
    const read = <T>(sql: string) => database.query(sql).all(dagId, row.run_id) as T[];
    const tasks = read<{ task_id: string; state: string; duration: number | null }>(
      'select task_id, state, duration from task_instance where dag_id = ? and run_id = ? order by start_date',
    );
    const results = read<{ task_id: string; value: string }>(
      `select task_id, value from xcom where dag_id = ? and run_id = ? and key = 'return_value'`,
    );
    return {
      state: row.state,
      durations: tasks
        .filter(({ duration }) => duration !== null)
        .map(({ task_id: task, duration }) => `${task} ${seconds((duration ?? 0) * 1_000)}`)
        .join(', '),
      tasks: Object.fromEntries(tasks.map(({ task_id: task, state }) => [task, state])),
      results: Object.fromEntries(results.map(({ task_id: task, value }) => [task, JSON.parse(value)])),
    };
  } finally {
    database.close();
  }
}
