// Reads and signals a process with all its descendants (Linux).
import { readFileSync } from 'node:fs';

const pollIntervalMs = 10;

/** The process and its descendants, parents first; empty when it is gone. */
export function processTree(pid: number): number[] {
  let children: string;
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  } catch {
    return [];
  }
  return [
    pid,
    ...children
      .split(' ')
      .filter(Boolean)
      .flatMap((child) => processTree(Number(child))),
  ];
}

/** Stops the process and its descendants where they are. Parents first, so that no child is born unseen. */
export function freezeTree(pid: number): void {
  signal(pid, 'SIGSTOP');
  for (const child of processTree(pid).slice(1)) freezeTree(child);
}

export function thawTree(pid: number): void {
  for (const member of processTree(pid).reverse()) signal(member, 'SIGCONT');
}

/** Ends the process and its descendants at once; nobody among them can react to another's end. */
export async function killTree(pid: number): Promise<void> {
  freezeTree(pid);
  const members = processTree(pid).reverse();
  for (const member of members) signal(member, 'SIGKILL');
  while (members.some(isRunning)) await Bun.sleep(pollIntervalMs);
}

/** A zombie has ended: it only waits for somebody to read its exit code. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !stat.slice(stat.lastIndexOf(')')).startsWith(') Z');
  } catch {
    return false;
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended by itself in the meantime.
  }
}
