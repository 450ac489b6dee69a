// The cells engine, for models of few features: path-length sums by look-ups.
//
// Each tree is cut into pieces: a top and the subtrees below it, each a grid of at most 256 cells. A row's interval of
// each feature selects one row of 64 bytes; added up they are its cell numbers in all pieces of about ten trees, the group.
// From the top's cell an entry leads to the piece below, whose cell holds the code of the leaf value.
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

const groupSize: usize = 32;
/** Entries keep 6 bits for the column, so places are below 64 MiB. */
const columnBits: usize = 6;
const columnMask: usize = 63;
const placeMax: usize = 1 << 26;

/** Four rows' columns, 64 bytes each, at a fixed place. */
const columns: usize = memory.data(256, 64);

/** Makes the places in tops and entries addresses. False: the tables, of `size` bytes, lie too far up for that. */
export function readyCells(size: usize): bool {
  if (base + size > placeMax) return false;
  for (let chunk = chunks; chunk < chunksEnd; chunk += chunkSize) {
    const groups = base + <usize>load<u32>(chunk);
    const groupsEnd = groups + <usize>load<u32>(chunk, 4) * groupSize;
    for (let group = groups; group < groupsEnd; group += groupSize) relocate(group);
  }
  return true;
}

function relocate(group: usize): void {
  const tops = base + <usize>load<u32>(group, 20);
  const topsEnd = tops + ((<usize>load<u32>(group)) << 2);
  for (let top = tops; top < topsEnd; top += 4) store<u32>(top, load<u32>(top) + <u32>base);
  const entries = base + <usize>load<u32>(group, 24);
  const entriesEnd = entries + <usize>load<u32>(group, 28);
  for (let at = entries; at < entriesEnd; at += 4) store<u32>(at, load<u32>(at) + <u32>(base << columnBits));
}

/** Sums of `count` rows of `rowSize` bytes from `rows` on into the float64s at `sums`. */
export function sumCells(rows: usize, rowSize: usize, count: u32, sums: usize): void {
  memory.fill(sums, 0, (<usize>count) << 3);
  for (let first: u32 = 0; first < count; first += rowsPerBlock) {
    const rowCount = min(rowsPerBlock, count - first);
    for (let chunk = chunks; chunk < chunksEnd; chunk += chunkSize) {
      findPlaces(chunk, rows + <usize>first * rowSize, rowSize, rowCount);
      const groups = base + <usize>load<u32>(chunk);
      const groupsEnd = groups + <usize>load<u32>(chunk, 4) * groupSize;
      for (let group = groups; group < groupsEnd; group += groupSize)
        addGroup(group, rowCount, sums + ((<usize>first) << 3));
    }
  }
}

/** The row of the interval table that a place leads to. */
function tableRow(table: usize, map: usize, place: usize): usize {
  return table + ((<usize>load<u16>(map + <usize>load<u32>(place))) << columnBits);
}

/** Cell numbers of the row whose places are at `at`, in all pieces of a group: the table's rows, added up. */
function addColumns(at: usize, pitch: usize, map: usize, table: usize, to: usize): void {
  const end = at + pitch;
  let row = tableRow(table, map, at);
  let c0 = v128.load(row);
  let c1 = v128.load(row, 16);
  let c2 = v128.load(row, 32);
  let c3 = v128.load(row, 48);
  for (at += 4; at < end; at += 4) {
    row = tableRow(table, map, at);
    c0 = i8x16.add(c0, v128.load(row));
    c1 = i8x16.add(c1, v128.load(row, 16));
    c2 = i8x16.add(c2, v128.load(row, 32));
    c3 = i8x16.add(c3, v128.load(row, 48));
  }
  v128.store(to, c0);
  v128.store(to, c1, 16);
  v128.store(to, c2, 32);
  v128.store(to, c3, 48);
}

/** The same of two rows: more sums under way while memory answers. */
function addColumnsOfTwo(at: usize, pitch: usize, map: usize, table: usize, to: usize): void {
  const end = at + pitch;
  let row = tableRow(table, map, at);
  let other = tableRow(table, map, at + pitch);
  let c0 = v128.load(row);
  let c1 = v128.load(row, 16);
  let c2 = v128.load(row, 32);
  let c3 = v128.load(row, 48);
  let d0 = v128.load(other);
  let d1 = v128.load(other, 16);
  let d2 = v128.load(other, 32);
  let d3 = v128.load(other, 48);
  for (at += 4; at < end; at += 4) {
    row = tableRow(table, map, at);
    other = tableRow(table, map, at + pitch);
    c0 = i8x16.add(c0, v128.load(row));
    c1 = i8x16.add(c1, v128.load(row, 16));
    c2 = i8x16.add(c2, v128.load(row, 32));
    c3 = i8x16.add(c3, v128.load(row, 48));
    d0 = i8x16.add(d0, v128.load(other));
    d1 = i8x16.add(d1, v128.load(other, 16));
    d2 = i8x16.add(d2, v128.load(other, 32));
    d3 = i8x16.add(d3, v128.load(other, 48));
  }
  v128.store(to, c0);
  v128.store(to, c1, 16);
  v128.store(to, c2, 32);
  v128.store(to, c3, 48);
  v128.store(to, d0, 64);
  v128.store(to, d1, 80);
  v128.store(to, d2, 96);
  v128.store(to, d3, 112);
}

