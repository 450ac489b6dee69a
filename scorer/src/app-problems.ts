// What the HTTP interface answers when it cannot do what it was asked: problems by RFC 9457.
import type { Rejection } from '@lonetree/core-wasm';
import type { Context } from 'hono';

type ProblemStatus = 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 422 | 500 | 502 | 503 | 504;

/** What is not there yet or away for a moment: soon enough to be tried again, not so soon as to be a burden. */
const retryAfterSeconds = 1;

/** Thrown by whatever finds that a request cannot be served; `answerProblem` is what the client sees of it. */
export class Problem extends Error {
  readonly status: ProblemStatus;
  readonly title: string;
  /** What is wrong, where, and what to do. */
  readonly detail: string;
  /** What became of the readings, or why the model stays: one short word for programs. */
  readonly reason: string | undefined;

  constructor(
    status: ProblemStatus,
    title: string,
    detail: string,
    { reason, cause }: { readonly reason?: string | undefined; readonly cause?: unknown } = {},
  ) {
    super(`${title}: ${detail}`, cause === undefined ? {} : { cause });
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.reason = reason;
  }
}

/** A request that could not be served, and why. */
export type RequestFailure = {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly problem: Problem;
};

export function answerProblem(context: Context, { status, title, detail, reason }: Problem): Response {
  const body = { type: 'about:blank', title, status, detail, ...(reason === undefined ? {} : { reason }) };
  if (status === 503) context.header('retry-after', String(retryAfterSeconds));
  if (status === 401) context.header('www-authenticate', 'Bearer');
  return context.body(JSON.stringify(body), status, { 'content-type': 'application/problem+json' });
}

/** What is wrong with the bytes is the sender's 400; what is wrong with the readings in them 422. */
export function refusedReadings({ reason, detail }: Rejection): Problem {
  return new Problem(statusOf(reason), 'The readings cannot be scored', detail, { reason });
}

function statusOf(reason: Rejection['reason']): ProblemStatus {
  switch (reason) {
    case 'too-large':
      return 413;
    case 'empty-message':
    case 'truncated':
    case 'malformed':
    case 'bad-json':
    case 'unreadable':
      return 400;
    case 'no-readings':
    case 'no-station':
    case 'station-name':
    case 'station-index':
    case 'column-length':
    case 'duplicate-feature':
    case 'missing-feature':
    case 'time-out-of-range':
      return 422;
  }
}
