// The host of the WebAssembly module: loads a forest, hands messages over, shows the results. It computes nothing itself.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { type Block, ScoredBlock } from './block.ts';
import type { Kernel } from './kernel.ts';
import { type Model, readModel } from './model.ts';
import { ForestRefused, forestRefusal, type Rejection, rejection } from './refusals.ts';
import { buildTablesAside, lineSize, type TableEngine } from './tables/index.ts';

/** A message of more bytes is rejected without a look at it. */
export const messageSizeMax = 16 << 20;
/** A forest file of more bytes is refused without a look at it. */
export const forestSizeMax = 256 << 20;

/** What `appendAll` did: messages before `next` are in the block, those that were refused without readings. */
export type AppendedAll = {
  /** The first message that does not fit any more; the number of messages when all do. */
  readonly next: number;
  readonly refused: readonly { readonly index: number; readonly rejection: Rejection }[];
};

/** Bytes in a buffer: a Uint8Array is such a span, and so is whatever only knows where the bytes lie. */
export type ByteSpan = Pick<Uint8Array, 'buffer' | 'byteOffset' | 'length'>;

export type Appended =
  | { readonly rowCount: number; readonly ignoredFeatureCount: number }
  | { readonly rejected: Rejection }
  /** The block has readings and no room for these: score it, begin the next one, and append again. */
  | { readonly full: true };

/** What the module's `append` answers instead of a number of readings; see assembly/batch.ts. */
const appendRejected = -1;
const appendFull = -2;
/** What the module's steps answer while there is more to do; see assembly/forest.ts. */
const unfinished = -1;
/** Large things are copied and digested in pieces, and scoring goes on in between. */
const pieceSize = 1 << 18;
/** Self-tests until the runtime has compiled what it runs; the first ones in pieces of so many rows, and then of more. */
const warmUpCount = 60;
const warmUpRowsMin = 16;
/** Messages that lie in one piece of memory, with what is between them, are copied at once: so many bytes of them. */
const runSizeMax = 1 << 20;
const shownNameSizeMax = 80;
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

let compiled: Promise<WebAssembly.Module> | undefined;
const compileOnce = () => {
  compiled ??= readFile(new URL('kernel.wasm', import.meta.url)).then((bytes) => WebAssembly.compile(bytes));
  return compiled;
};

/** One loaded forest in a WebAssembly instance of its own: another model is another Engine. */
export class Engine {
  readonly model: Model;
  /** The most readings of one block. */
  readonly rowCountMax: number;
  readonly #kernel: Kernel;
  readonly #file: { readonly at: number; readonly size: number };
  #scoring: 'walk' | TableEngine = 'walk';
  /** All of the module's memory, anew whenever it has grown. */
  #memory = new Uint8Array(0);

  private constructor(kernel: Kernel, file: { readonly at: number; readonly size: number }, model: Model) {
    this.#kernel = kernel;
    this.#file = file;
    this.model = model;
    this.rowCountMax = kernel.rowCountMax.value >>> 0;
  }

  /** Checks the file, runs its self-test and readies it for scoring, in steps that hold up nobody. Throws ForestRefused. */
  static async load(forest: Uint8Array): Promise<Engine> {
    if (forest.length > forestSizeMax)
      throw new ForestRefused('size', `it has ${forest.length} bytes; the most is ${forestSizeMax}.`);
    const instance = await WebAssembly.instantiate(await compileOnce(), {});
    const kernel = instance.exports as unknown as Kernel;
    const at = kernel.reserve(forest.length) >>> 0;
    if (at === 0) throw new ForestRefused('memory', 'there is not enough memory to load it.');
    const hash = createHash('sha256');
    for await (const [from, end] of pieces(forest.length)) {
      const piece = forest.subarray(from, end);
      new Uint8Array(kernel.memory.buffer, at + from).set(piece);
      hash.update(piece);
    }
    let code = kernel.startLoading(at, forest.length);
    while (code === unfinished) {
      await setImmediate();
      code = kernel.loadSome();
    }
    if (code !== 0) throw forestRefusal(code, kernel.refusalPlace() >>> 0);
    const file = new Uint8Array(kernel.memory.buffer, at, forest.length);
    return new Engine(kernel, { at, size: forest.length }, readModel(file, hash.digest('hex')));
  }

