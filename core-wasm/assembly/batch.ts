// Reads a SensorBatch (proto/lonetree/v1/lonetree.proto) from its Protobuf bytes into the row store. Never traps: whatever
// the bytes are, it answers the number of rows or why there are none, and on a refusal nothing has been added.
//
// It takes all that the wire format allows: packed and unpacked lists, in several pieces, in any order, unknown fields,
// the last of a repeated scalar. A field of another wire type than its own is an unknown one.
import { featureCount, featureNames } from './forest';
import { allocate, enlarge } from './memory';
import {
  reserveRows,
  rowCount,
  rowCountMax,
  setRowCount,
  stationPlaces,
  stationSizes,
  storeValue,
  times,
} from './rows';

export namespace Rejection {
  export const truncated: i32 = 1;
  export const malformed: i32 = 2;
  export const noReadings: i32 = 3;
  export const noStation: i32 = 4;
  export const stationIndex: i32 = 5;
  export const columnLength: i32 = 6;
  export const duplicateFeature: i32 = 7;
  export const missingFeature: i32 = 8;
  export const timeOutOfRange: i32 = 9;
  export const tooManyReadings: i32 = 10;
}
export const rejected: i32 = -1;
/** The block has rows and no room for these: they belong into the next one. */
export const full: i32 = -2;
export const outOfMemory: i32 = -3;

/** Years 2000 to 2099, milliseconds since the Unix epoch. */
const timeMin: i64 = 946684800000;
const timeEnd: i64 = 4133980800000;

const varint: u32 = 0;
const fixed64: u32 = 1;
const lengthDelimited: u32 = 2;
const fixed32: u32 = 5;

let rejection: i32 = 0;
/** What the reason is about: a place in the message, a column, a feature, a row or a count, and a second number. */
let rejectionAbout: f64 = 0;
let rejectionNumber: f64 = 0;
export function rejectionCode(): i32 {
  return rejection;
}
export function rejectionDetail(): f64 {
  return rejectionAbout;
}
export function rejectionSecondDetail(): f64 {
  return rejectionNumber;
}
function reject(code: i32, about: f64, number: f64 = 0): i32 {
  rejection = code;
  rejectionAbout = about;
  rejectionNumber = number;
  return rejected;
}

// One message's findings. Lists of names and columns grow with the largest message seen, those of readings have a bound.
let messageStart: usize = 0;
let at: usize = 0;
/** The message breaks the wire format: a Rejection, or 0. */
let broken: i32 = 0;

let listCapacity: usize = 0;
/** Per station: u32 place and size of its name. */
let stations: usize = 0;
let stationCount: u32 = 0;
/** u32 per reading. */
let indices: usize = 0;
let indexCount: u32 = 0;
/** i64 per reading: running sum of the deltas. */
let elapsed: usize = 0;
let deltaCount: u32 = 0;
let elapsedSum: i64 = 0;
let baseTime: i64 = 0;
/** Per column 16 bytes: u32 place and size of the name, u32 place and count of the values. */
let columns: usize = 0;
let columnCount: u32 = 0;
/** Values of columns that come in pieces, put together. */
let pieces: usize = 0;
let pieceCount: u32 = 0;
/** Per feature: u32 index of its column and 1, or 0. */
let columnOfFeature: usize = 0;
let ignoredCount: u32 = 0;
export function ignoredFeatureCount(): u32 {
  return ignoredCount;
}

function reserveLists(size: usize): bool {
  if (columnOfFeature == 0) {
    columnOfFeature = allocate(<usize>featureCount << 2);
    indices = allocate(<usize>rowCountMax << 2);
    elapsed = allocate(<usize>rowCountMax << 3);
    if (columnOfFeature == 0 || indices == 0 || elapsed == 0) return false;
  }
  if (size <= listCapacity) return true;
  const capacity = max(size, max(listCapacity * 2, 4096));
  // The shortest encodings: 2 bytes a station, 2 a column, 4 a value.
  stations = enlarge(stations, listCapacity << 2, 0, capacity << 2);
  columns = enlarge(columns, listCapacity << 3, 0, capacity << 3);
  pieces = enlarge(pieces, listCapacity, 0, capacity);
  if (stations == 0 || columns == 0 || pieces == 0) return false;
  listCapacity = capacity;
  return true;
}

