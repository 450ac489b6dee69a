// What the pipeline needs of a log of messages. Two adapters: broker-kafka.ts (kafkajs), broker-sqlite.ts (embedded).
import type { ByteSpan } from '@lonetree/core-wasm';

/** One message of the log, as it was sent. */
export type Message = {
  /** A whole number: a million messages a second need 285 years to get beyond what is exact. */
  readonly offset: number;
  /** When the log took the message, milliseconds since the Unix epoch. */
  readonly timeMs: number;
  readonly key: Uint8Array | null;
  /** Only where it lies: most values are read in WebAssembly, and views of all of them would fill the memory. */
  readonly value: ByteSpan | null;
  /** The header `content-type`, which is asked of every message. Neighbours mostly have the same object. */
  readonly contentType: Uint8Array | null;
  /** All of them, with what is asked of few messages. */
  readonly headers: Readonly<Record<string, Uint8Array>>;
  /** There is no value, as this message stands for a batch of them that cannot be read. */
  readonly unreadable?: Unreadable | undefined;
};

/** A batch of messages that the log has as one piece: the message that stands for it has the last one's offset. */
export type Unreadable = {
  readonly messageCount: number;
  /** As the log has it. */
  readonly content: Uint8Array;
  readonly why: string;
};

/** A view of a message's value. */
export const bytesOf = (span: ByteSpan): Uint8Array =>
  span instanceof Uint8Array ? span : new Uint8Array(span.buffer, span.byteOffset, span.length);

/** What one fetch brought of one partition: the unit in which readings are scored and stored. */
export type Fetched = {
  readonly partition: number;
  /** The offset that the fetch asked for. The first message may lie beyond it (compaction, control records). */
  readonly from: bigint;
  /** The offset after the last message: where the next fetch has to begin. */
  readonly next: bigint;
  /** In ascending order of offsets, never empty. */
  readonly messages: readonly Message[];
};

/** A message to be sent. */
export type Outgoing = {
  readonly key: string | Uint8Array | null;
  readonly value: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
};

/** The first offset that the log still has, and the one that the next message will get. */
export type Watermarks = { readonly start: bigint; readonly end: bigint };

/** Thrown by `publish` when the topic takes no message of that size, however often it is tried. */
export class MessageTooLarge extends Error {}

/** Thrown by `publish` when it is certain that the log has none of the messages. Any other failure leaves that open. */
export class NothingPublished extends Error {}

export type BlockHandlers = {
  /** These partitions are this process's from now on; whatever it knew about any partition is in doubt. */
  assigned(partitions: readonly number[]): void;
  /**
   * Handles one block and answers whether it was stored. `false`: it was dropped and the position sought.
   * Never throws. Waits without a bound must end when `left` rejects: the group gave this process up.
   */
  block(fetched: Fetched, left: Promise<never>): Promise<boolean>;
};

export type Broker = {
  /** Begins to deliver blocks of the topic of readings, never two of one partition at a time. */
  consume(handlers: BlockHandlers): Promise<void>;
  /** Makes the next fetch of the partition begin at `offset`. */
  seek(partition: number, offset: bigint): void;
  watermarks(partition: number): Promise<Watermarks>;
  /** Resolves when the log has all of them for good (acks=all), in the order given per key. */
  publish(topic: string, messages: readonly Outgoing[]): Promise<void>;
  /** Tells the log how far this group is, for lag metrics only; the store's position is what counts. Never fails. */
  reportPosition(partition: number, next: bigint): void;
  /** Whether the log could be reached lately. */
  isReady(): boolean;
  /** Ends delivery after the blocks under way, leaves the group and closes the connections. */
  close(): Promise<void>;
};
