// Medians and spreads of what benchmarks repeat.

/** The value that the share `p` of the others does not exceed. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round(p * (sorted.length - 1))] as number;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Half the distance between the quartiles, over the median. */
export function spread(values: readonly number[]): number {
  const width = quantile(values, 0.75) - quantile(values, 0.25);
  return Number((width / 2 / median(values)).toFixed(3));
}