/** Adds the readings of the message at `start`. Answers their number, or `rejected`, `full` or `outOfMemory`. */
export function appendBatch(start: usize, size: usize): i32 {
  if (!reserveLists(size)) return outOfMemory;
  readMessage(start, size);
  if (broken != 0) return reject(broken, <f64>(at - messageStart), <f64>rowCountMax);
  const refusal = checkBatch();
  if (refusal != 0) return refusal;
  const count = deltaCount;
  if (rowCount + count > rowCountMax) return full;
  if (!reserveRows(rowCount + count)) return outOfMemory;
  addRows(count);
  setRowCount(rowCount + count);
  return <i32>count;
}

function readMessage(start: usize, size: usize): void {
  messageStart = at = start;
  broken = 0;
  stationCount = indexCount = deltaCount = columnCount = pieceCount = 0;
  elapsedSum = baseTime = 0;
  const end = start + size;
  while (at < end && broken == 0) {
    const tag = readTag(end);
    if (broken != 0) return;
    if (tag == ((1 << 3) | lengthDelimited)) readStation(end);
    else if (tag == ((2 << 3) | lengthDelimited)) readIndices(end);
    else if (tag == ((2 << 3) | varint)) addIndex(<u32>readVarint(end));
    else if (tag == ((3 << 3) | varint)) baseTime = zigzag(readVarint(end));
    else if (tag == ((4 << 3) | lengthDelimited)) readDeltas(end);
    else if (tag == ((4 << 3) | varint)) addDelta(readVarint(end));
    else if (tag == ((5 << 3) | lengthDelimited)) readColumn(end);
    else skip(tag & 7, end);
  }
}

function breakOff(code: i32): void {
  if (broken == 0) broken = code;
}

function readTag(end: usize): u32 {
  const tag = readVarint(end);
  if (tag > 0xffffffff || tag >>> 3 == 0) breakOff(Rejection.malformed);
  return <u32>tag;
}

/** Up to 10 bytes; bits beyond the 64th are dropped, as every reader does. */
function readVarint(end: usize): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 70; shift += 7) {
    if (at >= end) {
      breakOff(Rejection.truncated);
      return 0;
    }
    const byte = <u64>load<u8>(at);
    at += 1;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  breakOff(Rejection.malformed);
  return 0;
}

function zigzag(value: u64): i64 {
  return <i64>(value >>> 1) ^ -(<i64>(value & 1));
}

/** Reads a length; answers where what it measures ends, or `at` when that is beyond `end`. */
function readEnd(end: usize): usize {
  const length = readVarint(end);
  if (broken != 0) return at;
  if (length > <u64>(end - at)) {
    breakOff(Rejection.truncated);
    return at;
  }
  return at + <usize>length;
}

function skip(wireType: u32, end: usize): void {
  if (wireType == varint) readVarint(end);
  else if (wireType == fixed64) skipBytes(8, end);
  else if (wireType == fixed32) skipBytes(4, end);
  else if (wireType == lengthDelimited) at = readEnd(end);
  else breakOff(Rejection.malformed);
}

function skipBytes(count: usize, end: usize): void {
  if (end - at < count) breakOff(Rejection.truncated);
  else at += count;
}

function readStation(end: usize): void {
  const nameEnd = readEnd(end);
  if (broken != 0) return;
  if (!isUtf8(at, nameEnd)) return breakOff(Rejection.malformed);
  const entry = stations + (<usize>stationCount << 3);
  store<u32>(entry, <u32>at);
  store<u32>(entry, <u32>(nameEnd - at), 4);
  stationCount += 1;
  at = nameEnd;
}

