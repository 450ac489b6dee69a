import { afterEach, beforeEach, expect, jest, test } from 'bun:test';
import type { AnomalyRecord } from './store.ts';
import { createTerminal, type TerminalOptions } from './terminal.ts';

const anomaly: AnomalyRecord = {
  id: 'readings-0-7-0',
  topic: 'readings',
  partition: 0,
  offset: 7n,
  row: 0,
  station: 'press-1',
  timeMs: Date.UTC(2026, 10, 23, 12, 34, 56),
  values: [91.26, null],
  features: ['temperature', 'sound'],
  score: -0.71234,
  decision: -0.1,
  severity: 3.14,
  reasons: ['forest', 'high:temperature'],
  modelSha256: 'a'.repeat(64),
  modelVersion: '',
};
const anomalyLine =
  '12:34:56  press-1       temperature 91.3  sound missing  score -0.712  severity 3.1  forest + high:temperature';

const esc = '\x1b';
const eraseLine = `\r${esc}[2K`;
const plain = { isInteractive: false, useColour: false };
const interactive = { isInteractive: true, useColour: false };

let nowMs: number;
let written: string;
beforeEach(() => {
  jest.useFakeTimers();
  nowMs = 0;
  written = '';
});
afterEach(() => {
  jest.useRealTimers();
});

const open = (options: Pick<TerminalOptions, 'isInteractive' | 'useColour'>) =>
  createTerminal({
    ...options,
    write(text) {
      written += text;
    },
    now: () => nowMs,
  });

function pass(milliseconds: number): void {
  nowMs += milliseconds;
  jest.advanceTimersByTime(milliseconds);
}

/** What was written since the last look. */
function take(): string {
  const text = written;
  written = '';
  return text;
}

test('an abnormal reading is one line: when, where, its values, how abnormal and why', () => {
  const terminal = open(plain);
  terminal.anomalies([anomaly]);
  expect(take()).toBe(`${anomalyLine}\n`);
  terminal.anomalies([{ ...anomaly, severity: null }]);
  expect(take()).toBe(`${anomalyLine.replace('  severity 3.1', '')}\n`);
  terminal.stop();
});

test('of a block with many abnormal readings the first are shown and the rest counted', () => {
  const terminal = open(plain);
  terminal.anomalies(Array.from({ length: 13 }, () => anomaly));
  const lines = take().trimEnd().split('\n');
  expect(lines).toHaveLength(11);
  expect(lines.at(-1)).toBe('… and 3 more in this block');
  terminal.stop();
  expect(take()).toContain('13 abnormal');
});

test('without a terminal there are plain lines and no control characters', () => {
  const terminal = open(plain);
  terminal.line('Lonetree listens');
  terminal.readings(12_345);
  terminal.anomalies([anomaly]);
  pass(10_000);
  pass(10_000);
  terminal.stop();
  expect(take().split('\n')).toEqual([
    'Lonetree listens',
    anomalyLine,
    '1235 readings/s · 12,345 readings, 1 abnormal',
    '0.0 readings/s · 12,345 readings, 1 abnormal',
    '12,345 readings, 1 abnormal in 20 s. They are kept: start again and it continues here.',
    '',
  ]);
});

test('on a terminal the status stays the last line: it is erased before each line and written again below it', () => {
  const terminal = open(interactive);
  terminal.readings(12);
  pass(1_000);
  const status = '12.0 readings/s · 12 readings, 0 abnormal';
  expect(take()).toBe(`${eraseLine}${status}`);
  terminal.anomalies([anomaly]);
  expect(take()).toBe(`${eraseLine}${anomalyLine}\n${status}`);
  terminal.stop();
  expect(take()).toBe(
    `${eraseLine}12 readings, 1 abnormal in 1 s. They are kept: start again and it continues here.\n`,
  );
});

test('colours end where they begin, and mark the suspicious value', () => {
  const terminal = open({ isInteractive: true, useColour: true });
  terminal.anomalies([anomaly]);
  const text = take();
  expect(text).toContain(`${esc}[1mtemperature 91.3${esc}[0m`);
  expect(text).not.toContain('msound');
  const codes = [...text.matchAll(/\[(\d+)m/g)].map(([, code]) => code);
  expect(codes.filter((code) => code === '0')).toHaveLength(codes.length / 2);
  terminal.stop();
});

test('nothing is written after the end', () => {
  const terminal = open(interactive);
  terminal.stop();
  take();
  pass(60_000);
  expect(take()).toBe('');
});

test('a station’s name cannot move the cursor or hide other lines', () => {
  const terminal = open(plain);
  terminal.anomalies([{ ...anomaly, station: `a${esc}[2Jb\nc\r` }]);
  const text = take();
  expect(text).not.toContain(esc);
  expect(text.trimEnd()).not.toContain('\n');
  expect(text).not.toContain('\r');
  terminal.stop();
});
