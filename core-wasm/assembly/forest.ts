// The forest file in memory: checks every byte that scoring relies on, and lays the trees out for the walk.
// The layout is documented in docs/MODEL_FORMAT.md.
import { allocate } from './memory';

export namespace Refusal {
  export const none: i32 = 0;
  export const size: i32 = 1;
  export const magic: i32 = 2;
  export const version: i32 = 3;
  export const checksum: i32 = 4;
  export const header: i32 = 5;
  export const limits: i32 = 6;
  export const sections: i32 = 7;
  export const sectionMissing: i32 = 8;
  export const sectionLength: i32 = 9;
  export const names: i32 = 10;
  export const treeTable: i32 = 11;
  export const child: i32 = 12;
  export const featureIndex: i32 = 13;
  export const notFinite: i32 = 14;
  export const depth: i32 = 15;
  export const sumThreshold: i32 = 16;
  export const guards: i32 = 17;
  export const summary: i32 = 18;
  export const selfTest: i32 = 19;
  export const memory: i32 = 20;
  export const denominator: i32 = 21;
}

const headerSize: usize = 96;
const sectionEntrySize: usize = 16;
const nodeSize: usize = 8;
const guardSize: usize = 40;
const featureCountMax: u32 = 1024;
const treeCountMax: u32 = 10000;
const sampleCountMax: u32 = 32768;
const depthMax: u32 = 64;
const sectionCountMax: u32 = 64;
const knotCountMax: u32 = 1024;
const missingGoesRight: u32 = 0x8000;
const eulerGamma: f64 = 0.5772156649015329;

/** Where a refusal was found: a byte offset, a tree or a feature, as the code says. */
let refusalAt: u32 = 0;
export function refusalPlace(): u32 {
  return refusalAt;
}
function refuse(code: i32, at: usize): i32 {
  refusalAt = <u32>at;
  return code;
}

export let featureCount: u32 = 0;
export let treeCount: u32 = 0;
/** Runtime nodes of 8 bytes: f32 threshold, u16 byte offset into a row, u16 left child. A leaf leads to itself. */
export let nodes: usize = 0;
/** f64 per node. */
export let nodeValues: usize = 0;
/** u32 per tree and one more: index of its first node. */
export let treeStarts: usize = 0;
/** u8 per tree: edges to its deepest leaf. */
export let treeDepths: usize = 0;
export let denominator: f64 = 0;
export let offset: f64 = 0;
export let sumThreshold: f64 = 0;

export let hasGuards: bool = false;
export let alarmRate: f64 = 0;
export let knotCount: u32 = 0;
export let knotScores: usize = 0;
export let knotDecades: usize = 0;
/** Per feature 40 bytes, as in the file. */
export let guards: usize = 0;

/** Names as in the file: u16 length and bytes, then u16 length and unit. One pointer (u32) per feature. */
export let featureNames: usize = 0;

export let testCount: u32 = 0;
export let testSums: usize = 0;
export let testRows: usize = 0;

let file: usize = 0;
let fileSize: usize = 0;

/** Instead of a refusal: there is more to do. */
export const unfinished: i32 = -1;
/** Of one step, which must not hold up others that score: well below a millisecond, and a few before it is compiled. */
const bytesPerStep: usize = 1 << 15;
const nodesPerStep: u32 = 1 << 11;

namespace Stage {
  export const checksum: u32 = 0;
  export const header: u32 = 1;
  export const nodeValues: u32 = 2;
  export const trees: u32 = 3;
  export const rest: u32 = 4;
}
let stage: u32 = Stage.checksum;
/** Bytes, nodes or trees of the stage that are done. */
let stageDone: u32 = 0;

/** Begins with `size` bytes at `at`: `readSome` then checks them. Answers `unfinished` or a refusal. */
export function startForest(at: usize, size: usize): i32 {
  file = at;
  fileSize = size;
  enter(Stage.checksum);
  if (fileSize < headerSize) return refuse(Refusal.size, fileSize);
  if (load<u32>(file) != 0x454e4f4c || load<u32>(file, 4) != 0x45455254) return refuse(Refusal.magic, 0);
  if (load<u32>(file, 8) != 1) return refuse(Refusal.version, load<u32>(file, 8));
  if (<usize>load<u32>(file, 16) != fileSize) return refuse(Refusal.size, load<u32>(file, 16));
  return startChecksum() ? unfinished : refuse(Refusal.memory, 0);
}

