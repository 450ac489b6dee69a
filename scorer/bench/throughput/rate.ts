// How fast scorers store a backlog.
import { processorSeconds, type ScorerProcess } from '@lonetree/devstack';
import { type BenchStack, residentMb } from './bench-stack.ts';

export type Drained = {
  readonly messagesPerSecond: number;
  /** Of the scorer that held most. */
  readonly scorerPeakMb: number;
  /** Per kind of process: nanoseconds of processor time a message, and processors kept busy. */
  readonly processor: Readonly<Record<string, { readonly nsPerMessage: number; readonly busy: number }>>;
};

const pollMs = 50;

/**
 * Waits until the group has stored all messages. The rate counts from the first look at which more than `skippedShare` of them
 * are stored.
 */
export async function drain(
  stack: BenchStack,
  {
    scorers,
    group,
    skippedShare,
  }: { readonly scorers: readonly ScorerProcess[]; readonly group: string; readonly skippedShare: number },
): Promise<Drained> {
  const total = await stack.sentMessages();
  const pids = {
    scorers: scorers.map(({ pid }) => pid),
    postgres: [stack.pids.postgres],
    kafka: [stack.pids.kafka],
  };
  const look = (messages: number) => ({
    messages,
    atMs: performance.now(),
    used: Object.entries(pids).map(([name, list]) => ({
      name,
      seconds: list.reduce((sum, pid) => sum + processorSeconds(pid), 0),
    })),
  });
  let peakMb = 0;
  let begun: ReturnType<typeof look> | undefined;
  for (;;) {
    for (const scorer of scorers) scorer.checkRunning();
    const messages = await stack.storedMessages(group);
    peakMb = Math.max(peakMb, ...pids.scorers.map(residentMb));
    if (messages > skippedShare * total) begun ??= look(messages);
    showProgress(messages, total);
    if (messages >= total) break;
    await Bun.sleep(pollMs);
  }
  const end = look(total);
  const from = begun ?? end;
  const [seconds, count] = [(end.atMs - from.atMs) / 1_000, total - from.messages];
  if (count === 0) throw new Error('All was stored before the first look: give more --readings.');
  return {
    messagesPerSecond: count / seconds,
    scorerPeakMb: Math.round(peakMb),
    processor: Object.fromEntries(
      end.used.map(({ name, seconds: used }, index) => {
        const spent = used - (from.used[index]?.seconds ?? 0);
        return [name, { nsPerMessage: (spent * 1e9) / count, busy: Number((spent / seconds).toFixed(2)) }];
      }),
    ),
  };
}

function showProgress(done: number, total: number): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(
    `\r\x1b[2K${done === total ? '' : `${done.toLocaleString('en')} of ${total.toLocaleString('en')} messages`}`,
  );
}
