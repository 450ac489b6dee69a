// CPU and memory of processes as Linux counts them in /proc.
import { readFileSync } from 'node:fs';

/** Which processes go under one name; asked anew at every look, as a database starts and ends its own. */
export type ProcessGroups = Readonly<Record<string, () => readonly number[]>>;

export type Usage = {
  /** Of one core, from the first message sent until the last one stored. */
  readonly cpuPercent: number;
  readonly peakMb: number;
};

export type MachineUsage = {
  readonly processes: Readonly<Record<string, Usage>>;
  /**
   * Of one core, by everything else on this machine: what makes latencies longer and is no part of the system. Unknown
   * when the system is not ours.
   */
  readonly othersCpuPercent: number | null;
};

export type UsageWatch = { stop(): MachineUsage };

const LOOK_INTERVAL_MS = 500;
const TICKS_PER_SECOND = 100;

export function watchUsage(groups: ProcessGroups): UsageWatch {
  const startMs = performance.now();
  const watched = [...Object.values(groups).flatMap((group) => group()), process.pid];
  const startTicks = new Map(watched.map((pid) => [pid, cpuTicks(pid)]));
  const startBusyTicks = machineTicks();
  const peakMb = new Map<string, number>();
  const look = () => {
    for (const [name, pids] of Object.entries(groups)) {
      peakMb.set(name, Math.max(peakMb.get(name) ?? 0, memoryMb(pids())));
    }
  };
  look();
  const timer = setInterval(look, LOOK_INTERVAL_MS);
  return {
    stop() {
      clearInterval(timer);
      look();
      const seconds = (performance.now() - startMs) / 1_000;
      const percent = (ticks: number) => Math.max(0, Math.round((ticks / TICKS_PER_SECOND / seconds) * 100));
      const others = machineTicks() - startBusyTicks - since(startTicks, [process.pid]);
      let ours = 0;
      const usage = Object.entries(groups).map(([name, pids]) => {
        const ticks = since(startTicks, pids());
        ours += ticks;
        return [name, { cpuPercent: percent(ticks), peakMb: Math.round(peakMb.get(name) ?? 0) }] as const;
      });
      return { processes: Object.fromEntries(usage), othersCpuPercent: percent(others - ours) };
    },
  };
}

/** What the processes hold for themselves, and once the largest part that they share, as a database's buffers. */
function memoryMb(pids: readonly number[]): number {
  let ownKb = 0;
  let sharedKb = 0;
  for (const pid of pids) {
    const status = readProcess(pid, 'status');
    const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    ownKb += kilobytes('RssAnon');
    sharedKb = Math.max(sharedKb, kilobytes('RssFile') + kilobytes('RssShmem'));
  }
  return (ownKb + sharedKb) / 1_024;
}

function since(startTicks: ReadonlyMap<number, number>, pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuTicks(pid) - (startTicks.get(pid) ?? 0), 0);
}

/** All cores, without idling and waiting for disks. */
function machineTicks(): number {
  // cpu, then: user, nice, system, idle, waiting, interrupts, soft interrupts.
  const fields = readFileSync('/proc/stat', 'utf8').split(/\s+/, 8);
  return [1, 2, 3, 6, 7].reduce((sum, field) => sum + Number(fields[field]), 0);
}

function cpuTicks(pid: number): number {
  // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
  const stat = readProcess(pid, 'stat');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}

/** Empty for a process that has ended. */
function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
