// Writes forest files from plain forests, and draws forests at random: ties, missing values both ways, lone leaves.
import { crc32 } from 'node:zlib';
import { type PlainNode, type PlainTree, pathLengthSum } from './plain-forest.ts';
import type { PlainGuard, PlainGuards } from './plain-verdict.ts';
import type { Random } from './random.ts';

export type PlainForest = {
  readonly features: readonly string[];
  readonly trees: readonly PlainTree[];
  readonly maxSamples: number;
  readonly denominator: number;
  readonly offset: number;
  readonly sumThreshold: number;
  readonly guards: PlainGuards | null;
  readonly summary: Float64Array | null;
  readonly meta: string | null;
  readonly testRows: readonly (readonly number[])[];
};

export type ForestShape = {
  readonly featureCount: number;
  readonly treeCount: number;
  readonly depthMax: number;
  readonly hasGuards?: boolean;
  /** Values that thresholds are drawn from, so that rows can tie with them. */
  readonly thresholds?: readonly number[];
  /** What leaves' values are drawn from; by default all differ. */
  readonly leafValues?: readonly number[];
};

export const tieValues = [-2.5, -1, -0.5, 0, 0.25, 0.5, 1, 1.5, 2, 3].map(Math.fround);

/** Draws a forest that a reader accepts. Features from the 200th on stay unused, as constant ones do. */
export function drawForest(random: Random, shape: ForestShape): PlainForest {
  const { featureCount, treeCount } = shape;
  const maxSamples = random.pick([2, 3, 16, 256, 1000]);
  const denominator = treeCount * averagePathLength(maxSamples);
  const sumThreshold = denominator * (0.5 + random.next());
  return {
    features: Array.from({ length: featureCount }, (_, index) => (index === 1 ? 'größe–1' : `f${index}`)),
    trees: Array.from({ length: treeCount }, () => drawTree(random, shape)),
    maxSamples,
    denominator,
    offset: -(2 ** (-sumThreshold / denominator)),
    sumThreshold,
    guards: shape.hasGuards ? drawGuards(random, featureCount) : null,
    summary: shape.hasGuards ? drawSummary(featureCount) : null,
    meta: shape.hasGuards ? '{"trainer":"test"}' : null,
    testRows: Array.from({ length: 9 }, () => drawRow(random, featureCount)),
  };
}

function averagePathLength(count: number): number {
  if (count <= 2) return count - 1;
  return 2 * (Math.log(count - 1) + 0.5772156649015329) - (2 * (count - 1)) / count;
}

function drawTree(
  random: Random,
  { featureCount, depthMax, thresholds = tieValues, leafValues }: ForestShape,
): PlainTree {
  const depthLimit = random.below(depthMax + 1);
  const depths = [0];
  const nodes: PlainNode[] = [];
  for (let index = 0; index < depths.length; index += 1) {
    const depth = depths[index] as number;
    const isSplit = depth < depthLimit && random.chance(0.85);
    nodes.push({
      threshold: isSplit
        ? random.chance(0.5)
          ? random.pick(thresholds)
          : Math.fround(random.next() * 6 - 3)
        : 0,
      feature: isSplit ? random.below(Math.min(featureCount, 200)) : 0,
      isMissingRight: isSplit && random.chance(0.5),
      left: isSplit ? depths.length : index,
      value: leafValues === undefined ? depth + random.next() * 5 : random.pick(leafValues),
    });
    if (isSplit) depths.push(depth + 1, depth + 1);
  }
  return nodes;
}

function drawGuards(random: Random, featureCount: number): PlainGuards {
  const knotCount = random.pick([1, 2, 3, 5, 12]);
  return {
    alarmRate: random.pick([0.001, 0.01, 0.25]),
    knots: Array.from({ length: knotCount }, (_, index) => [
      0.3 + index * 0.05,
      index < 2 ? 0 : index * 0.25,
    ]),
    limits: Array.from({ length: featureCount }, () => drawGuard(random)),
  };
}

function drawGuard(random: Random): PlainGuard {
  return {
    high: random.chance(0.7) ? random.pick([2, 2.1, 1.5, 3]) : null,
    highScale: 0.1 + random.next(),
    low: random.chance(0.7) ? random.pick([-2, -2.1, -1.5, 0.5]) : null,
    lowScale: 0.1 + random.next(),
    isMissingReason: random.chance(0.5),
  };
}

/** Probabilities 0 and 1, quantiles −3 and 3 of every feature, nothing missing, 1,000 rows. */
function drawSummary(featureCount: number): Float64Array {
  const quantiles = Array.from({ length: featureCount }, () => [-3, 3]).flat();
  return Float64Array.from([0, 1, ...quantiles, ...Array<number>(featureCount).fill(0), 1000]);
}

/** A row of ordinary, tied, missing and extreme values. */
export function drawRow(random: Random, featureCount: number): number[] {
  const extremes = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    3.4e38,
    -3.4e38,
    3.39e38,
    1e9,
    -1e9,
    1e-45,
    -0,
  ];
  return Array.from({ length: featureCount }, () => {
    const kind = random.below(10);
    if (kind === 0) return Math.fround(random.pick(extremes));
    if (kind < 4) return random.pick(tieValues);
    return Math.fround(random.next() * 6 - 3);
  });
}