/** Checks a piece more of the file, and readies it for scoring, all but the self-test. Answers `unfinished`, a refusal or 0. */
export function readSome(): i32 {
  if (stage == Stage.checksum) return checkBytes();
  if (stage == Stage.header) return readBeforeTrees();
  if (stage == Stage.nodeValues) return checkNodeValues();
  if (stage == Stage.trees) return readTrees();
  let refusal = readGuards();
  if (refusal == 0) refusal = checkSummary();
  if (refusal == 0) refusal = readTest();
  return refusal;
}

function enter(next: u32): i32 {
  stage = next;
  stageDone = 0;
  return unfinished;
}

function readBeforeTrees(): i32 {
  let refusal = readHeader();
  if (refusal == 0) refusal = checkSectionTable();
  if (refusal == 0) refusal = readNames();
  if (refusal == 0) refusal = findTrees();
  return refusal == 0 ? enter(Stage.nodeValues) : refusal;
}

function readHeader(): i32 {
  if (load<u32>(file, 44) > 1) return refuse(Refusal.header, 44);
  if (load<u64>(file, 72) != 0 || load<u64>(file, 80) != 0 || load<u64>(file, 88) != 0)
    return refuse(Refusal.header, 72);
  featureCount = load<u32>(file, 24);
  treeCount = load<u32>(file, 28);
  if (featureCount == 0 || featureCount > featureCountMax) return refuse(Refusal.limits, 24);
  if (treeCount == 0 || treeCount > treeCountMax) return refuse(Refusal.limits, 28);
  if (load<u32>(file, 32) == 0 || load<u32>(file, 32) > sampleCountMax) return refuse(Refusal.limits, 32);
  if (load<u32>(file, 36) > depthMax) return refuse(Refusal.limits, 36);
  return readThresholds();
}

function readThresholds(): i32 {
  denominator = load<f64>(file, 48);
  offset = load<f64>(file, 56);
  sumThreshold = load<f64>(file, 64);
  if (!isFinite(denominator) || denominator < 0) return refuse(Refusal.notFinite, 48);
  if (!isFinite(offset)) return refuse(Refusal.notFinite, 56);
  if (!isFinite(sumThreshold) || sumThreshold < 0) return refuse(Refusal.notFinite, 64);
  const expected = <f64>treeCount * averagePathLength(load<u32>(file, 32));
  if (Math.abs(denominator - expected) > 1e-9 * expected) return refuse(Refusal.denominator, 48);
  return isThresholdOfOffset() ? 0 : refuse(Refusal.sumThreshold, 64);
}

/** c(n): the mean path length of an unsuccessful search in a binary tree of n samples (Liu, Ting, Zhou 2008, eq. 1). */
function averagePathLength(count: u32): f64 {
  if (count <= 2) return <f64>(count - 1);
  const n = <f64>count;
  return 2 * (Math.log(n - 1) + eulerGamma) - (2 * (n - 1)) / n;
}

/** The threshold is 0 when no sum is abnormal and the largest number when all are; else its score is the offset. */
function isThresholdOfOffset(): bool {
  const tolerance: f64 = 1e-9;
  if (denominator == 0) return sumThreshold == (offset > -0.5 ? f64.MAX_VALUE : 0);
  if (sumThreshold == 0) return offset <= -1 + tolerance;
  if (sumThreshold == f64.MAX_VALUE) return offset >= -tolerance;
  return Math.abs(-(2 ** (-sumThreshold / denominator)) - offset) <= tolerance;
}

let checksumTable: usize = 0;
let checksum: u32 = 0;

function startChecksum(): bool {
  checksum = 0xffffffff;
  checksumTable = allocate(256 * 4);
  if (checksumTable == 0) return false;
  for (let n: u32 = 0; n < 256; n++) {
    let c = n;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    store<u32>(checksumTable + ((<usize>n) << 2), c);
  }
  return true;
}

/** CRC-32 of IEEE 802.3 with the four bytes at 12 taken as zero. */
function checkBytes(): i32 {
  const table = checksumTable;
  const end = min(<usize>stageDone + bytesPerStep, fileSize);
  let crc = checksum;
  for (let i = <usize>stageDone; i < end; i++) {
    const byte: u32 = i >= 12 && i < 16 ? 0 : load<u8>(file + i);
    crc = load<u32>(table + ((<usize>((crc ^ byte) & 0xff)) << 2)) ^ (crc >>> 8);
  }
  checksum = crc;
  stageDone = <u32>end;
  if (end < fileSize) return unfinished;
  return ~crc == load<u32>(file, 12) ? enter(Stage.header) : refuse(Refusal.checksum, 12);
}

