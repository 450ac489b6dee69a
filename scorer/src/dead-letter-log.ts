// What the log says of messages that became dead letters: the first of each kind, as their topic has all of them.
import type { PipelineObserver } from './pipeline.ts';
import type { IsNews } from './troubles.ts';

type DeadLetterLog = { warn(fields: object, message: string): void };

export function createDeadLetterLog(log: DeadLetterLog, isNews: IsNews): PipelineObserver['stored'] {
  return ({ partition, refused }) => {
    for (const { offset, reason, detail } of refused)
      if (isNews(reason)) log.warn({ partition, offset, reason, detail }, 'a message became a dead letter');
  };
}
