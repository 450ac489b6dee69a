// Starts a real MLflow tracking server with its registry in a temporary folder: SQLite and plain files.
import { join } from 'node:path';
import { freePort } from './port.ts';
import { progress } from './progress.ts';
import { ensurePython, pythonProgram } from './python.ts';
import { Server } from './server.ts';

const startDeadlineMs = 120_000;

export type Mlflow = {
  readonly url: string;
  log(): string;
  /** Ends the server and removes its data. */
  stop(): Promise<void>;
};

export async function startMlflow(): Promise<Mlflow> {
  await ensurePython();
  const server = new Server('MLflow');
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  try {
    await progress('Starting MLflow', async () => {
      const store = `sqlite:///${join(server.folder, 'mlflow.db')}`;
      server.launch(
        [
          ...[pythonProgram, '-m', 'mlflow', 'server', '--host', '127.0.0.1', '--port', String(port)],
          ...['--workers', '1', '--backend-store-uri', store],
          ...['--artifacts-destination', join(server.folder, 'artifacts')],
        ],
        { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: 'false', MLFLOW_DISABLE_TELEMETRY: 'true' },
      );
      await server.untilReady(() => isHealthy(url), startDeadlineMs);
    });
  } catch (error) {
    await server.stop();
    throw error;
  }
  return { url, log: () => server.log(), stop: () => server.stop() };
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false; // It does not listen yet.
  }
}
