// Proves what a fleet measures: reproducible, with the stated distributions, and in correlated mode with a
// day and a memory.
import { describe, expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { betaCdf } from './beta.ts';
import { CORRELATION, FEATURES, type Feature, standardDeviation } from './distribution.ts';
import { createFleet, type FleetOptions } from './fleet.ts';
import { cholesky } from './signal.ts';

const MIDNIGHT_MS = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;
const BASE: FleetOptions = {
  stationCount: 10,
  seed: 1,
  mode: 'independent',
  intervalMs: 1_000,
  startMs: MIDNIGHT_MS,
  faults: null,
};

type Row = { stationIndex: number; timeMs: number; values: number[] };

function rows(options: Partial<FleetOptions>, count: number): Row[] {
  const fleet = createFleet({ ...BASE, ...options });
  return Array.from({ length: count }, () => {
    const { stationIndex, timeMs, values } = fleet.next();
    return { stationIndex, timeMs, values: [...values] };
  });
}

function digest(list: readonly Row[]): string {
  return createHash('sha256').update(JSON.stringify(list)).digest('hex').slice(0, 16);
}

/** Kolmogorov and Smirnov's largest distance from the exact distribution, times the root of the count. */
function kolmogorovSmirnov(values: readonly number[], { alpha, beta, scale, shift }: Feature): number {
  const sorted = values.toSorted((left, right) => left - right);
  let distance = 0;
  for (const [index, value] of sorted.entries()) {
    const probability = betaCdf((value - shift) / scale, alpha, beta);
    distance = Math.max(
      distance,
      probability - index / sorted.length,
      (index + 1) / sorted.length - probability,
    );
  }
  return distance * Math.sqrt(sorted.length);
}

function correlation(left: readonly number[], right: readonly number[]): number {
  const mean = (list: readonly number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [leftMean, rightMean] = [mean(left), mean(right)];
  let [both, leftSquares, rightSquares] = [0, 0, 0];
  for (const [index, value] of left.entries()) {
    const other = (right[index] as number) - rightMean;
    both += (value - leftMean) * other;
    leftSquares += (value - leftMean) ** 2;
    rightSquares += other ** 2;
  }
  return both / Math.sqrt(leftSquares * rightSquares);
}

const column = (list: readonly Row[], feature: number): number[] =>
  list.map(({ values }) => values[feature] as number);

describe('fleet', () => {
  test.each([
    ['independent', 'a0e57a986e1a399a'],
    ['correlated', '55b3a8ca61d6f95c'],
  ] as const)('%s: seed 1 gives the readings that it has always given', (mode, expected) => {
    expect(digest(rows({ mode, faults: { perStationHour: 20 } }, 5_000))).toBe(expected);
  });

  test.each(['independent', 'correlated'] as const)('%s: another seed gives other readings', (mode) => {
    expect(digest(rows({ mode, seed: 2 }, 100))).not.toBe(digest(rows({ mode }, 100)));
  });

  test('a station measures the same however many others there are', () => {
    const alone = rows({ stationCount: 1 }, 50);
    const among = rows({ stationCount: 7 }, 350).filter(({ stationIndex }) => stationIndex === 0);
    expect(among).toEqual(alone);
  });

  test('stations take turns, evenly spread over the interval', () => {
    const times = rows({ stationCount: 4 }, 9).map(({ stationIndex, timeMs }) => [
      stationIndex,
      timeMs - MIDNIGHT_MS,
    ]);
    expect(times).toEqual([
      [0, 0],
      [1, 250],
      [2, 500],
      [3, 750],
      [0, 1_000],
      [1, 1_250],
      [2, 1_500],
      [3, 1_750],
      [0, 2_000],
    ]);
  });

  // A true distribution exceeds 1.63 once in a hundred seeds. Hours apart the correlated readings are all but independent.
  test.each([
    ['independent', 1_000],
    ['correlated', HOUR_MS],
  ] as const)('%s: every feature follows its beta distribution', (mode, intervalMs) => {
    const list = rows({ mode, intervalMs, stationCount: 200 }, 200 * 24 * 10);
    for (const [index, feature] of FEATURES.entries()) {
      expect(kolmogorovSmirnov(column(list, index), feature)).toBeLessThan(1.63);
    }
  });

  test('independent: neither features nor following readings go together', () => {
    const list = rows({ stationCount: 1 }, 40_000);
    const temperature = column(list, 0);
    expect(Math.abs(correlation(temperature, column(list, 1)))).toBeLessThan(0.02);
    expect(Math.abs(correlation(temperature.slice(1), temperature.slice(0, -1)))).toBeLessThan(0.02);
  });

  // Over many stations at one hour, the daily cycle is the same for all and drops out.
  const stationCount = 4_000;
  const minutes = Array.from({ length: 61 }, () => [] as Row[]);
  for (const [index, row] of rows(
    { mode: 'correlated', stationCount, intervalMs: 60_000 },
    stationCount * 61,
  ).entries()) {
    minutes[Math.floor(index / stationCount)]?.push(row);
  }

  test('correlated: a station remembers the minute before, and has forgotten the hour before', () => {
    const first = column(minutes[0] as Row[], 0);
    expect(correlation(first, column(minutes[1] as Row[], 0))).toBeCloseTo(Math.exp(-1 / 20), 1);
    expect(correlation(first, column(minutes[1] as Row[], 0))).toBeGreaterThan(0.93);
    expect(Math.abs(correlation(first, column(minutes[60] as Row[], 0)) - Math.exp(-3))).toBeLessThan(0.05);
  });

  test('correlated: features of one reading go together as stated', () => {
    for (const at of [0, 30, 60]) {
      const list = minutes[at] as Row[];
      for (const [left, right] of [
        [0, 1],
        [0, 2],
        [1, 2],
      ] as const) {
        const stated = CORRELATION[left]?.[right] as number;
        expect(Math.abs(correlation(column(list, left), column(list, right)) - stated)).toBeLessThan(0.06);
      }
    }
  });

  test('correlated: every feature peaks at its hour', () => {
    const list = rows({ mode: 'correlated', intervalMs: HOUR_MS, stationCount: 500 }, 500 * 24);
    for (const [index, { peakHour }] of FEATURES.entries()) {
      const sums = Array.from({ length: 24 }, () => 0);
      for (const { timeMs, values } of list) {
        const hour = Math.floor((timeMs - MIDNIGHT_MS) / HOUR_MS) % 24;
        sums[hour] = (sums[hour] as number) + (values[index] as number);
      }
      const highest = sums.indexOf(Math.max(...sums));
      expect(Math.abs(highest - peakHour)).toBeLessThanOrEqual(1);
      expect(Math.abs(sums.indexOf(Math.min(...sums)) - ((peakHour + 12) % 24))).toBeLessThanOrEqual(1);
    }
  });

  test.each(['independent', 'correlated'] as const)('%s: a shift moves its features and no other', (mode) => {
    const shifted = rows({ mode, shift: { temperature: 1, sound: -0.5 } }, 1_000);
    const usual = rows({ mode }, 1_000);
    for (const [index, deviations] of [1, 0, -0.5].entries()) {
      const distance = deviations * standardDeviation(FEATURES[index] as Feature);
      const before = column(usual, index);
      for (const [at, value] of column(shifted, index).entries()) {
        expect(Math.abs(value - (before[at] as number) - distance)).toBeLessThan(1e-4);
      }
    }
  });

  test('the Cholesky factor times its transpose is the matrix', () => {
    const lower = cholesky(CORRELATION);
    const product = CORRELATION.map((line, row) =>
      line.map((_, at) =>
        (lower[row] as number[]).reduce((sum, value, index) => sum + value * (lower[at]?.[index] ?? 0), 0),
      ),
    );
    for (const [row, line] of CORRELATION.entries()) {
      for (const [at, value] of line.entries()) expect(product[row]?.[at]).toBeCloseTo(value, 14);
    }
  });

  test.each([
    [{ stationCount: 0 }, 'stationCount is 0'],
    [{ stationCount: 1.5 }, 'stationCount is 1.5'],
    [{ intervalMs: 0 }, 'intervalMs is 0'],
    [{ startMs: Number.NaN }, 'startMs is NaN'],
    [{ faults: { everyMs: 0 } }, 'fault plan says 0'],
    [{ faults: { perStationHour: 1, kinds: [] } }, 'names no kind'],
  ])('refuses %p', (options, message) => {
    expect(() => createFleet({ ...BASE, ...options })).toThrow(message);
  });
});
