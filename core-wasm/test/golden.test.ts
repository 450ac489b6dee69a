import { afterAll, beforeAll, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { runPython } from '@lonetree/devstack';
import { SensorBatchSchema } from '@lonetree/proto';
import { type Block, Engine } from '../src/index.ts';

// scikit-learn itself says what is right: the trainer writes models, rows and results, and the module must give the same.

type Case = { name: string; forest: string; features: string[]; rowCount: number; rows: string };
type Manifest = {
  models: (Case & { sums: string; scores: string })[];
  verdicts: (Case & { severities: string; reasons: string })[];
  auc: (Case & { labels: string; rocAuc: number })[];
};

const folder = mkdtempSync(join(tmpdir(), 'lonetree-golden-'));
let manifest: Manifest;

beforeAll(async () => {
  await runPython(['-m', 'lonetree_ml', 'golden', '--output', folder]);
  manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true }));

const bytesOf = (name: string) => Uint8Array.from(readFileSync(join(folder, name)));
const float32s = (name: string) => new Float32Array(bytesOf(name).buffer);
const float64s = (name: string) => new Float64Array(bytesOf(name).buffer);
const engineOf = ({ forest }: Case) => Engine.load(bytesOf(forest));

/** A batch with the rows from `first` on, columns in the order given and one that no model knows in between. */
function encodeBatch({ features }: Case, rows: Float32Array, first: number, count: number): Uint8Array {
  const column = (feature: number) =>
    Array.from({ length: count }, (_, row) => rows[(first + row) * features.length + feature] as number);
  const columns = features.map((name, feature) => ({ name, values: column(feature) })).reverse();
  columns.splice(1, 0, { name: 'unknown', values: Array<number>(count).fill(0) });
  return toBinary(
    SensorBatchSchema,
    create(SensorBatchSchema, {
      stations: ['s'],
      baseTimeMs: 1_760_000_000_000n,
      timeDeltasMs: Array<bigint>(count).fill(1n),
      columns,
    }),
  );
}

/** Scores all rows through Protobuf, a block at a time. */
function* scoreThroughProtobuf(
  golden: Case,
  engine: Engine,
  batchSize: number,
): Generator<{ first: number; block: Block }> {
  const rows = float32s(golden.rows);
  for (let first = 0; first < golden.rowCount; first += batchSize) {
    engine.begin();
    const appended = engine.append(
      encodeBatch(golden, rows, first, Math.min(batchSize, golden.rowCount - first)),
    );
    expect(appended).toMatchObject({ ignoredFeatureCount: 1 });
    yield { first, block: engine.score() };
  }
}

const bitsOf = (values: Float64Array) => new BigUint64Array(values.buffer, values.byteOffset, values.length);
const differenceCount = (a: Float64Array, b: Float64Array) => {
  const [left, right] = [bitsOf(a), bitsOf(b)];
  let count = Math.abs(left.length - right.length);
  for (let i = 0; i < left.length; i += 1) if (left[i] !== right[i]) count += 1;
  return count;
};

/** The model with each engine that it fits, walking first. */
async function* enginesOf(golden: Case): AsyncGenerator<Engine> {
  yield await engineOf(golden);
  for (const name of ['cells', 'grid'] as const) {
    const engine = await engineOf(golden);
    if (await engine.accelerate([name])) yield engine;
  }
}

test("path-length sums are scikit-learn's, bit for bit, and scores within 2.3e-16: nine models, every engine, 50,000 hard rows each", async () => {
  expect(manifest.models.map(({ name }) => name)).toEqual(
    ['100x256', '200x512', '300x1024'].flatMap((size) => [3, 9, 21].map((features) => `${size}-${features}`)),
  );
  const used = new Map<string, number>();
  for (const golden of manifest.models) {
    const sums = float64s(golden.sums);
    const scores = float64s(golden.scores);
    for await (const engine of enginesOf(golden)) {
      used.set(engine.scoring, (used.get(engine.scoring) ?? 0) + 1);
      let rowCount = 0;
      let differing = 0;
      let farthest = 0;
      for (const { first, block } of scoreThroughProtobuf(golden, engine, 9_999)) {
        rowCount += block.rowCount;
        differing += differenceCount(block.sums, sums.subarray(first, first + block.rowCount));
        for (const [row, score] of block.scores.entries())
          farthest = Math.max(farthest, Math.abs(score - (scores[first + row] as number)));
      }
      const name = `${golden.name} ${engine.scoring}`;
      console.error(
        `${name}: ${rowCount} rows, ${differing} sums differ, scores differ by at most ${farthest}`,
      );
      expect({ name, rowCount, differing }).toEqual({ name, rowCount: 50_000, differing: 0 });
      expect(farthest).toBeLessThan(2.3e-16);
    }
  }
  // The other three gain nothing from tables. Grids of three features are too large; the benchmark checks those of two.
  expect(Object.fromEntries(used)).toEqual({ walk: 9, cells: 6 });
}, 600_000);

