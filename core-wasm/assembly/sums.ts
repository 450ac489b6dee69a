// Which engine adds up the block's rows. All give the same bits.
import { readyCells, sumCells } from './cells';
import { featureCount } from './forest';
import { readyGrid, sumGrid } from './grid';
import { hasMissing, rowCount, rowSize, rows, sums } from './rows';
import { engine, hasMissingIntervals, readTables, rowCountMin, Tables } from './tables';
import { walk } from './walk';

/** From one row in so many with missing values on, walking the whole block is faster than walking those rows alone. */
const missingShareMin: u32 = 6;

let isWithTables: bool = false;

/** Takes tables of `size` bytes that the host put at `at` (64-aligned). False: they are not for this model or too far up. */
export function readyTables(at: usize, size: usize): bool {
  if (!readTables(at, size)) return false;
  if (engine == Tables.cells) return readyCells(size);
  readyGrid();
  return true;
}

/** Whether tables that are ready are used. */
export function useTables(isUsed: bool): void {
  isWithTables = isUsed;
}

/** Path-length sums of all rows of the block, whose missing values are −∞. */
export function sumBlock(): void {
  if (!isWithTables || rowCount < rowCountMin) return walkAll();
  if (engine == Tables.grid) return sumGrid(rows, rowSize, rowCount, sums);
  if (!hasMissing || hasMissingIntervals) return sumCells(rows, rowSize, rowCount, sums);
  if (countMissing() * missingShareMin >= rowCount) return walkAll();
  sumCells(rows, rowSize, rowCount, sums);
  for (let r: u32 = 0; r < rowCount; r++) {
    const row = rows + <usize>r * rowSize;
    if (isIncomplete(row)) walk(row, rowSize, 1, sums + ((<usize>r) << 3));
  }
}

function walkAll(): void {
  walk(rows, rowSize, rowCount, sums);
}

function countMissing(): u32 {
  let count: u32 = 0;
  for (let r: u32 = 0; r < rowCount; r++) count += <u32>isIncomplete(rows + <usize>r * rowSize);
  return count;
}

function isIncomplete(row: usize): bool {
  const end = row + ((<usize>featureCount) << 2);
  for (let at = row; at < end; at += 4) if (load<f32>(at) == f32.NEGATIVE_INFINITY) return true;
  return false;
}
