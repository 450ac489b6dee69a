// How long scoring stands still while another model is loaded and its tables are built, in the thread that scores.
import { setImmediate } from 'node:timers/promises';
import { Engine } from '../src/index.ts';
import { quantile } from './statistics.ts';

export type PauseResult = {
  /** Of the forest that is loaded. */
  readonly features: number;
  readonly trees: number;
  readonly samples: number;
  readonly loads: number;
  /** The longest pause between two blocks while one model is loaded: median and maximum over the loads. */
  readonly medianMs: number;
  readonly maxMs: number;
  /** The same for as long a time without a load: what the machine and the runtime do by themselves. */
  readonly idleMedianMs: number;
  readonly idleMaxMs: number;
};

/** Readings of the blocks that are scored meanwhile. */
const blockRows = 64;
const warmUpBlocks = 3_000;

/** Loads `forest` again and again while an engine of its own scores blocks of `rows` (row-major float32), one after the other. */
export async function measurePause(
  forest: Uint8Array,
  { rows, loads }: { readonly rows: Float32Array; readonly loads: number },
): Promise<Omit<PauseResult, 'features' | 'trees' | 'samples'>> {
  const running = await Engine.load(forest);
  await running.accelerate();
  const score = () => {
    running.loadRows(rows, blockRows);
    running.sumRows();
  };
  for (let count = 0; count < warmUpBlocks; count += 1) score();

  async function longestPauseDuring(work: () => Promise<unknown>): Promise<number> {
    let isDone = false;
    const done = work().finally(() => {
      isDone = true;
    });
    let longestMs = 0;
    for (let lastMs = performance.now(); !isDone; ) {
      score();
      await setImmediate();
      const nowMs = performance.now();
      longestMs = Math.max(longestMs, nowMs - lastMs);
      lastMs = nowMs;
    }
    await done;
    return longestMs;
  }

  const pauses: number[] = [];
  const idlePauses: number[] = [];
  for (let load = 0; load < loads; load += 1) {
    const startMs = performance.now();
    pauses.push(
      await longestPauseDuring(async () => {
        const engine = await Engine.load(forest);
        await engine.accelerate();
      }),
    );
    const tookMs = performance.now() - startMs;
    idlePauses.push(await longestPauseDuring(() => Bun.sleep(tookMs)));
  }
  const figure = (values: readonly number[], p: number) => Number(quantile(values, p).toFixed(2));
  return {
    loads,
    medianMs: figure(pauses, 0.5),
    maxMs: figure(pauses, 1),
    idleMedianMs: figure(idlePauses, 0.5),
    idleMaxMs: figure(idlePauses, 1),
  };
}
