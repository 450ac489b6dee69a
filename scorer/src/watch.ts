// Looks now and then at what nobody tells by itself: how far the log reaches, and whether the store answers. So those who
// ask for metrics wait for neither, and see the lag grow while the store is away.
import { setTimeout } from 'node:timers/promises';
import type { Broker } from './broker.ts';
import type { Store } from './store.ts';

/** What was seen last. */
export type Sighting = {
  /** Per partition the offset that the next message will get. */
  readonly ends: ReadonlyMap<number, bigint>;
  readonly isStoreReady: boolean;
};

export type WatchOptions = {
  readonly broker: Pick<Broker, 'watermarks'>;
  readonly store: Pick<Store, 'isReady'>;
  readonly partitions: () => readonly { readonly partition: number }[];
  readonly intervalMs: number;
};

export type Watch = {
  seen(): Sighting;
  stop(): void;
};

export function startWatch({ broker, store, partitions, intervalMs }: WatchOptions): Watch {
  const ends = new Map<number, bigint>();
  let isStoreReady = false;
  const stopping = new AbortController();

  async function again(look: () => Promise<void>): Promise<void> {
    while (!stopping.signal.aborted) {
      await look();
      await setTimeout(intervalMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  // Apart: a log that does not answer hides no store that does.
  void again(async () => {
    const watched = partitions().map(({ partition }) => partition);
    const marks = await Promise.allSettled(watched.map((partition) => broker.watermarks(partition)));
    for (const [index, mark] of marks.entries()) {
      // What was seen last stays as long as the log does not answer.
      if (mark.status === 'fulfilled') ends.set(watched[index] as number, mark.value.end);
    }
  });
  void again(async () => {
    isStoreReady = await store.isReady();
  });
  return { seen: () => ({ ends, isStoreReady }), stop: () => stopping.abort() };
}
