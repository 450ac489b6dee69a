// Publishes to a scorer's `POST /v1/readings`, in order per key, asking again only where nothing can be
// doubled.
import { CONTENT_TYPE, type SimulatedMessage } from './batch.ts';
import type { Clock } from './pace.ts';
import { countFailed, noDelivery, type Publisher, settlesWithin } from './publisher.ts';
import { createQueue, type Queue } from './queue.ts';

export type HttpPublisherOptions = {
  /** Where the scorer listens, for example `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
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

type Answer =
  | { readonly outcome: 'taken' }
  | { readonly outcome: 'failed'; readonly reason: string }
  | { readonly outcome: 'busy'; readonly reason: string; readonly retryAfterMs: number };

export function createHttpPublisher({ url, clock, signal }: HttpPublisherOptions): Publisher {
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
  const drain = async (lane: Queue<SimulatedMessage>): Promise<void> => {
    for (;;) {
      const [message] = await lane.take(0);
      if (message === undefined) return;
      const failure = await deliver(target, message, clock, giveUp.signal);
      if (failure === null) delivery.acknowledgedMessages += 1;
      else countFailed(delivery, [message], failure);
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

/** Null when the scorer has taken the message, otherwise why it has not. */
async function deliver(
  target: URL,
  message: SimulatedMessage,
  clock: Clock,
  signal: AbortSignal,
): Promise<string | null> {
  let backoffMs = BACKOFF_MIN_MS;
  let lastReason: string | null = null;
  for (let attempt = 1; ; attempt++) {
    const answer = await post(target, message, signal);
    if (answer.outcome === 'taken') return null;
    // A request that was cut off at closing time says less than the answer before it.
    if (answer.outcome === 'failed')
      return signal.aborted && lastReason !== null ? lastReason : answer.reason;
    lastReason = answer.reason;
    if (attempt === ATTEMPTS_MAX || signal.aborted) return `${answer.reason}, ${attempt} times`;
    await clock.sleep(Math.min(Math.max(backoffMs, answer.retryAfterMs), BACKOFF_MAX_MS), signal);
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
    if (response.status !== 429 && response.status !== 503) return { outcome: 'failed', reason };
    const retryAfterMs = 1_000 * (Number(response.headers.get('retry-after')) || 0);
    return { outcome: 'busy', reason, retryAfterMs };
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const reason = `${target.href}: ${cause instanceof Error ? cause.message : String(cause)}`;
    // Nobody listened, so nothing was taken. After any other break the readings may have arrived.
    const isRefused = code === 'ConnectionRefused' || code === 'ECONNREFUSED';
    return isRefused ? { outcome: 'busy', reason, retryAfterMs: 0 } : { outcome: 'failed', reason };
  }
}
