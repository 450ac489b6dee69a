// When each message of a step is to leave: fixed before the step begins, whatever happens during it. Pure.
import { createStream } from '../src/random.ts';

export type Arrivals = 'poisson' | 'constant';

export type ScheduleOptions = {
  readonly messagesPerSecond: number;
  readonly messageCount: number;
  readonly arrivals: Arrivals;
  readonly seed: number;
};

/** Milliseconds after the step's beginning, ascending; the same for the same options. */
export function createSchedule(options: ScheduleOptions): Float64Array {
  const { messagesPerSecond, messageCount, arrivals, seed } = options;
  const intervalMs = 1_000 / messagesPerSecond;
  if (arrivals === 'constant')
    return Float64Array.from({ length: messageCount }, (_, index) => index * intervalMs);
  const random = createStream(seed, 'arrivals');
  const dueMs = new Float64Array(messageCount);
  let atMs = 0;
  for (let index = 0; index < messageCount; index++) {
    // The time between independent arrivals is exponentially distributed.
    atMs -= Math.log(random.at(index, 0)[0]) * intervalMs;
    dueMs[index] = atMs;
  }
  return dueMs;
}