/** Sections in ascending order, at multiples of 8, inside the file, not overlapping, no id twice, zeros in between. */
function checkSectionTable(): i32 {
  const count = load<u32>(file, 20);
  if (count > sectionCountMax) return refuse(Refusal.sections, 20);
  let end = headerSize + <usize>count * sectionEntrySize;
  if (end > fileSize) return refuse(Refusal.sections, 20);
  for (let i: u32 = 0; i < count; i++) {
    const entry = file + headerSize + <usize>i * sectionEntrySize;
    const offset = <usize>load<u32>(entry, 4);
    const length = <usize>load<u32>(entry, 8);
    if (load<u32>(entry, 12) != 0 || offset & 7 || offset < end || offset - end > 7)
      return refuse(Refusal.sections, entry - file);
    if (length > fileSize || offset > fileSize - length) return refuse(Refusal.sections, entry - file);
    for (; end < offset; end++) if (load<u8>(file + end) != 0) return refuse(Refusal.sections, end);
    for (let j: u32 = 0; j < i; j++) {
      if (load<u32>(file + headerSize + <usize>j * sectionEntrySize) == load<u32>(entry))
        return refuse(Refusal.sections, entry - file);
    }
    end = offset + length;
  }
  if (fileSize - end > 7) return refuse(Refusal.sections, end);
  for (; end < fileSize; end++) if (load<u8>(file + end) != 0) return refuse(Refusal.sections, end);
  return 0;
}

let sectionLength: usize = 0;
/** Address of a section, its length in `sectionLength`; 0 when the file has none. `id` is its 4 bytes as a u32. */
function section(id: u32): usize {
  const count = load<u32>(file, 20);
  for (let i: u32 = 0; i < count; i++) {
    const entry = file + headerSize + <usize>i * sectionEntrySize;
    if (load<u32>(entry) != id) continue;
    sectionLength = <usize>load<u32>(entry, 8);
    return file + <usize>load<u32>(entry, 4);
  }
  sectionLength = 0;
  return 0;
}

const FEAT: u32 = 0x54414546;
const TREE: u32 = 0x45455254;
const NODE: u32 = 0x45444f4e;
const VALU: u32 = 0x554c4156;
const TEST: u32 = 0x54534554;
const GARD: u32 = 0x44524147;
const SUMM: u32 = 0x4d4d5553;

function readNames(): i32 {
  let at = section(FEAT);
  if (at == 0) return refuse(Refusal.sectionMissing, FEAT);
  const end = at + sectionLength;
  featureNames = allocate((<usize>featureCount) << 2);
  if (featureNames == 0) return refuse(Refusal.memory, 0);
  for (let f: u32 = 0; f < featureCount; f++) {
    store<u32>(featureNames + ((<usize>f) << 2), <u32>at);
    if (end - at < 2) return refuse(Refusal.sectionLength, FEAT);
    const nameSize = <usize>load<u16>(at);
    if (nameSize == 0 || nameSize > 255) return refuse(Refusal.names, f);
    if (end - at < 4 + nameSize) return refuse(Refusal.sectionLength, FEAT);
    for (let i: usize = 0; i < nameSize; i++) {
      // Control characters fit into no log line, and NUL into no database.
      if (load<u8>(at + 2 + i) < 0x20) return refuse(Refusal.names, f);
    }
    for (let other: u32 = 0; other < f; other++) {
      const name = <usize>load<u32>(featureNames + ((<usize>other) << 2));
      if (<usize>load<u16>(name) == nameSize && memory.compare(name + 2, at + 2, nameSize) == 0)
        return refuse(Refusal.names, f);
    }
    at += 2 + nameSize;
    const unitSize = <usize>load<u16>(at);
    if (end - at < 2 + unitSize) return refuse(Refusal.sectionLength, FEAT);
    at += 2 + unitSize;
  }
  return at == end ? 0 : refuse(Refusal.sectionLength, FEAT);
}

let fileNodes: usize = 0;
/** u8 per node of the tree that is being read. */
let depths: usize = 0;
let deepest: u32 = 0;

