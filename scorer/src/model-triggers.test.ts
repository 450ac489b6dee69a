import { afterEach, expect, test } from 'bun:test';
import { createLog } from './log.ts';
import { ModelFailure } from './model-failure.ts';
import type { ChangeRequest } from './model-keeper.ts';
import { startTriggers, type TriggerOptions } from './model-triggers.ts';
import type { Announcement } from './model-update.ts';

let end: () => Promise<void> = () => Promise.resolve();
afterEach(() => end());

function start(changes: Partial<TriggerOptions> = {}) {
  const looks: ChangeRequest[] = [];
  let announce: (announcement: Announcement) => void = () => {};
  let isClosed = false;
  end = startTriggers({
    keeper: {
      look(request) {
        looks.push(request);
        return Promise.resolve(false);
      },
    },
    followed: { name: 'lonetree', alias: 'champion' },
    challenger: null,
    updates: {
      follow(handle) {
        announce = handle;
      },
      close() {
        isClosed = true;
        return Promise.resolve();
      },
    },
    pollIntervalMs: 1e6,
    random: () => 0,
    log: createLog('silent'),
    ...changes,
  });
  return {
    looks,
    isClosed: () => isClosed,
    announce: (content: object | string) =>
      announce({
        value: Buffer.from(typeof content === 'string' ? content : JSON.stringify(content)),
        headers: {},
      }),
  };
}

const announced = { name: 'lonetree', alias: 'champion', version: '4', reason: 'ann: summer' };

test('an announcement of the followed alias makes the scorer look, with its reason', () => {
  const { looks, announce } = start();
  announce(announced);
  expect(looks).toEqual([{ cause: 'update', requestedBy: '', why: 'ann: summer' }]);
});

test('announcements of other names and aliases, and what cannot be read, are passed over', () => {
  const { looks, announce } = start();
  announce({ ...announced, name: 'other' });
  announce({ ...announced, alias: 'challenger' });
  announce('{');
  announce('');
  expect(looks).toEqual([]);
  announce(announced);
  expect(looks).toHaveLength(1);
});

test('the challenger is looked for at the start, when it is announced, and after every look for the champion', async () => {
  let count = 0;
  const challenger = {
    alias: 'challenger',
    look() {
      count += 1;
      return Promise.resolve();
    },
  };
  const { looks, announce } = start({ challenger });
  expect(count).toBe(1);
  announce({ ...announced, name: 'other', alias: 'challenger' });
  announce({ ...announced, alias: 'another' });
  expect(count).toBe(1);
  announce({ ...announced, alias: 'challenger' });
  expect([count, looks.length]).toEqual([2, 0]);
  announce(announced);
  await Bun.sleep(1);
  expect([count, looks.length]).toEqual([3, 1]);
});

test('one look answers all announcements that came while another was under way', async () => {
  const whys: string[] = [];
  const { promise: first, resolve } = Promise.withResolvers<boolean>();
  const { announce } = start({
    keeper: {
      look({ why }) {
        whys.push(why);
        return whys.length === 1 ? first : Promise.resolve(true);
      },
    },
  });
  for (let count = 0; count < 1_000; count += 1) announce({ ...announced, reason: String(count) });
  resolve(true);
  await Bun.sleep(1);
  expect(whys).toEqual(['0', '999']);
});

test('without announcements it looks again and again, also after a failure', async () => {
  let count = 0;
  const { promise: third, resolve } = Promise.withResolvers<void>();
  start({
    updates: null,
    pollIntervalMs: 2,
    keeper: {
      look({ cause }) {
        expect(cause).toBe('poll');
        count += 1;
        if (count === 3) resolve();
        return Promise.reject(new ModelFailure('registry-away', 'away'));
      },
    },
  });
  await third;
});

test('after the end nothing is looked for', async () => {
  const { looks, isClosed } = start({ pollIntervalMs: 2 });
  await end();
  const before = looks.length;
  await Bun.sleep(20);
  expect(looks).toHaveLength(before);
  expect(isClosed()).toBe(true);
});
