import { expect, test } from 'bun:test';
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { Engine, ForestRefused } from '../src/index.ts';
import { readSections } from '../src/model.ts';
import {
  drawForest,
  drawRow,
  type PlainForest,
  type Section,
  sectionsOf,
  sign,
  writeForest,
} from './forest-writer.ts';
import type { PlainNode } from './plain-forest.ts';
import { createRandom } from './random.ts';

const random = createRandom(2);
const leaf = (left: number, value = 1): PlainNode => ({
  threshold: 0,
  feature: 0,
  isMissingRight: false,
  left,
  value,
});
const split = (left: number, feature = 0): PlainNode => ({
  ...leaf(left),
  threshold: 0.5,
  feature,
  isMissingRight: true,
});
const tree: readonly PlainNode[] = [split(1), split(3, 1), leaf(2, 2), leaf(3, 3.5), leaf(4, 3)];
const small: PlainForest = {
  ...drawForest(random, { featureCount: 2, treeCount: 2, depthMax: 3, hasGuards: true }),
  features: ['a', 'b'],
  trees: [tree, tree],
};
const large = drawForest(random, { featureCount: 21, treeCount: 50, depthMax: 10, hasGuards: true });

/** The engine, or the reason why there is none. */
async function load(file: Uint8Array): Promise<Engine | string> {
  try {
    return await Engine.load(file);
  } catch (error) {
    if (error instanceof ForestRefused) return error.reason;
    throw error;
  }
}

async function reasonFor(file: Uint8Array): Promise<string> {
  const engine = await load(file);
  return engine instanceof Engine ? 'loaded' : engine;
}

test('tells what a file says about itself', async () => {
  const file = writeForest(small);
  const { model } = await Engine.load(file);
  expect(model).toEqual({
    sha256: createHash('sha256').update(file).digest('hex'),
    features: ['a', 'b'],
    units: ['Cel', 'Cel'],
    treeCount: 2,
    maxSamples: small.maxSamples,
    maxDepth: 2,
    offset: small.offset,
    alarmRate: small.guards?.alarmRate as number,
    meta: { trainer: 'test' },
    summary: {
      probabilities: [0, 1],
      quantiles: [
        [-3, 3],
        [-3, 3],
      ],
      missingShares: [0, 0],
      rowCount: 1000,
    },
  });
});

test('loads a file that stands anywhere in a larger buffer', async () => {
  const file = writeForest(small);
  const buffer = new Uint8Array(file.length + 7);
  buffer.set(file, 5);
  expect((await Engine.load(buffer.subarray(5, 5 + file.length))).model.features).toEqual(['a', 'b']);
});

test('a small file damaged in any single byte is refused', async () => {
  const file = writeForest(small);
  for (let at = 0; at < file.length; at += 1) {
    for (const change of [1, 2, 0x10, 0x80, 0xff, 1 + random.below(255)]) {
      const damaged = file.slice();
      damaged[at] = (damaged[at] as number) ^ change;
      expect({ at, change, reason: await reasonFor(damaged) }).not.toEqual({ at, change, reason: 'loaded' });
    }
  }
}, 120_000);

test('a large file damaged in a random byte, or cut anywhere, is refused', async () => {
  const file = writeForest(large);
  for (let trial = 0; trial < 1000; trial += 1) {
    const at = random.below(file.length);
    const damaged = file.slice();
    damaged[at] = (damaged[at] as number) ^ (1 + random.below(255));
    expect({ at, reason: await reasonFor(damaged) }).toEqual({
      at,
      reason: expect.not.stringMatching('loaded'),
    });
    expect({ at, reason: await reasonFor(file.subarray(0, at)) }).toEqual({
      at,
      reason: expect.stringMatching(/size|magic/),
    });
  }
}, 120_000);

/** Loads; when that succeeds, scores rows and messages that the forest was not tested with. */
async function loadAndScore(file: Uint8Array): Promise<string> {
  const engine = await load(file);
  if (!(engine instanceof Engine)) return engine;
  const featureCount = engine.model.features.length;
  const rows = Array.from({ length: 40 }, () => drawRow(random, featureCount));
  engine.loadRows(Float32Array.from(rows.flat()), rows.length);
  const block = engine.score();
  for (const sum of block.sums) if (!Number.isFinite(sum)) return 'a sum is not finite';
  for (const score of block.scores) if (!(score >= -1 && score <= 0)) return 'a score is out of range';
  for (const index of block.anomalyRows.keys()) block.reasonsOf(index);
  engine.begin();
  engine.append(random.bytes(50));
  return 'harmless';
}

