// Seeded random numbers for tests: a failure's seed draws the same case again.

export type Random = {
  /** In [0, 1). */
  next(): number;
  /** In 0 … count − 1. */
  below(count: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  bytes(size: number): Uint8Array;
};

/** xoshiro128** (Blackman, Vigna 2018), its state filled by a linear congruence. */
export function createRandom(seed: number): Random {
  const state = new Uint32Array(4);
  let fill = seed >>> 0;
  for (let i = 0; i < 4; i += 1) state[i] = fill = (Math.imul(fill, 1664525) + 1013904223) >>> 0;
  const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by));
  const next32 = () => {
    const [a, b, c, d] = state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    state.set([a ^ d ^ b, b ^ c ^ a, c ^ a ^ (b << 9), rotate(d ^ b, 11)]);
    return result;
  };
  for (let i = 0; i < 16; i += 1) next32();
  const next = () => next32() / 2 ** 32;
  const below = (count: number) => Math.floor(next() * count);
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    pick<T>(items: readonly T[]): T {
      return items[below(items.length)] as T;
    },
    bytes: (size) => Uint8Array.from({ length: size }, () => below(256)),
  };
}
