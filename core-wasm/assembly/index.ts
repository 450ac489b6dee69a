// What the host may call. One instance holds one model and one block of readings; nothing is imported from the host.
import { appendBatch, prepareBatches } from './batch';
import { prepareCopy } from './copy';
import {
  featureCount,
  Refusal,
  readSome,
  startForest,
  testCount,
  testRows,
  testSums,
  unfinished,
} from './forest';
import { allocate, enlarge } from './memory';
import { appendSpans, clearMessages } from './messages';
import {
  clearRows,
  hideMissing,
  prepareRows,
  reserveRows,
  rowCount,
  rowCountMax,
  setRowCount,
  showMissing,
  storeColumn,
  sums,
} from './rows';
import { readyTables, sumBlock, useTables } from './sums';
import { judge, prepareVerdicts } from './verdict';

export {
  ignoredFeatureCount,
  rejectionCode,
  rejectionDetail,
  rejectionNamePlace,
  rejectionNameSize,
  rejectionSecondDetail,
} from './batch';
export { copyPiece, copyTopic, nextCopyPiece, startCopy } from './copy';
export { refusalPlace } from './forest';
export {
  ignoredInBlock,
  messageCount,
  messageOffsets,
  messageRows,
  messageSpans,
  passMessage,
  reserveMessages,
} from './messages';
export {
  abnormalRows,
  firstReasons,
  rowCount,
  rowCountMax,
  rowSize,
  rows,
  scores,
  severities,
  stationNames,
  stationNamesSize,
  stationPlaces,
  stationSizes,
  sums,
  times,
  verdicts,
} from './rows';
export { useTables } from './sums';
export { abnormalCount, reasons } from './verdict';

const inputSizeMin: usize = 1 << 16;
let input: usize = 0;
let inputCapacity: usize = 0;

/** Where the host shall put a forest file, or the tables for it, of `size` bytes; 0 without memory. */
export function reserve(size: usize): usize {
  return allocate(size);
}

let isRead: bool = false;
/** Rows of the self-test that have passed. */
let tested: u32 = 0;

/** Begins to load the forest file that the host put at `at`: `loadSome` goes on. Answers `unfinished` or a refusal. */
export function startLoading(at: usize, size: usize): i32 {
  isRead = false;
  tested = 0;
  return startForest(at, size);
}

/** Checks a piece more of the file, readies it for scoring, and runs its self-test. Answers `unfinished`, a refusal or 0. */
export function loadSome(): i32 {
  if (isRead) return testSome(testRowsMin);
  const refusal = readSome();
  if (refusal != 0) return refusal;
  if (!prepareRows() || !prepareBatches() || !prepareVerdicts() || !prepareCopy()) return Refusal.memory;
  isRead = true;
  return unfinished;
}

/** So few that they hold up nobody before their code is compiled, and enough to go through trees in groups. */
const testRowsMin: u32 = 16;

/** Up to `count` rows more of the file's own must get scikit-learn's sums, both in groups and one by one. */
function testSome(count: u32): i32 {
  count = min(min(testCount - tested, count), rowCountMax);
  if (!loadRows(testRows + ((<usize>tested * featureCount) << 2), count)) return Refusal.memory;
  const expected = testSums + ((<usize>tested) << 3);
  sumRows();
  if (memory.compare(sums, expected, (<usize>count) << 3) != 0) return Refusal.selfTest;
  const few = min(count, 3);
  setRowCount(few);
  sumRows();
  if (memory.compare(sums, expected, (<usize>few) << 3) != 0) return Refusal.selfTest;
  begin();
  tested += count;
  if (tested < testCount) return unfinished;
  tested = 0;
  return Refusal.none;
}

/** Takes an engine's tables that the host put at `at` (64-aligned); the trees are still walked. False: not this model's. */
export function loadTables(at: usize, size: usize): bool {
  return readyTables(at, size);
}

/**
 * Runs up to `count` rows more of the self-test with the tables: `unfinished`, a refusal, or 0 when all rows have passed once
 * more. Run often before the tables are used, so that their code is compiled by then.
 */
export function testTables(count: u32): i32 {
  useTables(true);
  const refusal = testSome(count);
  useTables(false);
  return refusal;
}

/** Forgets the block. */
export function begin(): void {
  clearRows();
  clearMessages();
}

/** Where the host shall put the next input of `size` bytes, a message or rows; 0 without memory. */
export function reserveInput(size: usize): usize {
  if (input != 0 && size <= inputCapacity) return input;
  const place = enlarge(input, inputCapacity, 0, max(size, inputSizeMin));
  if (place == 0) return 0;
  input = place;
  inputCapacity = max(max(size, inputSizeMin), inputCapacity * 2);
  return input;
}

/** Reads the message that the host put at `at`. Answers its number of readings, or a negative number: see batch.ts. */
export function append(at: usize, size: usize): i32 {
  hideMissing();
  return appendBatch(at, size);
}

/** The same for the messages up to the block's `end`-th, whose spans the host has put: see messages.ts. */
export function appendMessages(end: u32): i32 {
  hideMissing();
  return appendSpans(end);
}

/** Makes the block `count` rows of float32 from `at`, without stations and times. False: more than fit. */
export function loadRows(at: usize, count: u32): bool {
  begin();
  if (count > rowCountMax || !reserveRows(count)) return false;
  for (let f: u32 = 0; f < featureCount; f++)
    storeColumn(f, at + ((<usize>f) << 2), (<usize>featureCount) << 2, 0, count);
  setRowCount(count);
  return true;
}

/** Path-length sums of all rows of the block. */
export function sumRows(): void {
  hideMissing();
  sumBlock();
}

/** Scores and judges all rows of the block. False without memory. */
export function score(): bool {
  sumRows();
  const isJudged = judge();
  showMissing();
  return isJudged;
}
