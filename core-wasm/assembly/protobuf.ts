// The Protobuf wire format: a cursor over bytes that never leaves them and never traps. What breaks the format is noted
// and ends the reading; what the fields mean is the caller's business (batch.ts).

export namespace WireType {
  export const varint: u32 = 0;
  export const fixed64: u32 = 1;
  export const lengthDelimited: u32 = 2;
  export const fixed32: u32 = 5;
}

/** Why the reading ended before the end: 0, one of these, or what a caller passed to `breakOff`. */
export namespace Broken {
  export const truncated: i32 = 1;
  export const malformed: i32 = 2;
}

const tagSizeMax: usize = 5;

let broken: i32 = 0;
export let at: usize = 0;

export function startReading(start: usize): void {
  at = start;
  broken = 0;
}

export function brokenBy(): i32 {
  return broken;
}

/** The first reason counts. */
export function breakOff(code: i32): void {
  if (broken == 0) broken = code;
}

export function moveTo(place: usize): void {
  at = place;
}

/** Field number × 8 + wire type, at most 32 bits and 5 bytes, as the specification has it. */
export function readTag(end: usize): u32 {
  const start = at;
  const tag = readVarint(end);
  if (broken == 0 && (tag > 0xffffffff || tag >>> 3 == 0 || at - start > tagSizeMax))
    breakOff(Broken.malformed);
  return <u32>tag;
}

/** Up to 10 bytes; bits beyond the 64th are dropped, as every reader does. */
export function readVarint(end: usize): u64 {
  let place = at;
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 70; shift += 7) {
    if (place >= end) {
      at = place;
      breakOff(Broken.truncated);
      return 0;
    }
    const byte = <u64>load<u8>(place);
    place += 1;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      at = place;
      return value;
    }
  }
  at = place;
  breakOff(Broken.malformed);
  return 0;
}

export function decodeZigzag(value: u64): i64 {
  return <i64>(value >>> 1) ^ -(<i64>(value & 1));
}

/** Reads a length and answers where what it measures ends; the cursor when that is beyond `end`. */
export function readEnd(end: usize): usize {
  const length = readVarint(end);
  if (broken != 0) return at;
  if (length > <u64>(end - at)) {
    breakOff(Broken.truncated);
    return at;
  }
  return at + <usize>length;
}

/** Passes over a value of an unknown field. Groups, which proto3 does not have, are malformed. */
export function skip(wireType: u32, end: usize): void {
  if (wireType == WireType.varint) readVarint(end);
  else if (wireType == WireType.lengthDelimited) at = readEnd(end);
  else if (wireType == WireType.fixed64) skipBytes(8, end);
  else if (wireType == WireType.fixed32) skipBytes(4, end);
  else breakOff(Broken.malformed);
}

function skipBytes(count: usize, end: usize): void {
  if (end - at < count) breakOff(Broken.truncated);
  else at += count;
}

/** Reads the length of a text and checks that it is UTF-8. Answers its end; the cursor stays at its start. */
export function readTextEnd(end: usize): usize {
  const textEnd = readEnd(end);
  if (broken == 0 && !isUtf8(at, textEnd)) breakOff(Broken.malformed);
  return textEnd;
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
