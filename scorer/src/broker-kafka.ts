// The log on Apache Kafka: where the client's habits are dealt with.
import type { ByteSpan } from '@lonetree/core-wasm';
import type { EachBatchPayload, KafkaMessage } from 'kafkajs';
import {
  type BlockHandlers,
  type Broker,
  type Fetched,
  type Message,
  MessageTooLarge,
  NothingPublished,
  type Outgoing,
} from './broker.ts';
import { createKafkaClient, type KafkaClientOptions } from './broker-kafka-client.ts';
import { createLanes } from './lanes.ts';

export type KafkaOptions = KafkaClientOptions & {
  readonly group: string;
  readonly topic: string;
  readonly bounds: {
    readonly sessionTimeoutMs: number;
    readonly heartbeatIntervalMs: number;
    readonly lagReportIntervalMs: number;
    readonly rebalanceTimeoutMs: number;
    readonly fetchWaitMaxMs: number;
    readonly fetchSizeMax: number;
    readonly fetchSizePerPartitionMax: number;
    readonly partitionsConcurrentMax: number;
    readonly requestTimeoutMs: number;
    readonly unpackedSizeMax: number;
    readonly publishSizeMax: number;
  };
  /** The consumer has stopped for good: the process has to end, so that a new one takes over. */
  readonly onFatal: (error: Error) => void;
};

/** Until the first messages tell how much more comes out of them than goes in. */
const unpackRatioFirst = 8;

