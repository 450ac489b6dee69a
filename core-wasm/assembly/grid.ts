// The grid engine, for models of up to three features and trees that are not too large: path-length sums by look-ups.
//
// Each tree is one grid of the intervals of its features, a leaf code a cell. A row's interval of each feature selects one
// row of bytes, the intervals of all trees of the group; times the tree's strides they add up to cell numbers.
import { featureCount } from './forest';
import {
  base,
  chunkSize,
  chunks,
  chunksEnd,
  findPlaces,
  lanes,
  leafValues,
  places,
  rowsPerBlock,
} from './tables';

/** Cell numbers of four rows in up to 128 trees, u16, at a fixed place. */
const cells: usize = memory.data(1024, 64);

/** Makes the grids' places addresses. */
export function readyGrid(): void {
  for (let chunk = chunks; chunk < chunksEnd; chunk += chunkSize) {
    const group = base + <usize>load<u32>(chunk);
    const grids = base + <usize>load<u32>(group, 24);
    const end = grids + ((<usize>load<u32>(group)) << 2);
    for (let grid = grids; grid < end; grid += 4) store<u32>(grid, load<u32>(grid) + <u32>base);
  }
}

/** Sums of `count` rows of `rowSize` bytes from `rows` on into the float64s at `sums`; memory for three more is written. */
export function sumGrid(rows: usize, rowSize: usize, count: u32, sums: usize): void {
  memory.fill(sums, 0, (<usize>(count + lanes)) << 3);
  for (let first: u32 = 0; first < count; first += rowsPerBlock) {
    const rowCount = min(rowsPerBlock, count - first);
    for (let chunk = chunks; chunk < chunksEnd; chunk += chunkSize) {
      findPlaces(chunk, rows + <usize>first * rowSize, rowSize, rowCount);
      addGroup(base + <usize>load<u32>(chunk), rowCount, sums + ((<usize>first) << 3));
    }
  }
}

/** Cell numbers of the row whose places are at `at`, in all trees of the group. */
function findCells(at: usize, group: usize, to: usize): void {
  const rowSize = <usize>load<u32>(group, 4);
  const table = base + <usize>load<u32>(group, 8);
  let strides = base + <usize>load<u32>(group, 12);
  let a = table + <usize>load<u32>(at);
  // A feature that is not there adds row 0, all zeros.
  let b = table;
  let c = table;
  if (featureCount > 1) b += <usize>load<u32>(at, 4);
  if (featureCount > 2) c += <usize>load<u32>(at, 8);
  const pitch = rowSize << 1;
  const end = a + rowSize;
  for (; a < end; a += 8, b += 8, c += 8, strides += 16, to += 16) {
    const first = i16x8.mul(v128.load8x8_u(a), v128.load(strides));
    const second = i16x8.mul(v128.load8x8_u(b), v128.load(strides + pitch));
    v128.store(to, i16x8.add(i16x8.add(first, second), v128.load8x8_u(c)));
  }
}

/** Adds a group's leaf values to the sums of `count` rows whose places are known. */
function addGroup(group: usize, count: u32, sums: usize): void {
  if (count == 1) addOne(group, sums);
  else addFours(group, count, sums);
}

function addOne(group: usize, sum: usize): void {
  const treeCount = <usize>load<u32>(group);
  const grids = base + <usize>load<u32>(group, 24);
  const values = base + <usize>load<u32>(group, 16);
  findCells(places, group, cells);
  let total = load<f64>(sum);
  for (let t: usize = 0; t < treeCount; t++) {
    const grid = <usize>load<u32>(grids + (t << 2));
    total += load<f64>(values + ((<usize>load<u8>(grid + <usize>load<u16>(t << 1, cells))) << 3));
  }
  store<f64>(sum, total);
}

/** Four rows at a time: up to three beyond the last one are added up as well, and count for nothing. */
function addFours(group: usize, count: u32, sums: usize): void {
  const treeCount = <usize>load<u32>(group);
  const grids = base + <usize>load<u32>(group, 24);
  const pitch = (<usize>featureCount) << 2;
  memory.copy(leafValues, base + <usize>load<u32>(group, 16), <usize>load<u32>(group, 20));
  let at = places;
  const end = sums + ((<usize>count) << 3);
  for (let sum = sums; sum < end; sum += 32) {
    findCells(at, group, cells);
    at += pitch;
    findCells(at, group, cells + 256);
    at += pitch;
    findCells(at, group, cells + 512);
    at += pitch;
    findCells(at, group, cells + 768);
    at += pitch;
    let s01 = v128.load(sum);
    let s23 = v128.load(sum, 16);
    for (let t: usize = 0; t < treeCount; t++) {
      const grid = <usize>load<u32>(grids + (t << 2));
      const cell = t << 1;
      const c0 = (<usize>load<u8>(grid + <usize>load<u16>(cell, cells))) << 3;
      const c1 = (<usize>load<u8>(grid + <usize>load<u16>(cell, cells + 256))) << 3;
      const c2 = (<usize>load<u8>(grid + <usize>load<u16>(cell, cells + 512))) << 3;
      const c3 = (<usize>load<u8>(grid + <usize>load<u16>(cell, cells + 768))) << 3;
      const v0 = v128.load64_zero(c0, leafValues);
      const v2 = v128.load64_zero(c2, leafValues);
      s01 = f64x2.add(s01, v128.load_lane<f64>(c1, v0, 1, leafValues));
      s23 = f64x2.add(s23, v128.load_lane<f64>(c3, v2, 1, leafValues));
    }
    v128.store(sum, s01);
    v128.store(sum, s23, 16);
  }
}
