// `bun run score`: scores a CSV offline with a forest file.

import { createReadStream } from 'node:fs';
import { open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { CsvError } from './csv-reader.ts';
import { Engine } from './engine.ts';
import { ForestRefused } from './refusals.ts';
import { type CsvProgress, scoreCsv } from './score-csv.ts';

const usage = `Usage: bun run score --model m.forest --input rows.csv --output scores.csv

Scores every row of a CSV with a forest file and says which rows are abnormal, and why.

  --model   a forest file, as lonetree_ml writes it
  --input   a CSV with commas (RFC 4180, UTF-8). Its first line names the columns; those that the model
            has as features are needed, in any order, others are ignored. A cell that is empty or holds
            nan, na, null, none, inf or infinity (in any case, with or without a sign) is a missing value, as
            is a number of 3.4e38 or more. Blank lines are passed over, unless there is only one column.
  --output  where to write the columns row,score,decision,is_anomaly,reasons:
            row         number of the row, from 0 at the first line after the header
            score       scikit-learn's score_samples, 17 significant digits
            decision    score - offset of the model: below 0 where the forest calls the row abnormal
            is_anomaly  true or false
            reasons     empty, or joined by +, for example forest+high:temperature
            The file is replaced once all rows are scored; after an error it is as it was before.
  --help    this text

Exit status: 0 done; 1 the input or the model cannot be used; 2 the command line is wrong.
`;

const progressIntervalMs = 200;
const chunkSize = 1 << 18;
/** A file of fewer bytes is scored sooner than a faster engine is ready. */
const acceleratedSizeMin = 8 << 20;
const statusOk = 0;
const statusBadInput = 1;
const statusUsage = 2;

type Paths = { readonly model: string; readonly input: string; readonly output: string };

class UsageError extends Error {}

function readPaths(args: readonly string[]): Paths | 'help' {
  const text = { type: 'string' } as const;
  const options = { model: text, input: text, output: text, help: { type: 'boolean', short: 'h' } } as const;
  let values: Partial<Record<keyof Paths, string>> & { help?: boolean };
  try {
    ({ values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false }));
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
  if (values.help === true) return 'help';
  const { model, input, output } = values;
  if (!model || !input || !output) {
    const absent = (['model', 'input', 'output'] as const).filter((name) => !values[name]);
    throw new UsageError(`Give ${absent.map((name) => `--${name}`).join(' and ')}.`);
  }
  return { model, input, output };
}

/** Shows rows, share and speed on a terminal, five times a second at most. */
function createProgress(inputSize: number): (done: CsvProgress) => void {
  const startMs = performance.now();
  let shownMs = startMs;
  return ({ rowCount, byteCount }) => {
    const nowMs = performance.now();
    if (!process.stderr.isTTY || nowMs - shownMs < progressIntervalMs) return;
    shownMs = nowMs;
    const share = inputSize > 0 ? `${Math.floor((100 * byteCount) / inputSize)} %, ` : '';
    const speed = Math.round((1000 * rowCount) / (nowMs - startMs));
    process.stderr.write(
      `\r\x1b[K${rowCount.toLocaleString('en')} rows, ${share}${speed.toLocaleString('en')} rows/s`,
    );
  };
}

const isSameFile = async (a: string, b: string) => {
  const paths = await Promise.all([a, b].map((path) => realpath(path).catch(() => null)));
  return paths[0] !== null && paths[0] === paths[1];
};

async function loadEngine(path: string): Promise<Engine> {
  const bytes = await readFile(path).catch(unusable('--model', path));
  try {
    return await Engine.load(bytes);
  } catch (error) {
    if (error instanceof ForestRefused) throw new Error(`${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

function unusable(option: string, path: string) {
  return (error: Error & { readonly code?: string }): never => {
    const reasons: Record<string, string> = {
      ENOENT: 'there is no such file or folder',
      EISDIR: 'it is a folder',
      EACCES: 'it is not permitted',
    };
    const reason = reasons[error.code ?? ''] ?? error.message;
    throw new Error(`${option} ${path} cannot be used: ${reason}.`, { cause: error });
  };
}

async function score({ model, input, output }: Paths): Promise<void> {
  if ((await isSameFile(input, output)) || (await isSameFile(model, output))) {
    throw new UsageError('--output names the file that is read. Give it a name of its own.');
  }
  const startMs = performance.now();
  const engine = await loadEngine(model);
  const source = await stat(input).catch(unusable('--input', input));
  if (source.isDirectory()) throw new Error(`${input} is a folder. Name a CSV file.`);
  const existing = await stat(output).catch(() => null);
  // A pipe or a device cannot be replaced; it is written as it comes.
  const isReplaced = existing === null || existing.isFile();
  const target = isReplaced ? `${output}.${process.pid}.part` : output;
  const file = await open(target, 'w').catch(unusable('--output', output));
  if (source.size >= acceleratedSizeMin) await engine.accelerate();
  try {
    const done = await scoreCsv({
      engine,
      input: createReadStream(input, { highWaterMark: chunkSize }),
      write: (text) => file.appendFile(text),
      report: createProgress(source.size),
    });
    await file.close();
    if (isReplaced) await rename(target, output);
    summarize(done, performance.now() - startMs, output);
  } catch (error) {
    await file.close().catch(() => {}); // It may be closed already; what went wrong first is what counts.
    if (isReplaced) await rm(target, { force: true });
    if (error instanceof CsvError)
      throw new Error(`${input}, line ${error.line}: ${error.message}`, { cause: error });
    throw error;
  }
}

function summarize({ rowCount, anomalyCount }: CsvProgress, ms: number, output: string): void {
  const seconds = ms / 1000;
  const clear = process.stderr.isTTY ? '\r\x1b[K' : '';
  const counts = `${rowCount.toLocaleString('en')} rows, ${anomalyCount.toLocaleString('en')} abnormal`;
  const speed = Math.round(rowCount / seconds).toLocaleString('en');
  process.stderr.write(`${clear}${counts}, ${seconds.toFixed(1)} s (${speed} rows/s): ${output}\n`);
}

async function main(args: readonly string[]): Promise<number> {
  try {
    const paths = readPaths(args);
    if (paths === 'help') process.stdout.write(usage);
    else await score(paths);
    return statusOk;
  } catch (error) {
    const clear = process.stderr.isTTY ? '\r\x1b[K' : '';
    const message = error instanceof Error ? error.message : String(error);
    const hint = error instanceof UsageError ? '\nTry --help.' : '';
    process.stderr.write(`${clear}score: ${message}${hint}\n`);
    return error instanceof UsageError ? statusUsage : statusBadInput;
  }
}

process.exitCode = await main(process.argv.slice(2));
