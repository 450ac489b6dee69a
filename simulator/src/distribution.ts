// What each sensor measures: its distribution, its day, and a fast way from a normal number to a value.
import { betaQuantile } from './beta.ts';
import { normalTail } from './normal.ts';

export type Feature = {
  readonly name: string;
  /** UCUM. */
  readonly unit: string;
  /** A value is `scale · X + shift` with X ~ Beta(alpha, beta). */
  readonly alpha: number;
  readonly beta: number;
  readonly scale: number;
  readonly shift: number;
  /** Amplitude of the daily cycle in units of the latent normal, below √2 as the whole variance is 1. */
  readonly dailyAmplitude: number;
  /** Hour of the day (UTC) with the highest values. */
  readonly peakHour: number;
};

export const FEATURES = [
  {
    name: 'temperature',
    unit: 'Cel',
    alpha: 53.822,
    beta: 46.706,
    scale: 35,
    shift: 10,
    dailyAmplitude: 1,
    peakHour: 15,
  },
  {
    name: 'humidity',
    unit: '%',
    alpha: 1.987,
    beta: 7.945,
    scale: 88,
    shift: 0,
    dailyAmplitude: 0.8,
    peakHour: 5,
  },
  {
    name: 'sound',
    unit: 'dB',
    alpha: 264.759,
    beta: 261.59,
    scale: 130,
    shift: -11,
    dailyAmplitude: 0.6,
    peakHour: 13,
  },
] as const satisfies readonly Feature[];

export type FeatureName = (typeof FEATURES)[number]['name'];

/** How the features' latent normals go together beside the daily cycle: warm air is drier, noise follows nobody. */
export const CORRELATION: readonly (readonly number[])[] = [
  [1, -0.6, 0.15],
  [-0.6, 1, -0.1],
  [0.15, -0.1, 1],
];

export function standardDeviation(feature: Feature): number {
  const { alpha, beta, scale } = feature;
  const sum = alpha + beta;
  return scale * Math.sqrt((alpha * beta) / (sum * sum * (sum + 1)));
}

const Z_MAX = 7;
const STEPS_PER_UNIT = 32;
const POINT_COUNT = 2 * Z_MAX * STEPS_PER_UNIT + 1;

/** Tabulated `z → value`: smooth also in the tails, where a table over probabilities would be useless. */
export type QuantileTable = (z: number) => number;

/**
 * Maps a latent number to the feature's distribution. With a cycle the latent number is
 * `amplitude · sin(day) + √(1 − amplitude²/2) · normal`; its own distribution over a whole day is taken out here,
 * so the values still follow the beta distribution.
 */
export function createQuantileTable(feature: Feature, cycleAmplitude: number): QuantileTable {
  const points = new Float64Array(POINT_COUNT);
  for (let index = 0; index < POINT_COUNT; index++) {
    points[index] = quantileAt((index - Z_MAX * STEPS_PER_UNIT) / STEPS_PER_UNIT, feature, cycleAmplitude);
  }
  return (z) => interpolate(points, z);
}

function quantileAt(z: number, feature: Feature, cycleAmplitude: number): number {
  const { alpha, beta, scale, shift } = feature;
  const tail = latentTail(Math.abs(z), cycleAmplitude);
  // The smaller tail keeps its digits; the distribution of z is symmetric.
  const x = z < 0 ? betaQuantile(tail, alpha, beta) : 1 - betaQuantile(tail, beta, alpha);
  return scale * x + shift;
}

const DAY_STEPS = 256;

/** P(latent > z), the mean over the day; the trapezoid sum of a smooth periodic function converges at once. */
function latentTail(z: number, cycleAmplitude: number): number {
  if (cycleAmplitude === 0) return normalTail(z);
  const noise = Math.sqrt(1 - (cycleAmplitude * cycleAmplitude) / 2);
  let sum = 0;
  for (let step = 0; step < DAY_STEPS; step++) {
    sum += normalTail((z - cycleAmplitude * Math.sin((2 * Math.PI * step) / DAY_STEPS)) / noise);
  }
  return sum / DAY_STEPS;
}

/** Cubic through the four nearest points (Lagrange); beyond the table the outermost value. */
function interpolate(points: Float64Array, z: number): number {
  const position = (Math.min(Math.max(z, -Z_MAX), Z_MAX) + Z_MAX) * STEPS_PER_UNIT;
  const index = Math.min(Math.max(Math.floor(position), 1), POINT_COUNT - 3);
  const t = position - index;
  const before = points[index - 1] as number;
  const left = points[index] as number;
  const right = points[index + 1] as number;
  const after = points[index + 2] as number;
  const outer = (t * (t - 1)) / 6;
  const inner = ((t + 1) * (t - 2)) / 2;
  return outer * ((t + 1) * after - (t - 2) * before) + inner * ((t - 1) * left - t * right);
}
