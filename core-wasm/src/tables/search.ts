// What finds the interval that a value is in, a few steps each: the part that all engines with tables share.
import { featureSize, type Writer } from './layout.ts';
import { sortedDistinct } from './thresholds.ts';
import type { Trees } from './trees.ts';

const bucketCountMin = 64;
const bucketCountMax = 4_096;
/** The share of thresholds at either end that share the outermost buckets: outliers would empty the others. */
const outerShare = 0.01;
/** The module compares four at a time. */
const lanes = 4;

/** Per feature the distinct thresholds of the trees, ascending. */
export function thresholdsOf(trees: Trees, numbers: Iterable<number>): Float32Array[] {
  const values = Array.from({ length: trees.featureCount }, (): number[] => []);
  for (const tree of numbers) {
    const start = trees.starts[tree] as number;
    for (let node = start; node < (trees.starts[tree + 1] as number); node += 1)
      if (trees.lefts[node] !== node - start)
        (values[trees.features[node] as number] as number[]).push(trees.thresholds[node] as number);
  }
  return values.map((list) => sortedDistinct(Float32Array.from(list)));
}

/** Writes a chunk at `chunk`: first a guess by a value's bucket, from there on by comparing. */
export function writeChunk(
  writer: Writer,
  {
    chunk,
    thresholds,
    groups,
    groupCount,
    intervalSize,
  }: {
    readonly chunk: number;
    readonly thresholds: readonly Float32Array[];
    readonly groups: number;
    readonly groupCount: number;
    /** Bytes of an interval in what the places found lead to, feature after feature. */
    readonly intervalSize: number;
  },
): void {
  const longest = Math.max(...thresholds.map(({ length }) => length));
  const bucketCount = Math.min(
    Math.max(2 ** Math.ceil(Math.log2(2 * longest + 1)), bucketCountMin),
    bucketCountMax,
  );
  const thresholdsSize = (Math.ceil(longest / lanes) + 1) * lanes * 4;
  const guessesSize = (bucketCount + 2) * 2;
  const lists = writer.reserve(thresholds.length * thresholdsSize);
  const guessLists = writer.reserve(thresholds.length * guessesSize);
  const features = writer.reserve(thresholds.length * featureSize);
  writer
    .u32(chunk, 9)
    .set([
      groups,
      groupCount,
      lists,
      thresholdsSize,
      guessLists,
      guessesSize,
      features,
      bucketCount,
      intervalSize,
    ]);
  const firsts = firstIntervals(thresholds);
  for (const [feature, values] of thresholds.entries()) {
    const list = writer.f32(lists + feature * thresholdsSize, thresholdsSize / 4);
    list.fill(Number.POSITIVE_INFINITY);
    list.set(values);
    const { low, scale } = bucketsOf(values, bucketCount);
    const guesses = writer.u16(guessLists + feature * guessesSize, bucketCount + 1);
    for (const value of values) {
      const bucket = bucketOf(value, { low, scale, bucketCount });
      guesses[bucket + 1] = (guesses[bucket + 1] as number) + 1;
    }
    for (let bucket = 1; bucket <= bucketCount; bucket += 1)
      guesses[bucket] = (guesses[bucket] as number) + (guesses[bucket - 1] as number);
    const place = features + feature * featureSize;
    writer.f32(place, 2).set([low, scale]);
    writer.u32(place + 8, 2).set([values.length, (firsts[feature] as number) * intervalSize]);
  }
}

/** Number of each feature's first interval, and of all: one more interval than thresholds, and one for missing values. */
export function firstIntervals(thresholds: readonly Float32Array[]): number[] {
  const firsts = [0];
  for (const { length } of thresholds) firsts.push((firsts.at(-1) as number) + length + 2);
  return firsts;
}

function bucketsOf(values: Float32Array, bucketCount: number) {
  const outer = Math.floor(values.length * outerShare);
  const low = values[outer] ?? 0;
  const high = values[values.length - 1 - outer] ?? 0;
  const scale = high > low ? Math.fround(Math.min(bucketCount / (high - low), 3e38)) : 0;
  return { low, scale };
}

/** In float32 and in the module's order of operations: it never decreases as the value grows. */
function bucketOf(
  value: number,
  { low, scale, bucketCount }: { readonly low: number; readonly scale: number; readonly bucketCount: number },
): number {
  const bucket = Math.trunc(Math.fround(Math.fround(value - low) * scale));
  return Math.min(Math.max(bucket, 0), bucketCount - 1);
}
