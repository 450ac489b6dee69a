// Blocks between the fetch that brought them and the store: one after the other within a partition, several partitions at
// once, and what comes faster than it is stored joins the block that waits. It knows nothing of brokers or stores.
import type { Fetched } from './broker.ts';

export type LaneOptions = {
  /** Blocks that are handled at the same time. */
  readonly concurrentMax: number;
  /** What blocks that wait may hold together; a larger block waits alone. */
  readonly waitingSizeMax: number;
  /** A block that is at least so large takes no other in. */
  readonly joinedSizeMax: number;
  readonly handle: (fetched: Fetched) => Promise<void>;
};

/** A block and about how many bytes it holds. */
export type SizedBlock = { readonly fetched: Fetched; readonly size: number };

export type Lanes = {
  /** Resolves when another block may wait. */
  room(): Promise<void>;
  add(block: SizedBlock): void;
  /** Forgets what waits; what is being handled goes on. */
  forget(partition: number): void;
  /** Forgets all that waits; answers the first block of each partition. */
  forgetAll(): Fetched[];
  /** Resolves when nothing is being handled and nothing waits. */
  idle(): Promise<void>;
};

export function createLanes({ concurrentMax, waitingSizeMax, joinedSizeMax, handle }: LaneOptions): Lanes {
  /** In the order in which partitions began to wait; no list is empty. */
  const waiting = new Map<number, SizedBlock[]>();
  const busy = new Set<number>();
  let waitingSize = 0;
  let changed = Promise.withResolvers<void>();

  function tellChange(): void {
    changed.resolve();
    changed = Promise.withResolvers<void>();
  }

  function startWhatCan(): void {
    for (const [partition, blocks] of waiting) {
      if (busy.size >= concurrentMax) return;
      if (!busy.has(partition)) start(partition, blocks);
    }
  }

  function start(partition: number, blocks: SizedBlock[]): void {
    const { fetched, size } = blocks.shift() as SizedBlock;
    waiting.delete(partition);
    if (blocks.length > 0) waiting.set(partition, blocks); // Behind the others.
    waitingSize -= size;
    busy.add(partition);
    void handle(fetched).finally(() => {
      busy.delete(partition);
      startWhatCan();
      tellChange();
    });
    tellChange();
  }

  function forget(partition: number): void {
    for (const { size } of waiting.get(partition) ?? []) waitingSize -= size;
    waiting.delete(partition);
    tellChange();
  }

  return {
    async room() {
      while (waitingSize >= waitingSizeMax) await changed.promise;
    },
    add(block) {
      const { partition } = block.fetched;
      const blocks = waiting.get(partition) ?? [];
      const last = blocks.at(-1);
      if (last !== undefined && follows(last, block) && last.size + block.size <= joinedSizeMax)
        blocks[blocks.length - 1] = join(last, block);
      else blocks.push(block);
      waiting.set(partition, blocks);
      waitingSize += block.size;
      startWhatCan();
    },
    forget,
    forgetAll() {
      const firsts = [...waiting.values()].map(([first]) => (first as SizedBlock).fetched);
      for (const { partition } of firsts) forget(partition);
      return firsts;
    },
    async idle() {
      while (busy.size > 0 || waiting.size > 0) await changed.promise;
    },
  };
}

const follows = (first: SizedBlock, second: SizedBlock) => first.fetched.next === second.fetched.from;

const join = ({ fetched: first, size }: SizedBlock, second: SizedBlock): SizedBlock => ({
  size: size + second.size,
  fetched: {
    partition: first.partition,
    from: first.from,
    next: second.fetched.next,
    messages: [...first.messages, ...second.fetched.messages],
  },
});
