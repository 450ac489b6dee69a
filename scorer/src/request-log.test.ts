import { expect, test } from 'bun:test';
import { Problem, type RequestFailure } from './app-problems.ts';
import { createFailureLog } from './request-log.ts';
import { createTroubles } from './troubles.ts';

function setUp() {
  const lines: (readonly [string, object, string])[] = [];
  const isNews = createTroubles({ quietMs: 1_000, countMax: 10, now: () => 0 });
  const note = createFailureLog(
    {
      debug: (fields, message) => lines.push(['debug', fields, message]),
      error: (fields, message) => lines.push(['error', fields, message]),
    },
    isNews,
  );
  const fail = (requestId: string, problem: Problem, path = '/v1/predictions') =>
    note({ requestId, method: 'GET', path, problem } satisfies RequestFailure);
  return { lines, fail };
}

const away = (why: string) => new Problem(503, 'The store is away', 'Try later.', { cause: new Error(why) });

test('the scorer’s failure is an error with its request and what was behind it', () => {
  const { lines, fail } = setUp();
  const problem = away('connection refused');
  fail('id-1', problem);
  expect(lines).toEqual([
    [
      'error',
      {
        requestId: 'id-1',
        method: 'GET',
        path: '/v1/predictions',
        status: 503,
        title: 'The store is away',
        detail: 'Try later.',
        reason: undefined,
        err: problem.cause,
      },
      'a request failed',
    ],
  ]);
});

test('the same trouble again is for who wants to know, another one is an error', () => {
  const { lines, fail } = setUp();
  fail('id-1', away('connection refused'));
  fail('id-2', away('connection refused'), '/v1/anomalies');
  fail('id-3', away('no such table'));
  fail('id-4', new Problem(504, 'Unconfirmed', 'May have been taken.'));
  expect(lines.map(([level]) => level)).toEqual(['error', 'debug', 'error', 'error']);
  expect(lines[1]?.[1]).toMatchObject({ requestId: 'id-2' });
});

test('the sender’s failure is for who wants to know', () => {
  const { lines, fail } = setUp();
  fail('id-1', new Problem(422, 'The readings cannot be scored', 'No station.', { reason: 'no-station' }));
  expect(lines).toHaveLength(1);
  expect(lines[0]?.[0]).toBe('debug');
  expect(lines[0]?.[1]).toMatchObject({ requestId: 'id-1', status: 422, reason: 'no-station' });
});