function findTrees(): i32 {
  const nodeCount = load<u32>(file, 40);
  treeStarts = section(TREE);
  if (treeStarts == 0) return refuse(Refusal.sectionMissing, TREE);
  if (sectionLength != (<usize>treeCount + 1) << 2) return refuse(Refusal.sectionLength, TREE);
  fileNodes = section(NODE);
  if (fileNodes == 0) return refuse(Refusal.sectionMissing, NODE);
  if (<u64>sectionLength != <u64>nodeCount * nodeSize) return refuse(Refusal.sectionLength, NODE);
  nodeValues = section(VALU);
  if (nodeValues == 0) return refuse(Refusal.sectionMissing, VALU);
  if (<u64>sectionLength != (<u64>nodeCount) << 3) return refuse(Refusal.sectionLength, VALU);
  nodes = allocate(<usize>nodeCount * nodeSize);
  treeDepths = allocate(treeCount);
  depths = allocate(0x10000);
  deepest = 0;
  return nodes == 0 || treeDepths == 0 || depths == 0 ? refuse(Refusal.memory, 0) : 0;
}

function checkNodeValues(): i32 {
  const nodeCount = load<u32>(file, 40);
  const end = min(stageDone + nodesPerStep, nodeCount);
  for (let i = stageDone; i < end; i++) {
    const value = load<f64>(nodeValues + ((<usize>i) << 3));
    if (!isFinite(value) || value < 0)
      return refuse(Refusal.notFinite, nodeValues - file + ((<usize>i) << 3));
  }
  stageDone = end;
  if (end < nodeCount) return unfinished;
  if (load<u32>(treeStarts) != 0 || load<u32>(treeStarts + ((<usize>treeCount) << 2)) != nodeCount)
    return refuse(Refusal.treeTable, 0);
  return enter(Stage.trees);
}

/** As many trees as have `nodesPerStep` nodes, at least one. */
function readTrees(): i32 {
  const nodeCount = load<u32>(file, 40);
  const first = load<u32>(treeStarts + ((<usize>stageDone) << 2));
  let end = first;
  for (; stageDone < treeCount && end - first < nodesPerStep; stageDone++) {
    const t = stageDone;
    const start = end;
    end = load<u32>(treeStarts + ((<usize>t) << 2), 4);
    if (end <= start || end > nodeCount || end - start > 0xffff) return refuse(Refusal.treeTable, t);
    const refusal = readTree(start, end - start);
    if (refusal != 0) return refusal;
    store<u8>(treeDepths + t, treeDepth);
    deepest = max(deepest, treeDepth);
  }
  if (stageDone < treeCount) return unfinished;
  return deepest == load<u32>(file, 36) ? enter(Stage.rest) : refuse(Refusal.depth, deepest);
}

let treeDepth: u32 = 0;
/**
 * Breadth-first order leaves a node no choice of its children: the next two that are not taken yet. So one counter proves
 * that children follow their parents, stay inside the tree and have one parent each.
 */
function readTree(start: u32, count: u32): i32 {
  let nextChild: u32 = 1;
  treeDepth = 0;
  store<u8>(depths, 0);
  for (let i: u32 = 0; i < count; i++) {
    const from = fileNodes + <usize>(start + i) * nodeSize;
    const node = nodes + <usize>(start + i) * nodeSize;
    const place = from - file;
    const threshold = load<f32>(from);
    const feature = <u32>load<u16>(from, 4);
    const left = <u32>load<u16>(from, 6);
    const depth = <u32>load<u8>(depths + i);
    if (left == i) {
      if (load<u32>(from) != 0 || feature != 0) return refuse(Refusal.featureIndex, place);
      treeDepth = max(treeDepth, depth);
      store<f32>(node, f32.POSITIVE_INFINITY);
      store<u16>(node, 0, 4);
    } else {
      if (left != nextChild || left + 1 >= count) return refuse(Refusal.child, place);
      nextChild += 2;
      if (depth >= depthMax) return refuse(Refusal.depth, place);
      store<u8>(depths + left, depth + 1);
      store<u8>(depths + left, depth + 1, 1);
      const index = feature & ~missingGoesRight;
      if (index >= featureCount) return refuse(Refusal.featureIndex, place);
      if (!isFinite(threshold)) return refuse(Refusal.notFinite, place);
      store<f32>(node, threshold);
      // A row lies in memory twice: missing values as −∞, then as +∞. Nodes that send them right read the second.
      store<u16>(node, (index + (feature & missingGoesRight ? featureCount : 0)) << 2, 4);
    }
    store<u16>(node, left, 6);
  }
  return nextChild == count ? 0 : refuse(Refusal.child, fileNodes - file + <usize>start * nodeSize);
}

