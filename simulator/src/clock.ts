// The machine's clock: monotonic, so that setting the time of day moves no schedule.
import type { Clock } from './pace.ts';

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const wake = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const timer = setTimeout(wake, durationMs);
      signal.addEventListener('abort', wake);
    }),
};
