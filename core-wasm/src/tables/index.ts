// Builds an engine's tables in a thread of their own.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { TableEngine } from './layout.ts';
import type { Answer, Question } from './worker.ts';

export { lineSize, type TableEngine } from './layout.ts';

/**
 * Tables of the first engine that the forest fits; null when it fits none or gains nothing. Rejects when the thread fails.
 * The thread takes the forest's buffer, which is all its.
 */
export async function buildTablesAside(
  forest: Uint8Array<ArrayBuffer>,
  engines: readonly TableEngine[],
): Promise<Answer> {
  const workerData: Question = { forest, engines };
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData,
    transferList: [forest.buffer],
  });
  try {
    const ended = once(worker, 'exit').then(() => {
      throw new Error('The thread that builds tables ended without an answer.');
    });
    const [answer] = (await Promise.race([once(worker, 'message'), ended])) as [Answer];
    ended.catch(() => {}); // Ended below, and expected to be.
    return answer;
  } finally {
    await worker.terminate();
  }
}
