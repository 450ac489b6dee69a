// Sorted thresholds and the intervals between them.

/** Sorts the values in place and answers those that differ, −0 and 0 as one. */
export function sortedDistinct(values: Float32Array): Float32Array {
  values.sort();
  let count = 0;
  for (const [index, value] of values.entries()) {
    if (index === 0 || value !== values[count - 1]) values[count++] = value;
  }
  return values.slice(0, count);
}

/** The interval that a value is in: how many of the ascending thresholds are below it. */
export function intervalOf(thresholds: Float32Array, value: number): number {
  let low = 0;
  let high = thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((thresholds[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
