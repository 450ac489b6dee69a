// Brings Debian packages that are missing where that is allowed, and says what to install where it is not.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toolsFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { progress } from './progress.ts';

const aptTimeoutSeconds = 300;

/** Makes sure that `isThere` holds, by installing packages as root on Debian; throws what to install otherwise. */
export async function ensurePackages(options: {
  readonly what: string;
  readonly packages: readonly string[];
  readonly isThere: () => boolean;
}): Promise<void> {
  const { what, packages, isThere } = options;
  if (isThere()) return;
  if (process.getuid?.() !== 0 || Bun.which('apt-get') === null) {
    throw new Error(`${what} is missing. Install it, e.g. on Debian: apt-get install ${packages.join(' ')}`);
  }
  await withLock(join(toolsFolder, 'apt.lock'), async () => {
    if (isThere()) return;
    await progress(`Installing ${packages.join(', ')}`, () => installDebian(packages));
  });
  if (!isThere()) throw new Error(`${what} is still missing after apt-get install ${packages.join(' ')}.`);
}

async function installDebian(packages: readonly string[]): Promise<void> {
  // Debian's PostgreSQL would start a server of its own: a policy file is how one tells it not to.
  const policy = '/usr/sbin/policy-rc.d';
  const isPolicyOurs = !existsSync(policy);
  if (isPolicyOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const apt = ['apt-get', '-q', '-y', '-o', `DPkg::Lock::Timeout=${aptTimeoutSeconds}`];
    await run([...apt, 'update']);
    await run([...apt, 'install', '--no-install-recommends', ...packages]);
  } finally {
    if (isPolicyOurs) rmSync(policy, { force: true });
  }
}

/** Runs a program to its end; throws its output when it fails. */
export async function run(
  command: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string | undefined>> } = {},
): Promise<string> {
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? process.cwd(),
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...options.env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (child.exitCode === 0) return stdout;
  throw new Error(
    `${command.join(' ')}\nended with ${child.exitCode ?? child.signalCode}:\n${stdout}${stderr}`,
  );
}
