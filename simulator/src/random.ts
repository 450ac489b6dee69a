// Random numbers by place instead of by order: any draw of any stream can be asked for at any time, so
// what a seed gives never depends on who asked first. Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011,
// "Parallel random numbers: as easy as 1, 2, 3").

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;
const ROUNDS = 10;
const TWO_32 = 0x1_0000_0000;

export type Words = Readonly<Draws>;

/** Fills `out` with the four 32-bit words that belong to this counter and key. */
export function philox(counter: Words, key: readonly [number, number], out: Uint32Array): void {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  // Everything stays a 32-bit integer, signed or not alike; the array makes the words unsigned at the end.
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = productHigh(MULTIPLIER_0, c0);
    const high1 = productHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0);
    const low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + WEYL_0) | 0;
    k1 = (k1 + WEYL_1) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** The upper 32 bits of an unsigned 32 × 32 bit product, by halves of 16 bits so that no step needs more than 32. */
function productHigh(left: number, right: number): number {
  const leftLow = left & 0xffff;
  const leftHigh = left >>> 16;
  const rightLow = right & 0xffff;
  const rightHigh = right >>> 16;
  const carry = Math.imul(leftLow, rightLow) >>> 16;
  const middle = (Math.imul(leftHigh, rightLow) + carry) | 0;
  const other = (Math.imul(leftLow, rightHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(leftHigh, rightHigh) + (middle >>> 16) + (other >>> 16)) | 0;
}

/** Four numbers in (0, 1), both ends excluded. */
type Draws = [number, number, number, number];

/** One named sequence of draws, independent of every other name's and seed's. */
export type Stream = {
  /** What belongs to the place (major, minor); the next call overwrites it. */
  at(major: number, minor: number): Readonly<Draws>;
};

export function createStream(seed: number, name: string): Stream {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new RangeError(`seed is ${seed}; give a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  const key = [seed >>> 0, Math.floor(seed / TWO_32)] as const;
  const nameWord = hashName(name);
  const counter: Draws = [0, 0, nameWord, 0];
  const words = new Uint32Array(4);
  const draws: Draws = [0, 0, 0, 0];
  return {
    at(major, minor) {
      counter[0] = major >>> 0;
      counter[1] = minor >>> 0;
      // Long runs pass 2^32 readings of one station only after a century, but then must not start again.
      counter[3] = Math.floor(major / TWO_32);
      philox(counter, key, words);
      for (let index = 0; index < 4; index++) {
        // The half keeps 0 and 1 out: both are infinitely far away for a normal quantile.
        draws[index] = ((words[index] as number) + 0.5) / TWO_32;
      }
      return draws;
    },
  };
}

/** FNV-1a, 32 bits. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}
