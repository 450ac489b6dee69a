// Cuts a tree into pieces: one top and the subtrees below it, each a grid of at most 256 cells.
import { sortedDistinct } from './thresholds.ts';
import { leafValuesOf, type Trees } from './trees.ts';

/** A piece's cell number is a byte. */
export const cellCountMax = 256;
/** A row passes at most this many pieces of a tree. */
const levelCountMax = 3;

/** One feature's intervals within a piece, and what one of them adds to the cell number. */
export type Dimension = {
  readonly feature: number;
  readonly thresholds: Float32Array;
  readonly intervalCount: number;
  readonly stride: number;
};

export type Piece = {
  /** Index of its first node within its tree. */
  readonly root: number;
  /** 0 is the top of the tree. */
  readonly level: number;
  readonly splits: ReadonlySet<number>;
  readonly dimensions: readonly Dimension[];
  readonly cellCount: number;
  /** The pieces below, by their roots. */
  readonly below: ReadonlyMap<number, Piece>;
};

export type CutTree = {
  readonly tree: number;
  /** The top first. */
  readonly pieces: readonly Piece[];
  readonly levelCount: number;
  readonly leafValues: ReadonlySet<number>;
};

/** Answers undefined for a tree that needs more levels than there are. */
export function cutTree(trees: Trees, tree: number): CutTree | undefined {
  const sizes = subtreeSizes(trees, tree);
  const pieces: Piece[] = [];
  let levelCount = 2;
  const cut = (root: number, level: number): Piece | undefined => {
    if (level >= levelCountMax) return undefined;
    levelCount = Math.max(levelCount, level + 1);
    const splits = chooseSplits({ trees, tree, root, sizes });
    const below = new Map<number, Piece>();
    const dimensions = measure(trees, tree, splits);
    const cellCount = dimensions.reduce((count, { intervalCount }) => count * intervalCount, 1);
    const piece: Piece = { root, level, splits, dimensions, cellCount, below };
    pieces.push(piece);
    for (const child of edgeOf(trees, tree, splits)) {
      const next = cut(child, level + 1);
      if (next === undefined) return undefined;
      below.set(child, next);
    }
    return piece;
  };
  if (cut(0, 0) === undefined) return undefined;
  return { tree, pieces, levelCount, leafValues: leafValuesOf(trees, tree) };
}

const isLeaf = (trees: Trees, tree: number, node: number) =>
  trees.lefts[(trees.starts[tree] as number) + node] === node;

/** Per node the cells of a grid that holds all splits below it: the product of intervals over features. */
function subtreeSizes(trees: Trees, tree: number): Float64Array {
  const { featureCount, lefts, features } = trees;
  const start = trees.starts[tree] as number;
  const count = (trees.starts[tree + 1] as number) - start;
  const splitCounts = new Uint16Array(count * featureCount);
  const sizes = new Float64Array(count).fill(1);
  for (let node = count - 1; node >= 0; node -= 1) {
    const left = lefts[start + node] as number;
    if (left === node) continue;
    let size = 1;
    for (let feature = 0; feature < featureCount; feature += 1) {
      const splits =
        (splitCounts[left * featureCount + feature] as number) +
        (splitCounts[(left + 1) * featureCount + feature] as number) +
        Number(features[start + node] === feature);
      splitCounts[node * featureCount + feature] = splits;
      if (splits > 0) size *= splits + 1;
    }
    sizes[node] = size;
  }
  return sizes;
}

/** A whole subtree where it fits; else the splits whose subtrees are largest, while the piece's own grid stays in bounds. */
function chooseSplits(options: {
  readonly trees: Trees;
  readonly tree: number;
  readonly root: number;
  readonly sizes: Float64Array;
}): Set<number> {
  const { trees, tree, root, sizes } = options;
  const start = trees.starts[tree] as number;
  const isWhole = (sizes[root] as number) <= cellCountMax;
  const intervals = new Map<number, number>();
  const splits = new Set<number>();
  const frontier = [root];
  let cellCount = 1;
  while (frontier.length > 0) {
    const node = takeLargest(frontier, sizes);
    if (isLeaf(trees, tree, node)) continue;
    if (!isWhole) {
      if ((sizes[node] as number) <= cellCountMax) continue;
      const feature = trees.features[start + node] as number;
      const before = intervals.get(feature) ?? 1;
      const after = before + 1;
      if ((cellCount / before) * after > cellCountMax) continue;
      intervals.set(feature, after);
      cellCount = (cellCount / before) * after;
    }
    splits.add(node);
    const left = trees.lefts[start + node] as number;
    frontier.push(left, left + 1);
  }
  return splits;
}

function takeLargest(frontier: number[], sizes: Float64Array): number {
  let best = 0;
  for (let index = 1; index < frontier.length; index += 1)
    if ((sizes[frontier[index] as number] as number) > (sizes[frontier[best] as number] as number))
      best = index;
  const node = frontier[best] as number;
  frontier[best] = frontier[frontier.length - 1] as number;
  frontier.pop();
  return node;
}

function measure(trees: Trees, tree: number, splits: ReadonlySet<number>): Dimension[] {
  const start = trees.starts[tree] as number;
  const thresholds = new Map<number, number[]>();
  for (const node of splits) {
    const feature = trees.features[start + node] as number;
    const known = thresholds.get(feature);
    if (known === undefined) thresholds.set(feature, [trees.thresholds[start + node] as number]);
    else known.push(trees.thresholds[start + node] as number);
  }
  let stride = 1;
  return [...thresholds].map(([feature, values]) => {
    const distinct = sortedDistinct(Float32Array.from(values));
    const intervalCount = distinct.length + 1;
    const dimension = { feature, thresholds: distinct, intervalCount, stride };
    stride *= intervalCount;
    return dimension;
  });
}

/** The splits that a row comes to next when it leaves the piece other than at a leaf. */
function edgeOf(trees: Trees, tree: number, splits: ReadonlySet<number>): number[] {
  const start = trees.starts[tree] as number;
  const edge: number[] = [];
  for (const node of splits) {
    const left = trees.lefts[start + node] as number;
    for (const child of [left, left + 1])
      if (!splits.has(child) && !isLeaf(trees, tree, child)) edge.push(child);
  }
  return edge;
}
