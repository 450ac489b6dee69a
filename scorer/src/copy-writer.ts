// Rows of PostgreSQL's binary COPY format, field by field. The rows of verdicts are made in WebAssembly instead.

const signature = Uint8Array.of(...'PGCOPY\n\xff\r\n\0'.split('').map((char) => char.charCodeAt(0)));
/** Signature, flags, length of the header's extension. */
const headerSize = signature.length + 8;
const trailerSize = 2;
/** What a stream needs beside its rows. */
export const copyFrameSize = headerSize + trailerSize;
/** PostgreSQL counts microseconds from 2000-01-01. */
const epochMs = 946_684_800_000;
const nullLength = -1;

/** Fields are to be written in the order of the columns; null is NULL. */
export type CopyWriter = {
  /** Begins a row. */
  row(fieldCount: number): void;
  text(value: string): void;
  /** A text that is in UTF-8 already. */
  utf8(bytes: Uint8Array): void;
  boolean(value: boolean): void;
  int32(value: number): void;
  int64(value: bigint): void;
  float32(value: number | null): void;
  float64(value: number | null): void;
  /** Of type timestamptz, milliseconds since the Unix epoch. */
  time(timeMs: number): void;
  /** One dimension; `oid` is the type of its items. */
  array<T>(oid: number, items: readonly T[], write: (item: T) => void): void;
  /** The whole stream. Nothing can be written after it. */
  end(): Uint8Array;
};

/** For a stream of at most so many bytes. */
export function createCopyWriter(sizeMax: number): CopyWriter {
  const bytes = new Uint8Array(sizeMax);
  const view = new DataView(bytes.buffer);
  const encoder = new TextEncoder();
  bytes.set(signature);
  let at = headerSize;

  const int64 = (value: bigint) => {
    view.setInt32(at, 8);
    view.setBigInt64(at + 4, value);
    at += 12;
  };
  return {
    row(fieldCount) {
      view.setInt16(at, fieldCount);
      at += 2;
    },
    text(value) {
      const { written } = encoder.encodeInto(value, bytes.subarray(at + 4));
      view.setInt32(at, written);
      at += 4 + written;
    },
    utf8(value) {
      view.setInt32(at, value.length);
      bytes.set(value, at + 4);
      at += 4 + value.length;
    },
    boolean(value) {
      view.setInt32(at, 1);
      view.setUint8(at + 4, value ? 1 : 0);
      at += 5;
    },
    int32(value) {
      view.setInt32(at, 4);
      view.setInt32(at + 4, value);
      at += 8;
    },
    int64,
    float32(value) {
      view.setInt32(at, value === null ? nullLength : 4);
      if (value !== null) view.setFloat32(at + 4, value);
      at += value === null ? 4 : 8;
    },
    float64(value) {
      view.setInt32(at, value === null ? nullLength : 8);
      if (value !== null) view.setFloat64(at + 4, value);
      at += value === null ? 4 : 12;
    },
    time: (timeMs) => int64(BigInt(timeMs - epochMs) * 1_000n),
    array(oid, items, write) {
      const start = at;
      view.setInt32(at + 4, items.length === 0 ? 0 : 1); // dimensions
      view.setInt32(at + 8, items.includes(null as (typeof items)[number]) ? 1 : 0);
      view.setInt32(at + 12, oid);
      at += 16;
      if (items.length > 0) {
        view.setInt32(at, items.length);
        view.setInt32(at + 4, 1); // index of the first element
        at += 8;
      }
      for (const item of items) write(item);
      view.setInt32(start, at - start - 4);
    },
    end() {
      view.setInt16(at, -1);
      return bytes.subarray(0, at + trailerSize);
    },
  };
}
