import { expect, test } from 'bun:test';
import { parseOptions } from './options.ts';

test('without options it measures the rate of one scorer', () => {
  expect(parseOptions([])).toEqual({
    readings: 10_000_000,
    batch: 1_000,
    partitions: 6,
    scorers: 1,
    rounds: 3,
    compression: 'producer',
    mode: { kind: 'rate' },
  });
});

test.each([
  [['--soak', '15', '--rate', '600000'], { kind: 'soak', minutes: 15, readingsPerSecond: 600_000 }],
  [['--shadow', '0.1'], { kind: 'shadow', sampleRate: '0.1' }],
  [['--metrics'], { kind: 'metrics' }],
] as const)('%p', (args, mode) => {
  expect(parseOptions(args)).toMatchObject({ mode });
});

test.each([
  [['--batch', '0'], '--batch is "0"; give a whole number from 1 to 10000'],
  [['--readings', 'x'], '--readings is "x"; give a whole number from 1 to 1000000000'],
  [['--scorers', '1.5'], '--scorers is "1.5"'],
  [['--rounds', '-1'], "'--rounds' argument is ambiguous"],
  [['--compression', 'zip'], '--compression is "zip"; give one of producer, gzip, snappy, lz4, zstd'],
  [['--soak', 'x'], '--soak is "x"'],
  [['--shadow', '2'], '--shadow is "2"; give a share above 0 and up to 1'],
  [['--shadow', '0.1', '--metrics'], '--shadow and --metrics do not go together'],
  [['--rate', '5'], '--rate needs --soak'],
  [['--nope'], "Unknown option '--nope'"],
  [['5'], "Unexpected argument '5'"],
])('%p is refused', (args, reason) => {
  expect(() => parseOptions(args)).toThrow(reason);
});