export function createKafkaBroker(options: KafkaOptions): Broker {
  const { topic, group, bounds, log, isNews } = options;
  let unpackRatio = unpackRatioFirst;
  /** A limit of what a fetch unpacks into, as one of what it brings: the patched client asks at each fetch. */
  const packed = (sizeMax: number) => (() => Math.ceil(sizeMax / unpackRatio)) as unknown as number;
  const kafka = createKafkaClient(options, bounds);
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: bounds.sessionTimeoutMs,
    heartbeatInterval: bounds.heartbeatIntervalMs,
    rebalanceTimeout: bounds.rebalanceTimeoutMs,
    maxWaitTimeInMs: bounds.fetchWaitMaxMs,
    minBytes: 1,
    maxBytes: packed(bounds.fetchSizeMax),
    maxBytesPerPartition: packed(bounds.fetchSizePerPartitionMax),
  });
  const producer = kafka.producer({ allowAutoTopicCreation: false, maxInFlightRequests: 1 });
  const admin = kafka.admin();
  const place = createPlace();
  const lanes = createLanes({
    concurrentMax: bounds.partitionsConcurrentMax,
    handle: handleFetched,
  });
  /** Ends waits: those of blocks that are being handled, and those for room. */
  const waits = new Set<(reason: Error) => void>();
  let handlers: BlockHandlers | undefined;
  /** The pipeline knows of the last assignment, and no block of an earlier one is being handled. */
  let assigned: Promise<void> = Promise.resolve();
  let assignmentCount = 0;
  /** One request is of all partitions: who asks while it is under way takes its answer. */
  let topicOffsets: ReturnType<typeof admin.fetchTopicOffsets> | undefined;
  let lastContactMs = 0;
  let isMember = false;
  let isProducing = false;
  let isClosing = false;

  /** What lag metrics are to see of each partition, told all together now and then. */
  const reports = new Map<number, bigint>();
  const reporting = setInterval(() => {
    if (reports.size === 0) return;
    const positions = [...reports].map(([partition, next]) => ({ topic, partition, offset: String(next) }));
    reports.clear();
    consumer.commitOffsets(positions).catch((error) => {
      log.debug({ topic, group, err: error }, 'lag could not be reported');
    });
  }, bounds.lagReportIntervalMs);

  const contact = () => {
    lastContactMs = Date.now();
  };
  consumer.on(consumer.events.FETCH, contact);
  consumer.on(consumer.events.HEARTBEAT, contact);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    isMember = true;
    contact();
    place.forget();
    reports.clear(); // They may be of partitions that others have now.
    const partitions = payload.memberAssignment[topic] ?? [];
    log.info({ topic, group, partitions, durationMs: payload.duration }, 'assigned');
    giveUp(new Error('The group has assigned its partitions anew.'));
    assignmentCount += 1;
    const count = assignmentCount;
    assigned = lanes.idle().then(() => {
      if (count === assignmentCount) handlers?.assigned(partitions);
    });
  });
  consumer.on(consumer.events.REBALANCING, () => giveUp(new Error('The group is rebalancing.')));
  consumer.on(consumer.events.START_BATCH_PROCESS, ({ payload: { partition, batchSize, lastOffset } }) => {
    if (batchSize === 0) place.passed(partition, BigInt(lastOffset));
  });
  consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
    isMember = false;
    if (!restart || isNews(`crash ${error.message}`))
      log.warn({ topic, group, restart, err: error }, 'the consumer has crashed');
    giveUp(error);
    // It would stay stopped in silence.
    if (!restart) options.onFatal(error);
  });

  /** What waits is forgotten, as others may have the partitions soon; what is being stored is stored. */
  function giveUp(reason: Error): void {
    // Should the partitions stay here, the client has to fetch them again.
    for (const { partition, from } of lanes.forgetAll()) seek(partition, from);
    for (const end of waits) end(reason);
  }

  /** Runs work that is told when there is no sense in waiting any more. */
  async function whileMember<T>(work: (left: Promise<never>) => Promise<T>): Promise<T> {
    const { promise: left, reject } = Promise.withResolvers<never>();
    left.catch(() => {}); // Whoever waits for it sees it.
    if (isClosing) reject(new Error(closing));
    waits.add(reject);
    try {
      return await work(left);
    } finally {
      waits.delete(reject);
    }
  }

  /**
   * Takes a batch over and lets the client fetch on while blocks are stored. It waits here, and the client with it, while
   * another batch waits. The client sends no heartbeat by itself meanwhile, and does not wait for who listens to
   * assignments.
   */
  async function handleBatch({ batch, heartbeat, resolveOffset, isStale }: EachBatchPayload): Promise<void> {
    if (batch.messages.length === 0) return;
    let lost: Error | undefined;
    const timer = setInterval(() => {
      heartbeat().catch((error: Error) => {
        lost = error;
        giveUp(error);
      });
    }, bounds.heartbeatIntervalMs / 2);
    try {
      await whileMember((left) => Promise.race([assigned.then(() => lanes.room()), left]));
    } catch (error) {
      if (lost !== undefined) throw lost; // The client then joins the group again.
      const { partition } = batch;
      log.debug({ topic, partition, offset: batch.firstOffset(), err: error }, 'a batch is left');
      return;
    } finally {
      clearInterval(timer);
    }
    if (isStale()) return; // Sought meanwhile.
    // It rises at once, and falls slowly.
    unpackRatio = Math.max(unpackRatioOf(batch), (unpackRatio + 1) / 2);
    const { partition } = batch;
    const from = place.begins(partition, fetchedFrom(batch));
    const last = batch.lastOffset();
    const next = BigInt(last) + 1n;
    place.moved(partition, next);
    resolveOffset(last); // For the client's next fetch only: the position is in the store.
    const messages = batch.messages.map((given) => new FetchedMessage(given));
    lanes.add({ partition, from, next, messages });
  }

  async function handleFetched(fetched: Fetched): Promise<void> {
    const { partition } = fetched;
    const seeks = place.seekCount(partition);
    const isStored = await whileMember(async (left) => await handlers?.block(fetched, left));
    // What follows is under way already: without a seek the client would go on behind a block that is not stored.
    if (isStored !== true && place.seekCount(partition) === seeks) seek(partition, fetched.from);
  }

  function seek(partition: number, offset: bigint): void {
    lanes.forget(partition);
    place.sought(partition, offset);
    consumer.seek({ topic, partition, offset: String(offset) });
  }

  return {
    async consume(given) {
      handlers = given; // Before the first assignment; a failed start is tried again with the same ones.
      await Promise.all([consumer.connect(), producer.connect(), admin.connect()]);
      isProducing = true;
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        eachBatch: handleBatch,
      });
    },

    seek,

    async watermarks(partition) {
      topicOffsets ??= admin.fetchTopicOffsets(topic).finally(() => {
        topicOffsets = undefined;
      });
      const offsets = (await topicOffsets).find((entry) => entry.partition === partition);
      if (offsets === undefined) throw new Error(`the topic ${topic} has no partition ${partition}`);
      return { start: BigInt(offsets.low), end: BigInt(offsets.high) };
    },

    async publish(to, messages) {
      // Once a request is on its way, no error says for certain what became of it: an earlier try may have arrived.
      if (!isProducing) throw new NothingPublished('not connected to Kafka');
      for (const part of splitBySize(messages, bounds.publishSizeMax)) {
        try {
          await producer.send({ topic: to, acks: -1, messages: part.map(toKafka) });
        } catch (error) {
          if (errorType(error) === 'MESSAGE_TOO_LARGE')
            throw new MessageTooLarge(`${to} takes no message of that size`, { cause: error });
          throw error;
        }
      }
    },

    reportPosition: (partition, next) => {
      reports.set(partition, next);
    },

    isReady: () => isMember && Date.now() - lastContactMs < bounds.sessionTimeoutMs,

    async close() {
      isClosing = true;
      clearInterval(reporting);
      giveUp(new Error(closing));
      await lanes.idle();
      await consumer.disconnect(); // Leaves the group, so that others go on at once.
      isProducing = false;
      await Promise.all([producer.disconnect(), admin.disconnect()]);
    },
  };
}

const closing = 'The scorer is stopping.';

/**
 * Where the client is in each partition. It passes by itself over offsets without a message of their own (markers of
 * transactions, aborted messages), so a block may begin beyond the position with nothing left out: it then counts as
 * beginning where the passing began.
 */
