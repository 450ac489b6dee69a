import { expect, test } from 'bun:test';
import { Problem } from './app-problems.ts';
import { nextCursor, querySchema, toStoreQuery } from './app-query.ts';
import type { PredictionRecord } from './store.ts';

const schema = querySchema(1_000);
const read = (query: Readonly<Record<string, string>>) => toStoreQuery(schema.parse(query));
const noonMs = Date.UTC(2026, 10, 23, 12);

test('a time is ISO 8601 or milliseconds, and nothing else', () => {
  for (const from of ['2026-11-23T12:00:00Z', '2026-11-23T13:00:00+01:00', String(noonMs)]) {
    expect(read({ from }).fromMs).toBe(noonMs);
  }
  for (const from of ['yesterday', '', '-1', '1e3', 'NaN', '99999999999999999']) {
    expect(schema.safeParse({ from }).success).toBe(false);
  }
});

test('times beyond those of any reading ask for everything on that side', () => {
  expect(read({ from: '0', to: '9999999999999999' })).toMatchObject({
    fromMs: Date.UTC(2000),
    toMs: Date.UTC(2101),
  });
});

test('a misspelt parameter is refused and named', () => {
  const { error } = schema.safeParse({ stations: 'a' });
  expect(error?.issues[0]?.message).toBe('there is no stations; there are station, from, to, limit, cursor');
});

test('a limit that is none is refused with what may be given', () => {
  for (const limit of ['abc', '0', '1001', '1.5', '']) {
    const { error } = schema.safeParse({ limit });
    expect(error?.issues[0]?.message).toBe('give a whole number from 1 to 1000');
  }
});

test('a cursor leads to the row that it was made of', () => {
  const row = { timeMs: noonMs, partition: 3, offset: 2n ** 53n + 1n, row: 7 };
  const cursor = nextCursor([{} as PredictionRecord, row as PredictionRecord], 2);
  expect(read({ cursor: cursor as string }).after).toEqual(row);
});

test('the last page has no cursor', () => {
  expect(nextCursor([], 2)).toBeNull();
  expect(nextCursor([{} as PredictionRecord], 2)).toBeNull();
});

test('a cursor of another make is refused', () => {
  const made = (place: unknown) => Buffer.from(JSON.stringify(place)).toString('base64url');
  for (const cursor of ['', 'x', made(null), made([noonMs, 0, '-1', 0]), made([noonMs, 0, '1', 2 ** 31])]) {
    expect(() => read({ cursor })).toThrow(Problem);
  }
});
