// Reads a SensorBatch (proto/lonetree/v1/lonetree.proto) from its Protobuf bytes into the row store. Whatever the bytes
// are, it answers the number of rows or why there are none, and on a refusal nothing has been added.
//
// It takes all that the wire format allows: packed and unpacked lists, in several pieces, in any order, unknown fields,
// the last of a repeated scalar. A field of another wire type than its own is an unknown one.
import { featureCount, featureNames } from './forest';
import { allocate, enlarge } from './memory';
import {
  at,
  Broken,
  breakOff,
  brokenBy,
  decodeZigzag,
  moveTo,
  readEnd,
  readTag,
  readTextEnd,
  readVarint,
  skip,
  startReading,
  WireType,
} from './protobuf';
import {
  addStationName,
  reserveRows,
  reserveStationNames,
  rowCount,
  rowCountMax,
  setRowCount,
  setStation,
  storeColumn,
  times,
} from './rows';

/** The first two are Broken's. */
export namespace Rejection {
  export const noReadings: i32 = 3;
  export const noStation: i32 = 4;
  export const stationName: i32 = 5;
  export const stationIndexCount: i32 = 6;
  export const stationIndex: i32 = 7;
  export const columnLength: i32 = 8;
  export const duplicateFeature: i32 = 9;
  export const missingFeature: i32 = 10;
  export const timeOutOfRange: i32 = 11;
  export const tooManyReadings: i32 = 12;
  export const tooManyStations: i32 = 13;
  export const tooManyColumns: i32 = 14;
  /** No rejection: the message is not to blame. */
  export const memory: i32 = 15;
}

/** What `appendBatch` answers instead of a number of readings. */
export const rejected: i32 = -1;
/** The block has rows and no room for these: they belong into the next one. */
export const full: i32 = -2;
export const outOfMemory: i32 = -3;

/** Years 2000 to 2100, milliseconds since the Unix epoch. */
const timeMin: i64 = 946684800000;
const timeEnd: i64 = 4133980800000;
const stationCountMax: u32 = 131072;
const columnCountMax: u32 = 4096;
/** Longer names fit into no database index; see docs/MODEL_FORMAT.md for the same bound on features. */
const stationNameSizeMax: usize = 255;

let rejection: i32 = 0;
/** What the reason is about: a place in the message, a feature, a row or a count; a second number; a name. */
let rejectionAbout: f64 = 0;
let rejectionNumber: f64 = 0;
let rejectionName: usize = 0;
let rejectionNameLength: usize = 0;
export function rejectionCode(): i32 {
  return rejection;
}
export function rejectionDetail(): f64 {
  return rejectionAbout;
}
export function rejectionSecondDetail(): f64 {
  return rejectionNumber;
}
export function rejectionNamePlace(): usize {
  return rejectionName;
}
export function rejectionNameSize(): usize {
  return rejectionNameLength;
}
function reject(code: i32, about: f64, number: f64 = 0): i32 {
  rejection = code;
  rejectionAbout = about;
  rejectionNumber = number;
  return rejected;
}

// One message's findings.
let messageStart: usize = 0;
let messageSize: usize = 0;
/** Per station: u32 place and size of its name; later its place among the block's names. */
let stations: usize = 0;
let stationCount: u32 = 0;
let stationNamesSize: usize = 0;
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
let piecesCapacity: usize = 0;
let piecesSize: usize = 0;
/** Per feature: u32 index of its column and 1, or 0. */
let columnOfFeature: usize = 0;
let ignoredCount: u32 = 0;
export function ignoredFeatureCount(): u32 {
  return ignoredCount;
}

/** Answers false when there is no memory. */
export function prepareBatches(): bool {
  stations = allocate((<usize>stationCountMax) << 3);
  indices = allocate((<usize>rowCountMax) << 2);
  elapsed = allocate((<usize>rowCountMax) << 3);
  columns = allocate((<usize>columnCountMax) << 4);
  columnOfFeature = allocate((<usize>featureCount) << 2);
  return stations != 0 && indices != 0 && elapsed != 0 && columns != 0 && columnOfFeature != 0;
}

/** Adds the readings of the message at `start`. Answers their number, or `rejected`, `full` or `outOfMemory`. */
export function appendBatch(start: usize, size: usize): i32 {
  readMessage(start, size);
  if (brokenBy() == Rejection.memory) return outOfMemory;
  if (brokenBy() != 0) return reject(brokenBy(), <f64>(at - start), <f64>rowCountMax);
  const refusal = checkBatch();
  if (refusal != 0) return refusal;
  const count = deltaCount;
  if (rowCount + count > rowCountMax) return full;
  const room = reserveStationNames(stationNamesSize);
  if (room == 0) return rowCount > 0 ? full : outOfMemory;
  if (room < 0 || !reserveRows(rowCount + count)) return outOfMemory;
  addRows(count);
  setRowCount(rowCount + count);
  return <i32>count;
}

