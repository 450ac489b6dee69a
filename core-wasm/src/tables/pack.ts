// Packs consecutive trees into groups: as many as share 64 byte columns and one dictionary of 256 leaf values.
import { type CutTree, cellCountMax, type Piece } from './cut.ts';

/** Bytes of one row of a group's interval tables: the cell numbers of its pieces. */
export const columnCount = 64;
/** A leaf code is a byte. */
const leafValueCountMax = 256;
/** About what most groups come to. */
const firstGuess = 12;

/** Pieces that share a column multiply: value = Σ cell × factor. */
export type Place = { readonly column: number; readonly factor: number };

export type Group = {
  readonly trees: readonly CutTree[];
  /** Tree t's top is alone in column t. */
  readonly places: ReadonlyMap<Piece, Place>;
  /** Values that each column takes. The column after the last one is always 0. */
  readonly columnSizes: readonly number[];
  readonly leafValues: readonly number[];
};

/** Answers undefined when a single tree is too much for a group. */
export function packGroups(trees: readonly CutTree[]): Group[] | undefined {
  const groups: Group[] = [];
  let guess = firstGuess;
  for (let first = 0; first < trees.length; ) {
    let count = Math.min(guess, trees.length - first);
    let group = pack(trees.slice(first, first + count));
    while (group === undefined && count > 1) {
      count -= 1;
      group = pack(trees.slice(first, first + count));
    }
    if (group === undefined) return undefined;
    for (let larger = count === guess ? group : undefined; larger !== undefined; ) {
      group = larger;
      count = group.trees.length;
      larger = first + count < trees.length ? pack(trees.slice(first, first + count + 1)) : undefined;
    }
    groups.push(group);
    first += count;
    guess = count;
  }
  return groups;
}

/** First-fit decreasing: the largest pieces choose their columns first. */
function pack(trees: readonly CutTree[]): Group | undefined {
  if (trees.length >= columnCount) return undefined;
  const leafValues = new Set(trees.flatMap((tree) => [...tree.leafValues]));
  if (leafValues.size > leafValueCountMax) return undefined;
  const places = new Map<Piece, Place>();
  const columnSizes: number[] = [];
  for (const [column, { pieces }] of trees.entries()) {
    const top = pieces[0] as Piece;
    places.set(top, { column, factor: 1 });
    columnSizes.push(top.cellCount);
  }
  const pieces = trees.flatMap((tree) => tree.pieces.slice(1)).sort((a, b) => b.cellCount - a.cellCount);
  for (const piece of pieces) {
    let column = trees.length;
    while ((columnSizes[column] ?? 1) * piece.cellCount > cellCountMax) column += 1;
    if (column + 1 >= columnCount) return undefined;
    const factor = columnSizes[column] ?? 1;
    places.set(piece, { column, factor });
    columnSizes[column] = factor * piece.cellCount;
  }
  return { trees, places, columnSizes, leafValues: [...leafValues] };
}
