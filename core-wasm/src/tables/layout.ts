// The flat buffer that an engine's tables lie in: the contract between this folder and assembly/tables.ts, cells.ts, grid.ts.
//
// Little-endian; every place is an offset from the buffer's start, which lies at a multiple of 64; parts begin at
// multiples of 16, interval tables of 64, so that a row of one takes no more cache lines than it must.
//
//   header   u32 magic "CELS" or "GRID", version, size, feature count, 1 when missing values have intervals, chunk count,
//            place of the chunks, rows of the smallest block that they are used for
//   chunk    48 bytes: u32 place of its groups, their count, place of the thresholds (f32, ascending, +∞ after the last),
//            bytes from one feature's to the next's, place of the first guesses (u16), bytes from one feature's to the
//            next's, place of the features, bucket count, bytes that one interval counts for
//   feature  16 bytes: f32 low, f32 buckets per unit, u32 count of thresholds, u32 bytes that its first interval counts for.
//            What an interval counts for in all leads to the value's row of the group's table
//
// Cells:
//   group    32 bytes: u32 tree count, place of the map (u16: interval of the chunk → row of the interval table), place of
//            the interval table (64 bytes a row), place of the leaf values (f64), their bytes, place of the tops, place of
//            the entries, their bytes
//   tops     u32 a tree: place of its top's entries; bit 0 set when the tree has three levels
//   entries  u32: place << 6 | column. The row goes on at place + its value of that column: a leaf code (u8), or in a tree
//            of three levels first another entry (u32)
//   codes    u8: index of a leaf value. The first 256 are 0 … 255, so that an entry can name a leaf
//
// Grid, one group a chunk:
//   group    32 bytes: u32 tree count, bytes of a row of the interval table, place of the interval table (u8 a tree: its own
//            interval), place of the strides (u16 a tree: first feature's, then second's), place of the leaf values (f64),
//            their bytes, place of the grids, 0
//   grids    u32 a tree: place of its cells, each a leaf code (u8); a cell is Σ interval × stride, the last feature's 1

export const magicOf = { cells: 0x534c4543, grid: 0x44495247 } as const;
export type TableEngine = keyof typeof magicOf;
export const version = 1;
export const headerSize = 32;
export const chunkSize = 48;
export const groupSize = 32;
export const featureSize = 16;
/** Of a cache line: what the tables themselves, and interval tables in them, are aligned to. */
export const lineSize = 64;

/** Memory that grows, handed out in order and zeroed. */
export type Writer = {
  /** Answers the place of `size` bytes, a multiple of `alignment`, a power of two. */
  reserve(size: number, alignment?: number): number;
  view(): DataView;
  bytes(place: number, length: number): Uint8Array;
  u16(place: number, length: number): Uint16Array;
  u32(place: number, length: number): Uint32Array;
  f32(place: number, length: number): Float32Array;
  f64(place: number, length: number): Float64Array;
  /** Bytes handed out so far. */
  size(): number;
  finish(): ArrayBuffer;
};

/** What an engine wrote: where, and how many times a row then reads memory. */
export type Written = {
  readonly chunks: number;
  readonly chunkCount: number;
  readonly loadCount: number;
};

export class TablesTooLarge extends Error {}

/** Throws TablesTooLarge rather than grow over `sizeMax`. Views are dead after the next `reserve`. */
export function createWriter(sizeMax: number): Writer {
  let buffer = new ArrayBuffer(1 << 20);
  let size = 0;
  return {
    reserve(wanted, alignment = 16) {
      const place = (size + alignment - 1) & -alignment;
      size = place + wanted;
      if (size > sizeMax) throw new TablesTooLarge(`the tables take more than ${sizeMax} bytes`);
      if (size > buffer.byteLength) buffer = buffer.transfer(Math.max(size, buffer.byteLength * 2));
      return place;
    },
    view: () => new DataView(buffer),
    bytes: (place, length) => new Uint8Array(buffer, place, length),
    u16: (place, length) => new Uint16Array(buffer, place, length),
    u32: (place, length) => new Uint32Array(buffer, place, length),
    f32: (place, length) => new Float32Array(buffer, place, length),
    f64: (place, length) => new Float64Array(buffer, place, length),
    size: () => size,
    finish: () => buffer.transfer(size),
  };
}
