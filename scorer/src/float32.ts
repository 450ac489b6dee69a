// A float32 in decimal.

/** The shortest decimal that is the same float32: 28.1 and not 28.100000381469727. */
export function shortFloat32(value: number): number {
  for (const digits of [7, 8]) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
