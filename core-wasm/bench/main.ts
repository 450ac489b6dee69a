// `bun run bench`: our engines and decoders beside their peers, in one run on the same forests, rows and messages.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openMarkedPart } from '@lonetree/devstack';
import type { Engine } from '../src/index.ts';
import { fullCases, quickCases } from './cases.ts';
import { measureKernels, ownNames, pythonNames, webNames } from './kernel.ts';
import { measureDecoders, measureWholeWay } from './messages.ts';
import { measurePause, type PauseResult } from './pause.ts';
import { startPythonPeers } from './python-peers.ts';
import { type Report, toMarkdown } from './report.ts';
import { installWebPeers, webMissing } from './web-peers.ts';

const npmNames = [...webNames, 'protobufjs'];
const peerNames = [...pythonNames, ...npmNames, 'c-cells', 'c-walk'];
const usage = `bun run bench [-- options]

Measures path-length sums, decoders and whole messages, ours beside their peers, repetitions interleaved. Every result is
checked before it is timed; a wrong one ends the run with 1. JSON goes to stdout, tables to stderr.

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
  const chosen = values.peers === 'none' ? [] : values.peers.split(',');
  const unknown = chosen.filter((name) => name !== 'all' && !peerNames.includes(name));
  if (unknown.length > 0) {
    process.stderr.write(
      `bench: there is no peer ${unknown.join(', ')}. There are ${peerNames.join(', ')}.\n`,
    );
    process.exit(2);
  }
  const peers = chosen.includes('all') ? peerNames : chosen;
  const names = [...ownNames.filter((name) => !name.startsWith('c-')), ...peers];
  return { ...values, names, ...(values.quick ? quick : full) };
}

const options = readOptions();
const writeMarkdown = options.markdown === undefined ? undefined : openMarkedPart(options.markdown, 'bench');
const folder = mkdtempSync(join(tmpdir(), 'lonetree-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const python = await startPythonPeers(options.names);
const loadWeb = await installWebPeers(options.names.some((name) => npmNames.includes(name)));
const kernel: Report['kernel'][number][] = [];
const decode: Report['decode'][number][] = [];
const messages: Report['messages'][number][] = [];
const pause: PauseResult[] = [];
const versions: Record<string, string> = { bun: Bun.version };
const missing: Record<string, string> = {};

for (const [index, chosen] of (options.quick ? quickCases : fullCases).entries()) {
  const names = chosen.isOwnOnly ? options.names.filter((name) => ownNames.includes(name)) : options.names;
  const run = await measureKernels(chosen, { ...options, python, loadWeb, folder, names });
  kernel.push(...run.results);
  for (const [name, version] of Object.entries(run.versions)) versions[name] ??= version;
  for (const [name, reason] of Object.entries(run.missing))
    missing[`${name}, ${chosen.features} features, ${chosen.trees} × ${chosen.samples}`] = reason;
  if (index === 0) await measureMessages(run.engines);
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
writeMarkdown?.(markdown);
if (options.json === undefined) console.log(JSON.stringify(report));
else await Bun.write(options.json, `${JSON.stringify(report, null, 1)}\n`);

/** Decoders, and the whole way through the fastest engine. */
async function measureMessages(engines: ReadonlyMap<string, Engine>): Promise<void> {
  const engine = (engines.get('grid') ?? engines.get('cells') ?? engines.get('walk')) as Engine;
  const isWanted = options.names.includes('protobufjs');
  if (isWanted && loadWeb === null) missing.protobufjs = webMissing;
  const loadProtobuf = isWanted ? loadWeb : null;
  const values = new Float32Array(Uint8Array.from(readFileSync(join(folder, 'rows.f32'))).buffer);
  for (const rows of options.quick ? [64] : [1, 64, 1_000])
    decode.push(...(await measureDecoders({ ...options, engine, values, rows, loadWeb: loadProtobuf })));
  for (const rows of options.quick ? [1, 64] : [1, 64, 1_000])
    messages.push(measureWholeWay(engine, values, { rows, count: options.messageRepeats }));
}