function readGuards(): i32 {
  const at = section(GARD);
  hasGuards = at != 0;
  if (hasGuards != (load<u32>(file, 44) == 1)) return refuse(Refusal.header, 44);
  if (!hasGuards) return 0;
  if (sectionLength < 16) return refuse(Refusal.sectionLength, GARD);
  alarmRate = load<f64>(at);
  knotCount = load<u32>(at, 8);
  if (!(alarmRate > 0 && alarmRate < 1)) return refuse(Refusal.guards, at - file);
  if (knotCount == 0 || knotCount > knotCountMax || load<u32>(at, 12) != 0)
    return refuse(Refusal.guards, at + 8 - file);
  if (sectionLength != 16 + ((<usize>knotCount) << 4) + <usize>featureCount * guardSize)
    return refuse(Refusal.sectionLength, GARD);
  knotScores = at + 16;
  knotDecades = knotScores + ((<usize>knotCount) << 3);
  guards = knotDecades + ((<usize>knotCount) << 3);
  for (let i: usize = 0; i < <usize>knotCount; i++) {
    const score = load<f64>(knotScores + (i << 3));
    const decades = load<f64>(knotDecades + (i << 3));
    if (!isFinite(score) || !isFinite(decades))
      return refuse(Refusal.notFinite, knotScores + (i << 3) - file);
    if (i == 0) continue;
    const isAscending =
      score > load<f64>(knotScores + ((i - 1) << 3)) && decades >= load<f64>(knotDecades + ((i - 1) << 3));
    if (!isAscending) return refuse(Refusal.guards, knotScores + (i << 3) - file);
  }
  for (let f: u32 = 0; f < featureCount; f++) {
    const guard = guards + <usize>f * guardSize;
    const high = load<f64>(guard);
    const highScale = load<f64>(guard, 8);
    const low = load<f64>(guard, 16);
    const lowScale = load<f64>(guard, 24);
    const flags = load<u32>(guard, 32);
    if (!isFinite(high) || !isFinite(low) || !isFinite(highScale) || !isFinite(lowScale))
      return refuse(Refusal.notFinite, guard - file);
    if (!(highScale > 0) || !(lowScale > 0)) return refuse(Refusal.guards, guard - file);
    if (flags > 7 || load<u32>(guard, 36) != 0) return refuse(Refusal.guards, guard + 32 - file);
    if ((!(flags & 1) && high != 0) || (!(flags & 2) && low != 0))
      return refuse(Refusal.guards, guard - file);
    if ((flags & 3) == 3 && high < low) return refuse(Refusal.guards, guard - file);
  }
  return 0;
}

function checkSummary(): i32 {
  const at = section(SUMM);
  if (at == 0) return 0;
  if (sectionLength < 8) return refuse(Refusal.sectionLength, SUMM);
  const count = load<u32>(at);
  if (load<u32>(at, 4) != 0) return refuse(Refusal.summary, at - file);
  if (<u64>sectionLength != 8 + ((<u64>count * (1 + featureCount) + featureCount + 1) << 3))
    return refuse(Refusal.sectionLength, SUMM);
  for (let i: usize = 8; i < sectionLength; i += 8) {
    if (!isFinite(load<f64>(at + i))) return refuse(Refusal.notFinite, at + i - file);
  }
  const shares = at + 8 + ((<usize>count * (1 + featureCount)) << 3);
  for (let place = at + 8; place < shares; place += 8) {
    const row = (place - at - 8) >> 3;
    const isFirst = count == 0 || row % <usize>count == 0;
    if (!isFirst && load<f64>(place) < load<f64>(place - 8)) return refuse(Refusal.summary, place - file);
    if (row < <usize>count && !isShare(load<f64>(place))) return refuse(Refusal.summary, place - file);
  }
  for (let f: u32 = 0; f < featureCount; f++) {
    const share = shares + ((<usize>f) << 3);
    if (!isShare(load<f64>(share))) return refuse(Refusal.summary, share - file);
  }
  const rowCount = shares + ((<usize>featureCount) << 3);
  return load<f64>(rowCount) >= 0 ? 0 : refuse(Refusal.summary, rowCount - file);
}

function isShare(value: f64): bool {
  return value >= 0 && value <= 1;
}

function readTest(): i32 {
  const at = section(TEST);
  if (at == 0) return refuse(Refusal.sectionMissing, TEST);
  if (sectionLength < 8) return refuse(Refusal.sectionLength, TEST);
  testCount = load<u32>(at);
  if (testCount == 0 || load<u32>(at, 4) != 0) return refuse(Refusal.selfTest, at - file);
  if (<u64>sectionLength != 8 + ((<u64>testCount) << 3) + ((<u64>testCount * featureCount) << 2))
    return refuse(Refusal.sectionLength, TEST);
  testSums = at + 8;
  testRows = testSums + ((<usize>testCount) << 3);
  return 0;
}
