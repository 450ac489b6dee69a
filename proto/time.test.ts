import { expect, test } from 'bun:test';
import { parseIsoTime } from './time.ts';

test.each([
  ['2026-11-23', '2026-11-23T00:00:00.000Z'],
  ['2026-11-23 06:30', '2026-11-23T06:30:00.000Z'],
  ['2026-11-23T06:30:15', '2026-11-23T06:30:15.000Z'],
  ['2026-11-23t06:30:15z', '2026-11-23T06:30:15.000Z'],
  ['2026-11-23T06:30:15,25Z', '2026-11-23T06:30:15.250Z'],
  ['2026-11-23T06:30:15.123456789Z', '2026-11-23T06:30:15.123Z'],
  ['2026-11-23T06:30:15.250+02:00', '2026-11-23T04:30:15.250Z'],
  ['2026-11-23T06:30-0330', '2026-11-23T10:00:00.000Z'],
  ['2026-11-23T06:30+02', '2026-11-23T04:30:00.000Z'],
  ['2024-02-29', '2024-02-29T00:00:00.000Z'],
  ['+200000-01-01T00:00:00Z', '+200000-01-01T00:00:00.000Z'],
])('%s is %s', (text, expected) => {
  expect(new Date(parseIsoTime(text)).toISOString()).toBe(expected);
});

test.each([
  '',
  '5',
  '2026',
  '2026-11',
  '1795420800000',
  '11/23/2026 08:00',
  'Nov 23 2026',
  '2026-13-01',
  '2026-02-30',
  '2025-02-29T12:00Z',
  '2026-11-23T25:00',
  '2026-11-23T12:60Z',
  '2026-11-23T12:00+25:00',
  '2026-11-23Z',
  ' 2026-11-23',
  'NaN',
])('%j is no time', (text) => {
  expect(parseIsoTime(text)).toBeNaN();
});

test('a time without a zone is the same one in every zone', () => {
  const program = `import { parseIsoTime } from ${JSON.stringify(new URL('time.ts', import.meta.url).pathname)};
    console.log(parseIsoTime('2026-07-01T08:00:00'));`;
  for (const TZ of ['UTC', 'America/New_York', 'Asia/Kolkata']) {
    const { stdout, exitCode } = Bun.spawnSync([process.execPath, '-e', program], {
      env: { ...process.env, TZ },
    });
    expect([exitCode, Number(stdout.toString())]).toEqual([0, Date.UTC(2026, 6, 1, 8)]);
  }
});
