// A bounded queue between the pace and a publisher: full means that whoever puts has to wait.

export type Queue<T> = {
  /** Takes all items in, then waits until there is room again, or the signal is aborted. */
  put(items: readonly T[]): Promise<void>;
  /** The next items, at least one, at most what fits into `sizeMax`; none only when closed and empty. */
  take(sizeMax: number): Promise<T[]>;
  /** What was put can still be taken, then `take` answers with nothing. */
  close(): void;
  /** Removes and answers with everything that nobody has taken. */
  abandon(): T[];
};

export type QueueOptions<T> = {
  readonly sizeMax: number;
  readonly sizeOf: (item: T) => number;
  readonly signal: AbortSignal;
};

export function createQueue<T>({ sizeMax: capacity, sizeOf, signal }: QueueOptions<T>): Queue<T> {
  let items: T[] = [];
  let head = 0;
  let size = 0;
  let isClosed = false;
  let wakeTaker: () => void = () => {};
  let wakePutter: () => void = () => {};
  signal.addEventListener('abort', () => wakePutter());
  const takeNow = (sizeMax: number): T[] => {
    let end = head;
    let takenSize = 0;
    while (end < items.length) {
      const itemSize = sizeOf(items[end] as T);
      if (end > head && takenSize + itemSize > sizeMax) break;
      takenSize += itemSize;
      end += 1;
    }
    const taken = items.slice(head, end);
    size -= takenSize;
    head = end;
    // Moving the rest down for every taken item would be quadratic.
    if (head * 2 > items.length) {
      items = items.slice(head);
      head = 0;
    }
    if (size <= capacity) wakePutter();
    return taken;
  };
  return {
    async put(added) {
      for (const item of added) {
        items.push(item);
        size += sizeOf(item);
      }
      wakeTaker();
      while (size > capacity && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wakePutter = resolve;
        });
      }
    },
    async take(sizeMax) {
      while (head === items.length && !isClosed) {
        await new Promise<void>((resolve) => {
          wakeTaker = resolve;
        });
      }
      return takeNow(sizeMax);
    },
    close() {
      isClosed = true;
      wakeTaker();
    },
    abandon: () => takeNow(Number.POSITIVE_INFINITY),
  };
}