for (const [name, forest, trialCount] of [
  ['small', small, 8000],
  ['large', large, 1500],
] as const) {
  test(`a ${name} file damaged under a checksum that fits is refused with a reason or harmless`, async () => {
    const file = writeForest(forest);
    const answers = new Map<string, number>();
    for (let trial = 0; trial < trialCount; trial += 1) {
      const damaged = file.slice();
      const at = trial < file.length ? trial : random.below(file.length);
      for (let change = random.pick([0, 0, 1, 3]); change >= 0; change -= 1) {
        const place = change === 0 ? at : Math.min(file.length - 1, at + random.below(16));
        damaged[place] = random.pick([0, 1, 255, 127, 128, random.below(256)]);
      }
      const answer = await loadAndScore(sign(damaged));
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
    expect([...answers.keys()].filter((answer) => / /.test(answer))).toEqual([]);
    expect(answers.size).toBeGreaterThan(8);
  }, 120_000);
}

/** Of more pieces than one in everything that is loaded piece by piece. */
const huge = drawForest(createRandom(5), {
  featureCount: 3,
  treeCount: 600,
  depthMax: 9,
  thresholds: Array.from({ length: 99 }, (_, index) => index),
});
const sectionOf = (file: Uint8Array, id: string) =>
  readSections(file, new DataView(file.buffer)).get(id) as Uint8Array;
const hugeRows = Array.from({ length: 150 }, () => drawRow(random, 3));

test('a file of many pieces is refused for what is wrong in any of them', async () => {
  const file = writeForest({ ...huge, testRows: hugeRows });
  expect(file.length).toBeGreaterThan(600_000);
  expect(await reasonFor(file)).toBe('loaded');
  const at = (id: string, share: number) => {
    const { byteOffset, length } = sectionOf(file, id);
    return byteOffset + 8 * Math.floor((share * (length - 8)) / 8);
  };
  for (const share of [0, 0.2, 0.5, 0.8, 1]) {
    const broken = (id: string, change: (view: DataView, place: number) => void, isSigned = true) => {
      const damaged = file.slice();
      change(new DataView(damaged.buffer), at(id, share));
      return reasonFor(isSigned ? sign(damaged) : damaged);
    };
    const reasons = {
      unsigned: await broken('VALU', (view, place) => view.setUint8(place, view.getUint8(place) ^ 1), false),
      value: await broken('VALU', (view, place) => view.setFloat64(place, Number.NaN, true)),
      node: await broken('NODE', (view, place) => view.setUint16(place + 4, 7, true)),
    };
    expect({ share, reasons }).toEqual({
      share,
      reasons: { unsigned: 'checksum', value: 'not-finite', node: 'feature-index' },
    });
  }
});

test('each row of a self-test of many pieces must have its sum', async () => {
  const file = writeForest({ ...huge, testRows: hugeRows });
  const start = sectionOf(file, 'TEST').byteOffset;
  for (const row of [0, 2, 3, 15, 16, 31, 100, 148, 149]) {
    const damaged = file.slice();
    const lowest = start + 8 + 8 * row;
    damaged[lowest] = (damaged[lowest] as number) ^ 1;
    expect({ row, reason: await reasonFor(sign(damaged)) }).toEqual({ row, reason: 'self-test' });
  }
});

test('another engine scores while a file of many pieces is loaded', async () => {
  const running = await Engine.load(writeForest(small));
  const rows = Float32Array.from(drawRow(random, 2));
  running.loadRows(rows, 1);
  const expected = [...running.sumRows()];
  let isLoaded = false;
  const loaded = Engine.load(writeForest({ ...huge, testRows: hugeRows })).finally(() => {
    isLoaded = true;
  });
  let blocks = 0;
  for (; !isLoaded; blocks += 1) {
    running.loadRows(rows, 1);
    expect([...running.sumRows()]).toEqual(expected);
    await setImmediate();
  }
  expect((await loaded).model.treeCount).toBe(600);
  expect(blocks).toBeGreaterThan(40);
});

type Change = (forest: PlainForest) => PlainForest;
const withTree =
  (...nodes: PlainNode[]): Change =>
  (forest) => ({ ...forest, trees: [nodes, tree] });
const withGuard =
  (guard: object): Change =>
  (forest) => ({
    ...forest,
    guards: { ...(forest.guards as NonNullable<PlainForest['guards']>), ...guard },
  });
const withLimit =
  (limit: object): Change =>
  (forest) => {
    const [first, ...others] = forest.guards?.limits ?? [];
    const whole = { high: 1, highScale: 1, low: -1, lowScale: 1, isMissingReason: true };
    return withGuard({ limits: [{ ...whole, ...first, ...limit }, ...others] })(forest);
  };
const withSummary =
  (index: number, value: number): Change =>
  (forest) => {
    const summary = (forest.summary as Float64Array).slice();
    summary[index] = value;
    return { ...forest, summary };
  };
const infinite = Number.POSITIVE_INFINITY;
/** 65 edges deep: every second node a leaf. */
const tooDeep = Array.from({ length: 131 }, (_, index) =>
  index % 2 === 1 || index === 130 ? leaf(index) : split(index + 1),
);

const badContents: [what: string, reason: string, Change][] = [
  ['a child before its parent', 'child', withTree(split(1), leaf(1), split(0))],
  ['a child that is its own parent’s right one', 'child', withTree(split(1), split(2), leaf(2))],
  ['a child beyond the tree', 'child', withTree(split(1), leaf(1), split(3))],
  ['children that two nodes share', 'child', withTree(split(1), split(3), split(3), leaf(3), leaf(4))],
  ['nodes that nobody leads to', 'child', withTree(split(1), leaf(1), leaf(2), leaf(3), leaf(4))],
  ['a feature that is not there', 'feature-index', withTree(split(1, 2), leaf(1), leaf(2))],
  ['a leaf with a threshold', 'feature-index', withTree({ ...leaf(0), threshold: 1 })],
  ['a leaf with a feature', 'feature-index', withTree({ ...leaf(0), feature: 1 })],
  [
    'a threshold that is no number',
    'not-finite',
    withTree({ ...split(1), threshold: Number.NaN }, leaf(1), leaf(2)),
  ],
  ['a leaf value that is infinite', 'not-finite', withTree(leaf(0, infinite))],
  ['a negative leaf value', 'not-finite', withTree(leaf(0, -1))],
  ['a tree without nodes', 'tree-table', (forest) => ({ ...forest, trees: [[], tree] })],
  ['a tree of 65 edges', 'limits', withTree(...tooDeep)],
  ['an offset that is no number', 'not-finite', (forest) => ({ ...forest, offset: Number.NaN })],
  [
    'an offset that the sum threshold contradicts',
    'sum-threshold',
    (forest) => ({ ...forest, offset: forest.offset + 3e-9 }),
  ],
  [
    'a sum threshold of 0 beside an offset that can alarm',
    'sum-threshold',
    (forest) => ({ ...forest, sumThreshold: 0 }),
  ],
  [
    'the largest sum threshold beside an offset that need not alarm',
    'sum-threshold',
    (forest) => ({ ...forest, sumThreshold: Number.MAX_VALUE }),
  ],
  ['a negative sum threshold', 'not-finite', (forest) => ({ ...forest, sumThreshold: -1 })],
  [
    'another denominator',
    'denominator',
    (forest) => ({ ...forest, denominator: forest.denominator * 1.001 }),
  ],
  ['no denominator', 'denominator', (forest) => ({ ...forest, denominator: 0 })],
  ['no samples', 'limits', (forest) => ({ ...forest, maxSamples: 0 })],
  ['too many samples', 'limits', (forest) => ({ ...forest, maxSamples: 32_769 })],
  ['two features of one name', 'names', (forest) => ({ ...forest, features: ['a', 'a'] })],
  ['an empty name', 'names', (forest) => ({ ...forest, features: ['a', ''] })],
  ['a name of 256 bytes', 'names', (forest) => ({ ...forest, features: ['a', 'b'.repeat(256)] })],
  ['a name with a line break', 'names', (forest) => ({ ...forest, features: ['a', 'b\n'] })],
  ['a high limit below the low one', 'guards', withLimit({ high: 1, low: 2 })],
  ['a limit that is infinite', 'not-finite', withLimit({ high: infinite })],
  ['a scale of 0', 'guards', withLimit({ highScale: 0 })],
  ['a negative scale', 'guards', withLimit({ lowScale: -1 })],
  ['an alarm rate of 0', 'guards', withGuard({ alarmRate: 0 })],
  ['an alarm rate of 1', 'guards', withGuard({ alarmRate: 1 })],
  ['no severity knots', 'guards', withGuard({ knots: [] })],
  [
    'knots that do not ascend',
    'guards',
    withGuard({
      knots: [
        [0.4, 0],
        [0.4, 1],
      ],
    }),
  ],
  [
    'decades that descend',
    'guards',
    withGuard({
      knots: [
        [0.4, 1],
        [0.5, 0],
      ],
    }),
  ],
  ['a knot that is no number', 'not-finite', withGuard({ knots: [[Number.NaN, 1]] })],
  ['a probability beyond 1', 'summary', withSummary(1, 1.5)],
  ['probabilities that descend', 'summary', withSummary(0, 1.5)],
  ['quantiles that descend', 'summary', withSummary(2, 4)],
  ['a quantile that is infinite', 'not-finite', withSummary(3, infinite)],
  ['a negative share', 'summary', withSummary(6, -0.5)],
  ['a negative number of rows', 'summary', withSummary(8, -1)],
  ['META that is no JSON', 'meta', (forest) => ({ ...forest, meta: '{' })],
  ['META that is no object', 'meta', (forest) => ({ ...forest, meta: '[]' })],
];

for (const [what, reason, change] of badContents) {
  test(`refuses ${what}`, async () => {
    const broken = change(small);
    const testRows = broken.trees === small.trees ? small.testRows : [];
    expect(await reasonFor(writeForest({ ...broken, testRows }))).toBe(reason);
  });
}

/** Writes a number into a file's header or section table and signs it again. */
function patched(offset: number, value: number): Uint8Array {
  const file = writeForest(small);
  new DataView(file.buffer).setUint32(offset, value, true);
  return sign(file);
}
const sections = sectionsOf(small);
const without = (id: string) => sections.filter((section) => section.id !== id);
const lengthened = (id: string) =>
  sections.map(
    (section): Section =>
      section.id === id ? { id, content: Buffer.concat([section.content, new Uint8Array(8)]) } : section,
  );

const badFrames: [what: string, reason: string, file: () => Uint8Array][] = [
  ['a file of another kind', 'magic', () => new TextEncoder().encode('time,temperature\n'.repeat(10))],
  ['an empty file', 'size', () => new Uint8Array()],
  ['version 2', 'version', () => patched(8, 2)],
  ['another size', 'size', () => patched(16, 4000)],
  ['an unknown flag', 'header', () => patched(44, 3)],
  ['a GARD section without its flag', 'header', () => patched(44, 0)],
  ['a reserved byte', 'header', () => patched(92, 1)],
  ['no features', 'limits', () => patched(24, 0)],
  ['1,025 features', 'limits', () => patched(24, 1025)],
  ['10,001 trees', 'limits', () => patched(28, 10_001)],
  ['another depth', 'depth', () => patched(36, 3)],
  ['another number of nodes', 'section-length', () => patched(40, 11)],
  ['2^32 − 1 nodes', 'section-length', () => patched(40, 0xffffffff)],
  ['2^32 − 1 sections', 'sections', () => patched(20, 0xffffffff)],
  ['a section out of place', 'sections', () => patched(100, 8)],
  ['a section that begins beyond the file', 'sections', () => patched(100, 0xfffffff8)],
  ['a section that ends beyond the file', 'sections', () => patched(104, 0xffffffff)],
  [
    'a section twice',
    'sections',
    () => writeForest(small, [...sections, { id: 'FEAT', content: new Uint8Array(8) }]),
  ],
  ...['FEAT', 'TREE', 'NODE', 'VALU', 'TEST'].map((id): [string, string, () => Uint8Array] => [
    `no section ${id}`,
    'section-missing',
    () => writeForest(small, without(id)),
  ]),
  ...['FEAT', 'TREE', 'NODE', 'VALU', 'TEST', 'GARD', 'SUMM'].map(
    (id): [string, string, () => Uint8Array] => [
      `a section ${id} too long`,
      'section-length',
      () => writeForest(small, lengthened(id)),
    ],
  ),
  ['a flag for guards that are not there', 'header', () => writeForest(small, without('GARD'))],
  ['a self-test without rows', 'self-test', () => writeForest({ ...small, testRows: [] })],
  [
    'a self-test with other sums',
    'self-test',
    () =>
      writeForest(
        small,
        sectionsOf({
          ...small,
          trees: [tree, tree.map((node) => ({ ...node, value: node.value + 1e-9 }))],
        }).map((section) =>
          section.id === 'TEST' ? section : (sections.find(({ id }) => id === section.id) as Section),
        ),
      ),
  ],
];

for (const [what, reason, file] of badFrames) {
  test(`refuses ${what}`, async () => {
    expect(await reasonFor(file())).toBe(reason);
  });
}

test('a refusal says what is wrong, where, and what to do', async () => {
  await expect(Engine.load(patched(8, 2))).rejects.toThrow(
    'The forest file is refused (version): its format has version 2; this program reads version 1. Export it again with the matching lonetree_ml.',
  );
});

test('loads the largest trees that the format holds: 32,768 leaves, 1,024 features, names of 255 bytes', async () => {
  const nodes = Array.from({ length: 65_535 }, (_, index) =>
    index < 32_767 ? { ...split(2 * index + 1, index % 1024), threshold: index } : leaf(index, 15),
  );
  const features = Array.from({ length: 1024 }, (_, index) => `${index}`.padStart(255, 'x'));
  const wide = drawForest(random, { featureCount: 1024, treeCount: 1, depthMax: 0 });
  const engine = await Engine.load(writeForest({ ...wide, features, trees: [nodes] }));
  expect([engine.model.maxDepth, engine.model.features[1023]]).toEqual([15, features[1023] as string]);
});
