// `bun run check`: every static check of the project, several at a time, each with its time and its verdict.
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { takeNoArguments } from './arguments.ts';
import { containerTools, ensureContainerTools } from './container-tools.ts';
import { projectFolder } from './folders.ts';
import { seconds } from './progress.ts';
import { ensureAirflow, ensurePython } from './python.ts';
import { describeTally, type Tally } from './tally.ts';

type Check = {
  readonly name: string;
  readonly command: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What must be there first. */
  readonly needs?: () => Promise<void>;
};

const deadlineMs = 300_000;

/** Runs all checks and prints them as they end; a failed one with its output. */
export async function runChecks(): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), 'lonetree-check-'));
  try {
    const checks = await listChecks(folder);
    const verdicts = await inParallel(checks, availableParallelism(), runCheck);
    const passed = verdicts.filter(Boolean).length;
    return { passed, failed: verdicts.length - passed, skipped: 0 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function listChecks(folder: string): Promise<Check[]> {
  const generated = join(folder, 'generated');
  return [
    { name: 'types', command: ['tsc', '--noEmit'] },
    { name: 'kernel.wasm is what its sources give', command: ['bun', 'core-wasm/build.ts', '--check'] },
    ...pythonChecks(),
    { name: 'format and lint (Biome)', command: ['biome', 'ci', '--colors=off'] },
    { name: 'lint (oxlint)', command: ['oxlint', '--type-aware', '--deny-warnings'] },
    { name: 'nothing unused (knip)', command: ['knip', '--no-progress'] },
    { name: 'messages: lint', command: ['buf', 'lint'] },
    { name: 'messages: format', command: ['buf', 'format', '--diff', '--exit-code'] },
    {
      name: 'messages: generated code is fresh',
      command: ['sh', '-c', 'buf generate --output "$0" && diff -r "$0/proto/gen" proto/gen', generated],
    },
    ...(await compatibilityChecks()),
    ...containerChecks(),
  ];
}

function pythonChecks(): Check[] {
  const environments = [
    { folder: 'ml', needs: ensurePython, sources: ['lonetree_ml', 'tests'] },
    { folder: 'orchestrator', needs: ensureAirflow, sources: ['dags', 'tests'] },
  ];
  return environments.flatMap(({ folder, needs, sources }) => {
    const cwd = join(projectFolder, folder);
    const python = (name: string, program: string, ...args: string[]): Check => ({
      name: `Python in ${folder}/: ${name}`,
      command: [join(cwd, '.venv', 'bin', program), ...args],
      cwd,
      needs,
    });
    return [
      python('types', 'mypy', '--strict', ...sources),
      python('lint', 'ruff', 'check'),
      python('format', 'ruff', 'format', '--check'),
    ];
  });
}

/** From the first release on, messages must stay readable. */
async function compatibilityChecks(): Promise<Check[]> {
  const describe = Bun.spawn(['git', 'describe', '--tags', '--abbrev=0', '--match', 'v*'], {
    cwd: projectFolder,
    stderr: 'ignore',
  });
  const tag = (await describe.stdout.text()).trim();
  if (tag === '') return [];
  const command = ['buf', 'breaking', '--against', `.git#tag=${tag}`];
  return [{ name: `messages: compatible with ${tag}`, command }];
}

function containerChecks(): Check[] {
  const globs = ['*/Dockerfile', 'monitoring/*/Dockerfile'].map((pattern) => new Bun.Glob(pattern));
  const dockerfiles = globs.flatMap((glob) => [...glob.scanSync({ cwd: projectFolder })]);
  return [
    {
      name: 'Dockerfiles (hadolint)',
      command: [containerTools.hadolint, ...dockerfiles.sort()],
      needs: ensureContainerTools,
    },
  ];
}

async function runCheck(check: Check): Promise<boolean> {
  const startMs = performance.now();
  const problem = await problemOf(check);
  const duration = seconds(performance.now() - startMs);
  console.log(`${problem === undefined ? '✓' : '✗'} ${check.name} (${duration})`);
  if (problem !== undefined) console.log(`${check.command.join(' ')}\n${problem.trimEnd()}\n`);
  return problem === undefined;
}

async function problemOf({ command, cwd, env, needs }: Check): Promise<string | undefined> {
  try {
    await needs?.();
    const path = [join(projectFolder, 'node_modules', '.bin'), process.env.PATH].join(delimiter);
    const child = Bun.spawn([...command], {
      cwd: cwd ?? projectFolder,
      // Some tools colour their output for a CI, whatever NO_COLOR says.
      env: { ...process.env, CI: undefined, NO_COLOR: '1', ...env, PATH: path },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
      timeout: deadlineMs,
      killSignal: 'SIGKILL',
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (child.exitCode === 0) return undefined;
    return `${stdout}${stderr}ended with ${child.exitCode ?? child.signalCode}`;
  } catch (error) {
    return String(error);
  }
}

/** Like `Promise.all` over the work, but with at most `width` at a time. */
async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async () => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

if (import.meta.main) {
  takeNoArguments(
    'bun run check\n\nRuns every static check: types, lint, format, generated files, Python, rules, Compose.',
  );
  const tally = await runChecks();
  console.log(describeTally(tally));
  process.exit(tally.failed === 0 ? 0 : 1);
}
