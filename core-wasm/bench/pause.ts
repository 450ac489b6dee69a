// How long scoring stands still while a model is loaded and its tables are built: in processes of their own, as the first time
// code runs in a process is when it takes longest.
import { join } from 'node:path';
import { quantile } from '@lonetree/devstack';
import type { LoadPauses } from './pause-load.ts';

type Figures = { readonly medianMs: number; readonly maxMs: number };
export type PauseResult = {
  /** Of the forest that is loaded. */
  readonly features: number;
  readonly trees: number;
  readonly samples: number;
  readonly loads: number;
  /** The longest pause between two blocks, median and maximum over the loads: while the first model's tables are built, */
  readonly first: Figures;
  /** while another model is loaded and its tables are built, */
  readonly next: Figures;
  /** and for as long without either: what the machine and the runtime do by themselves. */
  readonly idle: Figures;
};

/** `folder` has the forest, `model.forest`, and rows for it, `rows.f32`. */
export async function measurePause(
  folder: string,
  { loads }: { readonly loads: number },
): Promise<Pick<PauseResult, 'loads' | 'first' | 'next' | 'idle'>> {
  const pauses: LoadPauses[] = [];
  for (let load = 0; load < loads; load += 1) pauses.push(await runLoad(folder));
  const figures = (name: keyof LoadPauses): Figures => {
    const values = pauses.map((pause) => pause[name]);
    const figure = (p: number) => Number(quantile(values, p).toFixed(2));
    return { medianMs: figure(0.5), maxMs: figure(1) };
  };
  return { loads, first: figures('firstMs'), next: figures('nextMs'), idle: figures('idleMs') };
}

async function runLoad(folder: string): Promise<LoadPauses> {
  const files = ['model.forest', 'rows.f32'].map((name) => join(folder, name));
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'pause-load.ts'), ...files], {
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const [text, code] = await Promise.all([new Response(child.stdout).text(), child.exited]);
  if (code !== 0) throw new Error(`The process that loads a model while it scores ended with ${code}.`);
  return JSON.parse(text) as LoadPauses;
}
