// A scorer as `bun run scorer` starts it, for measurements: nothing of our environment reaches it, and what it keeps on disk goes
// with it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { projectFolder } from './folders.ts';

export type ScorerOptions = {
  readonly brokers: string;
  readonly databaseUrl: string;
  /** More of its settings. */
  readonly environment?: Readonly<Record<string, string>>;
  /** The program, from the project's folder. */
  readonly entry?: string;
};

export type ScorerProcess = {
  readonly pid: number;
  /** Throws when it has ended by itself: waiting for it is of no use. */
  checkRunning(): void;
  /** Ends it, by force when it takes too long. Answers its exit code; null when force was needed. */
  stop(): Promise<number | null>;
};

const stopDeadlineMs = 10_000;
/** What programs need of an environment that has nothing to do with them. */
const passedOn = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ'];

export function startScorer({
  brokers,
  databaseUrl,
  environment = {},
  entry = join('scorer', 'src', 'main.ts'),
}: ScorerOptions): ScorerProcess {
  const dataFolder = mkdtempSync(join(tmpdir(), 'lonetree-scorer-'));
  const child = Bun.spawn([process.execPath, entry], {
    cwd: projectFolder,
    env: {
      ...Object.fromEntries(passedOn.map((name) => [name, process.env[name]])),
      KAFKA_BROKERS: brokers,
      DATABASE_URL: databaseUrl,
      DATA_DIR: dataFolder,
      PORT: '0',
      LOG_LEVEL: 'error',
      ...environment,
    },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'inherit',
  });
  const end = () => {
    child.kill('SIGKILL');
    rmSync(dataFolder, { recursive: true, force: true });
  };
  process.once('exit', end); // It must not outlive us.
  let isStopping = false;
  return {
    pid: child.pid,
    checkRunning() {
      if (isStopping || (child.exitCode === null && child.signalCode === null)) return;
      throw new Error(`The scorer ended with ${child.exitCode ?? child.signalCode}; its reason is above.`);
    },
    async stop() {
      isStopping = true;
      child.kill('SIGTERM');
      await Promise.race([child.exited, Bun.sleep(stopDeadlineMs)]);
      const { exitCode } = child;
      process.off('exit', end);
      end();
      await child.exited;
      return exitCode;
    },
  };
}
