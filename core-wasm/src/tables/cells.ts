// The tables of the cells engine: intervals → columns → cells of pieces → leaf codes (docs/adr/0005).
import { type CutTree, cutTree, type Dimension, type Piece } from './cut.ts';
import { chunkSize, groupSize, lineSize, type Writer, type Written } from './layout.ts';
import { columnCount, type Group, type Place, packGroups } from './pack.ts';
import { firstIntervals, thresholdsOf, writeChunk } from './search.ts';
import { intervalOf } from './thresholds.ts';
import type { Trees } from './trees.ts';

/** Of one chunk: its search stays in the first cache. */
const splitCountMax = 8_192;
/** Bits of an entry that name the column. */
const columnBits = 6;
const leafCodeCount = 256;
const mapEntrySize = 2;

/** Writes all groups, by chunks; answers the chunks' place and count, or undefined where the trees do not fit. */
export function writeCells(writer: Writer, trees: Trees): Written | undefined {
  const cuts: CutTree[] = [];
  for (let tree = 0; tree < trees.treeCount; tree += 1) {
    const cut = cutTree(trees, tree);
    if (cut === undefined) return undefined;
    cuts.push(cut);
  }
  const groups = packGroups(cuts);
  if (groups === undefined) return undefined;
  const inChunks = chunkGroups(groups);
  const chunks = writer.reserve(inChunks.length * chunkSize);
  for (const [index, members] of inChunks.entries()) {
    const thresholds = thresholdsOf(
      trees,
      members.flatMap((group) => group.trees.map(({ tree }) => tree)),
    );
    const places = writer.reserve(members.length * groupSize);
    writeChunk(writer, {
      chunk: chunks + index * chunkSize,
      thresholds,
      groups: places,
      groupCount: members.length,
      intervalSize: mapEntrySize,
    });
    for (const [memberIndex, group] of members.entries())
      writeGroup(writer, { place: places + memberIndex * groupSize, trees, group, thresholds });
  }
  return { chunks, chunkCount: inChunks.length, loadCount: countLoads(groups, trees.featureCount) };
}

/** What a row reads: per group a place, its map, and 64 bytes a feature; then per tree two hops or three, and a value. */
function countLoads(groups: readonly Group[], featureCount: number): number {
  let count = groups.length * featureCount * 6;
  for (const group of groups) for (const { levelCount } of group.trees) count += 1 + 2 * levelCount;
  return count;
}

/** Splits groups, in order, into chunks. */
function chunkGroups(groups: readonly Group[]): Group[][] {
  const chunks: Group[][] = [];
  let count = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    const more = group.trees.reduce((sum, tree) => sum + splitCountOf(tree), 0);
    if (count + more > splitCountMax) {
      chunks.push([]);
      count = 0;
    }
    (chunks.at(-1) as Group[]).push(group);
    count += more;
  }
  return chunks;
}

const splitCountOf = ({ pieces }: CutTree) => pieces.reduce((sum, { splits }) => sum + splits.size, 0);

function writeGroup(
  writer: Writer,
  options: {
    readonly place: number;
    readonly trees: Trees;
    readonly group: Group;
    /** The chunk's thresholds by feature. */
    readonly thresholds: readonly Float32Array[];
  },
): void {
  const { place, trees, group, thresholds } = options;
  const own = thresholdsOf(
    trees,
    group.trees.map(({ tree }) => tree),
  );
  const leafValues = writer.reserve(group.leafValues.length * 8);
  writer.f64(leafValues, group.leafValues.length).set(group.leafValues);
  const intervals = writeIntervals(writer, group, own);
  const map = writeMap(writer, own, thresholds);
  const { tops, entries, entriesSize } = writePieces(writer, trees, group);
  const fields = [group.trees.length, map, intervals, leafValues, group.leafValues.length * 8, tops];
  writer.u32(place, groupSize / 4).set([...fields, entries, entriesSize]);
}

/** Per interval of the group 64 bytes: what it adds to each column. */
function writeIntervals(writer: Writer, group: Group, own: readonly Float32Array[]): number {
  const rows = firstIntervals(own);
  const size = (rows.at(-1) as number) * columnCount;
  const intervals = writer.reserve(size, lineSize);
  const table = writer.bytes(intervals, size);
  for (const [piece, { column, factor }] of group.places) {
    for (const { feature, thresholds, stride } of piece.dimensions) {
      let interval = 0;
      let at = ((rows[feature] as number) + 1) * columnCount + column;
      for (const threshold of own[feature] as Float32Array) {
        if ((thresholds[interval] ?? Number.POSITIVE_INFINITY) <= threshold) interval += 1;
        table[at] = (table[at] as number) + interval * stride * factor;
        at += columnCount;
      }
    }
  }
  return intervals;
}

/** Which row of the group's table an interval of the chunk means. Missing values have none: rows with them walk. */
function writeMap(writer: Writer, own: readonly Float32Array[], thresholds: readonly Float32Array[]): number {
  const rows = firstIntervals(own);
  const firsts = firstIntervals(thresholds);
  const count = firsts.at(-1) as number;
  const place = writer.reserve(count * mapEntrySize);
  const map = writer.u16(place, count);
  for (const [feature, all] of thresholds.entries()) {
    const mine = own[feature] as Float32Array;
    let at = firsts[feature] as number;
    let row = rows[feature] as number;
    const lastRow = row + mine.length;
    map[at] = row;
    for (const threshold of all) {
      if (row < lastRow && (mine[row - lastRow + mine.length] as number) <= threshold) row += 1;
      at += 1;
      map[at] = row;
    }
  }
  return place;
}

