// The thread that builds tables, so that the one that scores never waits for them.
import { buildTables } from './build.ts';
import type { TableEngine } from './layout.ts';

/** Its one message. */
export type Question = {
  readonly forest: Uint8Array<ArrayBuffer>;
  /** In the order in which they are tried. */
  readonly engines: readonly TableEngine[];
};
/** What it answers; null when the forest fits no engine or gains nothing. */
export type Answer = { readonly engine: TableEngine; readonly tables: ArrayBuffer } | null;

function answer({ forest, engines }: Question): Answer {
  for (const engine of engines) {
    const tables = buildTables(forest, { engine });
    if (tables !== undefined) return { engine, tables };
  }
  return null;
}

declare const self: Worker;
self.addEventListener('message', ({ data }: MessageEvent<Question>) => {
  const built = answer(data);
  self.postMessage(built, built === null ? [] : [built.tables]);
});
