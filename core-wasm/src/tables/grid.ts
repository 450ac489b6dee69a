// The tables of the grid engine: each tree one grid of the intervals of up to three features (docs/adr/0005).
import { chunkSize, groupSize, lineSize, type Writer, type Written } from './layout.ts';
import { firstIntervals, thresholdsOf, writeChunk } from './search.ts';
import { intervalOf } from './thresholds.ts';
import { leafValuesOf, type Trees } from './trees.ts';

const gridFeatureCountMax = 3;
/** Of one tree; a cell number has 16 bits. */
const cellCountMax = 1 << 16;
/** Of one tree and feature; an interval number is a byte. */
const intervalCountMax = 256;
/** A leaf code is a byte. */
const leafValueCountMax = 256;
/** Of a group: their leaf values and interval tables are used together. */
const treeCountMax = 128;
/** The module takes so many trees at a time. */
const lanes = 8;

type Axis = { readonly thresholds: Float32Array; readonly intervalCount: number; readonly stride: number };
type Grid = { readonly tree: number; readonly axes: readonly Axis[]; readonly cellCount: number };
type Group = { readonly grids: readonly Grid[]; readonly leafValues: readonly number[] };

/** Writes all trees; answers the chunks' place and count, or undefined where the trees do not fit. */
export function writeGrid(writer: Writer, trees: Trees): Written | undefined {
  if (trees.featureCount > gridFeatureCountMax) return undefined;
  const groups = groupTrees(trees);
  if (groups === undefined) return undefined;
  const chunks = writer.reserve(groups.length * chunkSize);
  for (const [index, group] of groups.entries()) {
    const thresholds = thresholdsOf(
      trees,
      group.grids.map(({ tree }) => tree),
    );
    const place = writer.reserve(groupSize);
    writeChunk(writer, {
      chunk: chunks + index * chunkSize,
      thresholds,
      groups: place,
      groupCount: 1,
      intervalSize: rowSizeOf(group.grids),
    });
    writeGroup(writer, { place, trees, group, thresholds });
  }
  return { chunks, chunkCount: groups.length, loadCount: countLoads(groups) };
}

/** What a row reads: a place a feature, per eight trees their intervals and strides, per tree its cell and a value. */
const countLoads = (groups: readonly Group[]): number =>
  groups.reduce((sum, { grids }) => sum + gridFeatureCountMax + grids.length * 4, 0);

/** Consecutive trees that share one dictionary of leaf values. */
function groupTrees(trees: Trees): Group[] | undefined {
  const groups: Group[] = [];
  let grids: Grid[] = [];
  let values = new Set<number>();
  for (let tree = 0; tree < trees.treeCount; tree += 1) {
    const grid = measure(trees, tree);
    const own = leafValuesOf(trees, tree);
    if (grid === undefined || own.size > leafValueCountMax) return undefined;
    const together = values.union(own);
    if (together.size > leafValueCountMax || grids.length === treeCountMax) {
      groups.push({ grids, leafValues: [...values] });
      grids = [];
      values = own;
    } else {
      values = together;
    }
    grids.push(grid);
  }
  groups.push({ grids, leafValues: [...values] });
  return groups;
}

/** The tree's intervals, one more a feature for missing values: the last. */
function measure(trees: Trees, tree: number): Grid | undefined {
  const thresholds = thresholdsOf(trees, [tree]);
  const intervalCounts = thresholds.map(({ length }) => length + 2);
  const cellCount = intervalCounts.reduce((product, count) => product * count, 1);
  if (cellCount > cellCountMax || Math.max(...intervalCounts) > intervalCountMax) return undefined;
  let stride = cellCount;
  const axes = thresholds.map((own, feature) => {
    const intervalCount = intervalCounts[feature] as number;
    stride /= intervalCount;
    return { thresholds: own, intervalCount, stride };
  });
  return { tree, axes, cellCount };
}

