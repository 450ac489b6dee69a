// What the log says of HTTP requests: those that failed, and those that changed the model.
import type { RequestFailure } from './app-problems.ts';
import type { IsNews } from './troubles.ts';

type RequestLog = {
  debug(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

/** What is the scorer's failure is an error, when it is news; what is the sender's is told to who wants to know. */
export function createFailureLog(log: RequestLog, isNews: IsNews): (failure: RequestFailure) => void {
  return ({ problem: { status, title, detail, reason, cause }, ...request }) => {
    const facts = {
      ...request,
      status,
      title,
      detail,
      reason,
      ...(cause === undefined ? {} : { err: cause }),
    };
    const why = cause instanceof Error ? cause.message : detail;
    const isError = status >= 500 && isNews(`${status} ${why}`);
    log[isError ? 'error' : 'debug'](facts, 'a request failed');
  };
}
