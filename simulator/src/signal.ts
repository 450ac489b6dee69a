// What healthy stations measure, independently drawn or with a day, a memory and features that go
// together. Pure.
import {
  CORRELATION,
  createQuantileTable,
  FEATURES,
  type FeatureName,
  type QuantileTable,
  standardDeviation,
} from './distribution.ts';
import type { Reading } from './fleet.ts';
import { normalQuantile } from './normal.ts';
import { createStream } from './random.ts';

/** Fills in a reading's values, faults aside. */
export type Signal = (reading: Reading, readingIndex: number, timeMs: number) => void;

export function independentSignal(seed: number): Signal {
  const stream = createStream(seed, 'signal');
  const tables = FEATURES.map((feature) => createQuantileTable(feature, 0));
  return ({ stationIndex, values }, readingIndex) => {
    const draws = stream.at(readingIndex, stationIndex);
    for (let index = 0; index < values.length; index++) {
      values[index] = (tables[index] as QuantileTable)(normalQuantile(draws[index] as number));
    }
  };
}

/** How far each feature is moved, in its standard deviations; what is not named stays. */
export type Shift = Readonly<Partial<Record<FeatureName, number>>>;

/** The same readings, moved: what a new season or a new sensor does to a fleet. */
export function shiftedSignal(signal: Signal, shift: Shift): Signal {
  const distances = FEATURES.map((feature) => (shift[feature.name] ?? 0) * standardDeviation(feature));
  return (reading, readingIndex, timeMs) => {
    signal(reading, readingIndex, timeMs);
    for (let index = 0; index < distances.length; index++) {
      reading.values[index] = (reading.values[index] as number) + (distances[index] as number);
    }
  };
}

/** After this time a station has forgotten 63 % of a deviation from its daily cycle. */
const MEMORY_MS = 20 * 60_000;
const DAY_MS = 86_400_000;

type CorrelatedOptions = {
  readonly seed: number;
  readonly stationCount: number;
  readonly intervalMs: number;
};

/** A Gaussian copula: correlated AR(1) noise per station on a daily cycle, mapped so that the marginals stay. */
export function correlatedSignal({ seed, stationCount, intervalMs }: CorrelatedOptions): Signal {
  const stream = createStream(seed, 'signal');
  const factor = cholesky(CORRELATION);
  const tables = FEATURES.map((feature) => createQuantileTable(feature, feature.dailyAmplitude));
  const memory = Math.exp(-intervalMs / MEMORY_MS);
  const fresh = Math.sqrt(1 - memory * memory);
  const noises = new Float64Array(stationCount * FEATURES.length);
  const normals = new Float64Array(FEATURES.length);
  return ({ stationIndex, values }, readingIndex, timeMs) => {
    const draws = stream.at(readingIndex, stationIndex);
    for (let index = 0; index < normals.length; index++)
      normals[index] = normalQuantile(draws[index] as number);
    for (let index = 0; index < values.length; index++) {
      const feature = FEATURES[index] as (typeof FEATURES)[number];
      const place = stationIndex * FEATURES.length + index;
      const innovation = dot(factor[index] as readonly number[], normals);
      // The first noise is a whole one, so the process is stationary from its first reading.
      noises[place] =
        readingIndex === 0 ? innovation : memory * (noises[place] as number) + fresh * innovation;
      const amplitude = feature.dailyAmplitude;
      const day = Math.cos((2 * Math.PI * (timeMs - feature.peakHour * 3_600_000)) / DAY_MS);
      const latent = amplitude * day + Math.sqrt(1 - (amplitude * amplitude) / 2) * (noises[place] ?? 0);
      values[index] = (tables[index] as QuantileTable)(latent);
    }
  };
}

function dot(left: readonly number[], right: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < left.length; index++) sum += (left[index] as number) * (right[index] as number);
  return sum;
}

/** The lower triangular L with L·Lᵀ = matrix. */
export function cholesky(matrix: readonly (readonly number[])[]): number[][] {
  const lower: number[][] = [];
  for (const [row, entries] of matrix.entries()) {
    const line: number[] = [];
    for (let column = 0; column <= row; column++) {
      const above = lower[column] ?? line;
      let rest = entries[column] as number;
      for (let index = 0; index < column; index++) rest -= (line[index] as number) * (above[index] as number);
      line.push(row === column ? Math.sqrt(rest) : rest / (above[column] as number));
    }
    lower.push(line);
  }
  return lower;
}
