// Has messages sent, watches what becomes of them until all are stored or nothing moves any more, and counts the rows.
import type { AnomalyTopic } from './anomaly-topic.ts';
import type { Database, PositionWatch } from './database.ts';
import type { Generator } from './generator-process.ts';
import type { LatenessSummary, SentStep, StepPlan } from './generator-protocol.ts';
import { messageFinder, type OffsetRange, offsetRanges, storedTimes } from './latencies.ts';
import { timeSpanMs } from './messages.ts';
import { type MachineUsage, type UsageWatch, watchUsage } from './process-usage.ts';
import type { Losses } from './results.ts';
import type { Stack } from './stack.ts';

/** So long without any progress after the last message means that the rest will not come. */
const STALL_MS = 20_000;
const ANOMALIES_WAIT_MS = 10_000;
const LOOK_INTERVAL_MS = 20;

/** What a load test works with. */
export type Bench = {
  readonly stack: Stack;
  readonly generator: Generator;
  readonly database: Database;
  readonly anomalies: AnomalyTopic;
  readonly seed: number;
};

export type Sending = Pick<StepPlan, 'batchSize' | 'messageCount' | 'messagesPerSecond' | 'arrivals'>;

export type Sent = {
  readonly plan: StepPlan;
  readonly sent: SentStep;
  /** By message; NaN for what was not stored. */
  readonly storedMs: Float64Array;
  readonly arrivals: readonly { readonly message: number; readonly seenMs: number }[];
  readonly resolution: LatenessSummary;
  readonly usage: MachineUsage;
  readonly losses: Losses;
};

export async function send(
  bench: Bench,
  sending: Sending,
  onProgress: (state: string) => void,
): Promise<Sent> {
  const { stack, generator, database, anomalies, seed } = bench;
  const { brokers, readingsTopic: topic, partitionCount } = stack;
  const plan: StepPlan = { ...sending, brokers, topic, partitionCount, seed, firstTimeMs: Date.now() };
  let usageWatch: UsageWatch | undefined;
  anomalies.clear();
  const watch = database.watchPositions();
  const sent = await generator.run(plan, {
    onStarted() {
      usageWatch = watchUsage({ ...stack.processes, generator: () => [generator.pid] });
    },
    onProgress: (count) => onProgress(describeSent(count, plan)),
  });
  const ranges = offsetRanges(sent.runs);
  await untilStored({ watch, stack }, ranges, onProgress);
  const usage = readUsage(usageWatch, stack);
  const { history, spacing } = await watch.stop();
  onProgress('counting rows');
  const timesMs = [plan.firstTimeMs, plan.firstTimeMs + timeSpanMs(plan)] as const;
  const stored = await database.countStored({ ranges, batchSize: plan.batchSize, timesMs });
  const find = messageFinder(sent.runs, partitionCount);
  const arrivals = await untilArrived(anomalies, find, stored.anomalies);
  const acknowledged = sent.runs.reduce((sum, { count }) => sum + count, 0);
  return {
    plan,
    sent,
    storedMs: storedTimes({ ...plan, runs: sent.runs, history }),
    arrivals,
    resolution: { p50Ms: spacing.p50Ms, p99Ms: spacing.p99Ms, maxMs: spacing.maxMs },
    usage,
    losses: {
      failedMessages: plan.messageCount - acknowledged,
      sendError: sent.lastError,
      lost: acknowledged * plan.batchSize - stored.distinctRows,
      duplicate: stored.rows - stored.distinctRows,
      anomaliesMissing: stored.anomalies - arrivals.length,
    },
  };
}

function readUsage(watch: UsageWatch | undefined, { processes }: Stack): MachineUsage {
  if (watch === undefined) throw new Error('The generator was done before it began.');
  const usage = watch.stop();
  return Object.keys(processes).length === 0 ? { ...usage, othersCpuPercent: null } : usage;
}

/** Waits for all positions to pass the last message, as long as they move. */
async function untilStored(
  { watch, stack }: { readonly watch: PositionWatch; readonly stack: Stack },
  ranges: readonly OffsetRange[],
  onProgress: (state: string) => void,
): Promise<void> {
  // In order of offsets: a partition's last range is its end.
  const ends = new Map(ranges.map(({ partition, last }) => [partition, last + 1]));
  let missing = Number.POSITIVE_INFINITY;
  for (
    let movedMs = performance.now();
    performance.now() - movedMs < STALL_MS;
    await Bun.sleep(LOOK_INTERVAL_MS)
  ) {
    let now = 0;
    for (const [partition, end] of ends) now += Math.max(0, end - watch.nextOffset(partition));
    if (now === 0) return;
    stack.checkRunning();
    if (now < missing) movedMs = performance.now();
    missing = now;
    onProgress(`sent; ${missing.toLocaleString('en')} messages still to be stored`);
  }
}

/** Anomalies are published after they are stored: the last ones may be on their way. */
async function untilArrived(
  { arrivals }: AnomalyTopic,
  find: ReturnType<typeof messageFinder>,
  wanted: number,
): Promise<Sent['arrivals']> {
  for (const startMs = performance.now(); ; await Bun.sleep(LOOK_INTERVAL_MS)) {
    const found: { message: number; seenMs: number }[] = [];
    for (const arrival of arrivals.values()) {
      const message = find(arrival);
      if (message !== undefined) found.push({ message, seenMs: arrival.arrivedMs });
    }
    if (found.length >= wanted || performance.now() - startMs > ANOMALIES_WAIT_MS) return found;
  }
}

function describeSent(sentMessages: number, { messageCount, batchSize }: StepPlan): string {
  const percent = Math.floor((100 * sentMessages) / messageCount);
  return `${percent} %, ${(sentMessages * batchSize).toLocaleString('en')} readings sent`;
}
