// Compares with scipy 1.17.1: scipy.stats.beta.ppf and .cdf.
import { describe, expect, test } from 'bun:test';
import { betaCdf, betaQuantile } from './beta.ts';

const QUANTILES = [
  [53.822, 46.706, 1e-9, 0.25380126674270725],
  [53.822, 46.706, 1e-6, 0.3063326490692923],
  [53.822, 46.706, 0.25, 0.5019252469926396],
  [53.822, 46.706, 0.999, 0.6839175644162059],
  [1.987, 7.945, 1e-9, 4.9423546736847615e-6],
  [1.987, 7.945, 1e-4, 0.0016290349473539218],
  [1.987, 7.945, 0.5, 0.1795428396973623],
  [1.987, 7.945, 0.999, 0.6666712732883426],
  [264.759, 261.59, 1e-9, 0.37431003665071166],
  [264.759, 261.59, 0.01, 0.45240065832055054],
  [264.759, 261.59, 0.5, 0.5030141758243796],
  [264.759, 261.59, 0.999, 0.5700517790929231],
] as const;

const CUMULATIVE = [
  [53.822, 46.706, 0.05, 4.984339343370708e-43],
  [53.822, 46.706, 0.5, 0.2379280578797847],
  [53.822, 46.706, 0.7, 0.9997209298811046],
  [1.987, 7.945, 0.05, 0.07200180209079877],
  [1.987, 7.945, 0.7, 0.9995490137520676],
  [264.759, 261.59, 0.2, 3.087130764244129e-54],
  [264.759, 261.59, 0.55, 0.9846346951402004],
] as const;

describe('beta', () => {
  test.each(QUANTILES)('quantile of Beta(%p, %p) at %p is %p', (alpha, beta, probability, expected) => {
    expect(Math.abs(betaQuantile(probability, alpha, beta) / expected - 1)).toBeLessThan(1e-12);
  });

  test('upper quantiles keep their digits through the mirrored distribution', () => {
    // scipy.stats.beta.isf(1e-9, …)
    expect(1 - betaQuantile(1e-9, 46.706, 53.822)).toBeCloseTo(0.8020893917958127, 12);
    expect(1 - betaQuantile(1e-9, 7.945, 1.987)).toBeCloseTo(0.9435695531268518, 12);
  });

  test.each(CUMULATIVE)('cdf of Beta(%p, %p) at %p is %p', (alpha, beta, x, expected) => {
    expect(Math.abs(betaCdf(x, alpha, beta) / expected - 1)).toBeLessThan(1e-11);
  });

  test('nothing lies outside 0 and 1', () => {
    expect([betaCdf(-1, 2, 3), betaCdf(0, 2, 3), betaCdf(1, 2, 3), betaCdf(2, 2, 3)]).toEqual([0, 0, 1, 1]);
  });
});