test('batches of 1 to 17 rows get the same sums as large ones', async () => {
  for (const golden of manifest.models) {
    const rows = float32s(golden.rows);
    const sums = float64s(golden.sums);
    const width = golden.features.length;
    for await (const engine of enginesOf(golden)) {
      for (let count = 1; count <= 17; count += 1) {
        const first = count * 997;
        engine.loadRows(rows.subarray(first * width), count);
        expect(differenceCount(engine.sumRows(), sums.subarray(first, first + count))).toBe(0);
      }
    }
  }
}, 120_000);

test('every verdict, reason and severity is the reference’s on 20,000 rows, at alarm rates of 1 % and 0.1 %', async () => {
  for (const golden of manifest.verdicts) {
    const engine = await engineOf(golden);
    const severities = float64s(golden.severities);
    const expected = readFileSync(join(folder, golden.reasons), 'utf8').trim().split('\n');
    const kinds = new Set<string>();
    let farthest = 0;
    let abnormal = 0;
    for (const { first, block } of scoreThroughProtobuf(golden, engine, 5_000)) {
      const reasons = Array.from({ length: block.rowCount }, () => '[]');
      for (const [index, row] of block.anomalyRows.entries()) {
        reasons[row] = JSON.stringify(block.reasonsOf(index)).replaceAll(',', ', ');
        for (const reason of block.reasonsOf(index)) kinds.add(reason);
        expect(block.isAnomaly[row]).toBe(1);
      }
      abnormal += block.anomalyRows.length;
      expect(reasons).toEqual(expected.slice(first, first + block.rowCount));
      for (const [row, severity] of block.severities.entries())
        farthest = Math.max(farthest, Math.abs(severity - (severities[first + row] as number)));
    }
    console.error(`${golden.name}: ${abnormal} abnormal, severities differ by at most ${farthest}`);
    expect(farthest).toBeLessThan(1e-9);
    expect(abnormal).toBeGreaterThan(4_000);
    expect([...kinds].sort()).toEqual(
      [
        'forest',
        ...['high', 'low', 'missing'].flatMap((kind) => golden.features.map((name) => `${kind}:${name}`)),
      ].sort(),
    );
  }
}, 120_000);

test("ROC-AUC on four labelled data sets is scikit-learn's to 1e-9", async () => {
  expect(manifest.auc).toHaveLength(4);
  for (const golden of manifest.auc) {
    const engine = await engineOf(golden);
    const scores = collectScores(golden, engine);
    expect(Math.abs(rocAuc(scores, bytesOf(golden.labels)) - golden.rocAuc)).toBeLessThan(1e-9);
  }
}, 120_000);

const collectScores = (golden: Case, engine: Engine) => {
  const scores: number[] = [];
  for (const { block } of scoreThroughProtobuf(golden, engine, 10_000)) scores.push(...block.scores);
  return scores;
};

/** The chance that an abnormal row scores lower than a normal one, ties counted half (Mann–Whitney U). */
function rocAuc(scores: readonly number[], labels: Uint8Array): number {
  const order = [...scores.keys()].sort((a, b) => (scores[b] as number) - (scores[a] as number));
  let rankSum = 0;
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end < order.length && scores[order[end] as number] === scores[order[start] as number]) end += 1;
    for (const row of order.slice(start, end)) if (labels[row]) rankSum += (start + 1 + end) / 2;
    start = end;
  }
  const abnormal = labels.reduce((sum, label) => sum + label, 0);
  return (rankSum - (abnormal * (abnormal + 1)) / 2) / (abnormal * (scores.length - abnormal));
}
