// What the host may call. One instance holds one model and one block of readings; nothing is imported from the host.
import { appendBatch, full, outOfMemory } from './batch';
import { featureCount, readForest, Refusal, testCount, testRows, testSums } from './forest';
import { allocate } from './memory';
import {
  prepareRows,
  reserveRows,
  rowCount,
  rowCountMax,
  rowSize,
  rows,
  setRowCount,
  showMissing,
  storeValue,
  sums,
} from './rows';
import { judge, prepareVerdicts } from './verdict';
import { walk } from './walk';

export { ignoredFeatureCount, rejectionCode, rejectionDetail, rejectionSecondDetail } from './batch';
export { refusalPlace } from './forest';
export {
  abnormalRows,
  firstReasons,
  rowCount,
  rowCountMax,
  rows,
  rowSize,
  scores,
  severities,
  stationPlaces,
  stationSizes,
  sums,
  times,
  verdicts,
} from './rows';
export { abnormalCount, reasons } from './verdict';

/** Messages of one block stay in memory, as station names are read from them. Chunks are used again for the next block. */
const chunkSizeMin: usize = 1 << 20;
const chunkCountMax: u32 = 64;
/** Once a block's messages take this much, the next message waits for the next block. */
const messageMemoryMax: usize = 64 << 20;
let chunks: usize = 0;
let chunkCount: u32 = 0;
let chunkInUse: u32 = 0;
let chunkUsed: usize = 0;
let messageMemory: usize = 0;

/** Where the host shall put a forest file of `size` bytes; 0 without memory. */
export function reserveForest(size: usize): usize {
  return allocate(size);
}

/** Checks the file, readies it for scoring and runs its self-test. Answers a refusal or 0. */
export function loadForest(at: usize, size: usize): i32 {
  const refusal = readForest(at, size);
  if (refusal != 0) return refusal;
  chunks = allocate(<usize>chunkCountMax << 3);
  if (chunks == 0 || !prepareRows() || !prepareVerdicts()) return Refusal.memory;
  return selfTest();
}

/** The sums that scikit-learn gave for the file's own rows, both by eights and one by one. */
function selfTest(): i32 {
  for (let done: u32 = 0; done < testCount; ) {
    const count = min(testCount - done, rowCountMax);
    if (!loadRows(testRows + (<usize>done * featureCount << 2), count)) return Refusal.memory;
    walk(rows, rowSize, count, sums);
    if (memory.compare(sums, testSums + (<usize>done << 3), <usize>count << 3) != 0) return Refusal.selfTest;
    walk(rows, rowSize, min(count, 7), sums);
    if (memory.compare(sums, testSums + (<usize>done << 3), <usize>min(count, 7) << 3) != 0) return Refusal.selfTest;
    done += count;
  }
  begin();
  return 0;
}

/** Forgets the block. */
export function begin(): void {
  setRowCount(0);
  chunkInUse = 0;
  chunkUsed = 0;
  messageMemory = 0;
}

/** Where the host shall put a message of `size` bytes; 0 when the block is full, 0xffffffff without memory. */
export function reserveMessage(size: usize): usize {
  if (rowCount > 0 && messageMemory + size > messageMemoryMax) return 0;
  for (; chunkInUse < chunkCount; chunkInUse++, chunkUsed = 0) {
    const entry = chunks + (<usize>chunkInUse << 3);
    if (chunkUsed + size <= <usize>load<u32>(entry, 4)) return <usize>load<u32>(entry) + chunkUsed;
  }
  if (chunkCount == chunkCountMax) return rowCount > 0 ? 0 : <usize>0xffffffff;
  const chunkSize = max(size, chunkSizeMin);
  const chunk = allocate(chunkSize);
  if (chunk == 0) return <usize>0xffffffff;
  store<u32>(chunks + (<usize>chunkCount << 3), <u32>chunk);
  store<u32>(chunks + (<usize>chunkCount << 3), <u32>chunkSize, 4);
  chunkCount += 1;
  chunkUsed = 0;
  return chunk;
}

/** Reads the message that the host put at `at`. Answers its number of readings, or a negative number: see batch.ts. */
export function append(at: usize, size: usize): i32 {
  const answer = appendBatch(at, size);
  if (answer > 0) {
    chunkUsed += size;
    messageMemory += size;
  }
  return answer;
}

/** Fills the block with `count` rows of float32 from `at`, without stations and times. False: more than fit. */
export function loadRows(at: usize, count: u32): bool {
  begin();
  if (count > rowCountMax || !reserveRows(count)) return false;
  for (let r: u32 = 0; r < count; r++) {
    for (let f: u32 = 0; f < featureCount; f++) storeValue(r, f, load<f32>(at + ((<usize>r * featureCount + f) << 2)));
  }
  setRowCount(count);
  return true;
}

/** Path-length sums of all rows of the block. */
export function sumRows(): void {
  walk(rows, rowSize, rowCount, sums);
}

/** Scores and judges all rows of the block. False without memory. */
export function score(): bool {
  sumRows();
  const isJudged = judge();
  showMissing();
  return isJudged;
}

/** What `append` answers when the block has no room for the message, and when there is no memory. */
export const appendFull: i32 = full;
export const appendOutOfMemory: i32 = outOfMemory;
