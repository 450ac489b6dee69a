// One clock for the processes of a load test: wall-clock microseconds as fractional milliseconds.

/** Steady within a process, as it counts from the process's start; processes of one machine agree to some microseconds. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

const pauseCell = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps to within some ten microseconds, which no timer does; nothing else of this thread runs meanwhile. */
export function pause(milliseconds: number): void {
  if (milliseconds > 0) Atomics.wait(pauseCell, 0, 0, milliseconds);
}
