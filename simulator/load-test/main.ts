// `bun run load-test`: puts a stack under load on a schedule, and says when readings were rows, in tables, JSON and a page.
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { openMarkedPart } from '@lonetree/devstack';
import { UsageError } from '../src/options.ts';
import { readAnomalies } from './anomaly-topic.ts';
import { openDatabase } from './database.ts';
import { startGenerator } from './generator-process.ts';
import { HELP } from './help.ts';
import { type LoadTestOptions, parseLoadTest } from './options.ts';
import { createProgress } from './progress.ts';
import { prepareFolder, writeReports } from './report-files.ts';
import {
  describeOthers,
  objectiveTable,
  processTable,
  reportMarkdown,
  saturationTable,
  stepTable,
  toText,
} from './report-table.ts';
import type { Results } from './results.ts';
import { type Measured, runLoadTest } from './run.ts';
import { type Stack, startNativeStack, useForeignStack } from './stack.ts';
import { findFailures, judgeObjectives } from './verdict.ts';

const SCORER_START_MS = 60_000;
const SCORER_LOOK_MS = 100;

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  let options: LoadTestOptions | 'help';
  let writeMarkdown: ((content: string) => void) | null = null;
  try {
    options = parseLoadTest(args);
    if (options !== 'help' && options.markdownFile !== null)
      writeMarkdown = openMarkedPart(options.markdownFile, 'load-test');
    if (options !== 'help') prepareFolder(options.outFolder);
  } catch (cause) {
    process.stderr.write(`load-test: ${describe(cause)}\n`);
    if (cause instanceof UsageError) process.stderr.write('See bun run load-test --help\n');
    return 2;
  }
  if (options === 'help') {
    process.stdout.write(HELP);
    return 0;
  }
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    // Servers and processes that we started end with us. A second signal comes when a terminal and a parent both send it.
    process.on(signal, () => process.exit(code));
  }
  const startedAt = new Date().toISOString();
  try {
    const { stack, measured } = await exercise(options);
    const results = conclude(options, { startedAt, command: describeCommand(args), stack }, measured);
    print(results);
    writeReports(options.outFolder, results, measured.steps);
    writeMarkdown?.(reportMarkdown(results));
    console.log(`Report: ${join(options.outFolder, 'report.html')}`);
    return results.failures.length === 0 ? 0 : 1;
  } catch (cause) {
    process.stderr.write(`\nload-test: ${describe(cause)}\n`);
    return 1;
  }
}

async function exercise(
  options: LoadTestOptions,
): Promise<{ readonly stack: Stack; readonly measured: Measured }> {
  const { foreign, partitionCount, seed } = options;
  const stack = await (foreign === null ? startNativeStack(partitionCount) : useForeignStack(foreign));
  const ends: (() => Promise<void>)[] = [stack.stop];
  try {
    const database = openDatabase(stack.databaseUrl, { group: stack.group, topic: stack.readingsTopic });
    ends.push(database.close);
    await untilScorerIsThere(stack, database);
    const anomalies = await readAnomalies(stack.brokers, stack.anomaliesTopic);
    ends.push(anomalies.close);
    const generator = await startGenerator();
    ends.push(generator.stop);
    const bench = { stack, generator, database, anomalies, seed };
    const measured = await runLoadTest(bench, options, createProgress(process.stderr));
    return { stack, measured };
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

async function untilScorerIsThere(
  { partitionCount, group, checkRunning }: Stack,
  database: ReturnType<typeof openDatabase>,
): Promise<void> {
  const startMs = performance.now();
  while ((await database.partitionsWithPosition()) < partitionCount) {
    checkRunning();
    if (performance.now() - startMs > SCORER_START_MS) {
      throw new Error(
        `after ${SCORER_START_MS / 1_000} s no scorer of group "${group}" has positions in all ${partitionCount} partitions; is one running on this broker and database?`,
      );
    }
    await Bun.sleep(SCORER_LOOK_MS);
  }
}

function conclude(
  { isQuick }: LoadTestOptions,
  { stack, ...run }: Pick<Results, 'startedAt' | 'command'> & { readonly stack: Stack },
  { steps: measuredSteps, ...others }: Measured,
): Results {
  const steps = measuredSteps.map(({ step }) => step);
  const measured = { steps, ...others };
  const objectives = isQuick ? [] : judgeObjectives(measured);
  return {
    ...run,
    machine: describeMachine(),
    stack: stack.title,
    ...measured,
    objectives,
    failures: findFailures(measured, objectives),
  };
}

function print(results: Results): void {
  const tables = [
    stepTable,
    saturationTable,
    processTable,
    ...(results.objectives.length === 0 ? [] : [objectiveTable]),
  ];
  for (const table of tables) console.log(`${toText(table(results))}\n`);
  const caution = describeOthers(results);
  if (caution !== null) console.log(`${caution}\n`);
  for (const failure of results.failures) console.log(`FAILED ${failure}`);
  if (results.failures.length === 0) console.log('Passed.');
}

function describeMachine(): string {
  const model = cpus()[0]?.model.trim() ?? process.arch;
  return `${cpus().length} × ${model}, ${Math.round(totalmem() / 2 ** 30)} GB, Bun ${Bun.version}`;
}

/** What was typed, without a password: reports are shown around. */
function describeCommand(args: readonly string[]): string {
  const shown = args.map((arg) => arg.replace(/(:\/\/[^:@/]*):[^@]*@/, '$1:***@'));
  return ['bun run load-test', ...shown].join(' ');
}

function describe(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

process.exit(await main());