function readMessage(start: usize, size: usize): void {
  startReading(start);
  messageStart = start;
  messageSize = size;
  stationCount = indexCount = deltaCount = columnCount = ignoredCount = 0;
  stationNamesSize = piecesSize = 0;
  elapsedSum = baseTime = 0;
  const end = start + size;
  while (at < end && brokenBy() == 0) {
    const tag = readTag(end);
    if (brokenBy() != 0) return;
    if (tag == ((1 << 3) | WireType.lengthDelimited)) readStation(end);
    else if (tag == ((2 << 3) | WireType.lengthDelimited)) readIndices(end);
    else if (tag == ((2 << 3) | WireType.varint)) addIndex(<u32>readVarint(end));
    else if (tag == ((3 << 3) | WireType.varint)) baseTime = decodeZigzag(readVarint(end));
    else if (tag == ((4 << 3) | WireType.lengthDelimited)) readDeltas(end);
    else if (tag == ((4 << 3) | WireType.varint)) addDelta(readVarint(end));
    else if (tag == ((5 << 3) | WireType.lengthDelimited)) readColumn(end);
    else skip(tag & 7, end);
  }
}

function readStation(end: usize): void {
  const nameEnd = readTextEnd(end);
  if (stationCount == stationCountMax) breakOff(Rejection.tooManyStations);
  if (brokenBy() != 0) return;
  const entry = stations + ((<usize>stationCount) << 3);
  store<u32>(entry, <u32>at);
  store<u32>(entry, <u32>(nameEnd - at), 4);
  stationCount += 1;
  stationNamesSize += nameEnd - at;
  moveTo(nameEnd);
}

function addIndex(index: u32): void {
  if (indexCount == rowCountMax) breakOff(Rejection.tooManyReadings);
  if (brokenBy() != 0) return;
  store<u32>(indices + ((<usize>indexCount) << 2), index);
  indexCount += 1;
}

function readIndices(end: usize): void {
  const listEnd = readEnd(end);
  while (at < listEnd && brokenBy() == 0) addIndex(<u32>readVarint(listEnd));
}

function addDelta(encoded: u64): void {
  if (deltaCount == rowCountMax) breakOff(Rejection.tooManyReadings);
  if (brokenBy() != 0) return;
  elapsedSum += decodeZigzag(encoded);
  store<i64>(elapsed + ((<usize>deltaCount) << 3), elapsedSum);
  deltaCount += 1;
}

function readDeltas(end: usize): void {
  const listEnd = readEnd(end);
  while (at < listEnd && brokenBy() == 0) addDelta(readVarint(listEnd));
}

function readColumn(end: usize): void {
  const columnEnd = readEnd(end);
  if (columnCount == columnCountMax) breakOff(Rejection.tooManyColumns);
  if (brokenBy() != 0) return;
  const entry = columns + ((<usize>columnCount) << 4);
  store<u64>(entry, 0);
  store<u64>(entry, 0, 8);
  columnCount += 1;
  while (at < columnEnd && brokenBy() == 0) {
    const tag = readTag(columnEnd);
    if (brokenBy() != 0) return;
    if (tag == ((1 << 3) | WireType.lengthDelimited)) readColumnName(entry, columnEnd);
    else if (tag == ((2 << 3) | WireType.lengthDelimited)) moveTo(readTextEnd(columnEnd));
    else if (tag == ((3 << 3) | WireType.lengthDelimited)) readValues(entry, readEnd(columnEnd));
    else if (tag == ((3 << 3) | WireType.fixed32)) readOneValue(entry, columnEnd);
    else skip(tag & 7, columnEnd);
  }
}

function readColumnName(entry: usize, end: usize): void {
  const nameEnd = readTextEnd(end);
  store<u32>(entry, <u32>at);
  store<u32>(entry, <u32>(nameEnd - at), 4);
  moveTo(nameEnd);
}

function readOneValue(entry: usize, end: usize): void {
  if (end - at < 4) breakOff(Broken.truncated);
  else readValues(entry, at + 4);
}

/** A column in one piece stays where it is; from the second piece on the values are put together. */
function readValues(entry: usize, pieceEnd: usize): void {
  const size = pieceEnd - at;
  if (size & 3) breakOff(Broken.malformed);
  if (brokenBy() != 0 || size == 0) return;
  const count = load<u32>(entry, 12);
  if (count == 0) store<u32>(entry, <u32>at, 8);
  else joinPiece(entry, (<usize>count) << 2, size);
  store<u32>(entry, count + <u32>(size >> 2), 12);
  moveTo(pieceEnd);
}

/** Pieces of one column follow one another, so what is put together is always the last in its buffer. */
function joinPiece(entry: usize, joinedSize: usize, size: usize): void {
  if (piecesSize == 0) {
    const place = enlarge(pieces, piecesCapacity, 0, messageSize);
    if (place == 0) return breakOff(Rejection.memory);
    if (place != pieces) piecesCapacity = max(messageSize, piecesCapacity * 2);
    pieces = place;
  }
  const values = <usize>load<u32>(entry, 8);
  const isInMessage = values >= messageStart && values < messageStart + messageSize;
  if (isInMessage) {
    memory.copy(pieces + piecesSize, values, joinedSize);
    store<u32>(entry, <u32>(pieces + piecesSize), 8);
    piecesSize += joinedSize;
  }
  memory.copy(pieces + piecesSize, at, size);
  piecesSize += size;
}

