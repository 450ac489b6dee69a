// The rows of a block in PostgreSQL's binary COPY format (PostgreSQL manual, COPY, "Binary Format"), written plainly: what
// the module's pieces must be, byte by byte.
import type { Block } from '../src/index.ts';
import { type CopyFacts, copyColumns } from '../src/index.ts';

const signature = Uint8Array.of(...'PGCOPY\n\xff\r\n\0'.split('').map((char) => char.charCodeAt(0)));
/** Signature, flags, length of the header's extension. */
const headerSize = signature.length + 8;
const trailerSize = 2;
/** PostgreSQL counts microseconds from 2000-01-01. */
const epochMs = 946_684_800_000;
const float4Oid = 700;
const twoTo32 = 2 ** 32;
/** A row without topic, station and values: field count, lengths, and the fields of fixed size. */
const fixedRowSize =
  2 + 4 + (4 + 4) + (4 + 8) + (4 + 4) + (4 + 8) + 4 + (4 + 20) + (4 + 8) + (4 + 4) + (4 + 1) + (4 + 4);

/** One COPY stream with all rows of the block. Missing values and severities are NULL. */
export function encodeRows(block: Block, { topic, partition, modelId, offsets }: CopyFacts): Uint8Array {
  const topicBytes = new TextEncoder().encode(topic);
  const {
    featureCount,
    stationStart,
    stationLength,
    memory,
    values,
    valueStride,
    times,
    scores,
    severities,
    isAnomaly,
    messageRows,
  } = block;
  let stationsSize = 0;
  for (const length of stationLength) stationsSize += length;
  const rowSizeMax = fixedRowSize + topicBytes.length + 8 * featureCount;
  const bytes = new Uint8Array(headerSize + block.rowCount * rowSizeMax + stationsSize + trailerSize);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  bytes.set(signature);
  let at = headerSize;
  let row = -1;
  for (const [message, offset] of offsets.entries()) {
    const offsetHigh = Math.floor(offset / twoTo32);
    const offsetLow = offset - offsetHigh * twoTo32;
    for (let index = 0; index < (messageRows[message] as number); index += 1) {
      row += 1;
      view.setInt16(at, copyColumns.length);
      view.setInt32(at + 2, topicBytes.length);
      at += 6;
      bytes.set(topicBytes, at);
      at += topicBytes.length;
      view.setInt32(at, 4);
      view.setInt32(at + 4, partition);
      view.setInt32(at + 8, 8);
      view.setInt32(at + 12, offsetHigh);
      view.setUint32(at + 16, offsetLow);
      view.setInt32(at + 20, 4);
      view.setInt32(at + 24, index);
      const microseconds = ((times[row] as number) - epochMs) * 1_000;
      const high = Math.floor(microseconds / twoTo32);
      view.setInt32(at + 28, 8);
      view.setInt32(at + 32, high);
      view.setUint32(at + 36, microseconds - high * twoTo32);
      const stationAt = stationStart[row] as number;
      const stationSize = stationLength[row] as number;
      view.setInt32(at + 40, stationSize);
      at += 44;
      for (let i = 0; i < stationSize; i += 1) bytes[at + i] = memory[stationAt + i] as number;
      at += stationSize;
      const arrayAt = at;
      view.setInt32(at + 4, 1); // dimensions
      view.setInt32(at + 12, float4Oid);
      view.setInt32(at + 16, featureCount);
      view.setInt32(at + 20, 1); // index of the first element
      at += 24;
      let hasNull = 0;
      for (let feature = row * valueStride; feature < row * valueStride + featureCount; feature += 1) {
        const value = values[feature] as number;
        if (Number.isNaN(value)) {
          hasNull = 1;
          view.setInt32(at, -1);
          at += 4;
        } else {
          view.setInt32(at, 4);
          view.setFloat32(at + 4, value);
          at += 8;
        }
      }
      view.setInt32(arrayAt, at - arrayAt - 4);
      view.setInt32(arrayAt + 8, hasNull);
      view.setInt32(at, 8);
      view.setFloat64(at + 4, scores[row] as number);
      at += 12;
      const severity = severities[row] as number;
      if (Number.isNaN(severity)) {
        view.setInt32(at, -1);
        at += 4;
      } else {
        view.setInt32(at, 4);
        view.setFloat32(at + 4, severity);
        at += 8;
      }
      view.setInt32(at, 1);
      view.setUint8(at + 4, isAnomaly[row] as number);
      view.setInt32(at + 5, 4);
      view.setInt32(at + 9, modelId);
      at += 13;
    }
  }
  view.setInt16(at, -1);
  return bytes.subarray(0, at + trailerSize);
}
