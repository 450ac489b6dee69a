// Path-length sums of rows in memory: our engines and their peers on one forest, all checked before any is timed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runPython } from '@lonetree/devstack';
import { Engine } from '../src/index.ts';
import { buildTables } from '../src/tables/build.ts';
import { type Case, rowCount } from './cases.ts';
import { compileNative, type NativeEngine } from './native.ts';
import type { PythonPeers } from './python-peers.ts';
import { interleave } from './statistics.ts';
import { type LoadWeb, type OnnxRun, startOnnxWeb, webMissing } from './web-peers.ts';

export type KernelResult = {
  readonly name: string;
  readonly features: number;
  readonly trees: number;
  readonly samples: number;
  readonly batch: number;
  readonly nsPerRow: number;
  readonly spread: number;
};

export type KernelRun = {
  readonly results: readonly KernelResult[];
  readonly versions: Record<string, string>;
  /** Why a peer is not there, or an engine does not fit. */
  readonly missing: Record<string, string>;
  /** The forest that was measured, and engines of it. */
  readonly engines: ReadonlyMap<string, Engine>;
};

type Measure = (batch: number) => Promise<number> | number;
const engineNames = ['cells', 'grid', 'walk'];
export const nativeNames = ['c-cells', 'c-walk'];
export const ownNames = [...engineNames, ...nativeNames];
export const pythonNames = ['sklearn', 'onnxruntime-single', 'onnxruntime-skl2onnx', 'tl2cgen'];
export const webNames = ['onnxruntime-web'];

/** Others add up or divide in float32. */
const peerTolerance = 1e-5;
export type KernelOptions = {
  readonly python: PythonPeers;
  readonly loadWeb: LoadWeb;
  readonly folder: string;
  readonly names: readonly string[];
  readonly repetitions: number;
  /** Of one repetition of one peer. */
  readonly seconds: number;
};

export async function measureKernels(chosen: Case, options: KernelOptions): Promise<KernelRun> {
  const { python, folder, names, seconds } = options;
  const { features, trees, samples } = chosen;
  const isWanted = (name: string) => names.includes(name);
  const prepared = await python.prepare({
    features,
    trees,
    samples,
    rows: rowCount,
    directory: folder,
    peers: [...pythonNames, ...webNames].filter(isWanted),
  });
  await runPython([
    ...['-m', 'lonetree_ml', 'export', '--sklearn', join(folder, 'model.skops')],
    ...['--output', join(folder, 'model.forest')],
  ]);
  const bytes = (name: string) => Uint8Array.from(readFileSync(join(folder, name)));
  const forest = bytes('model.forest');
  const rows = new Float32Array(bytes('rows.f32').buffer);
  const sums = new Float64Array(bytes('sums.f64').buffer);
  const missing = { ...prepared.missing };
  const versions = { ...prepared.versions };

  const peers = new Map<string, Measure>();
  const engines = await loadEngines(forest);
  for (const [name, engine] of engines) {
    engine.loadRows(rows, rowCount);
    expectSameBits(name, engine.sumRows(), sums);
    if (isWanted(name)) peers.set(name, measureEngine(engine, { rows, features, seconds }));
  }
  for (const name of ['cells', 'grid'])
    if (!engines.has(name)) missing[name] = 'the forest does not fit, or would gain nothing';
  for (const [name, engine] of natives(forest, { folder, features, names, missing, versions })) {
    // All at once, and the rows that are left over when several are taken together.
    for (const count of [rowCount, 1, 13]) {
      engine.load(rows, count);
      expectSameBits(name, engine.sum(count), sums.subarray(0, count));
    }
    peers.set(name, measureNative(engine, { rows, features, seconds }));
  }
  for (const name of pythonNames) {
    if (!isWanted(name) || name in prepared.missing) continue;
    expectClose(name, await python.check(name));
    peers.set(name, (batch) => python.measure(name, batch, seconds));
  }
  if (isWanted('onnxruntime-web') && !('onnxruntime-web' in missing)) {
    if (options.loadWeb === null) missing['onnxruntime-web'] = webMissing;
    else {
      const run = await startOnnxWeb(options.loadWeb, bytes('single.onnx'), features);
      expectClose('onnxruntime-web', relativeDifference(await run(rows.slice(), rowCount), sums));
      peers.set('onnxruntime-web', measureWeb(run, { rows, features, seconds }));
    }
  }

  const results: KernelResult[] = [];
  for (const batch of chosen.batches) {
    const measures = new Map([...peers].map(([name, measure]) => [name, () => measure(batch)]));
    const title = `${features} features, ${trees} × ${samples}, ${batch} rows a call`;
    for (const [name, summary] of await interleave(measures, { repetitions: options.repetitions, title }))
      results.push({ name, features, trees, samples, batch, ...summary });
  }
  return { results, versions, missing, engines };
}