function createPlace() {
  const nexts = new Map<number, bigint>();
  const seeks = new Map<number, number>();
  const passings = new Map<number, { readonly from: bigint; readonly next: bigint }>();
  /** The next fetch begins at `next`. */
  function moved(partition: number, next: bigint): void {
    nexts.set(partition, next);
    passings.delete(partition);
  }
  const seekCount = (partition: number): number => seeks.get(partition) ?? 0;
  return {
    forget() {
      nexts.clear();
      passings.clear();
    },
    moved,
    sought(partition: number, offset: bigint) {
      seeks.set(partition, seekCount(partition) + 1);
      moved(partition, offset);
    },
    seekCount,
    /** All offsets up to `last` held no message. */
    passed(partition: number, last: bigint) {
      const start = nexts.get(partition);
      if (start === undefined) return;
      const before = passings.get(partition);
      passings.set(partition, { from: before?.next === start ? before.from : start, next: last + 1n });
      nexts.set(partition, last + 1n);
    },
    /** Where a block begins that was fetched from `offset`. */
    begins(partition: number, offset: bigint): bigint {
      const passing = passings.get(partition);
      if (passing?.next === offset) return passing.from;
      passings.delete(partition); // It does not lead here.
      return offset;
    },
  };
}

/** Where the fetch began: not in the client's types. The first message may lie beyond it. */
function fetchedFrom(batch: EachBatchPayload['batch']): bigint {
  const { fetchedOffset } = batch as unknown as { readonly fetchedOffset?: string };
  if (fetchedOffset === undefined)
    throw new Error('assertion failed: the Kafka client does not say where its fetch began');
  return BigInt(fetchedOffset);
}

/** Of its last messages; 1 when they are not compressed. */
function unpackRatioOf({ messages }: EachBatchPayload['batch']): number {
  const { batchContext } = messages.at(-1) as Given;
  return Math.max(batchContext?.unpackRatio ?? 1, 1);
}

/** What the patched client knows of a record besides. Formats of records from before Kafka 0.11 have none of it. */
type Given = KafkaMessage & {
  readonly offsetNumber?: number;
  readonly batchContext?: { readonly unpackRatio?: number };
  readonly timestampMs?: number;
  readonly valueBuffer?: ArrayBufferLike;
  readonly valueByteOffset?: number;
  /** -1: there is no value. */
  readonly valueLength?: number;
  /** Stands for a batch that could not be unpacked. */
  readonly unreadable?: { readonly error: Error; readonly count: number; readonly content: Buffer };
  header?(name: string): Uint8Array | null | undefined;
};

/**
 * A message as the client gives it; what is asked for is made when it is. It is the span of its own value: one object less a
 * message.
 */
class FetchedMessage implements Message, ByteSpan {
  readonly #given: Given;

  constructor(given: Given) {
    this.#given = given;
  }

  get offset(): number {
    return this.#given.offsetNumber ?? Number(this.#given.offset);
  }

  get timeMs(): number {
    return this.#given.timestampMs ?? Number(this.#given.timestamp);
  }

  get value(): ByteSpan | null {
    const { valueLength } = this.#given;
    if (valueLength === undefined) return this.#given.value;
    return valueLength === -1 ? null : this;
  }

  get buffer(): ArrayBufferLike {
    return this.#given.valueBuffer as ArrayBufferLike;
  }

  get byteOffset(): number {
    return this.#given.valueByteOffset as number;
  }

  get length(): number {
    return this.#given.valueLength as number;
  }

  get key(): Uint8Array | null {
    return this.#given.key;
  }

  get contentType(): Uint8Array | null {
    const given = this.#given;
    return (given.header ? given.header('content-type') : this.headers['content-type']) ?? null;
  }

  get unreadable(): Message['unreadable'] {
    const { unreadable } = this.#given;
    if (unreadable === undefined) return undefined;
    const { error, count, content } = unreadable;
    return { messageCount: count, content, why: error.message };
  }

  get headers(): Message['headers'] {
    return lastOfEach(this.#given.headers ?? {});
  }
}

const lastOfEach = (headers: NonNullable<KafkaMessage['headers']>): Message['headers'] =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      const last = Array.isArray(value) ? value.at(-1) : value;
      return [name, typeof last === 'string' ? Buffer.from(last) : (last ?? Buffer.alloc(0))];
    }),
  );

const toKafka = ({ key, value, headers }: Outgoing) => ({
  key: key === null || typeof key === 'string' ? key : Buffer.from(key),
  value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
  ...(headers === undefined ? {} : { headers: { ...headers } }),
});

/** Requests of bounded size, in order; a message that is larger goes alone. */
function* splitBySize(messages: readonly Outgoing[], sizeMax: number): Generator<Outgoing[]> {
  let part: Outgoing[] = [];
  let size = 0;
  for (const message of messages) {
    if (part.length > 0 && size + message.value.length > sizeMax) {
      yield part;
      part = [];
      size = 0;
    }
    part.push(message);
    size += message.value.length;
  }
  if (part.length > 0) yield part;
}

/** Kafka's own name of an error, which the client may have wrapped. */
function errorType(error: unknown): string | undefined {
  const { type, cause } = error as { readonly type?: string; readonly cause?: unknown };
  return type ?? (cause === undefined ? undefined : errorType(cause));
}
