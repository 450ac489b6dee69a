// One process at a time: a lock between processes that also ends when its holder is killed.
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';

/** Runs the work while no other process holds the lock file. */
export async function withLock<T>(path: string, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(path), { recursive: true });
  // The holder keeps the lock until its standard input closes, which the kernel does however this process ends.
  const holder = Bun.spawn(['flock', path, 'sh', '-c', 'echo locked && cat'], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const reader = holder.stdout.getReader();
  try {
    const first = await reader.read();
    if (first.done) throw new Error(`${path} could not be locked: flock (Debian: util-linux) is needed.`);
    return await work();
  } finally {
    await holder.stdin.end();
    await holder.exited;
  }
}
