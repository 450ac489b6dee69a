// From what was sent and what was seen: when each message was stored, how long it took, and how far the scorer was
// behind. Pure.
import type { PositionHistory } from './database.ts';
import type { Run } from './generator-protocol.ts';
import { createLatencyHistogram, type LatencyHistogram } from './histogram.ts';

export type OffsetRange = { readonly partition: number; readonly first: number; readonly last: number };

/** The offsets of all messages, as few ranges as can say it. */
export function offsetRanges(runs: readonly Run[]): readonly OffsetRange[] {
  const ranges: { partition: number; first: number; last: number }[] = [];
  for (const { partition, baseOffset, count } of inOrder(runs)) {
    const previous = ranges.at(-1);
    if (previous?.partition === partition && previous.last + 1 === baseOffset) previous.last += count;
    else ranges.push({ partition, first: baseOffset, last: baseOffset + count - 1 });
  }
  return ranges;
}

/** For each message of the step when it was first seen stored; NaN for what was not acknowledged or never stored. */
export function storedTimes(options: {
  readonly runs: readonly Run[];
  readonly history: PositionHistory;
  readonly messageCount: number;
  readonly partitionCount: number;
}): Float64Array {
  const storedMs = new Float64Array(options.messageCount).fill(Number.NaN);
  let partition = -1;
  let at = 0;
  for (const run of inOrder(options.runs)) {
    if (run.partition !== partition) at = 0;
    partition = run.partition;
    const changes = options.history.get(partition) ?? [];
    for (let index = 0; index < run.count; index++) {
      while (at < changes.length && (changes[at]?.nextOffset ?? 0) <= run.baseOffset + index) at++;
      const message = run.firstMessage + index * options.partitionCount;
      storedMs[message] = changes[at]?.seenMs ?? Number.NaN;
    }
  }
  return storedMs;
}

/** From each message's scheduled time, given from the step's start, to the time it was seen. */
export function measureLatencies(options: {
  readonly dueMs: Float64Array;
  readonly startMs: number;
  readonly seenMs: Float64Array;
}): LatencyHistogram {
  const histogram = createLatencyHistogram();
  for (const [message, seenMs] of options.seenMs.entries()) {
    if (Number.isNaN(seenMs)) continue;
    histogram.record(seenMs - options.startMs - (options.dueMs[message] as number));
  }
  return histogram;
}

/** Which message of the step stands at a place of the topic; nothing for a place that is not the step's. */
export function messageFinder(
  runs: readonly Run[],
  partitionCount: number,
): (place: { readonly partition: number; readonly offset: number }) => number | undefined {
  const ordered = Map.groupBy(inOrder(runs), ({ partition }) => partition);
  return ({ partition, offset }) => {
    const ofPartition = ordered.get(partition) ?? [];
    // The first run that ends beyond the offset.
    let [low, high] = [0, ofPartition.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { baseOffset, count } = ofPartition[middle] as Run;
      if (baseOffset + count > offset) high = middle;
      else low = middle + 1;
    }
    const run = ofPartition[low];
    if (run === undefined || run.baseOffset > offset) return undefined;
    return run.firstMessage + (offset - run.baseOffset) * partitionCount;
  };
}

export type Backlog = { readonly peakMessages: number; readonly endMessages: number };

/** Messages that the broker had acknowledged and nobody had seen stored: at most, and when the last one was sent. */
export function measureBacklog(options: {
  readonly runs: readonly Run[];
  readonly storedMs: Float64Array;
  readonly lastSentMs: number;
}): Backlog {
  const storedMs = options.storedMs.filter((time) => !Number.isNaN(time)).sort();
  const acknowledged = [...options.runs].sort((a, b) => a.acknowledgedMs - b.acknowledgedMs);
  let [sent, stored, peakMessages, endMessages] = [0, 0, 0, 0];
  for (const { count, acknowledgedMs } of acknowledged) {
    while (stored < storedMs.length && (storedMs[stored] as number) <= acknowledgedMs) stored++;
    sent += count;
    // A fast scorer may have stored a message before its acknowledgement is here.
    const behind = Math.max(0, sent - stored);
    peakMessages = Math.max(peakMessages, behind);
    if (acknowledgedMs <= options.lastSentMs) endMessages = behind;
  }
  return { peakMessages, endMessages };
}

/** A burst's first part fills caches and compiles; its last part has to be long enough to measure. */
const SKIPPED_SHARE_MIN = 0.3;
const SKIPPED_SHARE_MAX = 0.8;

export type Drain = {
  readonly messagesPerSecond: number;
  readonly seconds: number;
  /** Something was left to store when all was sent; if not, the sender's rate was measured. */
  readonly hadBacklog: boolean;
};

/**
 * How fast a backlog was stored, and how long that was watched. Messages that were stored while others were still being
 * sent do not count, as far as enough are left.
 */
export function measureDrain(storedMs: Float64Array, lastSentMs: number): Drain {
  const times = storedMs.filter((time) => !Number.isNaN(time)).sort();
  const storedWhileSending = times.findIndex((time) => time > lastSentMs);
  const share = storedWhileSending === -1 ? SKIPPED_SHARE_MAX : storedWhileSending / times.length;
  const skipped = Math.floor(times.length * Math.min(Math.max(share, SKIPPED_SHARE_MIN), SKIPPED_SHARE_MAX));
  const seconds = ((times.at(-1) ?? 0) - (times[skipped] ?? 0)) / 1_000;
  const hadBacklog = storedWhileSending !== -1 && share < SKIPPED_SHARE_MAX;
  return { seconds, hadBacklog, messagesPerSecond: seconds > 0 ? (times.length - 1 - skipped) / seconds : 0 };
}

function inOrder(runs: readonly Run[]): readonly Run[] {
  return [...runs].sort((a, b) => a.partition - b.partition || a.baseOffset - b.baseOffset);
}
