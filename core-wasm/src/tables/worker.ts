// The thread that builds tables, so that the one that scores never waits for them.
import { parentPort, workerData } from 'node:worker_threads';
import { buildTables } from './build.ts';
import type { TableEngine } from './layout.ts';

/** What the thread is started with. */
export type Question = {
  readonly forest: Uint8Array;
  /** In the order in which they are tried. */
  readonly engines: readonly TableEngine[];
};
/** Its one message; null when the forest fits no engine or gains nothing. */
export type Answer = { readonly engine: TableEngine; readonly tables: ArrayBuffer } | null;

function answer({ forest, engines }: Question): Answer {
  for (const engine of engines) {
    const tables = buildTables(forest, { engine });
    if (tables !== undefined) return { engine, tables };
  }
  return null;
}

const built = answer(workerData as Question);
parentPort?.postMessage(built, built === null ? [] : [built.tables]);
