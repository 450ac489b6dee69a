// The generator process: encodes a step's messages, then sends each at its scheduled time whatever the answers are.
// Told what to do by its parent, one step after the other, so that it is warm when a step that counts begins.
import { setImmediate } from 'node:timers/promises';
import { nowMs, pause } from './clock.ts';
import type { GeneratorAnswer, Run, SentStep, StepPlan } from './generator-protocol.ts';
import { createLatencyHistogram, type LatencyHistogram } from './histogram.ts';
import { encodeMessages } from './messages.ts';
import { createRecordProducer, prepareRecords, type ReadyRecord, type RecordProducer } from './producer.ts';
import { createSchedule } from './schedule.ts';

/** Records of one request stay below the broker's default limit of 1 MiB. */
const REQUEST_SIZE_MAX = 900_000;
const REQUEST_MESSAGES_MAX = 2_000;
const RECORD_OVERHEAD_SIZE = 120;
/** Requests without an answer while there is no schedule to keep. */
const UNPACED_REQUESTS_MAX = 8;
/** Between the last preparation and the first scheduled message. */
const LEAD_MS = 50;
/** From one request to the next: what becomes due in between leaves together, as producers that linger do it. */
const REQUEST_INTERVAL_MS = 0.5;
/** The longest pause between two looks at answers. */
const PAUSE_MAX_MS = 0.5;
const PROGRESS_INTERVAL_MS = 200;

const answer = (message: GeneratorAnswer) => process.send?.(message);

/** What a step's sending has brought so far. */
type Tally = {
  readonly runs: Run[];
  readonly requests: Set<Promise<void>>;
  readonly lateness: LatencyHistogram;
  sentMessages: number;
  lastError: string | null;
};

async function runStep(plan: StepPlan, producer: RecordProducer): Promise<SentStep> {
  const records = prepareRecords(encodeMessages(plan), plan);
  Bun.gc(true); // What preparing leaves behind is not to be collected while messages are due.
  answer({ kind: 'started' });
  const tally: Tally = {
    runs: [],
    requests: new Set(),
    lateness: createLatencyHistogram(),
    sentMessages: 0,
    lastError: null,
  };
  const timer = setInterval(
    () => answer({ kind: 'progress', sentMessages: tally.sentMessages }),
    PROGRESS_INTERVAL_MS,
  );
  const send = (from: number, to: number) => sendRange({ plan, producer, records, tally }, from, to);
  try {
    const startMs = await (plan.messagesPerSecond === null
      ? sendUnpaced(plan, send, tally)
      : sendOnSchedule(plan, plan.messagesPerSecond, send, tally));
    const lastSentMs = nowMs();
    await Promise.all(tally.requests);
    const { runs, lastError } = tally;
    const { p50Ms, p99Ms, maxMs } = tally.lateness.percentiles();
    const lateness = { p50Ms, p99Ms, maxMs };
    return { kind: 'sent', startMs, lastSentMs, runs, lateness, lastError };
  } finally {
    clearInterval(timer);
  }
}

type Send = (from: number, to: number) => number;

async function sendUnpaced({ messageCount }: StepPlan, send: Send, { requests }: Tally): Promise<number> {
  const startMs = nowMs();
  for (let next = 0; next < messageCount; ) {
    next = send(next, messageCount);
    if (requests.size >= UNPACED_REQUESTS_MAX) await Promise.race(requests);
  }
  return startMs;
}

async function sendOnSchedule(
  plan: StepPlan,
  messagesPerSecond: number,
  send: Send,
  { lateness }: Tally,
): Promise<number> {
  const dueMs = createSchedule({ ...plan, messagesPerSecond });
  const startMs = nowMs() + LEAD_MS;
  for (let next = 0; next < plan.messageCount; ) {
    const elapsedMs = nowMs() - startMs;
    let end = next;
    while (end < plan.messageCount && (dueMs[end] as number) <= elapsedMs) end++;
    let earliestMs = dueMs[end] ?? 0;
    if (next < end) earliestMs = Math.max(earliestMs, elapsedMs + REQUEST_INTERVAL_MS);
    while (next < end) {
      const sent = send(next, end);
      const handedMs = nowMs() - startMs;
      for (; next < sent; next++) lateness.record(handedMs - (dueMs[next] as number));
    }
    do {
      await setImmediate(); // Answers are read here.
      pause(Math.min(earliestMs - (nowMs() - startMs), PAUSE_MAX_MS));
    } while (nowMs() - startMs < earliestMs);
  }
  return startMs;
}

type Sending = {
  readonly plan: StepPlan;
  readonly producer: RecordProducer;
  readonly records: readonly ReadyRecord[];
  readonly tally: Tally;
};

/** Sends messages from `from` on in one request, as many as fit; answers the first that is still to be sent. */
function sendRange({ plan, producer, records, tally }: Sending, from: number, to: number): number {
  const { partitionCount } = plan;
  const batch: ReadyRecord[] = [];
  let size = 0;
  let next = from;
  for (; next < to && batch.length < REQUEST_MESSAGES_MAX; next++) {
    const record = records[next % records.length] as ReadyRecord;
    size += (record.value?.length ?? 0) + RECORD_OVERHEAD_SIZE;
    if (size > REQUEST_SIZE_MAX && batch.length > 0) break;
    batch.push(record);
  }
  const request = producer
    .send(batch)
    .then((placed) => {
      const acknowledgedMs = nowMs();
      for (const { partition, baseOffset } of placed) {
        const ahead = (partition - (from % partitionCount) + partitionCount) % partitionCount;
        const count = Math.ceil((batch.length - ahead) / partitionCount);
        tally.runs.push({ partition, baseOffset, firstMessage: from + ahead, count, acknowledgedMs });
      }
    })
    .catch((cause: unknown) => {
      tally.lastError = cause instanceof Error ? cause.message : String(cause);
    })
    .finally(() => tally.requests.delete(request));
  tally.requests.add(request);
  tally.sentMessages = next;
  return next;
}

let producer: RecordProducer | undefined;
process.on('message', (plan: StepPlan) => {
  producer ??= createRecordProducer(plan.brokers);
  runStep(plan, producer).then(answer, (cause: unknown) => {
    answer({
      kind: 'failed',
      message: cause instanceof Error ? (cause.stack ?? cause.message) : String(cause),
    });
  });
});
process.once('disconnect', () => process.exit(0));
answer({ kind: 'ready' });
