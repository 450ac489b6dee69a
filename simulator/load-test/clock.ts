// One clock for the processes of a load test: wall-clock microseconds as fractional milliseconds.

/** Steady within a process, as it counts from the process's start; processes of one machine agree to some microseconds. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