function writeGroup(
  writer: Writer,
  options: {
    readonly place: number;
    readonly trees: Trees;
    readonly group: Group;
    readonly thresholds: readonly Float32Array[];
  },
): void {
  const { place, trees, group, thresholds } = options;
  const { grids, leafValues } = group;
  const rowSize = rowSizeOf(grids);
  const intervals = writeIntervals(writer, grids, thresholds);
  const strides = writer.reserve(2 * rowSize * 2);
  const strideTable = writer.u16(strides, 2 * rowSize);
  for (const [index, { axes }] of grids.entries()) {
    // With fewer features than three the last one's stride is 1, wherever it stands; absent ones add interval 0.
    strideTable[index] = axes[0]?.stride ?? 0;
    strideTable[rowSize + index] = axes[1]?.stride ?? 0;
  }
  const values = writer.reserve(leafValues.length * 8);
  writer.f64(values, leafValues.length).set(leafValues);
  const codes = new Map(leafValues.map((value, code) => [value, code]));
  const list = writer.reserve(grids.length * 4);
  for (const [index, grid] of grids.entries()) {
    const cells = writer.reserve(grid.cellCount);
    writer.u32(list, grids.length)[index] = cells;
    fillGrid(writer.bytes(cells, grid.cellCount), { trees, grid, codes });
  }
  const fields = [grids.length, rowSize, intervals, strides, values, leafValues.length * 8, list, 0];
  writer.u32(place, groupSize / 4).set(fields);
}

const rowSizeOf = (grids: readonly Grid[]) => Math.ceil(grids.length / lanes) * lanes;

/** Per interval of the group a byte a tree: the tree's own interval. Row 0 is all zeros. */
function writeIntervals(writer: Writer, grids: readonly Grid[], thresholds: readonly Float32Array[]): number {
  const rowSize = rowSizeOf(grids);
  const first = firstIntervals(thresholds);
  const size = (first.at(-1) as number) * rowSize;
  const intervals = writer.reserve(size, lineSize);
  const table = writer.bytes(intervals, size);
  for (const [tree, { axes }] of grids.entries()) {
    for (const [feature, { thresholds: own }] of axes.entries()) {
      let interval = 0;
      let at = ((first[feature] as number) + 1) * rowSize + tree;
      for (const threshold of thresholds[feature] as Float32Array) {
        if ((own[interval] ?? Number.POSITIVE_INFINITY) <= threshold) interval += 1;
        table[at] = interval;
        at += rowSize;
      }
      table[at] = own.length + 1;
    }
  }
  return intervals;
}

type Side = { first: number; last: number; hasMissing: boolean };

/** Goes down the tree with the box of intervals that is left, and fills it at each leaf. */
function fillGrid(
  cells: Uint8Array,
  options: { readonly trees: Trees; readonly grid: Grid; readonly codes: ReadonlyMap<number, number> },
): void {
  const { trees, codes } = options;
  const { tree, axes } = options.grid;
  const start = trees.starts[tree] as number;
  const box = axes.map(({ thresholds }): Side => ({ first: 0, last: thresholds.length, hasMissing: true }));
  const fill = (feature: number, at: number, code: number): void => {
    const { stride, intervalCount } = axes[feature] as Axis;
    const { first, last, hasMissing } = box[feature] as Side;
    if (feature === axes.length - 1) {
      cells.fill(code, at + first, at + last + 1);
      if (hasMissing) cells[at + intervalCount - 1] = code;
      return;
    }
    for (let interval = first; interval <= last; interval += 1)
      fill(feature + 1, at + interval * stride, code);
    if (hasMissing) fill(feature + 1, at + (intervalCount - 1) * stride, code);
  };
  const visit = (node: number): void => {
    const left = trees.lefts[start + node] as number;
    if (left === node) {
      fill(0, 0, codes.get(trees.values[start + node] as number) as number);
      return;
    }
    const feature = trees.features[start + node] as number;
    const side = box[feature] as Side;
    const { first, last, hasMissing } = side;
    const isMissingRight = trees.missingRights[start + node] === 1;
    const threshold = intervalOf(
      (axes[feature] as Axis).thresholds,
      trees.thresholds[start + node] as number,
    );
    side.last = Math.min(last, threshold);
    side.hasMissing = hasMissing && !isMissingRight;
    if (side.first <= side.last || side.hasMissing) visit(left);
    side.last = last;
    side.first = Math.max(first, threshold + 1);
    side.hasMissing = hasMissing && isMissingRight;
    if (side.first <= side.last || side.hasMissing) visit(left + 1);
    side.first = first;
    side.hasMissing = hasMissing;
  };
  visit(0);
}
