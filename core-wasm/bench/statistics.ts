// Medians and spreads, and progress on a terminal.

export type Summary = {
  /** Median over the repetitions. */
  readonly nsPerRow: number;
  /** Half the distance between the quartiles, over the median. */
  readonly spread: number;
};

export function summarise(values: readonly number[]): Summary {
  const median = quantile(values, 0.5);
  const spread = (quantile(values, 0.75) - quantile(values, 0.25)) / 2 / median;
  return { nsPerRow: Number(median.toPrecision(4)), spread: Number(spread.toFixed(3)) };
}

/** The value that the share `p` of the others does not exceed. */
export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.round(p * (sorted.length - 1))] as number;
}

/** Repeats all measurements in turn, so that a busy moment of the machine hits all alike. The first round warms up. */
export async function interleave<T>(
  measures: ReadonlyMap<T, () => Promise<number> | number>,
  { repetitions, title }: { readonly repetitions: number; readonly title: string },
): Promise<Map<T, Summary>> {
  const values = new Map([...measures.keys()].map((key): [T, number[]] => [key, []]));
  for (let repetition = 0; repetition <= repetitions; repetition += 1) {
    for (const [key, measure] of measures) {
      showProgress(`${title}: ${repetition}/${repetitions} ${String(key)}`);
      const value = await measure();
      if (repetition > 0) values.get(key)?.push(value);
    }
  }
  showProgress('');
  return new Map([...values].map(([key, list]) => [key, summarise(list)]));
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}`);
  else if (text !== '' && / 1\/\d+ /.test(text) && text !== lastText) {
    lastText = text;
    console.error(text);
  }
}
let lastText = '';
