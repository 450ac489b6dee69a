// What every publisher has in common: it takes messages, keeps count of what became of them, and closes.
import type { SimulatedMessage } from './batch.ts';

export type Delivery = {
  acknowledgedMessages: number;
  failedMessages: number;
  failedReadings: number;
  /** Nobody said whether these have arrived. They were not sent again: they might then be there twice. */
  unconfirmedMessages: number;
  unconfirmedReadings: number;
  /** Why the last message failed or is unconfirmed; null when all are acknowledged. */
  lastError: string | null;
};

export type Publisher = {
  /** Resolves when there is room for more, not when the messages have arrived. */
  publish(messages: readonly SimulatedMessage[]): Promise<void>;
  /** Waits, for a bounded time, until everything has arrived or failed. */
  close(): Promise<void>;
  readonly delivery: Readonly<Delivery>;
};

export function noDelivery(): Delivery {
  return {
    acknowledgedMessages: 0,
    failedMessages: 0,
    failedReadings: 0,
    unconfirmedMessages: 0,
    unconfirmedReadings: 0,
    lastError: null,
  };
}

export function countFailed(delivery: Delivery, messages: readonly SimulatedMessage[], reason: string): void {
  if (messages.length === 0) return;
  delivery.failedMessages += messages.length;
  for (const { readingCount } of messages) delivery.failedReadings += readingCount;
  delivery.lastError = reason;
}

export function countUnconfirmed(delivery: Delivery, message: SimulatedMessage, reason: string): void {
  delivery.unconfirmedMessages += 1;
  delivery.unconfirmedReadings += message.readingCount;
  delivery.lastError = reason;
}

/** Resolves true when the promise settles within that time. */
export async function settlesWithin(promise: Promise<unknown>, durationMs: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expired = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), durationMs);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, expired]);
  } finally {
    clearTimeout(timer);
  }
}
