// How a scorer process ends: after its work on SIGTERM, with a word on what it cannot start with, and never half alive.
import { ForestRefused } from '@lonetree/core-wasm';
import { bounds } from './bounds.ts';
import { ConfigError } from './config.ts';
import type { Logger } from './log.ts';
import type { Service } from './service.ts';
import { DatabaseUnusable } from './sqlite.ts';
import { StartError } from './start-error.ts';

/** Runs `start` and keeps the process until a signal or a fatal error ends it. `beforeStop` comes before the service stops. */
export async function keepRunning(
  log: () => Logger,
  start: (onFatal: (error: Error) => void) => Promise<{
    readonly service: Service;
    readonly beforeStop?: () => Promise<void>;
    readonly afterStop?: () => void;
  }>,
): Promise<void> {
  let started: Awaited<ReturnType<typeof start>> | undefined;
  let isStopping = false;

  const stop = async (exitCode: number) => {
    if (isStopping) return;
    isStopping = true;
    const deadline = setTimeout(() => {
      log().error(`not stopped within ${bounds.drainDeadlineMs} ms`);
      process.exit(1);
    }, bounds.drainDeadlineMs);
    try {
      await started?.beforeStop?.();
      await started?.service.stop();
      started?.afterStop?.();
      log().info('stopped');
    } catch (error) {
      log().error({ err: error }, 'stopping failed');
      process.exit(1);
    }
    clearTimeout(deadline);
    process.exit(exitCode);
  };
  const fail = (error: unknown) => {
    log().fatal({ err: error }, 'the scorer cannot go on and ends');
    void stop(1);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log().info({ signal }, 'told to stop');
      void stop(0);
    });
  }
  // A lost database connection may still write to its socket: the state is in doubt, and a new process reads it again.
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);

  try {
    started = await start(fail);
  } catch (error) {
    const isExplained = [ConfigError, StartError, ForestRefused, DatabaseUnusable].some(
      (kind) => error instanceof kind,
    );
    // Who starts it is told in a sentence; what nobody expected is an event of the log.
    if (isExplained) console.error((error as Error).message);
    else log().fatal({ err: error }, 'the scorer cannot start');
    process.exit(1);
  }
}
