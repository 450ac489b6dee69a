// One step or one burst, from what is asked for to its figures.
import { createLatencyHistogram, type LatencyHistogram } from './histogram.ts';
import { measureBacklog, measureDrain, measureLatencies } from './latencies.ts';
import type { Saturation, Step } from './results.ts';
import { type Arrivals, createSchedule } from './schedule.ts';
import { type Bench, send } from './send.ts';

export type StepRequest = {
  readonly batchSize: number;
  readonly messagesPerSecond: number;
  readonly seconds: number;
  readonly arrivals: Arrivals;
};

export type MeasuredStep = {
  readonly step: Step;
  readonly latency: LatencyHistogram;
  readonly anomalyLatency: LatencyHistogram;
};

/** Messages at a rate, whatever becomes of them. */
export async function measureStep(
  bench: Bench,
  request: StepRequest,
  onProgress: (state: string) => void,
): Promise<MeasuredStep> {
  const { batchSize, messagesPerSecond, seconds, arrivals } = request;
  const messageCount = Math.max(1, Math.round(messagesPerSecond * seconds));
  const sending = { batchSize, messagesPerSecond, messageCount, arrivals };
  const { plan, sent, storedMs, arrivals: arrived, ...rest } = await send(bench, sending, onProgress);
  const dueMs = createSchedule({ ...plan, messagesPerSecond });
  const latency = measureLatencies({ dueMs, startMs: sent.startMs, seenMs: storedMs });
  const anomalyLatency = createLatencyHistogram();
  for (const { message, seenMs } of arrived) {
    anomalyLatency.record(seenMs - sent.startMs - (dueMs[message] as number));
  }
  const backlog = measureBacklog({ runs: sent.runs, storedMs, lastSentMs: sent.lastSentMs });
  const { count: storedMessages, ...percentiles } = latency.percentiles();
  const lastStoredMs = storedMs
    .filter((time) => !Number.isNaN(time))
    .reduce((last, time) => Math.max(last, time), sent.startMs);
  const step: Step = {
    ...percentiles,
    name: stepName(batchSize, messagesPerSecond),
    batchSize,
    arrivals,
    targetRate: messagesPerSecond,
    achievedRate: (messageCount / (sent.lastSentMs - sent.startMs)) * 1_000,
    rowsPerSecond: ((storedMessages * batchSize) / (lastStoredMs - sent.startMs)) * 1_000,
    messages: messageCount,
    readings: messageCount * batchSize,
    anomaly: anomalyLatency.percentiles(),
    lateness: sent.lateness,
    lagPeakMessages: backlog.peakMessages,
    lagEndMessages: backlog.endMessages,
    resolution: rest.resolution,
    ...rest.usage,
    ...rest.losses,
  };
  return { step, latency, anomalyLatency };
}

/** A burst without a schedule: the rate at which the scorer stores it is the most it can do. */
export async function measureSaturation(
  bench: Bench,
  burst: { readonly batchSize: number; readonly messageCount: number },
  onProgress: (state: string) => void,
): Promise<Saturation> {
  const sending = { ...burst, messagesPerSecond: null, arrivals: 'constant' } as const;
  const { sent, storedMs, losses, usage } = await send(bench, sending, onProgress);
  const { messagesPerSecond, seconds, hadBacklog } = measureDrain(storedMs, sent.lastSentMs);
  return {
    batchSize: burst.batchSize,
    messages: burst.messageCount,
    seconds,
    hadBacklog,
    messagesPerSecond,
    rowsPerSecond: messagesPerSecond * burst.batchSize,
    ...usage,
    ...losses,
  };
}

export function stepName(batchSize: number, messagesPerSecond: number): string {
  const rate = Math.round(messagesPerSecond).toLocaleString('en');
  return `${rate} messages/s of ${batchSize.toLocaleString('en')}`;
}