async function loadEngines(forest: Uint8Array): Promise<Map<string, Engine>> {
  const engines = new Map([['walk', await Engine.load(forest)]]);
  for (const name of ['cells', 'grid'] as const) {
    const engine = await Engine.load(forest);
    if (await engine.accelerate([name])) engines.set(name, engine);
  }
  return engines;
}

function natives(
  forest: Uint8Array,
  options: {
    readonly folder: string;
    readonly features: number;
    readonly names: readonly string[];
    readonly missing: Record<string, string>;
    readonly versions: Record<string, string>;
  },
): Map<string, NativeEngine> {
  const { missing, versions } = options;
  const wanted = nativeNames.filter((name) => options.names.includes(name));
  if (wanted.length === 0) return new Map();
  const native = compileNative(options.folder);
  const engines = new Map<string, NativeEngine>();
  for (const name of wanted) {
    const tables = name === 'c-cells' ? buildTables(forest, { engine: 'cells' }) : undefined;
    if (typeof native === 'string') missing[name] = native;
    else if (name === 'c-walk') engines.set(name, native.walk(forest));
    else if (tables === undefined) missing[name] = 'the forest does not fit';
    else engines.set(name, native.cells(tables, options.features));
    if (typeof native !== 'string') versions[name] = native.compiler;
  }
  return engines;
}

type Timing = { readonly rows: Float32Array; readonly features: number; readonly seconds: number };

const measureEngine = (engine: Engine, timing: Timing): Measure =>
  timed(timing.seconds, (first, batch) => {
    engine.loadRows(partOf(timing, first, batch), batch);
    return () => engine.sumRows();
  });

const measureNative = (engine: NativeEngine, timing: Timing): Measure =>
  timed(timing.seconds, (first, batch) => {
    engine.load(partOf(timing, first, batch), batch);
    return () => engine.sum(batch);
  });

const partOf = ({ rows, features }: Timing, first: number, batch: number) =>
  rows.subarray(first * features, (first + batch) * features);

/** Scores other rows on each call, until the time is up; loading the rows is not counted, as no peer's is. */
function timed(seconds: number, load: (first: number, batch: number) => () => ArrayLike<number>): Measure {
  let at = 0;
  let sink = 0;
  return (batch) => {
    let elapsed = 0;
    let scored = 0;
    while (elapsed < seconds * 1e9 || scored === 0) {
      if (at + batch > rowCount) at = 0;
      const score = load(at, batch);
      at += batch;
      const began = Bun.nanoseconds();
      const sums = score();
      elapsed += Bun.nanoseconds() - began;
      sink += sums[0] as number;
      scored += batch;
    }
    if (!Number.isFinite(sink)) throw new Error('a sum is not finite');
    return elapsed / scored;
  };
}

function measureWeb(run: OnnxRun, timing: Timing): Measure {
  let at = 0;
  return async (batch) => {
    let elapsed = 0;
    let scored = 0;
    while (elapsed < timing.seconds * 1e9 || scored === 0) {
      if (at + batch > rowCount) at = 0;
      const rows = partOf(timing, at, batch).slice();
      at += batch;
      const began = Bun.nanoseconds();
      const sums = await run(rows, batch);
      elapsed += Bun.nanoseconds() - began;
      if (!Number.isFinite(sums[0])) throw new Error('a sum is not finite');
      scored += batch;
    }
    return elapsed / scored;
  };
}

function expectSameBits(name: string, sums: Float64Array, expected: Float64Array): void {
  const differing = sums.reduce((count, sum, row) => count + Number(!Object.is(sum, expected[row])), 0);
  if (differing > 0 || sums.length !== expected.length)
    throw new Error(`${name}: ${differing} of ${expected.length} sums are not scikit-learn's`);
}

function expectClose(name: string, difference: number): void {
  if (!(difference <= peerTolerance)) throw new Error(`${name}: its scores are off by ${difference}`);
}

/** The largest, as a part of the right value; NaN when there is a NaN. */
const relativeDifference = (values: Float32Array, expected: Float64Array) =>
  expected.reduce((most, right, row) => Math.max(most, Math.abs((values[row] as number) / right - 1)), 0);
