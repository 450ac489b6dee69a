// What the engines with tables share: which tables are there, and the search for the interval that a value is in.
//
// A leaf depends only on which of a tree's threshold intervals each feature is in. A row's intervals are found once; the
// engines turn them into leaf values by look-ups, and add those in tree order from 0.0, in float64, as the walk does.
// src/tables/ builds the tables; src/tables/layout.ts says how they lie.
import { featureCount } from './forest';
import { allocate } from './memory';

/** Which tables are there. */
export namespace Tables {
  export const none: u32 = 0;
  export const cells: u32 = 0x534c4543;
  export const grid: u32 = 0x44495247;
}

const version: u32 = 1;
const headerSize: usize = 32;
export const chunkSize: usize = 48;
const featureSize: usize = 16;

/** Rows whose intervals are kept at a time: theirs and their sums stay in the caches meanwhile. */
export const rowsPerBlock: u32 = 1024;
/** Rows that go through the tables together. Memory for this many rows beyond the last one must be there. */
export const lanes: u32 = 4;
/** A guess with more candidates is narrowed by halving before it is compared. */
const candidatesMax: usize = 16;

/** The engine's mark in the tables. */
export let engine: u32 = Tables.none;
/** Whether missing values have intervals of their own; else rows with them walk. */
export let hasMissingIntervals: bool = false;
/** Smaller blocks walk: they would wait for tables that are in no cache. */
export let rowCountMin: u32 = 0;
/** Where the tables begin: places in them are offsets from here. */
export let base: usize = 0;
export let chunks: usize = 0;
export let chunksEnd: usize = 0;
/** u32 per row and feature: what the value's interval counts for, bytes into the group's table or map. */
export let places: usize = 0;
/** The group's leaf values while rows are added up: at a fixed place, so that a look-up adds nothing. */
export const leafValues: usize = memory.data(2048, 64);

/** Takes tables of `size` bytes at `at`. False: they are not for this model. */
export function readTables(at: usize, size: usize): bool {
  if (size < headerSize || load<u32>(at, 4) != version || <usize>load<u32>(at, 8) != size) return false;
  if (load<u32>(at, 12) != featureCount) return false;
  places = allocate(<usize>(rowsPerBlock + lanes) * ((<usize>featureCount) << 2));
  if (places == 0) return false;
  engine = load<u32>(at);
  base = at;
  hasMissingIntervals = load<u32>(at, 16) != 0;
  chunks = at + <usize>load<u32>(at, 24);
  chunksEnd = chunks + <usize>load<u32>(at, 20) * chunkSize;
  rowCountMin = load<u32>(at, 28);
  return engine == Tables.cells || engine == Tables.grid;
}

/** Fills `places` for `count` rows of `rowSize` bytes. A value's interval: how many of the chunk's thresholds are below it. */
export function findPlaces(chunk: usize, rows: usize, rowSize: usize, count: u32): void {
  const features = featureCount;
  const pitch = (<usize>features) << 2;
  const thresholdsSize = <usize>load<u32>(chunk, 12);
  const guessesSize = <usize>load<u32>(chunk, 20);
  const unit = <usize>load<u32>(chunk, 32);
  const lastBucket = i32x4.splat(load<i32>(chunk, 28) - 1);
  const zero = i32x4.splat(0);
  const withMissing = hasMissingIntervals;
  let thresholds = base + <usize>load<u32>(chunk, 8);
  let guesses = base + <usize>load<u32>(chunk, 16);
  let feature = base + <usize>load<u32>(chunk, 24);
  for (let f: u32 = 0; f < features; f++) {
    const low = f32x4.splat(load<f32>(feature));
    const scale = f32x4.splat(load<f32>(feature, 4));
    const first = <usize>load<u32>(feature, 12);
    const missing = first + (<usize>load<u32>(feature, 8) + 1) * unit;
    let at = rows + ((<usize>f) << 2);
    let to = places + ((<usize>f) << 2);
    for (let r: u32 = 0; r < count; r += lanes) {
      let values = v128.load32_zero(at);
      values = v128.load_lane<f32>(at + rowSize, values, 1);
      values = v128.load_lane<f32>(at + rowSize * 2, values, 2);
      values = v128.load_lane<f32>(at + rowSize * 3, values, 3);
      const scaled = f32x4.mul(f32x4.sub(values, low), scale);
      const bucket = i32x4.min_s(i32x4.max_s(i32x4.trunc_sat_f32x4_s(scaled), zero), lastBucket);
      const g0 = guesses + ((<usize>i32x4.extract_lane(bucket, 0)) << 1);
      const g1 = guesses + ((<usize>i32x4.extract_lane(bucket, 1)) << 1);
      const g2 = guesses + ((<usize>i32x4.extract_lane(bucket, 2)) << 1);
      const g3 = guesses + ((<usize>i32x4.extract_lane(bucket, 3)) << 1);
      store<u32>(to, first + refine(thresholds, g0, f32x4.extract_lane(values, 0)) * unit);
      store<u32>(to + pitch, first + refine(thresholds, g1, f32x4.extract_lane(values, 1)) * unit);
      store<u32>(to + pitch * 2, first + refine(thresholds, g2, f32x4.extract_lane(values, 2)) * unit);
      store<u32>(to + pitch * 3, first + refine(thresholds, g3, f32x4.extract_lane(values, 3)) * unit);
      if (withMissing) {
        const isMissing = i32x4.bitmask(f32x4.eq(values, f32x4.splat(f32.NEGATIVE_INFINITY)));
        if (isMissing != 0) {
          for (let lane: u32 = 0; lane < lanes; lane++)
            if ((isMissing >> lane) & 1) store<u32>(to + pitch * <usize>lane, missing);
        }
      }
      at += rowSize * lanes;
      to += pitch * lanes;
    }
    thresholds += thresholdsSize;
    guesses += guessesSize;
    feature += featureSize;
  }
}

/** From the guess on: four thresholds at a time, all that are below the value. */
function refine(thresholds: usize, guess: usize, value: f32): usize {
  let low = <usize>load<u16>(guess);
  let high = <usize>load<u16>(guess, 2);
  while (high - low > candidatesMax) {
    const middle = (low + high) >> 1;
    if (load<f32>(thresholds + (middle << 2)) < value) low = middle + 1;
    else high = middle;
  }
  const values = f32x4.splat(value);
  let below: i32 = 0;
  do {
    below = popcnt(i32x4.bitmask(f32x4.lt(v128.load(thresholds + (low << 2)), values)));
    low += <usize>below;
  } while (below == <i32>lanes);
  return low;
}
