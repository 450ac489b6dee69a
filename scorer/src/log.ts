// Structured logs on stderr: JSON lines, or readable ones on a terminal.
import pino, { type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

export function createLog(level: string): Logger {
  const options = { level, base: null, redact: ['password', '*.password', 'databaseUrl', '*.databaseUrl'] };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  return pino(
    options,
    pretty({ destination: 2, sync: true, translateTime: 'SYS:HH:MM:ss', ignore: 'pid,hostname' }),
  );
}
