import { expect, test } from 'bun:test';
import { createDeadLetterLog } from './dead-letter-log.ts';
import { createTroubles } from './troubles.ts';

test('the first dead letter of each reason is a line with its place; the rest is in their topic', () => {
  const lines: object[] = [];
  const note = createDeadLetterLog(
    { warn: (fields) => lines.push(fields) },
    createTroubles({ quietMs: 1_000, countMax: 10, now: () => 0 }),
  );
  const stored = (partition: number, offsets: readonly number[]) =>
    note({
      partition,
      messageCount: 10,
      readingCount: 10,
      ignoredFeatureCount: 0,
      anomalies: [],
      refused: offsets.map((offset) => ({ offset, reason: 'bad-json', detail: `at ${offset}` })),
    });
  stored(0, []);
  stored(1, [7, 8]);
  stored(2, [9]);
  expect(lines).toEqual([{ partition: 1, offset: 7, reason: 'bad-json', detail: 'at 7' }]);
});
