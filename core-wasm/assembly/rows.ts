// The rows of the block under way and the results beside them, one array per quantity. Capacity doubles up to a bound.
import { featureCount } from './forest';
import { allocate } from './memory';

/** The most rows of a block, whatever their width. */
const rowCountLimit: u32 = 131072;
/** The most memory that rows and results may take. */
const rowMemoryMax: u32 = 96 << 20;
const firstCapacity: u32 = 1024;
/** sum, score, severity, time (8 bytes each), station place and length (4 each), verdict (1), abnormal row (4), first reason (4). */
const resultSize: u32 = 49;

let capacity: u32 = 0;
export let rowCountMax: u32 = 0;
export let rowCount: u32 = 0;
/** Bytes from one row to the next: each feature's value twice, missing ones as −∞ first and as +∞ later. */
export let rowSize: usize = 0;

export let rows: usize = 0;
export let sums: usize = 0;
export let scores: usize = 0;
export let severities: usize = 0;
export let times: usize = 0;
export let stationPlaces: usize = 0;
export let stationSizes: usize = 0;
export let verdicts: usize = 0;
export let abnormalRows: usize = 0;
/** Per abnormal row, and one more: index of its first reason. */
export let firstReasons: usize = 0;

/** Fixes the width of a row. Answers false when there is no memory. */
export function prepareRows(): bool {
  rowSize = <usize>featureCount << 3;
  rowCountMax = min(rowCountLimit, rowMemoryMax / (<u32>rowSize + resultSize)) & ~7;
  return reserveRows(firstCapacity);
}

/** Makes room for `count` rows and keeps those that are there. The walk may read up to 7 rows beyond the last. */
export function reserveRows(count: u32): bool {
  if (count <= capacity) return true;
  const wanted = (min(max(count, capacity * 2), rowCountMax) + 7) & ~7;
  const oldRows = rows;
  const oldTimes = times;
  const oldPlaces = stationPlaces;
  const oldSizes = stationSizes;
  const n = <usize>wanted;
  rows = allocate(n * rowSize);
  sums = allocate(n << 3);
  scores = allocate(n << 3);
  severities = allocate(n << 3);
  times = allocate(n << 3);
  stationPlaces = allocate(n << 2);
  stationSizes = allocate(n << 2);
  verdicts = allocate(n);
  abnormalRows = allocate(n << 2);
  firstReasons = allocate((n + 1) << 2);
  if (rows == 0 || sums == 0 || scores == 0 || severities == 0 || times == 0) return false;
  if (stationPlaces == 0 || stationSizes == 0 || verdicts == 0 || abnormalRows == 0 || firstReasons == 0) return false;
  const used = <usize>rowCount;
  memory.copy(rows, oldRows, used * rowSize);
  memory.copy(times, oldTimes, used << 3);
  memory.copy(stationPlaces, oldPlaces, used << 2);
  memory.copy(stationSizes, oldSizes, used << 2);
  capacity = wanted;
  return true;
}

export function setRowCount(count: u32): void {
  rowCount = count;
  if (count == 0) hasMissing = false;
}

let hasMissing: bool = false;

/** Makes missing values of the first copy NaN, as a reader expects them. The rows cannot be walked again after that. */
export function showMissing(): void {
  if (!hasMissing) return;
  for (let r: u32 = 0; r < rowCount; r++) {
    const row = rows + <usize>r * rowSize;
    for (let f: u32 = 0; f < featureCount; f++) {
      const at = row + (<usize>f << 2);
      if (load<f32>(at) == f32.NEGATIVE_INFINITY) store<f32>(at, f32.NaN);
    }
  }
}

/** A value as sensors mean it: not finite, or too large for float32 to be trusted, is missing. */
export function isMissing(value: f32): bool {
  return !(<f64>abs(value) < 3.4e38);
}

/** Writes a value into both copies of its row. */
export function storeValue(row: u32, feature: u32, value: f32): void {
  const at = rows + <usize>row * rowSize + (<usize>feature << 2);
  const missing = isMissing(value);
  if (missing) hasMissing = true;
  store<f32>(at, missing ? f32.NEGATIVE_INFINITY : value);
  store<f32>(at + (<usize>featureCount << 2), missing ? f32.POSITIVE_INFINITY : value);
}