/** Whether the findings make readings that the model can score. Answers 0 or `rejected`. */
function checkBatch(): i32 {
  const count = deltaCount;
  for (let c: u32 = 0; c < columnCount; c++) {
    const entry = columns + ((<usize>c) << 4);
    if (load<u32>(entry, 12) == count) continue;
    rejectionName = <usize>load<u32>(entry);
    rejectionNameLength = <usize>load<u32>(entry, 4);
    return reject(Rejection.columnLength, <f64>load<u32>(entry, 12), <f64>count);
  }
  if (count == 0) return reject(Rejection.noReadings, 0);
  const refusal = checkStations(count);
  if (refusal != 0) return refusal;
  for (let r: u32 = 0; r < count; r++) {
    const time = baseTime + load<i64>(elapsed + ((<usize>r) << 3));
    if (time < timeMin || time >= timeEnd) return reject(Rejection.timeOutOfRange, <f64>r, <f64>time);
  }
  return assignColumns();
}

/** Every reading needs a station, and databases take no NUL in a text. */
function checkStations(count: u32): i32 {
  if (stationCount == 0) return reject(Rejection.noStation, -1);
  for (let s: u32 = 0; s < stationCount; s++) {
    const name = <usize>load<u32>(stations + ((<usize>s) << 3));
    const size = <usize>load<u32>(stations + ((<usize>s) << 3), 4);
    if (size == 0) return reject(Rejection.noStation, <f64>s);
    if (size > stationNameSizeMax) return reject(Rejection.stationName, <f64>s, <f64>size);
    for (let i: usize = 0; i < size; i++) {
      if (load<u8>(name + i) == 0) return reject(Rejection.stationName, <f64>s);
    }
  }
  if (indexCount == 0 && stationCount == 1) return 0;
  if (indexCount != count) return reject(Rejection.stationIndexCount, <f64>indexCount, <f64>count);
  for (let r: u32 = 0; r < count; r++) {
    const index = load<u32>(indices + ((<usize>r) << 2));
    if (index >= stationCount) return reject(Rejection.stationIndex, <f64>r, <f64>index);
  }
  return 0;
}

/** Finds each feature's column. Senders keep an order, so the feature after the last one found is tried first. */
function assignColumns(): i32 {
  memory.fill(columnOfFeature, 0, (<usize>featureCount) << 2);
  let found: u32 = 0;
  let next: u32 = 0;
  for (let c: u32 = 0; c < columnCount; c++) {
    const entry = columns + ((<usize>c) << 4);
    const feature = findFeature(<usize>load<u32>(entry), <usize>load<u32>(entry, 4), next);
    if (feature < 0) {
      ignoredCount += 1;
      continue;
    }
    const place = columnOfFeature + ((<usize>feature) << 2);
    if (load<u32>(place) != 0) return reject(Rejection.duplicateFeature, <f64>feature);
    store<u32>(place, c + 1);
    found += 1;
    next = <u32>feature + 1;
  }
  if (found == featureCount) return 0;
  let missing: u32 = 0;
  while (load<u32>(columnOfFeature + ((<usize>missing) << 2)) != 0) missing += 1;
  return reject(Rejection.missingFeature, <f64>missing);
}

function findFeature(name: usize, size: usize, first: u32): i32 {
  for (let i: u32 = 0; i < featureCount; i++) {
    let feature = first + i;
    if (feature >= featureCount) feature -= featureCount;
    const known = <usize>load<u32>(featureNames + ((<usize>feature) << 2));
    if (<usize>load<u16>(known) == size && memory.compare(known + 2, name, size) == 0) return <i32>feature;
  }
  return -1;
}

function addRows(count: u32): void {
  const first = rowCount;
  for (let f: u32 = 0; f < featureCount; f++) {
    const column = columns + ((<usize>(load<u32>(columnOfFeature + ((<usize>f) << 2)) - 1)) << 4);
    storeColumn(f, <usize>load<u32>(column, 8), 4, first, count);
  }
  for (let s: u32 = 0; s < stationCount; s++) {
    const station = stations + ((<usize>s) << 3);
    store<u32>(station, <u32>addStationName(<usize>load<u32>(station), <usize>load<u32>(station, 4)));
  }
  for (let r: u32 = 0; r < count; r++) {
    const index = indexCount == 0 ? 0 : load<u32>(indices + ((<usize>r) << 2));
    const station = stations + ((<usize>index) << 3);
    setStation(first + r, load<u32>(station), load<u32>(station, 4));
    store<f64>(times + ((<usize>(first + r)) << 3), <f64>(baseTime + load<i64>(elapsed + ((<usize>r) << 3))));
  }
}
