// Proves the fast table against the exact quantiles it was made from.
import { describe, expect, test } from 'bun:test';
import { betaQuantile } from './beta.ts';
import { createQuantileTable, FEATURES, standardDeviation } from './distribution.ts';
import { normalTail } from './normal.ts';

describe('distribution', () => {
  test.each([...FEATURES])('$name: interpolation is nearer than a float32 can tell', (feature) => {
    const table = createQuantileTable(feature, 0);
    const { alpha, beta, scale, shift } = feature;
    for (let z = -6.4; z < 6.4; z += 0.0137) {
      const x =
        z < 0 ? betaQuantile(normalTail(-z), alpha, beta) : 1 - betaQuantile(normalTail(z), beta, alpha);
      expect(Math.abs(table(z) - (scale * x + shift))).toBeLessThan(1e-7);
    }
  });

  test('a value grows with its latent number, and stops at the ends of the table', () => {
    const table = createQuantileTable(FEATURES[1], FEATURES[1].dailyAmplitude);
    for (let z = -7; z < 7; z += 0.01) expect(table(z + 0.01)).toBeGreaterThan(table(z));
    expect([table(-50), table(50)]).toEqual([table(-7), table(7)]);
  });

  test('standard deviations are those of the scaled beta distributions', () => {
    // scipy.stats.beta.std(alpha, beta) * scale
    expect(standardDeviation(FEATURES[0])).toBeCloseTo(0.0494978454747552 * 35, 12);
    expect(standardDeviation(FEATURES[1])).toBeCloseTo(0.12099275394874762 * 88, 12);
    expect(standardDeviation(FEATURES[2])).toBeCloseTo(0.021772739145014788 * 130, 12);
  });
});
