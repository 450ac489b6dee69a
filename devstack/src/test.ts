// `bun run test [unit|stack|lifecycle|monitoring]`: runs the checks and every test, all parts even when one fails, and counts them together.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { runChecks } from './check.ts';
import { projectFolder } from './folders.ts';
import { seconds } from './progress.ts';
import { ensureAirflow, ensurePython } from './python.ts';
import { describeTally, sum, type Tally, tallyRunner } from './tally.ts';

const usage = `Usage: bun run test [unit|stack|lifecycle|monitoring]

  unit       tests that need no server, TypeScript and Python
  stack      tests against real servers, which they start
  lifecycle  of those, the one in which a model is replaced under load
  monitoring of those, the ones of Prometheus, its rules, alerts and dashboards
  (none)     all static checks, then all tests
`;

const runnerDeadlineMs = 900_000;
const testTimeoutMs = 120_000;
const stackSuffix = '.stack.test.ts';
/** Parts of the stack tests that go by a name of their own. */
const named: Readonly<Record<string, (file: string) => boolean>> = {
  lifecycle: (file) => file.endsWith('lifecycle.stack.test.ts'),
  monitoring: (file) => file.startsWith('monitoring/'),
};

type Part = { readonly title: string; readonly run: () => Promise<Tally> };

async function listParts(which: string | undefined): Promise<Part[]> {
  const files = await listTestFiles();
  const unitFiles = files.filter((file) => !file.endsWith(stackSuffix));
  const unit: Part[] = [
    { title: 'Unit tests', run: () => runBunTests(['--parallel'], unitFiles) },
    {
      title: 'Python tests: ml',
      // A file's tests share what they trained, so they stay together.
      run: () =>
        runPythonTests('ml', ensurePython, ['-n', String(availableParallelism()), '--dist=loadfile']),
    },
    { title: 'Python tests: orchestrator', run: () => runPythonTests('orchestrator', ensureAirflow, []) },
  ];
  // Each file has its servers and a process to itself: one that crashes takes no other with it.
  const stackFiles = files.filter((file) => file.endsWith(stackSuffix));
  const toPart = (file: string): Part => ({
    title: `Stack tests: ${file}`,
    run: () => runBunTests([], [file]),
  });
  const stack = stackFiles.map(toPart);
  if (which === 'unit') return unit;
  if (which === 'stack') return stack;
  const isNamed = named[which ?? ''];
  if (isNamed !== undefined) return stackFiles.filter(isNamed).map(toPart);
  return [{ title: 'Static checks', run: runChecks }, ...unit, ...stack];
}

async function listTestFiles(): Promise<string[]> {
  const { workspaces } = JSON.parse(readFileSync(join(projectFolder, 'package.json'), 'utf8')) as {
    workspaces: string[];
  };
  const glob = new Bun.Glob(`{${workspaces.join(',')}}/{src,test,bench,load-test}/**/*.test.ts`);
  return (await Array.fromAsync(glob.scan({ cwd: projectFolder }))).sort();
}

async function runBunTests(options: readonly string[], files: readonly string[]): Promise<Tally> {
  const paths = files.map((file) => `./${file}`);
  return await runReporting(
    (report) => [
      process.execPath,
      'test',
      `--timeout=${testTimeoutMs}`,
      '--reporter=junit',
      `--reporter-outfile=${report}`,
      ...options,
      ...paths,
    ],
    projectFolder,
  );
}

async function runPythonTests(
  workspace: string,
  ensure: () => Promise<void>,
  args: readonly string[],
): Promise<Tally> {
  await ensure();
  const folder = join(projectFolder, workspace);
  const python = join(folder, '.venv', 'bin', 'python');
  return await runReporting((report) => [python, '-m', 'pytest', ...args, `--junitxml=${report}`], folder);
}

/** Runs a test runner with its output passed on, and counts what its JUnit report says. */
async function runReporting(command: (report: string) => string[], cwd: string): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-test-'));
  try {
    const report = join(folder, 'junit.xml');
    const child = Bun.spawn(command(report), {
      cwd,
      stdin: 'ignore',
      stdout: 'inherit',
      stderr: 'inherit',
      timeout: runnerDeadlineMs,
      killSignal: 'SIGKILL',
    });
    await child.exited;
    const junit = await Bun.file(report)
      .text()
      .catch(() => undefined);
    return tallyRunner({ exitCode: child.exitCode, junit });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runPart({ title, run }: Part): Promise<Tally> {
  const startMs = performance.now();
  console.log(`\n── ${title} ──`);
  const tally = await run().catch((error: unknown) => {
    console.error(error);
    return { passed: 0, failed: 1, skipped: 0 };
  });
  console.log(`${title}: ${describeTally(tally)} in ${seconds(performance.now() - startMs)}`);
  return tally;
}

const [which, ...rest] = process.argv.slice(2);
if (rest.length > 0 || (which !== undefined && !['unit', 'stack', ...Object.keys(named)].includes(which))) {
  console.error(usage);
  process.exit(which === '--help' ? 0 : 2);
}
const results: { readonly title: string; readonly tally: Tally }[] = [];
for (const part of await listParts(which)) results.push({ title: part.title, tally: await runPart(part) });
const total = sum(results.map(({ tally }) => tally));
console.log('');
for (const { title, tally } of results) if (tally.failed > 0) console.log(`Failed: ${title}`);
console.log(describeTally(total));
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);
