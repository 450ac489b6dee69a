// Builds an engine's tables in a thread of their own.
import type { TableEngine } from './layout.ts';
import type { Answer, Question } from './worker.ts';

export { lineSize, type TableEngine } from './layout.ts';

/** The runtime's own: onnxruntime-web, for one, puts that of `node:worker_threads` in its place. */
const { Worker } = globalThis;

/**
 * Tables of the first engine that the forest fits; null when it fits none or gains nothing. Rejects when the thread fails.
 * The thread takes the forest's buffer, which is all its. It is a web worker, as the first one of `node:worker_threads` in a
 * process holds up who starts it for 5 ms.
 */
export async function buildTablesAside(
  forest: Uint8Array<ArrayBuffer>,
  engines: readonly TableEngine[],
): Promise<Answer> {
  const question: Question = { forest, engines };
  const worker = new Worker(new URL('worker.ts', import.meta.url));
  try {
    return await new Promise<Answer>((resolve, reject) => {
      const fail = (how: string) => reject(new Error(`The thread that builds tables ${how}`));
      worker.addEventListener('message', ({ data }: MessageEvent<Answer>) => resolve(data));
      worker.addEventListener('error', ({ message }) => fail(`failed: ${message}`));
      worker.addEventListener('close', () => fail('ended without an answer.'));
      worker.postMessage(question, [forest.buffer]);
    });
  } finally {
    worker.terminate();
  }
}
