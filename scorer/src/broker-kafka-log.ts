// What kafkajs has to say, in the scorer's log.
import { type LogEntry, logLevel } from 'kafkajs';
import type { IsNews } from './troubles.ts';

type KafkaLog = {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
};

/** The client tries again whatever it calls an error; what it cannot go on with it throws. So no line is more than a warning. */
export function createKafkaLog(log: KafkaLog, isNews: IsNews): (entry: LogEntry) => void {
  return ({ namespace, level, log: { timestamp: _, logger, message, ...facts } }) => {
    const { error = '' } = facts as { readonly error?: string };
    const trouble = `${namespace} ${message} ${error}`;
    const isWarning = level === logLevel.ERROR && isNews(trouble);
    log[isWarning ? 'warn' : 'debug']({ ...facts, client: logger ?? 'kafkajs', namespace }, message);
  };
}
