// One process of the benchmark: scores blocks one after the other, and says how long the longest pause between two of them was.
import { readFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { Engine } from '../src/index.ts';

/** The longest pause while the first model's tables are built, while another is loaded and its are, and without either. */
export type LoadPauses = { readonly firstMs: number; readonly nextMs: number; readonly idleMs: number };

const [forestPath, rowsPath] = process.argv.slice(2) as [string, string];
const forest = Uint8Array.from(readFileSync(forestPath));
const rows = new Float32Array(Uint8Array.from(readFileSync(rowsPath)).buffer);
/** Readings of a block, and blocks until it is compiled how they are scored. */
const blockRows = 64;
const warmUpBlocks = 3_000;

const running = await Engine.load(forest);
for (let count = 0; count < warmUpBlocks; count += 1) score();

const firstMs = await longestPauseDuring(() => running.accelerate());
const startMs = performance.now();
const nextMs = await longestPauseDuring(async () => (await Engine.load(forest)).accelerate());
const tookMs = performance.now() - startMs;
const idleMs = await longestPauseDuring(() => Bun.sleep(tookMs));
const pauses: LoadPauses = { firstMs, nextMs, idleMs };
console.log(JSON.stringify(pauses));

function score(): void {
  running.loadRows(rows, blockRows);
  running.sumRows();
}

/** From one block's end to the next one's, so its scoring counts too. */
async function longestPauseDuring(work: () => Promise<unknown>): Promise<number> {
  let isDone = false;
  let longestMs = 0;
  let lastMs = performance.now();
  const done = work().finally(() => {
    isDone = true;
  });
  while (!isDone) {
    score();
    await setImmediate();
    const nowMs = performance.now();
    longestMs = Math.max(longestMs, nowMs - lastMs);
    lastMs = nowMs;
  }
  await done;
  return longestMs;
}
