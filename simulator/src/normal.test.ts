// Compares with scipy 1.17.1: scipy.stats.norm.cdf and .ppf.
import { describe, expect, test } from 'bun:test';
import { normalQuantile, normalTail } from './normal.ts';

const TAILS = [
  [7, 1.279812543885835e-12],
  [5, 2.866515718791933e-7],
  [3, 0.0013498980316300931],
  [1, 0.15865525393145707],
  [0.1, 0.460172162722971],
  [0, 0.5],
  [-0.5, 0.6914624612740131],
  [-4, 0.9999683287581669],
] as const;

const QUANTILES = [
  [1.1641532182693481e-10, -6.3379577545537895],
  [1e-6, -4.753424308822899],
  [0.001, -3.090232306167813],
  [0.02425, -1.972961051311885],
  [0.3, -0.5244005127080409],
  [0.5, 0],
  [0.7, 0.5244005127080407],
  [0.999, 3.090232306167813],
] as const;

describe('normal', () => {
  test.each(TAILS)('above %p lies %p', (z, expected) => {
    expect(Math.abs(normalTail(z) / expected - 1)).toBeLessThan(1e-14);
  });

  test('series and continued fraction meet where one takes over from the other', () => {
    expect(normalTail(2.5 + 1e-13) / normalTail(2.5 - 1e-13)).toBeCloseTo(1, 11);
  });

  test.each(QUANTILES)('quantile at %p is %p', (probability, expected) => {
    expect(Math.abs(normalQuantile(probability) - expected)).toBeLessThan(
      1e-14 * Math.max(1, Math.abs(expected)),
    );
  });
});
