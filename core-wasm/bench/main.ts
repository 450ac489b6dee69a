// `bun run bench`: our engines and decoders beside their peers, in one run on the same forests, rows and messages.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { openMarkedPart } from '@lonetree/devstack';
import manifest from '../package.json';
import type { Engine } from '../src/index.ts';
import { fullCases, quickCases } from './cases.ts';
import { measureKernels, ownNames, pythonNames, webNames } from './kernel.ts';
import { measureDecoders, measureWholeWay } from './messages.ts';
import { measurePause, type PauseResult } from './pause.ts';
import { startPythonPeers } from './python-peers.ts';
import { type Report, toMarkdown } from './report.ts';
import { installWebPeers, webMissing, webVersions } from './web-peers.ts';

const npmNames = [...webNames, 'protobufjs'];
const peerNames = [...pythonNames, ...npmNames, 'c-cells', 'c-walk'];
const usage = `bun run bench [-- options]

Measures path-length sums, decoders and whole messages, ours beside their peers, repetitions interleaved. Every result is
checked before it is timed; a wrong one ends the run with 1. Tables go to stderr, JSON to stdout if that is no terminal.

  --peers all|none|NAME,…  ${peerNames.join(', ')} (all)
  --json FILE              write the JSON there
  --markdown FILE          rewrite the part of the file between <!-- bench:begin --> and <!-- bench:end -->
  --quick                  one forest, two sizes of calls, few repetitions
`;

/** A repetition is long enough for many calls of most peers, and all of them together for a coffee. */
const full = { repetitions: 7, seconds: 0.06, messageRepeats: 20_000, loads: 9 };
const quick = { repetitions: 2, seconds: 0.02, messageRepeats: 500, loads: 1 };

function readOptions() {
  const { values } = parseArgs({
    options: {
      peers: { type: 'string', default: 'all' },
      json: { type: 'string' },
      markdown: { type: 'string' },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    process.exit(0);
  }
  if (values.json !== undefined && !existsSync(dirname(resolve(values.json))))
    throw new Error(`--json ${values.json}: there is no such folder`);
  const writeMarkdown = values.markdown === undefined ? undefined : openMarkedPart(values.markdown, 'bench');
  const chosen = values.peers === 'none' ? [] : values.peers.split(',');
  const unknown = chosen.filter((name) => name !== 'all' && !peerNames.includes(name));
  if (unknown.length > 0)
    throw new Error(`there is no peer ${unknown.join(', ')}. There are all, none, ${peerNames.join(', ')}.`);
  const peers = chosen.includes('all') ? peerNames : chosen;
  const names = [...ownNames.filter((name) => !name.startsWith('c-')), ...peers];
  return { ...values, writeMarkdown, names, ...(values.quick ? quick : full) };
}

/** What cannot be run is said before anything is. */
function readOptionsOrExit() {
  try {
    return readOptions();
  } catch (error) {
    console.error(`bench: ${(error as Error).message}\n\n${usage}`);
    process.exit(2);
  }
}

const options = readOptionsOrExit();
const folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
const python = await startPythonPeers(options.names);
const loadWeb = await installWebPeers(options.names.some((name) => npmNames.includes(name)));
const kernel: Report['kernel'][number][] = [];
const decode: Report['decode'][number][] = [];
const messages: Report['messages'][number][] = [];
const pause: PauseResult[] = [];
const versions: Record<string, string> = {
  bun: Bun.version,
  bufbuild: manifest.dependencies['@bufbuild/protobuf'],
  ...(loadWeb === null ? {} : webVersions),
};
const missing: Record<string, string> = {};

for (const [index, chosen] of (options.quick ? quickCases : fullCases).entries()) {
  const names = chosen.isOwnOnly ? options.names.filter((name) => ownNames.includes(name)) : options.names;
  const run = await measureKernels(chosen, { ...options, python, loadWeb, folder, names });
  kernel.push(...run.results);
  for (const [name, version] of Object.entries(run.versions)) versions[name] ??= version;
  for (const [name, reason] of Object.entries(run.missing))
    missing[`${name}, ${chosen.features} features, ${chosen.trees} × ${chosen.samples}`] = reason;
  if (index === 0) await measureDecoding(run.engines);
  // Where the grid fits, the fastest engine and the one after it; else the one that the scorer takes.
  if (index === 0 || chosen.features === 2) measureMessages(run.engines);
  const { features, trees, samples } = chosen;
  if (features === 3 && samples === 256)
    pause.push({ features, trees, samples, ...(await measurePause(folder, options)) });
}
python.stop();

const report: Report = {
  machine: {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    platform: `${process.platform} ${process.arch}`,
  },
  versions,
  missing,
  repetitions: options.repetitions,
  kernel,
  decode,
  messages,
  pause,
};
const markdown = toMarkdown(report);
console.error(markdown);
options.writeMarkdown?.(markdown);
// On a terminal the tables would be out of sight behind it.
if (options.json === undefined && !process.stdout.isTTY) console.log(JSON.stringify(report));
if (options.json !== undefined) await Bun.write(options.json, `${JSON.stringify(report, null, 1)}\n`);

/** The rows of the case that was measured last, and scikit-learn's sums of them. */
function readKnown() {
  const read = (name: string) => Uint8Array.from(readFileSync(join(folder, name))).buffer;
  return { values: new Float32Array(read('rows.f32')), sums: new Float64Array(read('sums.f64')) };
}

async function measureDecoding(engines: ReadonlyMap<string, Engine>): Promise<void> {
  const engine = (engines.get('cells') ?? engines.get('walk')) as Engine;
  const isWanted = options.names.includes('protobufjs');
  if (isWanted && loadWeb === null) missing.protobufjs = webMissing;
  const loadProtobuf = isWanted ? loadWeb : null;
  const known = readKnown();
  for (const rows of options.quick ? [64] : [1, 64, 1_000])
    decode.push(...(await measureDecoders({ ...options, engine, known, rows, loadWeb: loadProtobuf })));
}

function measureMessages(engines: ReadonlyMap<string, Engine>): void {
  for (const name of ['grid', 'cells']) {
    const engine = engines.get(name);
    if (engine === undefined) continue;
    for (const rows of options.quick ? [1, 64] : [1, 64, 1_000])
      messages.push({
        name,
        features: engine.model.features.length,
        ...measureWholeWay(engine, readKnown(), { rows, count: options.messageRepeats }),
      });
  }
}