function addIndex(index: u32): void {
  if (indexCount == rowCountMax) breakOff(Rejection.tooManyReadings);
  if (broken != 0) return;
  store<u32>(indices + (<usize>indexCount << 2), index);
  indexCount += 1;
}

function readIndices(end: usize): void {
  const listEnd = readEnd(end);
  while (at < listEnd && broken == 0) addIndex(<u32>readVarint(listEnd));
}

function addDelta(encoded: u64): void {
  if (deltaCount == rowCountMax) breakOff(Rejection.tooManyReadings);
  if (broken != 0) return;
  elapsedSum += zigzag(encoded);
  store<i64>(elapsed + (<usize>deltaCount << 3), elapsedSum);
  deltaCount += 1;
}

function readDeltas(end: usize): void {
  const listEnd = readEnd(end);
  while (at < listEnd && broken == 0) addDelta(readVarint(listEnd));
}

function readColumn(end: usize): void {
  const columnEnd = readEnd(end);
  let name: usize = 0;
  let nameSize: usize = 0;
  let values: usize = 0;
  let count: usize = 0;
  while (at < columnEnd && broken == 0) {
    const tag = readTag(columnEnd);
    if (broken != 0) return;
    if (tag == ((1 << 3) | lengthDelimited) || tag == ((2 << 3) | lengthDelimited)) {
      const textEnd = readEnd(columnEnd);
      if (broken != 0) return;
      if (!isUtf8(at, textEnd)) return breakOff(Rejection.malformed);
      if (tag >>> 3 == 1) {
        name = at;
        nameSize = textEnd - at;
      }
      at = textEnd;
    } else if (tag == ((3 << 3) | lengthDelimited) || tag == ((3 << 3) | fixed32)) {
      const piece = at;
      const pieceEnd = tag & 7 ? (tag & 7) == fixed32 ? piece + 4 : readEnd(columnEnd) : piece;
      if (pieceEnd > columnEnd) breakOff(Rejection.truncated);
      if (broken != 0) return;
      if ((pieceEnd - at) & 3) return breakOff(Rejection.malformed);
      values = joinPiece(values, count, at, (pieceEnd - at) >> 2);
      count += (pieceEnd - at) >> 2;
      at = pieceEnd;
    } else skip(tag & 7, columnEnd);
  }
  if (broken != 0) return;
  const entry = columns + (<usize>columnCount << 4);
  store<u32>(entry, <u32>name);
  store<u32>(entry, <u32>nameSize, 4);
  store<u32>(entry, <u32>values, 8);
  store<u32>(entry, <u32>count, 12);
  columnCount += 1;
}

/** A column in one piece stays where it is; from the second piece on the values are put together. */
function joinPiece(values: usize, count: usize, piece: usize, pieceLength: usize): usize {
  if (count == 0) return piece;
  if (pieceLength == 0) return values;
  const isJoined = values >= pieces && values < pieces + listCapacity;
  const joined = isJoined ? values : pieces + (<usize>pieceCount << 2);
  if (!isJoined) {
    memory.copy(joined, values, count << 2);
    pieceCount += <u32>count;
  }
  memory.copy(joined + (count << 2), piece, pieceLength << 2);
  pieceCount += <u32>pieceLength;
  return joined;
}

/** Well-formed UTF-8 as the Encoding Standard has it: no overlong forms, no surrogates, nothing beyond U+10FFFF. */
function isUtf8(start: usize, end: usize): bool {
  for (let i = start; i < end; ) {
    const first = <u32>load<u8>(i);
    i += 1;
    if (first < 0x80) continue;
    let following: u32 = 0;
    let low: u32 = 0x80;
    let high: u32 = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) following = 1;
    else if (first >= 0xe0 && first <= 0xef) {
      following = 2;
      if (first == 0xe0) low = 0xa0;
      if (first == 0xed) high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
      following = 3;
      if (first == 0xf0) low = 0x90;
      if (first == 0xf4) high = 0x8f;
    } else return false;
    for (; following > 0; following--) {
      if (i >= end) return false;
      const byte = <u32>load<u8>(i);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xbf;
      i += 1;
    }
  }
  return true;
}

