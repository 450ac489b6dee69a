// Structured logs on stderr: JSON lines, or readable ones on a terminal. No secret is in any of them.
import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';
import { createHiding } from './secrets.ts';

export type { Logger } from 'pino';

/** By their names; secrets that are known are hidden wherever they stand, as in messages and stacks of errors. */
const secretFields = ['password', 'databaseUrl', 'authorization', 'adminToken'];

export function createLog(level: string, secrets: readonly string[] = []): Logger {
  const options = {
    level,
    base: null,
    redact: secretFields.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]),
    hooks: { streamWrite: createHiding(secrets) },
  };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(
    options,
    pretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss', ignore: 'pid,hostname' }),
  );
}
