// Sends messages at their scheduled times, open-loop: a slow receiver makes messages late, never the
// schedule.
import type { SimulatedMessage } from './batch.ts';

/** The outside world's time, an argument so that tests can turn the hands. */
export type Clock = {
  nowMs(): number;
  /** Resolves after that time, or at once when the signal is aborted. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>;
};

export type Publish = (messages: readonly SimulatedMessage[]) => Promise<void>;

export type PaceOptions = {
  readonly publish: Publish;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** False: everything is due at once and no lateness is counted. */
  readonly isPaced: boolean;
};

export type Paced = {
  messageCount: number;
  readingCount: number;
  latenessMaxMs: number;
  latenessMeanMs: number;
};

/** At most this many due messages go to `publish` in one call. */
const GROUP_COUNT_MAX = 500;
/** At most this many readings, so that one call never holds too many bytes. */
const GROUP_READINGS_MAX = 100_000;

export async function pace(
  messages: AsyncIterable<SimulatedMessage> | Iterable<SimulatedMessage>,
  { publish, clock, signal, isPaced }: PaceOptions,
): Promise<Paced> {
  const startMs = clock.nowMs();
  const paced: Paced = { messageCount: 0, readingCount: 0, latenessMaxMs: 0, latenessMeanMs: 0 };
  let group: SimulatedMessage[] = [];
  let groupReadings = 0;
  let latenessSumMs = 0;
  const send = async (): Promise<void> => {
    if (group.length === 0) return;
    const leaving = group;
    const readingCount = groupReadings;
    group = [];
    groupReadings = 0;
    const elapsedMs = clock.nowMs() - startMs;
    for (const { dueMs } of isPaced ? leaving : []) {
      const latenessMs = Math.max(0, elapsedMs - dueMs);
      latenessSumMs += latenessMs;
      paced.latenessMaxMs = Math.max(paced.latenessMaxMs, latenessMs);
    }
    await publish(leaving);
    paced.messageCount += leaving.length;
    paced.readingCount += readingCount;
    // A receiver that never waits would otherwise keep timers and signals from running.
    await clock.sleep(0, signal);
  };
  for await (const message of messages) {
    if (isPaced) {
      const waitMs = startMs + message.dueMs - clock.nowMs();
      if (waitMs > 0) {
        await send();
        await sleepUntil(startMs + message.dueMs, clock, signal);
      }
    }
    if (signal.aborted) break;
    group.push(message);
    groupReadings += message.readingCount;
    if (group.length >= GROUP_COUNT_MAX || groupReadings >= GROUP_READINGS_MAX) await send();
  }
  if (!signal.aborted) await send();
  paced.latenessMeanMs = paced.messageCount === 0 ? 0 : latenessSumMs / paced.messageCount;
  return paced;
}

/** Timers take at most 2^31 − 1 ms, and may fire a little early. */
const SLEEP_MAX_MS = 2_000_000_000;

async function sleepUntil(timeMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
  for (;;) {
    const waitMs = timeMs - clock.nowMs();
    if (waitMs <= 0 || signal.aborted) return;
    await clock.sleep(Math.min(waitMs, SLEEP_MAX_MS), signal);
  }
}