/** Writes what each cell leads to. */
function writePieces(writer: Writer, trees: Trees, group: Group) {
  const zeroColumn = group.columnSizes.length;
  const tables = group.trees.flatMap(({ pieces, levelCount }) =>
    pieces.map((piece): InTable => ({ group, piece, levelCount })),
  );
  const places = new Map<Piece, number>();
  const hops = writer.reserve(group.leafValues.length * 4);
  for (const table of tables) if (!isLast(table)) places.set(table.piece, writer.reserve(tableSize(table)));
  const identity = writer.reserve(leafCodeCount);
  for (const table of tables) if (isLast(table)) places.set(table.piece, writer.reserve(tableSize(table)));
  const tops = writer.reserve(group.trees.length * 4);
  const placeOf = (piece: Piece) => places.get(piece) as number;
  const entry = (place: number, column: number) => (place << columnBits) | column;

  writer.bytes(identity, leafCodeCount).set(Uint8Array.from({ length: leafCodeCount }, (_, code) => code));
  const leafEntry = (code: number) => entry(identity + code, zeroColumn);
  writer.u32(hops, group.leafValues.length).set(group.leafValues.map((_, code) => leafEntry(code)));
  writer
    .u32(tops, group.trees.length)
    .set(group.trees.map(({ pieces, levelCount }) => placeOf(pieces[0] as Piece) | Number(levelCount === 3)));
  const codes = new Map(group.leafValues.map((value, code) => [value, code]));
  const pieceEntry = (piece: Piece) => entry(placeOf(piece), (group.places.get(piece) as Place).column);
  for (const cut of group.trees) {
    for (const piece of cut.pieces) {
      const levelsBelow = cut.levelCount - 1 - piece.level;
      const leaf = (value: number) => {
        const code = codes.get(value) as number;
        if (levelsBelow === 0) return code;
        return levelsBelow === 1 ? leafEntry(code) : entry(hops + code * 4, zeroColumn);
      };
      const cells = fillCells({ trees, tree: cut.tree, piece, leads: { leaf, piece: pieceEntry } });
      writeTable(writer, { group, piece, levelCount: cut.levelCount, cells, place: placeOf(piece) });
    }
  }
  return { tops, entries: hops, entriesSize: identity - hops };
}

type InTable = { readonly group: Group; readonly piece: Piece; readonly levelCount: number };

const isLast = ({ piece, levelCount }: InTable) => piece.level === levelCount - 1;

/** A top has an entry a cell; pieces below one for each value of their column. */
function tableSize(table: InTable): number {
  const { group, piece } = table;
  const length =
    piece.level === 0
      ? piece.cellCount
      : (group.columnSizes[(group.places.get(piece) as Place).column] as number);
  return isLast(table) ? length : length * 4;
}

function writeTable(
  writer: Writer,
  table: InTable & { readonly cells: Uint32Array; readonly place: number },
): void {
  const { group, piece, cells, place } = table;
  const { factor } = group.places.get(piece) as Place;
  const size = tableSize(table);
  const to = isLast(table) ? writer.bytes(place, size) : writer.u32(place, size / 4);
  for (let value = 0; value < to.length; value += 1)
    to[value] = cells[Math.floor(value / factor) % piece.cellCount] as number;
}

/** What to write into a cell where the row reaches a leaf, or the next piece. */
type Leads = { leaf(value: number): number; piece(below: Piece): number };

/** Goes down the piece's splits with the box of intervals that is left, and fills it at the end. */
function fillCells(options: {
  readonly trees: Trees;
  readonly tree: number;
  readonly piece: Piece;
  readonly leads: Leads;
}): Uint32Array {
  const { trees, piece, leads } = options;
  const start = trees.starts[options.tree] as number;
  const { dimensions } = piece;
  const cells = new Uint32Array(piece.cellCount);
  const dimensionOf = new Map(dimensions.map(({ feature }, index) => [feature, index]));
  const box = dimensions.map(({ intervalCount }): Side => ({ first: 0, last: intervalCount - 1 }));
  const fill = (index: number, at: number, value: number): void => {
    if (index < 0) {
      cells[at] = value;
      return;
    }
    const { stride } = dimensions[index] as Dimension;
    const { first, last } = box[index] as Side;
    for (let interval = first; interval <= last; interval += 1)
      fill(index - 1, at + interval * stride, value);
  };
  const visit = (node: number): void => {
    if (!piece.splits.has(node)) {
      const below = piece.below.get(node);
      const value =
        below === undefined ? leads.leaf(trees.values[start + node] as number) : leads.piece(below);
      fill(dimensions.length - 1, 0, value);
      return;
    }
    const index = dimensionOf.get(trees.features[start + node] as number) as number;
    const side = box[index] as Side;
    const { first, last } = side;
    const threshold = intervalOf(
      (dimensions[index] as Dimension).thresholds,
      trees.thresholds[start + node] as number,
    );
    const left = trees.lefts[start + node] as number;
    side.last = Math.min(last, threshold);
    if (side.first <= side.last) visit(left);
    side.last = last;
    side.first = Math.max(first, threshold + 1);
    if (side.first <= side.last) visit(left + 1);
    side.first = first;
  };
  visit(piece.root);
  return cells;
}

type Side = { first: number; last: number };
