// Memory that is used again: where megabytes are filled many times a second, new ones each time pile up before they are freed.

export type Buffers = {
  /** At least so many bytes, whatever they hold. */
  take(size: number): Uint8Array;
  /** Nobody looks at them any more. */
  giveBack(bytes: Uint8Array): void;
};

/** Keeps at most `countMax` buffers; larger ones than `sizeMax` are not kept. */
export function createBuffers({ countMax, sizeMax }: { countMax: number; sizeMax: number }): Buffers {
  const kept: Uint8Array[] = [];
  return {
    take(size) {
      const index = kept.findIndex(({ length }) => length >= size);
      const [found] = index < 0 ? [] : kept.splice(index, 1);
      // Rounded up, so that the next block, which is hardly of the same size, fits too.
      return found ?? new Uint8Array(size > sizeMax ? size : 2 ** Math.ceil(Math.log2(size)));
    },
    giveBack(bytes) {
      if (bytes.length > sizeMax) return;
      kept.push(bytes);
      kept.sort((a, b) => a.length - b.length);
      if (kept.length > countMax) kept.shift(); // The smallest fits least.
    },
  };
}