/** Whether the findings make readings that the model can score. Answers 0 or `rejected`. */
function checkBatch(): i32 {
  const count = deltaCount;
  for (let c: u32 = 0; c < columnCount; c++) {
    const length = load<u32>(columns + (<usize>c << 4), 12);
    if (length != count) return reject(Rejection.columnLength, <f64>length, <f64>count);
  }
  if (count == 0) return reject(Rejection.noReadings, 0);
  if (stationCount == 0) return reject(Rejection.noStation, 0);
  const isOneStation = indexCount == 0 && stationCount == 1;
  if (!isOneStation) {
    if (indexCount != count) return reject(Rejection.stationIndex, <f64>indexCount, <f64>count);
    for (let r: u32 = 0; r < count; r++) {
      const index = load<u32>(indices + (<usize>r << 2));
      if (index >= stationCount) return reject(Rejection.stationIndex, -1, <f64>index);
    }
  }
  for (let r: u32 = 0; r < count; r++) {
    const time = baseTime + load<i64>(elapsed + (<usize>r << 3));
    if (time < timeMin || time >= timeEnd) return reject(Rejection.timeOutOfRange, <f64>r, <f64>time);
  }
  return assignColumns();
}

/** Finds each feature's column. Senders keep an order, so the feature after the last one found is tried first. */
function assignColumns(): i32 {
  memory.fill(columnOfFeature, 0, <usize>featureCount << 2);
  ignoredCount = 0;
  let found: u32 = 0;
  let next: u32 = 0;
  for (let c: u32 = 0; c < columnCount; c++) {
    const entry = columns + (<usize>c << 4);
    const feature = findFeature(<usize>load<u32>(entry), <usize>load<u32>(entry, 4), next);
    if (feature < 0) {
      ignoredCount += 1;
      continue;
    }
    const place = columnOfFeature + (<usize>feature << 2);
    if (load<u32>(place) != 0) return reject(Rejection.duplicateFeature, <f64>feature);
    store<u32>(place, c + 1);
    found += 1;
    next = <u32>feature + 1;
  }
  if (found == featureCount) return 0;
  let missing: u32 = 0;
  while (load<u32>(columnOfFeature + (<usize>missing << 2)) != 0) missing += 1;
  return reject(Rejection.missingFeature, <f64>missing);
}

function findFeature(name: usize, size: usize, first: u32): i32 {
  for (let i: u32 = 0; i < featureCount; i++) {
    let feature = first + i;
    if (feature >= featureCount) feature -= featureCount;
    const known = <usize>load<u32>(featureNames + (<usize>feature << 2));
    if (<usize>load<u16>(known) == size && memory.compare(known + 2, name, size) == 0) return <i32>feature;
  }
  return -1;
}

function addRows(count: u32): void {
  const first = rowCount;
  for (let f: u32 = 0; f < featureCount; f++) {
    const column = columns + (<usize>(load<u32>(columnOfFeature + (<usize>f << 2)) - 1) << 4);
    const values = <usize>load<u32>(column, 8);
    for (let r: u32 = 0; r < count; r++) storeValue(first + r, f, load<f32>(values + (<usize>r << 2)));
  }
  for (let r: u32 = 0; r < count; r++) {
    const row = <usize>(first + r);
    const index = indexCount == 0 ? 0 : load<u32>(indices + (<usize>r << 2));
    const station = stations + (<usize>index << 3);
    store<f64>(times + (row << 3), <f64>(baseTime + load<i64>(elapsed + (<usize>r << 3))));
    store<u32>(stationPlaces + (row << 2), load<u32>(station));
    store<u32>(stationSizes + (row << 2), load<u32>(station, 4));
  }
}