export type Section = { readonly id: string; readonly content: Uint8Array };

const float64Bytes = (values: readonly number[]) => new Uint8Array(Float64Array.from(values).buffer);

export function sectionsOf(forest: PlainForest): Section[] {
  const { guards, summary, meta } = forest;
  const starts = [0];
  for (const tree of forest.trees) starts.push((starts.at(-1) as number) + tree.length);
  return [
    {
      id: 'FEAT',
      content: Buffer.concat(forest.features.flatMap((name) => [textBytes(name), textBytes('Cel')])),
    },
    { id: 'TREE', content: new Uint8Array(Uint32Array.from(starts).buffer) },
    { id: 'NODE', content: Buffer.concat(forest.trees.flat().map(nodeBytes)) },
    { id: 'VALU', content: float64Bytes(forest.trees.flat().map(({ value }) => value)) },
    { id: 'TEST', content: testBytes(forest) },
    ...(guards === null ? [] : [{ id: 'GARD', content: guardBytes(guards) }]),
    ...(summary === null ? [] : [{ id: 'SUMM', content: summaryBytes(summary) }]),
    ...(meta === null ? [] : [{ id: 'META', content: new TextEncoder().encode(meta) }]),
    { id: 'LATR', content: Uint8Array.of(1, 2, 3) },
  ];
}

function textBytes(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return Buffer.concat([Uint8Array.of(bytes.length & 255, bytes.length >> 8), bytes]);
}

function nodeBytes({ threshold, feature, isMissingRight, left }: PlainNode): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat32(0, threshold, true);
  view.setUint16(4, feature | (isMissingRight ? 0x8000 : 0), true);
  view.setUint16(6, left, true);
  return new Uint8Array(view.buffer);
}

function testBytes({ testRows, trees }: PlainForest): Uint8Array {
  return Buffer.concat([
    new Uint8Array(Uint32Array.of(testRows.length, 0).buffer),
    float64Bytes(testRows.map((row) => pathLengthSum(trees, row))),
    new Uint8Array(Float32Array.from(testRows.flat()).buffer),
  ]);
}

function guardBytes({ alarmRate, knots, limits }: PlainGuards): Uint8Array {
  return Buffer.concat([
    float64Bytes([alarmRate]),
    new Uint8Array(Uint32Array.of(knots.length, 0).buffer),
    float64Bytes(knots.map(([score]) => score)),
    float64Bytes(knots.map(([, decades]) => decades)),
    ...limits.map(({ high, highScale, low, lowScale, isMissingReason }) => {
      const flags = (high === null ? 0 : 1) | (low === null ? 0 : 2) | (isMissingReason ? 4 : 0);
      const numbers = float64Bytes([high ?? 0, highScale, low ?? 0, lowScale]);
      return Buffer.concat([numbers, new Uint8Array(Uint32Array.of(flags, 0).buffer)]);
    }),
  ]);
}

function summaryBytes(summary: Float64Array): Uint8Array {
  return Buffer.concat([new Uint8Array(Uint32Array.of(2, 0).buffer), new Uint8Array(summary.buffer)]);
}

export function writeForest(forest: PlainForest, sections = sectionsOf(forest)): Uint8Array {
  const padded = (size: number) => (size + 7) & ~7;
  const bodySize = sections.reduce((size, { content }) => size + padded(content.length), 0);
  const bodyStart = padded(96 + 16 * sections.length);
  const file = new Uint8Array(bodyStart + bodySize);
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode('LONETREE'));
  const nodeCount = forest.trees.reduce((count, tree) => count + tree.length, 0);
  const depth = Math.max(...forest.trees.map(depthOf));
  const { features, trees, maxSamples, guards } = forest;
  const counts = [file.length, sections.length, features.length, trees.length, maxSamples, depth, nodeCount];
  view.setUint32(8, 1, true);
  for (const [index, count] of counts.entries()) view.setUint32(16 + 4 * index, count, true);
  view.setUint32(44, guards === null ? 0 : 1, true);
  view.setFloat64(48, forest.denominator, true);
  view.setFloat64(56, forest.offset, true);
  view.setFloat64(64, forest.sumThreshold, true);
  let start = bodyStart;
  for (const [index, { id, content }] of sections.entries()) {
    file.set(new TextEncoder().encode(id), 96 + 16 * index);
    view.setUint32(96 + 16 * index + 4, start, true);
    view.setUint32(96 + 16 * index + 8, content.length, true);
    file.set(content, start);
    start += padded(content.length);
  }
  return sign(file);
}

function depthOf(tree: PlainTree): number {
  const depths = [0];
  for (const [index, { left }] of tree.entries()) {
    if (left !== index) depths[left] = depths[left + 1] = (depths[index] as number) + 1;
  }
  return Math.max(...depths);
}

/** Writes the checksum that fits the bytes. */
export function sign(file: Uint8Array): Uint8Array {
  file.fill(0, 12, 16);
  new DataView(file.buffer, file.byteOffset).setUint32(12, crc32(file), true);
  return file;
}
