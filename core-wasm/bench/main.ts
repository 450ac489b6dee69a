// `bun run bench`: the walk beside scikit-learn, onnxruntime and the same design in C, in one run on the same rows.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runPython } from '@lonetree/devstack';
import { Engine } from '../src/index.ts';
import { compileNativeWalk } from './native-walk.ts';
import { startPythonPeers } from './python-peers.ts';

type Measure = (batch: number, seconds: number) => Promise<number> | number;
type Peer = { readonly name: string; readonly measure: Measure; readonly version: string };
type Result = {
  readonly name: string;
  readonly features: number;
  readonly trees: number;
  readonly samples: number;
  readonly batch: number;
  /** Median over the repetitions. */
  readonly nsPerRow: number;
  /** Half the distance between the quartiles, over the median. */
  readonly spread: number;
};

const usage = `bun run bench [-- options]

Measures the walk and its peers on the same forest and rows, repetitions interleaved, and checks that all agree.

  --peers all|none|NAME,…  sklearn, onnxruntime-single, c-walk (all)
  --json FILE              write the result as JSON; without it, it goes to stdout
  --trees N --samples N    of the forest (100, 256)
  --features N             (3)
  --batches N,N            rows a call (1,64,1000,65536)
  --repetitions N          (7)
  --seconds N              of one repetition (0.3)`;

