// Measurements repeated in turn, with progress on a terminal.
import { median, spread } from '@lonetree/devstack';

export type Summary = {
  /** Median over the repetitions. */
  readonly nsPerRow: number;
  /** Half the distance between the quartiles, over the median. */
  readonly spread: number;
};

const summarise = (values: readonly number[]): Summary => ({
  nsPerRow: Number(median(values).toPrecision(4)),
  spread: spread(values),
});

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
