// Builds an engine's tables from a forest: for every row the same leaves as the walk, found by look-ups (docs/adr/0005).
import { writeCells } from './cells.ts';
import { writeGrid } from './grid.ts';
import {
  createWriter,
  headerSize,
  magicOf,
  type TableEngine,
  TablesTooLarge,
  version,
  type Writer,
} from './layout.ts';
import { depthOf, readTrees, type Trees } from './trees.ts';

/** More features make pieces so small that the walk is as fast. */
const featureCountMax = 24;
/**
 * Larger tables are not built: nothing was gained by larger cells; and a larger grid, read at random, is slower than cells
 * where other work uses the caches too.
 */
export const tablesSizeMax = { cells: 16 << 20, grid: 2 << 20 } as const;
/** About a core's second cache. Larger tables come from farther away: */
const nearSizeMax = 2 << 20;
/** they slow a large block by so much, */
const farSlowdown = 1.25;
/** and a block of fewer rows waits for them longer than it gains. */
const farRowCountMin = 64;
/** A step of the walk waits for the one before it and costs as much as so many reads of tables, which do not. */
const readsPerStep = 3.9;
/** Less is not worth the memory. */
const speedupMin = 1.1;

/**
 * The tables as one flat buffer (layout.ts), or undefined where they do not fit or would not be faster: too many features,
 * trees too deep or too large, or more than `sizeMax` bytes. Takes 10 to 500 ms.
 */
export function buildTables(
  forest: Uint8Array,
  { engine, sizeMax = tablesSizeMax[engine] }: { readonly engine: TableEngine; readonly sizeMax?: number },
): ArrayBuffer | undefined {
  const trees = readTrees(forest);
  if (trees.featureCount > featureCountMax) return undefined;
  try {
    return write(createWriter(sizeMax), engine, trees);
  } catch (error) {
    if (error instanceof TablesTooLarge) return undefined;
    throw error;
  }
}

function write(writer: Writer, engine: TableEngine, trees: Trees): ArrayBuffer | undefined {
  writer.reserve(headerSize);
  const written = engine === 'grid' ? writeGrid(writer, trees) : writeCells(writer, trees);
  if (written === undefined) return undefined;
  const size = writer.size();
  const isFar = size > nearSizeMax;
  const speedup = (countSteps(trees) * readsPerStep) / written.loadCount / (isFar ? farSlowdown : 1);
  if (speedup < speedupMin) return undefined;
  const hasMissing = engine === 'grid';
  writer
    .u32(0, headerSize / 4)
    .set([
      magicOf[engine],
      version,
      size,
      trees.featureCount,
      Number(hasMissing),
      written.chunkCount,
      written.chunks,
      engine === 'cells' && isFar ? farRowCountMin : 1,
    ]);
  return writer.finish();
}

/** Steps that a row walks: each tree as deep as its deepest leaf. */
function countSteps(trees: Trees): number {
  let count = 0;
  for (let tree = 0; tree < trees.treeCount; tree += 1) count += depthOf(trees, tree);
  return count;
}
