// Publishes to a scorer's `POST /v1/readings`, in order per key, asking again only where nothing can be
// doubled.
import { CONTENT_TYPE, type SimulatedMessage } from './batch.ts';
import type { Clock } from './pace.ts';
import { countFailed, countUnconfirmed, noDelivery, type Publisher, settlesWithin } from './publisher.ts';
import { createQueue, type Queue } from './queue.ts';

export type HttpPublisherOptions = {
  /** Where the scorer listens, for example `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Hears once, and at once, that nothing answers there. */
  readonly onUnreachable: (line: string) => void;
};

/** Requests under way at once; messages of one key always take the same lane. */
const LANE_COUNT = 8;
const LANE_QUEUE_SIZE_MAX = 1_024 * 1_024;
const ATTEMPTS_MAX = 8;
const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 30_000;
const DETAIL_LENGTH_MAX = 300;

type Settled =
  | { readonly outcome: 'taken' }
  | { readonly outcome: 'failed'; readonly reason: string }
  | { readonly outcome: 'unconfirmed'; readonly reason: string };
/** Busy: certainly not taken, and worth another try. */
type Busy = {
  readonly outcome: 'busy';
  readonly reason: string;
  readonly retryAfterMs: number;
  readonly isUnreachable: boolean;
};
type Answer = Settled | Busy;

export function createHttpPublisher({ url, clock, signal, onUnreachable }: HttpPublisherOptions): Publisher {
  const target = new URL('/v1/readings', url);
  const delivery = noDelivery();
  const lanes = Array.from({ length: LANE_COUNT }, () =>
    createQueue<SimulatedMessage>({
      sizeMax: LANE_QUEUE_SIZE_MAX,
      sizeOf: ({ value }) => value.length,
      signal,
    }),
  );
  const giveUp = new AbortController();
  let isToldUnreachable = false;
  const noteBusy = ({ isUnreachable }: Busy): void => {
    if (isUnreachable && !isToldUnreachable) onUnreachable(`${unreachable(target)} It is tried again.`);
    isToldUnreachable ||= isUnreachable;
  };
  const drain = async (lane: Queue<SimulatedMessage>): Promise<void> => {
    for (;;) {
      const [message] = await lane.take(0);
      if (message === undefined) return;
      const settled = await deliver(target, message, { clock, signal: giveUp.signal, noteBusy });
      if (settled.outcome === 'taken') delivery.acknowledgedMessages += 1;
      else if (settled.outcome === 'failed') countFailed(delivery, [message], settled.reason);
      else countUnconfirmed(delivery, message, settled.reason);
    }
  };
  const draining = Promise.all(lanes.map(drain));
  return {
    delivery,
    async publish(messages) {
      const shares = lanes.map((): SimulatedMessage[] => []);
      for (const message of messages) shares[laneOf(message.key)]?.push(message);
      await Promise.all(lanes.map((lane, index) => lane.put(shares[index] as SimulatedMessage[])));
    },
    async close() {
      for (const lane of lanes) lane.close();
      await settlesWithin(draining, CLOSE_TIMEOUT_MS);
      const left = lanes.flatMap((lane) => lane.abandon());
      countFailed(delivery, left, delivery.lastError ?? `not sent within ${CLOSE_TIMEOUT_MS / 1_000} s`);
      giveUp.abort();
      await draining;
    },
  };
}

function laneOf(key: string): number {
  return Number(Bun.hash(key) % BigInt(LANE_COUNT));
}

/** Sends the message until the scorer has said what became of it, or has been asked often enough. */
async function deliver(
  target: URL,
  message: SimulatedMessage,
  {
    clock,
    signal,
    noteBusy,
  }: { readonly clock: Clock; readonly signal: AbortSignal; readonly noteBusy: (answer: Busy) => void },
): Promise<Settled> {
  let backoffMs = BACKOFF_MIN_MS;
  for (let attempt = 1; ; attempt++) {
    const answer = await post(target, message, signal);
    if (answer.outcome !== 'busy') return answer;
    noteBusy(answer);
    const failed = { outcome: 'failed', reason: `${answer.reason} (${attempt} tries)` } as const;
    if (attempt === ATTEMPTS_MAX) return failed;
    await clock.sleep(Math.min(Math.max(backoffMs, answer.retryAfterMs), BACKOFF_MAX_MS), signal);
    if (signal.aborted) return failed;
    backoffMs = Math.min(backoffMs * 2, BACKOFF_MAX_MS);
  }
}

async function post(target: URL, message: SimulatedMessage, signal: AbortSignal): Promise<Answer> {
  try {
    const response = await fetch(target, {
      method: 'POST',
      headers: { 'content-type': CONTENT_TYPE },
      body: message.value as Uint8Array<ArrayBuffer>,
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
    });
    if (response.ok) {
      await response.body?.cancel();
      return { outcome: 'taken' };
    }
    const detail = (await response.text()).slice(0, DETAIL_LENGTH_MAX);
    const reason = `${target.href} answered ${response.status} ${detail}`.trimEnd();
    if (isUnconfirmed(response.status)) return { outcome: 'unconfirmed', reason };
    if (response.status !== 429 && response.status !== 503) return { outcome: 'failed', reason };
    const retryAfterMs = 1_000 * (Number(response.headers.get('retry-after')) || 0);
    return { outcome: 'busy', reason, retryAfterMs, isUnreachable: false };
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const reason = `${target.href}: ${cause instanceof Error ? cause.message : String(cause)}`;
    // Nobody listened, so nothing was taken. After a break in the middle the readings may have arrived.
    if (code === 'ConnectionRefused' || code === 'ECONNREFUSED')
      return { outcome: 'busy', reason: unreachable(target), retryAfterMs: 0, isUnreachable: true };
    return { outcome: code === 'ENOTFOUND' ? 'failed' : 'unconfirmed', reason };
  }
}

const unreachable = ({ origin }: URL): string =>
  `Nothing answers at ${origin}: start the scorer, or say by --url where it is.`;

/** 504 is the scorer's own word for it; 500 and 502 are said by whoever no longer knows. */
const isUnconfirmed = (status: number): boolean => status === 500 || status === 502 || status === 504;
