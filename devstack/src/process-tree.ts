// Reads, times and signals a process with all its descendants (Linux).
import { readdirSync, readFileSync } from 'node:fs';

const pollIntervalMs = 10;
/** Linux counts processor time in hundredths of a second, whatever the kernel's own clock. */
const ticksPerSecond = 100;

/** The process and its descendants, parents first; empty when it is gone. */
export function processTree(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  // A child belongs to the thread that started it.
  return [pid, ...threads.flatMap((thread) => childrenOf(pid, thread)).flatMap(processTree)];
}

function childrenOf(pid: number, thread: string): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    return []; // The thread has ended, and another one has its children.
  }
}

/** Seconds of processor time of a process, its descendants, and the ended ones among them that were waited for. */
export function processorSeconds(pid: number): number {
  return processTree(pid).reduce((sum, member) => sum + ticksOf(member), 0) / ticksPerSecond;
}

/** In user mode and in the kernel, of itself and of ended children; nothing of a process that has just ended. */
function ticksOf(pid: number): number {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return 0; // Its parent counts it.
  }
  // The name stands in parentheses and may hold anything; times are fields 14 to 17, the state after the name is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
}

/** Megabytes that processes hold; of what several share, each its part. Processes that have ended hold nothing. */
export function memoryMb(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + proportionalKb(pid), 0) / 1_024;
}

function proportionalKb(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
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
