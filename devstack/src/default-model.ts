// Trains models/default.forest: fault-free readings of the simulator, then lonetree_ml, both from one seed.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readArguments } from './arguments.ts';
import { runPython } from './python.ts';

const repository = join(import.meta.dir, '..', '..');
const seed = '42';
/** Of these 30 % calibrate, so that 13 alarms are expected there: fewer would leave the rate to chance. */
const readingCount = '43825';
const alarmRate = '0.001';
const features = 'temperature,humidity,sound';
const units = 'temperature=Cel,humidity=%,sound=dB';

/** Writes the forest file, and scikit-learn's where asked for; answers what the trainer reports, one line of JSON. */
export async function buildDefaultModel(
  output: string,
  options: { readonly sklearnFile?: string } = {},
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lonetree-model-'));
  try {
    const rows = join(folder, 'rows.csv');
    await simulate(rows);
    const { sklearnFile } = options;
    const files = ['--input', rows, '--output', output];
    if (sklearnFile !== undefined) files.push('--save-sklearn', sklearnFile);
    return await runPython([
      '-m',
      'lonetree_ml',
      'train',
      ...files,
      '--features',
      features,
      '--units',
      units,
      '--alarm-rate',
      alarmRate,
      '--seed',
      seed,
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function simulate(rows: string): Promise<void> {
  const program = join(repository, 'simulator', 'src', 'main.ts');
  // The mode that `bun run start` simulates. The start time only names the rows; values do not depend on it.
  const what = ['--mode', 'independent', '--faults', 'none', '--seed', seed, '--start', '2026-01-01'];
  const where = ['--to', 'csv', '--output', rows, '--readings', readingCount];
  const child = Bun.spawn([process.execPath, program, ...what, ...where], {
    stdout: 'ignore',
    stderr: 'pipe',
  });
  const [problem, exitCode] = await Promise.all([child.stderr.text(), child.exited]);
  if (exitCode !== 0) throw new Error(`the simulator ended with ${exitCode}: ${problem.trim()}`);
}

if (import.meta.main) {
  const usage = `bun run build:model [--output FILE]

Trains the shipped model on the simulator's readings, and writes its forest file (models/default.forest).`;
  const { values } = readArguments(usage, (args) =>
    parseArgs({ args, options: { output: { type: 'string' } } }),
  );
  const report = await buildDefaultModel(values.output ?? join(repository, 'models', 'default.forest'));
  process.stdout.write(`${report.trim()}\n`);
}
