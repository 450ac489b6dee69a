// Says on stderr what takes a moment, and how long it took.

/** Prints `Starting Kafka … 2.3 s`, or `… failed`, around the work. */
export async function progress<T>(title: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  const say = (ending: string) => process.stderr.write(`${title} … ${ending}\n`);
  try {
    const result = await work();
    say(seconds(performance.now() - startMs));
    return result;
  } catch (error) {
    say(`failed after ${seconds(performance.now() - startMs)}`);
    throw error;
  }
}

/** `2.3 s` */
export function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}