const { values } = parseArgs({
  options: {
    peers: { type: 'string', default: 'all' },
    json: { type: 'string' },
    trees: { type: 'string', default: '100' },
    samples: { type: 'string', default: '256' },
    features: { type: 'string', default: '3' },
    batches: { type: 'string', default: '1,64,1000,65536' },
    repetitions: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '0.3' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(usage);
  process.exit(0);
}
const [trees, samples, features, repetitions] = [
  values.trees,
  values.samples,
  values.features,
  values.repetitions,
].map(Number) as [number, number, number, number];
const seconds = Number(values.seconds);
const batches = values.batches.split(',').map(Number);
const isWanted = (name: string) => values.peers === 'all' || values.peers.split(',').includes(name);
/** Distinct rows, more than any cache of branches remembers. */
const rowCount = 65_536;

const folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const python = await startPythonPeers();
const prepared = await python.prepare({ features, trees, samples, rows: rowCount, directory: folder });
await runPython([
  '-m',
  'lonetree_ml',
  'export',
  '--sklearn',
  join(folder, 'model.skops'),
  '--output',
  join(folder, 'model.forest'),
]);
const forest = Uint8Array.from(readFileSync(join(folder, 'model.forest')));
const rows = new Float32Array(Uint8Array.from(readFileSync(join(folder, 'rows.f32'))).buffer);
const expected = new Float64Array(Uint8Array.from(readFileSync(join(folder, 'scores.f64'))).buffer);
const engine = await Engine.load(forest);

const peers: Peer[] = [walkPeer()];
for (const name of ['c-walk', 'sklearn', 'onnxruntime-single'].filter(isWanted)) {
  const peer = name === 'c-walk' ? nativePeer() : await pythonPeer(name);
  if (peer === null) console.error(`${name}: missing on this machine`);
  else peers.push(peer);
}

const results: Result[] = [];
for (const batch of batches) {
  const samplesByPeer = peers.map((): number[] => []);
  for (let repetition = -1; repetition < repetitions; repetition += 1) {
    for (const [index, peer] of peers.entries()) {
      if (process.stderr.isTTY)
        process.stderr.write(`\r\x1b[2Kbatch ${batch}: ${repetition + 1}/${repetitions} ${peer.name} `);
      const nsPerRow = await peer.measure(batch, seconds);
      // The first round warms up.
      if (repetition >= 0) samplesByPeer[index]?.push(nsPerRow);
    }
  }
  for (const [index, { name }] of peers.entries()) {
    results.push({ name, features, trees, samples, batch, ...summarise(samplesByPeer[index] ?? []) });
  }
}
if (process.stderr.isTTY) process.stderr.write('\r\x1b[2K');
python.stop();
printTable();
const report = {
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    platform: `${process.platform} ${process.arch}`,
  },
  versions: {
    bun: Bun.version,
    ...prepared.versions,
    ...Object.fromEntries(
      peers.map(({ name, version }) => [name, version]).filter(([, version]) => version !== ''),
    ),
  },
  kernel: results,
};
if (values.json === undefined) console.log(JSON.stringify(report));
else await Bun.write(values.json, JSON.stringify(report, null, 1));

/** Scores other rows on each call, until the time is up; loading the rows is not counted, as no peer's is. */
function timed(
  load: (first: number, batch: number) => void,
  score: (batch: number) => Float64Array,
): Measure {
  let at = 0;
  let sink = 0;
  return (batch, duration) => {
    let elapsed = 0;
    let scored = 0;
    while (elapsed < duration * 1e9 || scored === 0) {
      if (at + batch > rowCount) at = 0;
      load(at, batch);
      at += batch;
      const began = Bun.nanoseconds();
      const sums = score(batch);
      elapsed += Bun.nanoseconds() - began;
      sink += sums[0] as number;
      scored += batch;
    }
    if (!Number.isFinite(sink)) throw new Error('a sum is not finite');
    return elapsed / scored;
  };
}

function walkPeer(): Peer {
  const load = (first: number, batch: number) =>
    engine.loadRows(rows.subarray(first * features, (first + batch) * features), batch);
  load(0, rowCount);
  check('walk', engine.score().scores, 2.3e-16);
  return { name: 'walk', measure: timed(load, () => engine.sumRows()), version: '' };
}

function nativePeer(): Peer | null {
  const native = compileNativeWalk(forest, features, folder);
  if (native === null) return null;
  native.load(rows, rowCount);
  engine.loadRows(rows, rowCount);
  const [sums, right] = [native.sum(rowCount), engine.sumRows()];
  if (sums.some((sum, row) => sum !== right[row])) throw new Error("the C walk's sums are not the same");
  const load = (first: number, batch: number) =>
    native.load(rows.subarray(first * features, (first + batch) * features), batch);
  return { name: 'c-walk', measure: timed(load, (batch) => native.sum(batch)), version: native.compiler };
}

async function pythonPeer(name: string): Promise<Peer | null> {
  if (!prepared.peers.includes(name)) return null;
  const difference = await python.check(name);
  // onnxruntime adds up in float32.
  if (difference > 1e-5) throw new Error(`${name}: scores are off by ${difference}`);
  return { name, measure: (batch, duration) => python.measure(name, batch, duration), version: '' };
}

function check(name: string, scores: Float64Array, tolerance: number): void {
  const farthest = scores.reduce(
    (most, score, row) => Math.max(most, Math.abs(score - (expected[row] as number))),
    0,
  );
  if (farthest > tolerance) throw new Error(`${name}: scores differ from scikit-learn's by ${farthest}`);
}

function summarise(values_: readonly number[]): { nsPerRow: number; spread: number } {
  const sorted = values_.toSorted((a, b) => a - b);
  const quantile = (p: number) => sorted[Math.round(p * (sorted.length - 1))] as number;
  const median = quantile(0.5);
  return {
    nsPerRow: Number(median.toPrecision(4)),
    spread: Number(((quantile(0.75) - quantile(0.25)) / 2 / median).toFixed(3)),
  };
}

function printTable(): void {
  const line = (cells: readonly string[]) => console.error(`| ${cells.join(' | ')} |`);
  console.error(
    `${trees} trees × ${samples} samples, ${features} features, ${rowCount} distinct rows; ns a row, median of ${repetitions} (spread), and how often the walk is as fast`,
  );
  line(['batch', ...peers.map(({ name }) => name)]);
  line(['---', ...peers.map(() => '---:')]);
  for (const batch of batches) {
    const walk = results.find((result) => result.batch === batch && result.name === 'walk');
    line([
      String(batch),
      ...results
        .filter((result) => result.batch === batch)
        .map(({ nsPerRow, spread, name }) => {
          const ratio =
            name === 'walk' || walk === undefined ? '' : `, ${(nsPerRow / walk.nsPerRow).toFixed(2)}×`;
          return `${nsPerRow.toLocaleString('en')} (±${(spread * 100).toFixed(0)} %)${ratio}`;
        }),
    ]);
  }
}