  /** How path-length sums are found: along the trees, or by look-ups. All give the same bits. */
  get scoring(): 'walk' | TableEngine {
    return this.#scoring;
  }

  /**
   * Makes scoring faster where the forest allows: builds tables for the first of the engines that it fits, in a thread of
   * their own, and switches over between two blocks. False: the forest fits none or would gain nothing, and is walked as
   * before.
   */
  async accelerate(engines: readonly TableEngine[] = ['grid', 'cells']): Promise<boolean> {
    const kernel = this.#kernel;
    const forest = new Uint8Array(this.#file.size);
    // Scoring may move the module's memory in between: looked up anew each time.
    for await (const [from, end] of pieces(forest.length))
      forest.set(this.#forest().subarray(from, end), from);
    const built = await buildTablesAside(forest, engines);
    if (built === null) return false;
    const { engine, tables } = built;
    const reserved = kernel.reserve(tables.byteLength + lineSize) >>> 0;
    if (reserved === 0) return false;
    const at = Math.ceil(reserved / lineSize) * lineSize;
    for await (const [from, end] of pieces(tables.byteLength))
      new Uint8Array(kernel.memory.buffer, at + from).set(new Uint8Array(tables, from, end - from));
    if (kernel.loadTables(at, tables.byteLength) === 0) return false;
    for (let count = 0; count < warmUpCount; count += 1) {
      const rowCount = Math.min(warmUpRowsMin * 2 ** count, this.rowCountMax);
      for (let code = unfinished; code !== 0; ) {
        code = kernel.testTables(rowCount);
        if (code !== 0 && code !== unfinished)
          throw new Error(`assertion failed: the ${engine} tables fail the model's self-test`);
        await setImmediate();
      }
    }
    kernel.useTables(true);
    this.#scoring = engine;
    return true;
  }

  #forest(): Uint8Array {
    return new Uint8Array(this.#kernel.memory.buffer, this.#file.at, this.#file.size);
  }

  /** Forgets the block; its views are dead from here on. */
  begin(): void {
    this.#kernel.begin();
  }

  /** Adds the readings of a SensorBatch in Protobuf to the block. A bad message is an answer, never an exception. */
  append(message: Uint8Array): Appended {
    const kernel = this.#kernel;
    const rejected = checkSize(message);
    if (rejected !== null) return { rejected };
    const answer = kernel.append(this.#hand(message), message.length);
    if (answer > 0) return { rowCount: answer, ignoredFeatureCount: kernel.ignoredFeatureCount() };
    if (answer === appendFull) return { full: true };
    if (answer !== appendRejected) throw new Error('The WebAssembly engine has no memory for the readings.');
    return { rejected: this.#rejection() };
  }

  /**
   * The same for messages from the `first`-th on, as many as fit: few calls, however small they are. One that is `null` has
   * no readings and only keeps its place. Not to be mixed with `append` in one block.
   */
  appendAll(messages: readonly (ByteSpan | null)[], first: number): AppendedAll {
    const kernel = this.#kernel;
    const before = first - kernel.messageCount.value;
    const refused: { index: number; rejection: Rejection }[] = [];
    let next = first;
    for (let handed = first; next < messages.length; next = before + kernel.messageCount.value) {
      const message = messages[next] as ByteSpan | null;
      const rejected = message === null ? null : checkSize(message);
      if (rejected === null) {
        if (next === handed) handed = this.#handRun(messages, next);
        const answer = kernel.appendMessages(handed - before);
        if (answer === 0) continue;
        if (answer === appendFull) break;
        if (answer !== appendRejected)
          throw new Error('The WebAssembly engine has no memory for the readings.');
        refused.push({ index: before + kernel.messageCount.value, rejection: this.#rejection() });
      } else {
        if (kernel.reserveMessages(kernel.messageCount.value + 1) === 0) throw noMemoryForMessages();
        refused.push({ index: next, rejection: rejected });
        handed = next + 1;
      }
      kernel.passMessage();
    }
    return { next: before + kernel.messageCount.value, refused };
  }

  /** Scores and judges everything appended since `begin`. */
  score(): Block {
    if (this.#kernel.score() === 0) throw new Error('The WebAssembly engine has no memory for the reasons.');
    return new ScoredBlock(this.#kernel, this.model.features);
  }

  /** Makes the block `rowCount` rows of float32 (row-major, features in the model's order), without stations and times. */
  loadRows(rows: Float32Array, rowCount: number): void {
    const length = rowCount * this.model.features.length;
    if (rowCount > this.rowCountMax || length > rows.length) {
      throw new RangeError(
        `${rowCount} rows are more than given or than a block holds (${this.rowCountMax}).`,
      );
    }
    const bytes = new Uint8Array(rows.buffer, rows.byteOffset, length * 4);
    if (this.#kernel.loadRows(this.#hand(bytes), rowCount) === 0)
      throw new Error('The WebAssembly engine has no memory for the rows.');
  }

  /** Path-length sums of the block's rows, without verdicts: what a benchmark measures. */
  sumRows(): Float64Array {
    const kernel = this.#kernel;
    kernel.sumRows();
    return new Float64Array(kernel.memory.buffer, kernel.sums.value >>> 0, kernel.rowCount.value >>> 0);
  }

  /** Copies bytes into the module's memory; answers where. */
  #hand(bytes: Uint8Array): number {
    const at = this.#kernel.reserveInput(bytes.length) >>> 0;
    if (at === 0) throw new Error(`The WebAssembly engine has no memory for ${bytes.length} bytes.`);
    const { buffer } = this.#kernel.memory;
    if (this.#memory.buffer !== buffer) this.#memory = new Uint8Array(buffer);
    this.#memory.set(bytes, at);
    return at;
  }

  /** Copies messages from the `first`-th on that lie in one piece of memory. Answers the index after the last of them. */
  #handRun(messages: readonly (ByteSpan | null)[], first: number): number {
    const kernel = this.#kernel;
    const { end, buffer, from, size } = findRun(messages, first);
    const at = this.#hand(new Uint8Array(buffer, from, size));
    const count = kernel.messageCount.value;
    if (kernel.reserveMessages(count + end - first) === 0) throw noMemoryForMessages();
    const spans = new Uint32Array(
      kernel.memory.buffer,
      (kernel.messageSpans.value >>> 0) + 8 * count,
      2 * (end - first),
    );
    for (let index = first; index < end; index += 1) {
      const message = messages[index] as ByteSpan | null;
      spans[2 * (index - first)] = message === null ? 0 : at + message.byteOffset - from;
      spans[2 * (index - first) + 1] = message === null ? 0 : message.length;
    }
    return end;
  }

  #rejection(): Rejection {
    const kernel = this.#kernel;
    const nameSize = Math.min(kernel.rejectionNameSize(), shownNameSizeMax);
    return rejection(kernel.rejectionCode(), {
      about: kernel.rejectionDetail(),
      number: kernel.rejectionSecondDetail(),
      name: utf8.decode(new Uint8Array(kernel.memory.buffer, kernel.rejectionNamePlace() >>> 0, nameSize)),
      features: this.model.features,
    });
  }
}

/** From where to where, one piece after the other, with time for others in between. */
async function* pieces(size: number): AsyncGenerator<readonly [from: number, end: number], void> {
  for (let from = 0; from < size; from += pieceSize) {
    yield [from, Math.min(from + pieceSize, size)];
    await setImmediate();
  }
}

function checkSize({ length }: ByteSpan): Rejection | null {
  if (length === 0) return { reason: 'empty-message', detail: 'The message has no bytes.' };
  if (length <= messageSizeMax) return null;
  const detail = `The message has ${length} bytes; the most is ${messageSizeMax}. Send smaller batches.`;
  return { reason: 'too-large', detail };
}

/** The messages from the `first`-th on that follow one another in one buffer, and the bytes from the first to the last. */
function findRun(messages: readonly (ByteSpan | null)[], first: number) {
  let buffer: ArrayBufferLike | undefined;
  let from = 0;
  let to = 0;
  let end = first;
  for (; end < messages.length; end += 1) {
    const message = messages[end] as ByteSpan | null;
    if (message === null) continue;
    const { buffer: itsBuffer, byteOffset, length } = message;
    if (length === 0 || length > messageSizeMax) break; // Refused when it is its turn.
    if (buffer === undefined) {
      buffer = itsBuffer;
      from = byteOffset;
    } else if (itsBuffer !== buffer || byteOffset < to || byteOffset + length - from > runSizeMax) break;
    to = byteOffset + length;
  }
  return { end, buffer: buffer ?? new ArrayBuffer(0), from, size: to - from };
}

const noMemoryForMessages = () => new Error('The WebAssembly engine has no memory for a list of messages.');
