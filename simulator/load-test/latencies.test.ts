import { expect, test } from 'bun:test';
import {
  measureBacklog,
  measureDrain,
  measureLatencies,
  messageFinder,
  offsetRanges,
  storedTimes,
} from './latencies.ts';

// Messages 0, 2, 4 and 6 went to partition 0, 1, 3 and 5 to partition 1; 6 was never acknowledged by a run.
const runs = [
  { partition: 0, baseOffset: 12, firstMessage: 4, count: 1, acknowledgedMs: 1_012 },
  { partition: 0, baseOffset: 10, firstMessage: 0, count: 2, acknowledgedMs: 1_004 },
  { partition: 1, baseOffset: 50, firstMessage: 1, count: 1, acknowledgedMs: 1_004 },
  { partition: 1, baseOffset: 60, firstMessage: 3, count: 2, acknowledgedMs: 1_009 },
];
const history = new Map([
  [
    0,
    [
      { seenMs: 900, nextOffset: 10 },
      { seenMs: 1_005, nextOffset: 11 },
      { seenMs: 1_020, nextOffset: 13 },
    ],
  ],
  [1, [{ seenMs: 1_011, nextOffset: 61 }]],
]);
const storedMs = storedTimes({ runs, history, messageCount: 7, partitionCount: 2 });

test('a message is stored when a position beyond its offset is first seen', () => {
  expect([...storedMs]).toEqual([1_005, 1_011, 1_020, 1_011, 1_020, Number.NaN, Number.NaN]);
});

test('latency counts from the scheduled time, and what was never seen has none', () => {
  const dueMs = Float64Array.from([0, 1, 2, 3, 4, 5, 6]);
  const histogram = measureLatencies({ dueMs, startMs: 1_000, seenMs: storedMs });
  const { count, p50Ms, maxMs } = histogram.percentiles();
  expect(count).toBe(5);
  expect(p50Ms).toBeCloseTo(10, 1);
  expect(maxMs).toBeCloseTo(18, 1);
});

test('adjoining runs are one range, others their own', () => {
  expect(offsetRanges(runs)).toEqual([
    { partition: 0, first: 10, last: 12 },
    { partition: 1, first: 50, last: 50 },
    { partition: 1, first: 60, last: 61 },
  ]);
});

test('a place of the topic leads to its message, a foreign one to none', () => {
  const find = messageFinder(runs, 2);
  const places = [
    { partition: 0, offset: 10 },
    { partition: 0, offset: 11 },
    { partition: 0, offset: 12 },
    { partition: 1, offset: 61 },
  ];
  expect(places.map(find)).toEqual([0, 2, 4, 5]);
  for (const place of [
    { partition: 0, offset: 9 },
    { partition: 0, offset: 13 },
    { partition: 1, offset: 55 },
    { partition: 2, offset: 10 },
  ]) {
    expect(find(place)).toBeUndefined();
  }
});

test('the backlog is what was acknowledged and not yet seen stored', () => {
  expect(measureBacklog({ runs, storedMs, lastSentMs: 1_010 })).toEqual({ peakMessages: 4, endMessages: 4 });
});

test('a backlog is drained at the rate after its sending and its first part', () => {
  const steady = Float64Array.from({ length: 101 }, (_, index) =>
    index < 20 ? 0 : 1_000 + (index - 20) * 10,
  );
  expect(measureDrain(steady, 500).messagesPerSecond).toBeCloseTo(100, 6);
  expect(measureDrain(steady, 500).seconds).toBeCloseTo(0.7, 6);
  expect(measureDrain(steady, 500).hadBacklog).toBe(true);
  const faster = steady.map((time, index) => (index <= 60 ? time : 1_400 + (index - 60) * 5));
  expect(measureDrain(faster, 1_405).messagesPerSecond).toBeCloseTo(200, 6);
});

test('what was stored before everything was sent still has a rate, which is known to be the sender’s', () => {
  const steady = Float64Array.from({ length: 101 }, (_, index) => index * 10);
  expect(measureDrain(steady, 5_000).messagesPerSecond).toBeCloseTo(100, 6);
  for (const lastSentMs of [5_000, 1_000, 850])
    expect(measureDrain(steady, lastSentMs).hadBacklog).toBe(false);
});

test('the text form of a histogram counts in milliseconds', () => {
  const histogram = measureLatencies({ dueMs: Float64Array.of(0), startMs: 0, seenMs: Float64Array.of(2.5) });
  expect(histogram.hgrm()).toContain('#[Max     =        2.500, Total count    =            1]');
});
