import { expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Engine } from '../src/index.ts';
import { buildTables } from '../src/tables/build.ts';
import { buildTablesAside } from '../src/tables/index.ts';
import { drawForest, drawRow, type PlainForest, writeForest } from './forest-writer.ts';
import { pathLengthSum } from './plain-forest.ts';
import { createRandom, type Random } from './random.ts';

const blockSizes = [1, 2, 3, 4, 5, 8, 16, 17, 64, 1_000, 1_023, 1_024, 1_025, 1_300];
const engines = ['grid', 'cells'] as const;

/** Few leaf values, as in trees that scikit-learn grows: a code of one byte names any of them. */
const drawShallowForest = (random: Random, featureCount: number) =>
  drawForest(random, {
    featureCount,
    treeCount: 1 + random.below(40),
    depthMax: 3 + random.below(7),
    hasGuards: true,
    leafValues: Array.from({ length: 1 + random.below(60) }, () => random.next() * 15),
    ...(random.chance(0.3)
      ? { thresholds: [0, -0, 1e-45, -1e-45, 3.3e38, -3.3e38, 1, 0.1].map(Math.fround) }
      : {}),
  });

/** The float32 that is one step up, down, or none away; both zeros are one step from their neighbours. */
function neighbour(value: number, step: number): number {
  if (step === 0) return value;
  if (value === 0) return step * least;
  const bits = new Int32Array(Float32Array.of(value).buffer);
  bits[0] = (bits[0] as number) + (value > 0 ? step : -step);
  return new Float32Array(bits.buffer)[0] as number;
}
const least = Math.fround(1e-45);

/** Rows on thresholds of the forest, one float beside them, and anywhere; every third row has missing values. */
function drawHardRows(random: Random, forest: PlainForest, count: number): number[][] {
  const splits = forest.trees.flatMap((tree) => tree.filter(({ left }, index) => left !== index));
  return Array.from({ length: count }, (_, index) => {
    const row = drawRow(random, forest.features.length).map((value) =>
      index % 3 === 0 || Math.abs(value) < 3.4e38 ? value : random.next(),
    );
    for (let times = 0; times < 4 && splits.length > 0; times += 1) {
      const { feature, threshold } = random.pick(splits);
      row[feature] = neighbour(threshold, random.below(3) - 1);
    }
    return row;
  });
}

const sumsOf = (engine: Engine, rows: readonly (readonly number[])[]) => {
  engine.loadRows(Float32Array.from(rows.flat()), rows.length);
  return [...engine.sumRows()];
};

test.each(engines)(
  'the sums of %s are bit for bit those of the plain forest: random forests, hard rows, blocks of any size',
  async (name) => {
    let fitted = 0;
    for (let seed = 1; seed <= 180; seed += 1) {
      const random = createRandom(seed);
      const forest = drawShallowForest(
        random,
        random.pick(name === 'grid' ? [1, 2, 3] : [1, 2, 3, 4, 6, 10, 16, 21, 24]),
      );
      const engine = await Engine.load(writeForest(forest));
      if (!(await engine.accelerate([name]))) continue;
      fitted += 1;
      expect(engine.scoring).toBe(name);
      const rows = drawHardRows(random, forest, random.pick(blockSizes));
      const expected = rows.map((row) => pathLengthSum(forest.trees, row));
      expect({ seed, sums: sumsOf(engine, rows) }).toEqual({ seed, sums: expected });
      const complete = rows.filter((_, index) => index % 3 !== 0);
      expect({ seed, sums: sumsOf(engine, complete) }).toEqual({
        seed,
        sums: expected.filter((_, index) => index % 3 !== 0),
      });
    }
    expect(fitted).toBeGreaterThan(60);
  },
  300_000,
);

test('a block in which few rows have missing values, and one in which most have, get the same sums as by walking', async () => {
  const random = createRandom(11);
  const forest = drawShallowForest(random, 5);
  const [cells, walk] = [await Engine.load(writeForest(forest)), await Engine.load(writeForest(forest))];
  expect(await cells.accelerate(['cells'])).toBe(true);
  for (const every of [1, 2, 5, 6, 7, 50, 999, 1_000]) {
    const rows = Array.from({ length: 1_000 }, () =>
      Array.from({ length: 5 }, () => random.next() * 6 - 3),
    ).map((row, index) => (index % every === 0 ? row.with(index % 5, Number.NaN) : row));
    expect(sumsOf(cells, rows)).toEqual(sumsOf(walk, rows));
  }
});

test('thresholds that crowd together beside outliers are found all the same', async () => {
  const random = createRandom(12);
  const crowd = Array.from({ length: 900 }, (_, index) => Math.fround(20 + index * 1e-5));
  const thresholds = [-3e38, -1e9, ...crowd, 1e9, 3e38].map(Math.fround);
  const forest = drawForest(random, {
    featureCount: 2,
    treeCount: 60,
    depthMax: 6,
    thresholds,
    leafValues: [1, 2, 3],
  });
  for (const name of engines) {
    const engine = await Engine.load(writeForest(forest));
    expect(await engine.accelerate([name])).toBe(true);
    const rows = drawHardRows(random, forest, 3_000);
    expect(sumsOf(engine, rows)).toEqual(rows.map((row) => pathLengthSum(forest.trees, row)));
  }
});

