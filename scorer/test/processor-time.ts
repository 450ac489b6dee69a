// How many seconds of processor time processes have taken, as Linux counts them.
import { readFileSync } from 'node:fs';

/** What /proc counts in, on every Linux of today. */
const ticksPerSecond = 100;

/** Seconds of the process, of the children that it has waited for, and of those that still run. */
export function processorSeconds(pid: number): number {
  const own = ticks(pid).reduce((sum, part) => sum + part, 0) / ticksPerSecond;
  return childrenOf(pid).reduce((sum, child) => sum + processorSeconds(child), own);
}

/** In user mode and in the kernel, of itself and of ended children. Nothing of a process that has just ended. */
function ticks(pid: number): number[] {
  const stat = readOf(pid, 'stat');
  // The name stands in parentheses and may hold anything; times are fields 14 to 17, the state after the name is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).map(Number);
}

const childrenOf = (pid: number): number[] =>
  readOf(pid, `task/${pid}/children`).split(' ').filter(Boolean).map(Number);

function readOf(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // It has ended: its parent counts it.
  }
}
