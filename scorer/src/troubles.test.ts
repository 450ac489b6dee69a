import { expect, test } from 'bun:test';
import { createTroubles } from './troubles.ts';

function setUp(countMax = 10) {
  const clock = { ms: 0 };
  return { clock, isNews: createTroubles({ quietMs: 100, countMax, now: () => clock.ms }) };
}

test('a trouble that comes again and again is news once, however long it lasts', () => {
  const { clock, isNews } = setUp();
  const news = Array.from({ length: 50 }, () => {
    clock.ms += 99;
    return isNews('the store is away');
  });
  expect(news.filter(Boolean)).toHaveLength(1);
  expect(news[0]).toBe(true);
});

test('after a time without it, it is news again', () => {
  const { clock, isNews } = setUp();
  isNews('away');
  clock.ms = 100;
  expect([isNews('away'), isNews('away')]).toEqual([true, false]);
});

test('troubles do not hide one another', () => {
  const { isNews } = setUp();
  expect([isNews('a'), isNews('b'), isNews('a'), isNews('b')]).toEqual([true, true, false, false]);
});

test('of more troubles than it is to remember, those that came last are remembered', () => {
  const { isNews } = setUp(2);
  for (const trouble of ['a', 'b', 'a', 'c']) isNews(trouble);
  expect([isNews('a'), isNews('c'), isNews('b')]).toEqual([false, false, true]);
});
