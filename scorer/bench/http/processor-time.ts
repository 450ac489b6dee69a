// The time that processes have spent on processors, as Linux counts it.
import { readFileSync } from 'node:fs';

/** Linux tells it in hundredths of a second, whatever the kernel's own clock. */
const ticksPerSecond = 100;
/** Places in /proc/PID/stat behind the name, which may hold anything: utime and stime. */
const userPlace = 11;
const systemPlace = 12;

/** Seconds of all threads of these processes, in user and kernel mode. */
export function processorSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[userPlace]) + Number(fields[systemPlace])) / ticksPerSecond;
  }, 0);
}
