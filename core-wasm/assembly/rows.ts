// The rows of the block under way and the results beside them, one array per quantity. Capacity doubles up to a bound.
import { featureCount } from './forest';
import { allocate, enlarge } from './memory';
import { rowsInFlight } from './walk';

/** The most rows of a block, whatever their width. */
const rowCountLimit: u32 = 131072;
/** The most memory that rows and results may take. */
const rowMemoryMax: u32 = 96 << 20;
/** The most memory that the station names of a block may take: any one message's fit. */
const stationNamesMax: usize = 32 << 20;
const firstCapacity: u32 = 1024;
/** sum, score, severity, time (8 bytes each), station place and length, abnormal row, first reason (4), verdict (1). */
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
/** u32 per row: where its station's name begins in `stationNames`, and its size. */
export let stationPlaces: usize = 0;
export let stationSizes: usize = 0;
export let verdicts: usize = 0;
export let abnormalRows: usize = 0;
/** Per abnormal row, and one more: index of its first reason. */
export let firstReasons: usize = 0;

export let stationNames: usize = 0;
export let stationNamesSize: usize = 0;
let stationNamesCapacity: usize = 0;

/** Fixes the width of a row. Answers false when there is no memory. */
export function prepareRows(): bool {
  rowSize = (<usize>featureCount) << 3;
  rowCountMax = min(rowCountLimit, rowMemoryMax / (<u32>rowSize + resultSize));
  return reserveRows(firstCapacity);
}

/** Makes room for `count` rows and keeps those that are there. */
export function reserveRows(count: u32): bool {
  if (count <= capacity) return true;
  const wanted = min(max(count, capacity * 2), rowCountMax);
  const n = <usize>wanted;
  const used = <usize>rowCount;
  // The walk reads and writes whole groups of rows, the last of them beyond the last row.
  const padded = n + <usize>rowsInFlight;
  rows = renew(rows, used * rowSize, padded * rowSize);
  times = renew(times, used << 3, n << 3);
  stationPlaces = renew(stationPlaces, used << 2, n << 2);
  stationSizes = renew(stationSizes, used << 2, n << 2);
  sums = allocate(padded << 3);
  scores = allocate(n << 3);
  severities = allocate(n << 3);
  verdicts = allocate(n);
  abnormalRows = allocate(n << 2);
  firstReasons = allocate((n + 1) << 2);
  const isThere =
    rows != 0 && times != 0 && stationPlaces != 0 && stationSizes != 0 && sums != 0 && scores != 0;
  const isAllThere = isThere && severities != 0 && verdicts != 0 && abnormalRows != 0 && firstReasons != 0;
  capacity = isAllThere ? wanted : 0;
  if (!isAllThere) clearRows();
  return isAllThere;
}

/** A larger place with the first `used` bytes of the old one; 0 without memory. */
function renew(old: usize, used: usize, size: usize): usize {
  const place = allocate(size);
  if (place != 0) memory.copy(place, old, used);
  return place;
}

export function clearRows(): void {
  rowCount = 0;
  stationNamesSize = 0;
  hasMissing = false;
  isMissingShown = false;
}

export function setRowCount(count: u32): void {
  rowCount = count;
}

/** Makes room for `size` more bytes of names. Answers 1, 0 when the block may have no more, −1 without memory. */
export function reserveStationNames(size: usize): i32 {
  if (stationNamesSize + size > stationNamesMax) return 0;
  const needed = stationNamesSize + size;
  if (needed <= stationNamesCapacity) return 1;
  const place = enlarge(stationNames, stationNamesCapacity, stationNamesSize, needed);
  if (place == 0) return -1;
  stationNames = place;
  stationNamesCapacity = max(needed, stationNamesCapacity * 2);
  return 1;
}

/** Copies a name; answers where it begins in `stationNames`. */
export function addStationName(name: usize, size: usize): usize {
  const place = stationNamesSize;
  memory.copy(stationNames + place, name, size);
  stationNamesSize += size;
  return place;
}

export function setStation(row: u32, place: u32, size: u32): void {
  store<u32>(stationPlaces + ((<usize>row) << 2), place);
  store<u32>(stationSizes + ((<usize>row) << 2), size);
}

export let hasMissing: bool = false;
let isMissingShown: bool = false;

/** A value as sensors mean it: not finite, or too large for float32 to be trusted, is missing. */
function isMissing(value: f32): bool {
  return !(<f64>abs(value) < 3.4e38);
}

/** Writes `count` values, `stride` bytes apart, into both copies of a feature from row `first` on. */
export function storeColumn(feature: u32, values: usize, stride: usize, first: u32, count: u32): void {
  const width = rowSize;
  const second = (<usize>featureCount) << 2;
  const end = values + <usize>count * stride;
  let isAnyMissing = false;
  let to = rows + <usize>first * width + ((<usize>feature) << 2);
  for (let from = values; from < end; from += stride, to += width) {
    const value = load<f32>(from);
    if (isMissing(value)) {
      isAnyMissing = true;
      store<f32>(to, f32.NEGATIVE_INFINITY);
      store<f32>(to + second, f32.POSITIVE_INFINITY);
    } else {
      store<f32>(to, value);
      store<f32>(to + second, value);
    }
  }
  if (isAnyMissing) hasMissing = true;
}

/** Makes missing values of the first copy NaN, as a reader expects them. */
export function showMissing(): void {
  if (hasMissing) replaceMissing(f32.NaN);
  isMissingShown = true;
}

/** Makes them −∞ again, as the walk expects them. */
export function hideMissing(): void {
  if (hasMissing && isMissingShown) replaceMissing(f32.NEGATIVE_INFINITY);
  isMissingShown = false;
}

function replaceMissing(sign: f32): void {
  const second = (<usize>featureCount) << 2;
  for (let r: u32 = 0; r < rowCount; r++) {
    const row = rows + <usize>r * rowSize;
    for (let value = row; value < row + second; value += 4) {
      if (load<f32>(value + second) == f32.POSITIVE_INFINITY) store<f32>(value, sign);
    }
  }
}
