// The shipped forest file, and others that differ from it where a test wants it, with checksums that fit.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const crcPlace = 12;
const denominatorPlace = 48;
const offsetPlace = 56;
const sumThresholdPlace = 64;
const shipped = readFileSync(join(import.meta.dir, '..', '..', 'models', 'default.forest'));

/** The shipped file itself. */
export const shippedForest = (): Uint8Array => new Uint8Array(shipped);

/** Another file of the same trees: other bytes and another digest, the same scores. */
export const retrained = (seed: number): Uint8Array => replaced('"seed":42', `"seed":${10 + (seed % 90)}`);

/** Needs a feature that no station sends. */
export const withOtherFeature = (): Uint8Array => replaced('sound', 'pitch');

/** The same trees and scores, and an offset that calls many more readings abnormal. */
export function moreAlarming(): Uint8Array {
  const bytes = Buffer.from(shipped);
  const denominator = bytes.readDoubleLE(denominatorPlace);
  const sumThreshold = bytes.readDoubleLE(sumThresholdPlace) * 1.5;
  bytes.writeDoubleLE(-(2 ** (-sumThreshold / denominator)), offsetPlace);
  bytes.writeDoubleLE(sumThreshold, sumThresholdPlace);
  return sign(bytes);
}

/** A bit of a node is another one: the checksum does not fit. */
export function damaged(forest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(forest);
  const place = bytes.length >> 1;
  bytes[place] = (bytes[place] as number) ^ 1;
  return bytes;
}

function replaced(text: string, by: string): Uint8Array {
  const bytes = Buffer.from(shipped);
  const place = bytes.indexOf(text);
  if (place < 0 || by.length !== text.length) throw new Error(`${text} cannot become ${by}`);
  bytes.write(by, place);
  return sign(bytes);
}

function sign(bytes: Buffer): Uint8Array {
  bytes.writeUInt32LE(0, crcPlace);
  bytes.writeUInt32LE(crc32(bytes), crcPlace);
  return new Uint8Array(bytes);
}