test('scoring goes on while tables are built, and every block on the way gets the same sums', async () => {
  const forest = Uint8Array.from(readFileSync(new URL('../../models/default.forest', import.meta.url)));
  const engine = await Engine.load(forest);
  const random = createRandom(13);
  const rows = Float32Array.from(
    { length: 3 * 500 },
    (_, index) => ([26, 18, 55][index % 3] as number) + random.next() * 9,
  );
  engine.loadRows(rows, 500);
  const expected = [...engine.sumRows()];
  let isDone = false;
  const accelerated = engine.accelerate().finally(() => {
    isDone = true;
  });
  let blocks = 0;
  while (!isDone) {
    engine.loadRows(rows, 500);
    expect([...engine.sumRows()]).toEqual(expected);
    blocks += 1;
    await setImmediate();
  }
  expect(await accelerated).toBe(true);
  expect(blocks).toBeGreaterThan(10);
  engine.loadRows(rows, 500);
  expect([...engine.sumRows()]).toEqual(expected);
});

test('a forest that does not fit goes on walking', async () => {
  const random = createRandom(14);
  const many = { featureCount: 25, treeCount: 3, depthMax: 4 };
  const values = { featureCount: 2, treeCount: 8, depthMax: 14 };
  for (const shape of [many, values]) {
    const forest = drawForest(random, shape);
    if (shape === values) expect(Math.max(...forest.trees.map(({ length }) => length))).toBeGreaterThan(600);
    const engine = await Engine.load(writeForest(forest));
    expect(await engine.accelerate()).toBe(false);
    expect(engine.scoring).toBe('walk');
    const rows = drawHardRows(random, forest, 40);
    expect(sumsOf(engine, rows)).toEqual(rows.map((row) => pathLengthSum(forest.trees, row)));
  }
});

test('a thread that fails to build tables is an error of who asked for them, and ends nobody else', async () => {
  const forest = Uint8Array.from(readFileSync(new URL('../../models/default.forest', import.meta.url)));
  await expect(buildTablesAside(forest.slice(0, 96), ['cells'])).rejects.toThrow(
    'The thread that builds tables failed',
  );
  expect(await buildTablesAside(forest.slice(), ['cells'])).toMatchObject({ engine: 'cells' });
});

test('tables over the budget are not built', () => {
  const forest = Uint8Array.from(readFileSync(new URL('../../models/default.forest', import.meta.url)));
  for (const engine of engines) {
    const size = (buildTables(forest, { engine, sizeMax: 64 << 20 }) as ArrayBuffer).byteLength;
    expect(buildTables(forest, { engine, sizeMax: size - 1 })).toBeUndefined();
    expect(buildTables(forest, { engine, sizeMax: size })?.byteLength).toBe(size);
  }
});

test('the module refuses tables of another version, size or number of features', async () => {
  const random = createRandom(15);
  const [two, three] = [2, 3].map((count) => writeForest(drawShallowForest(random, count))) as [
    Uint8Array,
    Uint8Array,
  ];
  const tables = new Uint8Array(buildTables(two, { engine: 'cells' }) as ArrayBuffer);
  const changed = (at: number) => tables.with(at, (tables[at] as number) ^ 1);
  const cases = [
    { forest: two, tables, isTaken: true },
    { forest: three, tables, isTaken: false },
    { forest: two, tables: changed(0), isTaken: false },
    { forest: two, tables: changed(4), isTaken: false },
    { forest: two, tables: tables.subarray(0, tables.length - 64), isTaken: false },
    { forest: two, tables: tables.subarray(0, 20), isTaken: false },
  ];
  const kernel = readFileSync(new URL('../src/kernel.wasm', import.meta.url));
  for (const { forest, tables: given, isTaken } of cases) {
    const { exports } = (await WebAssembly.instantiate(kernel, {})).instance;
    const module = exports as unknown as {
      memory: WebAssembly.Memory;
      reserve(size: number): number;
      startLoading(at: number, size: number): number;
      loadSome(): number;
      loadTables(at: number, size: number): number;
    };
    const put = (bytes: Uint8Array) => {
      const at = (module.reserve(bytes.length + 64) + 63) & ~63;
      new Uint8Array(module.memory.buffer, at, bytes.length).set(bytes);
      return at;
    };
    let code = module.startLoading(put(forest), forest.length);
    while (code === -1) code = module.loadSome();
    expect(code).toBe(0);
    expect(module.loadTables(put(given), given.length)).toBe(Number(isTaken));
  }
});
