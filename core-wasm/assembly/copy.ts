// The scored rows in PostgreSQL's binary COPY format (PostgreSQL manual, COPY, "Binary Format"), piece by piece, so that
// a block of any size needs the memory of one piece.
//
// A row: field count, u16; then per field its length, u32, and its bytes, all big-endian. −1 as length is NULL.
//
//   field       type         bytes
//   topic       text         as given
//   partition   int4         4
//   offset      int8         8
//   row         int4         4, within its message
//   time        timestamptz  8, microseconds since 2000-01-01
//   station     text         as sent
//   values      real[]       20 for dimensions, has-null, element type, length, lower bound; then fields of real
//   score       float8       8
//   severity    float4       4 or NULL
//   is_anomaly  bool         1
//   model_id    int4         4
import { featureCount } from './forest';
import { allocate } from './memory';
import { messageCount, messageOffsets, messageRows } from './messages';
import {
  rowCount,
  rowSize,
  rows,
  scores,
  severities,
  stationNames,
  stationPlaces,
  stationSizes,
  times,
  verdicts,
} from './rows';

const fieldCount: u16 = 11;
const float4Oid: u32 = 700;
const epochMs: i64 = 946684800000;
/** PGCOPY\n\xff\r\n\0, flags, length of the header's extension. */
const headerSize: usize = 19;
const trailerSize: usize = 2;
const nullLength: u32 = 0xffffffff;
const fixedRowSize: usize = 2 + 11 * 4 + 4 + 8 + 4 + 8 + 20 + 8 + 4 + 1 + 4;
const topicSizeMax: usize = 249;
const stationSizeMax: usize = 255;
/** Of any model a piece holds many rows. */
const pieceSize: usize = 1 << 20;

export let copyPiece: usize = 0;
let topicSize: usize = 0;
let partition: u32 = 0;
let modelId: u32 = 0;
/** What is to be written next: a row of a message of the block. */
let message: u32 = 0;
let rowInMessage: u32 = 0;
let row: u32 = 0;
let isHeaderDue: bool = false;
let isTrailerDue: bool = false;

/** Where the host shall put the topic's name. */
export let copyTopic: usize = 0;

/** Answers false when there is no memory. */
export function prepareCopy(): bool {
  copyTopic = allocate(topicSizeMax);
  copyPiece = allocate(pieceSize);
  return copyTopic != 0 && copyPiece != 0;
}

/** Begins a stream of all rows. False: the name is too long, or rows have come without a message. */
export function startCopy(nameSize: usize, partitionNumber: i32, model: i32): bool {
  let rowsOfMessages: u32 = 0;
  for (let m: usize = 0; m < messageCount; m++) rowsOfMessages += load<u32>(messageRows + (m << 2));
  if (nameSize > topicSizeMax || rowsOfMessages != rowCount) return false;
  topicSize = nameSize;
  partition = bswap<u32>(<u32>partitionNumber);
  modelId = bswap<u32>(<u32>model);
  message = rowInMessage = row = 0;
  isHeaderDue = isTrailerDue = true;
  return true;
}

function rowSizeMax(): usize {
  return fixedRowSize + topicSizeMax + stationSizeMax + ((<usize>featureCount) << 3);
}

/** Writes the next piece of the stream to `copyPiece`. Answers its size, 0 after the last one. */
export function nextCopyPiece(): usize {
  let at = copyPiece;
  if (isHeaderDue) at = writeHeader(at);
  const full = copyPiece + pieceSize - rowSizeMax() - trailerSize;
  while (row < rowCount && at <= full) {
    while (rowInMessage == load<u32>(messageRows + ((<usize>message) << 2))) {
      message += 1;
      rowInMessage = 0;
    }
    at = writeRow(at);
    row += 1;
    rowInMessage += 1;
  }
  if (row == rowCount && isTrailerDue) {
    store<u16>(at, 0xffff);
    at += trailerSize;
    isTrailerDue = false;
  }
  return at - copyPiece;
}

function writeHeader(at: usize): usize {
  isHeaderDue = false;
  store<u32>(at, 0x4f434750); // PGCO
  store<u32>(at, 0xff0a5950, 4); // PY\n\xff
  store<u16>(at, 0x0a0d, 8);
  store<u8>(at, 0, 10);
  store<u32>(at, 0, 11);
  store<u32>(at, 0, 15);
  return at + headerSize;
}

function put32(at: usize, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}

/** A field of four bytes that are big-endian already. */
function put4(at: usize, bytes: u32): void {
  store<u64>(at, 0x04000000 | ((<u64>bytes) << 32));
}

/** A field of eight bytes. */
function put8(at: usize, value: u64): void {
  store<u32>(at, 0x08000000);
  store<u64>(at, bswap<u64>(value), 4);
}

/** A field of text. Names are short: a call of memory.copy takes longer. */
function putText(at: usize, from: usize, size: usize): usize {
  put32(at, <u32>size);
  at += 4;
  const end = at + size;
  for (; at + 8 <= end; at += 8, from += 8) store<u64>(at, load<u64>(from));
  for (; at < end; at++, from++) store<u8>(at, load<u8>(from));
  return end;
}

function writeRow(at: usize): usize {
  const r = <usize>row;
  store<u16>(at, bswap<u16>(fieldCount));
  at = putText(at + 2, copyTopic, topicSize);
  put4(at, partition);
  put8(at + 8, <u64>(<i64>load<f64>(messageOffsets + ((<usize>message) << 3))));
  put4(at + 20, bswap<u32>(rowInMessage));
  put8(at + 28, <u64>((<i64>load<f64>(times + (r << 3)) - epochMs) * 1000));
  const name = stationNames + <usize>load<u32>(stationPlaces + (r << 2));
  at = putText(at + 40, name, <usize>load<u32>(stationSizes + (r << 2)));
  at = writeValues(at, rows + r * rowSize);
  put8(at, reinterpret<u64>(load<f64>(scores + (r << 3))));
  at = writeReal(at + 12, <f32>load<f64>(severities + (r << 3)));
  store<u32>(at, 0x01000000);
  store<u8>(at, load<u8>(verdicts + r), 4);
  put4(at + 5, modelId);
  return at + 13;
}

function writeValues(start: usize, values: usize): usize {
  put32(start + 4, 1); // dimensions
  put32(start + 12, float4Oid);
  put32(start + 16, featureCount);
  put32(start + 20, 1); // index of the first element
  let at = start + 24;
  const end = values + ((<usize>featureCount) << 2);
  for (; values < end; values += 4) at = writeReal(at, load<f32>(values));
  const size = at - start - 4;
  put32(start, <u32>size);
  const isFull = size == 20 + ((<usize>featureCount) << 3);
  put32(start + 8, isFull ? 0 : 1); // has NULL
  return at;
}

function writeReal(at: usize, value: f32): usize {
  if (value != value) {
    store<u32>(at, nullLength);
    return at + 4;
  }
  put4(at, bswap<u32>(reinterpret<u32>(value)));
  return at + 8;
}