/** The entry of a cell of a top, or of a middle piece's column value. */
function entryAt(table: usize, cell: u32): usize {
  return <usize>load<u32>(table + ((<usize>cell) << 2));
}

/** Where an entry's table has the value of its column. */
function placeIn(entry: usize, cell: u32): usize {
  return (entry >> columnBits) + <usize>cell;
}

/** Adds a group's leaf values to the sums of `count` rows whose places are known. */
function addGroup(group: usize, count: u32, sums: usize): void {
  const together = count & ~(lanes - 1);
  if (together > 0) addFours(group, together, sums);
  if (together < count) addOnes(group, together, count, sums);
}

/** Four rows at a time: `count` is a multiple of four. Written out, as constant places cost nothing to add. */
function addFours(group: usize, count: u32, sums: usize): void {
  const treeCount = <usize>load<u32>(group);
  const map = base + <usize>load<u32>(group, 4);
  const table = base + <usize>load<u32>(group, 8);
  const tops = base + <usize>load<u32>(group, 20);
  const pitch = (<usize>featureCount) << 2;
  memory.copy(leafValues, base + <usize>load<u32>(group, 12), <usize>load<u32>(group, 16));
  let at = places;
  const end = sums + ((<usize>count) << 3);
  for (let sum = sums; sum < end; sum += 32) {
    addColumnsOfTwo(at, pitch, map, table, columns);
    at += pitch << 1;
    addColumnsOfTwo(at, pitch, map, table, columns + 128);
    at += pitch << 1;
    let s01 = v128.load(sum);
    let s23 = v128.load(sum, 16);
    for (let t: usize = 0; t < treeCount; t++) {
      let top = <usize>load<u32>(tops + (t << 2));
      const isDeep = top & 1;
      top -= isDeep;
      let e0 = entryAt(top, load<u8>(t, columns));
      let e1 = entryAt(top, load<u8>(t, columns + 64));
      let e2 = entryAt(top, load<u8>(t, columns + 128));
      let e3 = entryAt(top, load<u8>(t, columns + 192));
      if (isDeep) {
        e0 = entryAt(e0 >> columnBits, load<u8>(e0 & columnMask, columns));
        e1 = entryAt(e1 >> columnBits, load<u8>(e1 & columnMask, columns + 64));
        e2 = entryAt(e2 >> columnBits, load<u8>(e2 & columnMask, columns + 128));
        e3 = entryAt(e3 >> columnBits, load<u8>(e3 & columnMask, columns + 192));
      }
      const c0 = (<usize>load<u8>(placeIn(e0, load<u8>(e0 & columnMask, columns)))) << 3;
      const c1 = (<usize>load<u8>(placeIn(e1, load<u8>(e1 & columnMask, columns + 64)))) << 3;
      const c2 = (<usize>load<u8>(placeIn(e2, load<u8>(e2 & columnMask, columns + 128)))) << 3;
      const c3 = (<usize>load<u8>(placeIn(e3, load<u8>(e3 & columnMask, columns + 192)))) << 3;
      const v0 = v128.load64_zero(c0, leafValues);
      const v2 = v128.load64_zero(c2, leafValues);
      s01 = f64x2.add(s01, v128.load_lane<f64>(c1, v0, 1, leafValues));
      s23 = f64x2.add(s23, v128.load_lane<f64>(c3, v2, 1, leafValues));
    }
    v128.store(sum, s01);
    v128.store(sum, s23, 16);
  }
}

/** Rows `first` to `count` one by one. */
function addOnes(group: usize, first: u32, count: u32, sums: usize): void {
  const treeCount = <usize>load<u32>(group);
  const map = base + <usize>load<u32>(group, 4);
  const table = base + <usize>load<u32>(group, 8);
  const values = base + <usize>load<u32>(group, 12);
  const tops = base + <usize>load<u32>(group, 20);
  const pitch = (<usize>featureCount) << 2;
  for (let r = first; r < count; r++) {
    addColumns(places + <usize>r * pitch, pitch, map, table, columns);
    let sum = load<f64>(sums + ((<usize>r) << 3));
    for (let t: usize = 0; t < treeCount; t++) {
      const top = <usize>load<u32>(tops + (t << 2));
      let entry = entryAt(top & ~1, load<u8>(t, columns));
      if (top & 1) entry = entryAt(entry >> columnBits, load<u8>(entry & columnMask, columns));
      const code = <usize>load<u8>(placeIn(entry, load<u8>(entry & columnMask, columns)));
      sum += load<f64>(values + (code << 3));
    }
    store<f64>(sums + ((<usize>r) << 3), sum);
  }
}
