import { expect, test } from 'bun:test';
import { Engine } from '../src/index.ts';
import { drawForest, drawRow, type PlainForest, writeForest } from './forest-writer.ts';
import { pathLengthSum } from './plain-forest.ts';
import { reasonsOf, severityOf } from './plain-verdict.ts';
import { createRandom, type Random } from './random.ts';

const drawAnyForest = (random: Random, hasGuards: boolean) =>
  drawForest(random, {
    featureCount: random.pick([1, 2, 3, 5, 8, 21, 64, 255, 256]),
    treeCount: 1 + random.below(24),
    depthMax: random.below(11),
    hasGuards,
  });

const flatten = (rows: readonly (readonly number[])[]) => Float32Array.from(rows.flat());
const drawRows = (random: Random, forest: PlainForest, count: number) =>
  Array.from({ length: count }, () => drawRow(random, forest.features.length));

test('sums of random forests are bit for bit those of the plain forest, in blocks of any size', async () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = createRandom(seed);
    const forest = drawAnyForest(random, false);
    const engine = await Engine.load(writeForest(forest));
    const count = random.pick([1, 2, 7, 8, 9, 15, 16, 17, 63, 255, 256, 257, 300, 520]);
    const rows = drawRows(random, forest, count);
    engine.loadRows(flatten(rows), count);
    const expected = rows.map((row) => pathLengthSum(forest.trees, row));
    expect({ seed, sums: [...engine.sumRows()] }).toEqual({ seed, sums: expected });
  }
}, 120_000);

test('values on a threshold go left, the next larger float32 goes right', async () => {
  const random = createRandom(7);
  for (const threshold of [0, -0, 1, -1, 0.1, 1e-45, 3.3e38, -3.3e38, 16777216].map(Math.fround)) {
    const forest = drawForest(random, {
      featureCount: 1,
      treeCount: 3,
      depthMax: 1,
      thresholds: [threshold],
    });
    const engine = await Engine.load(writeForest(forest));
    const bits = new Int32Array(new Float32Array([threshold]).buffer)[0] as number;
    const near = [bits - 1, bits, bits + 1].map(
      (n) => new Float32Array(Int32Array.of(n).buffer)[0] as number,
    );
    engine.loadRows(Float32Array.from(near), 3);
    expect([...engine.sumRows()]).toEqual(near.map((value) => pathLengthSum(forest.trees, [value])));
  }
});

test('reasons, verdicts and severities of random models with guards are those of the plain definition', async () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 150; seed += 1) {
    const random = createRandom(seed);
    const forest = drawAnyForest(random, seed % 10 > 0);
    const engine = await Engine.load(writeForest(forest));
    const rows = drawRows(random, forest, 100);
    engine.loadRows(flatten(rows), rows.length);
    const block = engine.score();
    const found = new Map([...block.anomalyRows].map((row, index) => [row, block.reasonsOf(index)]));
    for (const [index, row] of rows.entries()) {
      const sum = pathLengthSum(forest.trees, row);
      const score = forest.denominator === 0 ? -0.5 : -(2 ** (-sum / forest.denominator));
      const reasons = reasonsOf(forest, row, sum);
      const severity = severityOf(forest, row, score, reasons.length > 0);
      expect({ seed, index, reasons: found.get(index) ?? [] }).toEqual({ seed, index, reasons });
      expect(block.isAnomaly[index]).toBe(Number(reasons.length > 0));
      expect(Math.abs((block.scores[index] as number) - score)).toBeLessThan(2.3e-16);
      if (forest.guards === null) expect(block.severities[index]).toBeNaN();
      else expect(Math.abs((block.severities[index] as number) - severity)).toBeLessThan(1e-9);
      for (const reason of reasons) kinds.add(reason.split(':')[0] as string);
    }
  }
  expect([...kinds].sort()).toEqual(['forest', 'high', 'low', 'missing']);
}, 120_000);

test('a scored block shows missing values as NaN, and scoring it again gives the same', async () => {
  const random = createRandom(3);
  const forest = drawForest(random, { featureCount: 3, treeCount: 20, depthMax: 8, hasGuards: true });
  const engine = await Engine.load(writeForest(forest));
  const rows = [
    [Number.NaN, 1, 2],
    [0, Number.POSITIVE_INFINITY, 3.4e38],
    [1, 2, 3],
  ];
  engine.loadRows(flatten(rows), 3);
  const first = engine.score();
  expect([...first.values.slice(0, 3)]).toEqual([Number.NaN, 1, 2]);
  expect([...first.values.slice(first.valueStride, first.valueStride + 3)]).toEqual([
    0,
    Number.NaN,
    Math.fround(3.4e38),
  ]);
  const sums = [...first.sums];
  expect([...engine.score().sums]).toEqual(sums);
  expect([...engine.sumRows()]).toEqual(sums);
});

test('scores stay within 2.3e-16 of the exact power over the whole range', async () => {
  const random = createRandom(5);
  const forest = drawForest(random, { featureCount: 1, treeCount: 1, depthMax: 0 });
  for (let trial = 0; trial < 400; trial += 1) {
    const sum = random.next() * 4 * forest.denominator;
    const leaf = { threshold: 0, feature: 0, isMissingRight: false, left: 0, value: sum };
    const engine = await Engine.load(writeForest({ ...forest, trees: [[leaf]] }));
    engine.loadRows(Float32Array.of(1), 1);
    const expected = -(2 ** (-sum / forest.denominator));
    expect(Math.abs((engine.score().scores[0] as number) - expected)).toBeLessThan(2.3e-16);
  }
});
