// Brings Python's side: uv from PyPI into .tools/, and the environments of ml/ and orchestrator/ from hashed lock files.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectFolder, toolsFolder } from './folders.ts';
import { ensurePackages, run } from './install.ts';
import { withLock } from './lock.ts';
import { progress } from './progress.ts';

const versionMin = '3.11';
const mlFolder = join(projectFolder, 'ml');
const uvFolder = join(toolsFolder, 'uv');
const uv = join(uvFolder, 'bin', 'uv');
const uvLock = join(mlFolder, 'uv-requirements.lock');

/** The interpreter of `ml/.venv`. */
export const pythonProgram = join(mlFolder, '.venv', 'bin', 'python');

type RunOptions = { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> };

/** Runs `ml/.venv`'s Python, which is made or brought up to date first; answers stdout, throws its output on failure. */
export async function runPython(args: readonly string[], options: RunOptions = {}): Promise<string> {
  await ensurePython();
  return await run([pythonProgram, ...args], options);
}

/** Brings uv; answers the folder whose `bin` has it. */
export async function ensureUv(): Promise<string> {
  await ensurePackages({
    what: `Python ${versionMin} or later with pip`,
    packages: ['python3', 'python3-pip'],
    isThere: isPythonThere,
  });
  await installLocked({ what: 'uv', lock: uvLock, folder: uvFolder });
  return uvFolder;
}

/** Makes sure that uv and `ml/.venv` are what the lock files say. */
export async function ensurePython(): Promise<void> {
  await ensureEnvironment('ml', { isPackage: true });
}

/** The same for `orchestrator/.venv`: Airflow, which shares nothing with what it starts. */
export async function ensureAirflow(): Promise<void> {
  await ensureEnvironment('orchestrator', { isPackage: false });
}

/** A package can be imported in its environment wherever the process runs. */
async function ensureEnvironment(workspace: string, options: { readonly isPackage: boolean }): Promise<void> {
  await ensureUv();
  const folder = join(projectFolder, workspace);
  const files = [join(folder, 'requirements-dev.lock'), join(folder, 'pyproject.toml'), uvLock];
  await inStep(join(folder, '.venv'), files, async () => {
    await progress(`Preparing ${workspace}/.venv`, () => syncEnvironment(folder, options));
  });
}

/** Installs a hashed lock file's packages into a folder of their own by pip, unless they are there. */
export async function installLocked(options: {
  readonly what: string;
  readonly lock: string;
  readonly folder: string;
}): Promise<void> {
  const { what, lock, folder } = options;
  const install = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '--only-binary=:all:',
  ];
  await inStep(folder, [lock], async () => {
    await progress(`Installing ${what} from PyPI`, async () => {
      await run(['python3', ...install, '--require-hashes', '--upgrade', '--target', folder, '-r', lock]);
    });
  });
}

async function syncEnvironment(folder: string, { isPackage }: { isPackage: boolean }): Promise<void> {
  const environment = join(folder, '.venv');
  const python = (await run(['python3', '-c', 'import sys; print(sys.executable)'])).trim();
  const env = { UV_PYTHON_DOWNLOADS: 'never', VIRTUAL_ENV: environment };
  const quiet = ['--quiet', '--no-progress'];
  await run([uv, 'venv', ...quiet, '--allow-existing', '--python', python, environment], { env });
  const lock = join(folder, 'requirements-dev.lock');
  await run([uv, 'pip', 'sync', ...quiet, '--require-hashes', lock], { env });
  if (isPackage) await run([uv, 'pip', 'install', ...quiet, '--no-deps', '--editable', folder], { env });
}

/** Does the work unless the folder was made from these very files; one process at a time. */
async function inStep(folder: string, files: readonly string[], work: () => Promise<void>): Promise<void> {
  const stamp = join(folder, '.lonetree-stamp');
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  const wanted = hash.digest('hex');
  const isInStep = () => existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (isInStep()) return;
  await withLock(join(toolsFolder, 'python.lock'), async () => {
    if (isInStep()) return;
    await work();
    writeFileSync(stamp, wanted);
  });
}

function isPythonThere(): boolean {
  if (Bun.which('python3') === null) return false;
  const [major, minor] = versionMin.split('.');
  const probe = `import sys, pip; sys.exit(sys.version_info < (${major}, ${minor}))`;
  return Bun.spawnSync(['python3', '-c', probe]).success;
}
