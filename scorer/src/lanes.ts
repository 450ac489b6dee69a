// Blocks between the fetch that brought them and the store: one after the other within a partition, several partitions at
// once, and one block that waits, so that the next fetch is under way meanwhile. It knows nothing of brokers or stores.
import type { Fetched } from './broker.ts';

export type LaneOptions = {
  /** Blocks that are handled at the same time. */
  readonly concurrentMax: number;
  readonly handle: (fetched: Fetched) => Promise<void>;
};

export type Lanes = {
  /**
   * Resolves when no block waits. Until then no more is to be fetched: what comes meanwhile stays in the log, and then
   * comes as one block.
   */
  room(): Promise<void>;
  /** Begins with the block as soon as its partition and a lane are free. */
  add(fetched: Fetched): void;
  /** Forgets what waits of the partition; what is being handled goes on. */
  forget(partition: number): void;
  /** Forgets all that waits, and answers it. */
  forgetAll(): readonly Fetched[];
  /** Resolves when nothing is being handled and nothing waits. */
  idle(): Promise<void>;
};

export function createLanes({ concurrentMax, handle }: LaneOptions): Lanes {
  let waiting: Fetched[] = [];
  const busy = new Set<number>();
  let changed = Promise.withResolvers<void>();

  function tellChange(): void {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  }

  function startWhatCan(): void {
    const left: Fetched[] = [];
    for (const fetched of waiting) {
      if (busy.size < concurrentMax && !busy.has(fetched.partition)) start(fetched);
      else left.push(fetched);
    }
    waiting = left;
    tellChange();
  }

  function start(fetched: Fetched): void {
    busy.add(fetched.partition);
    void handle(fetched).finally(() => {
      busy.delete(fetched.partition);
      startWhatCan();
    });
  }

  return {
    async room() {
      while (waiting.length > 0) await changed.promise;
    },
    add(fetched) {
      waiting.push(fetched);
      startWhatCan();
    },
    forget(partition) {
      waiting = waiting.filter((fetched) => fetched.partition !== partition);
      tellChange();
    },
    forgetAll() {
      const forgotten = waiting;
      waiting = [];
      tellChange();
      return forgotten;
    },
    async idle() {
      while (busy.size > 0 || waiting.length > 0) await changed.promise;
    },
  };
}
