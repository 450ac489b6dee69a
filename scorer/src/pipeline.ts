// One reading's life: bytes in → decode → score → judge → store (with the position) → publish → report.
// It decides what happens in which order and what is tried again; the adapters of broker and store do the rest.
import { create, toBinary } from '@bufbuild/protobuf';
import type { Block, ByteSpan, Engine, Rejection } from '@lonetree/core-wasm';
import { AnomalySchema, DeadLetterSchema } from '@lonetree/proto';
import {
  type BlockHandlers,
  type Broker,
  bytesOf,
  type Fetched,
  type Message,
  MessageTooLarge,
  type Outgoing,
} from './broker.ts';
import { encodeJsonReadings } from './reading-json.ts';
import type { Shadow } from './shadow.ts';
import type { AnomalyRecord, Store, Verdicts } from './store.ts';

/** What the pipeline uses of an engine. From `begin` to the last look at the block nothing may wait in between. */
export type Scoring = Pick<Engine, 'model' | 'begin' | 'appendAll' | 'score'>;

/** The model that scores now, its id in the store and its version in the registry (empty: a file). */
export type ActiveModel = { readonly engine: Scoring; readonly modelId: number; readonly version: string };

/** Where a block's time goes. */
export type Stage = 'decode' | 'score' | 'store' | 'publish';

/** What the pipeline tells the metrics: once a block, never once a reading. */
export type PipelineObserver = {
  /** How long a stage of a block took. */
  spent(stage: Stage, milliseconds: number): void;
  /** Looks at a scored block while its memory is its own. What it answers counts the block, once it is stored. */
  scored(block: Block, messages: readonly Message[], firstIndex: number): () => void;
  stored(block: {
    readonly partition: number;
    readonly messageCount: number;
    readonly readingCount: number;
    readonly ignoredFeatureCount: number;
    readonly anomalies: readonly AnomalyRecord[];
    readonly refused: readonly (Rejection & { readonly offset: number })[];
  }): void;
  /** A block was dropped: it did not begin at the position, or another scorer was faster. */
  dropped(partition: number, reason: 'elsewhere' | 'fenced' | 'error'): void;
  /** The log had deleted messages before they were read. */
  gapSkipped(partition: number, messageCount: bigint): void;
};

export type PipelineLog = {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
};

export type PipelineOptions = {
  readonly broker: Broker;
  readonly store: Store;
  readonly activeModel: () => ActiveModel;
  /** Sees a sample of what was stored and published; null: nothing is compared. */
  readonly shadow: Pick<Shadow, 'sample' | 'compare'> | null;
  readonly topics: { readonly readings: string; readonly anomalies: string; readonly deadLetters: string };
  readonly log: PipelineLog;
  readonly observer: PipelineObserver;
  readonly wait: (milliseconds: number) => Promise<void>;
  /** First and longest wait before something that failed is tried again. */
  readonly retry: { readonly firstMs: number; readonly maxMs: number };
};

/** A partition of this process's. */
export type PartitionState = {
  readonly partition: number;
  /** The position as it was last known; null as long as it was never read. */
  readonly next: bigint | null;
  /** It waits for store or log to be back. */
  readonly isStanding: boolean;
};

export type Pipeline = {
  readonly handlers: BlockHandlers;
  partitions(): readonly PartitionState[];
  /** Blocks that are being scored, stored or published, or wait for their turn to be. */
  blocksUnderWay(): number;
  /** Why partitions stand still that this process should read; empty when all is well. */
  troubles(): readonly string[];
};

/** The stored position is beyond the end of the log: the log is another one, or was cut. */
class PositionBeyondEnd extends Error {}

export function createPipeline(options: PipelineOptions): Pipeline {
  const { broker, store, topics, log, observer, shadow } = options;
  /** Per partition of ours: where the next block has to begin. Absent or pending: in doubt. */
  const positions = new Map<number, Promise<bigint>>();
  /** The same as far as it was ever known, for those who watch. */
  const reached = new Map<number, bigint>();
  const troubles = new Map<number, string>();
  let blocksUnderWay = 0;

  /** Reads the position again, publishes the last block's anomalies again, and seeks. Repeats until it succeeds. */
  function resume(partition: number, reason: string): Promise<bigint> {
    const isCurrent = () => positions.get(partition) === promise;
    const promise: Promise<bigint> = Promise.resolve().then(async () => {
      for (let waitMs = options.retry.firstMs; ; waitMs = Math.min(waitMs * 2, options.retry.maxMs)) {
        try {
          const next = await findPosition(partition);
          if (!isCurrent()) throw new Error('superseded');
          broker.seek(partition, next);
          reached.set(partition, next);
          troubles.delete(partition);
          log.info({ partition, position: next, reason }, 'resumed');
          return next;
        } catch (error) {
          if (!isCurrent()) throw error; // Assigned anew or given away meanwhile: whoever did that resumes.
          noteTrouble(partition, error);
          await options.wait(waitMs);
        }
      }
    });
    promise.catch(() => {}); // Whoever waits for it sees the error; it is no error when nobody does.
    positions.set(partition, promise);
    return promise;
  }

  /** Logs a trouble when it is new, so that an hour without a database is a line and not a thousand. */
  function noteTrouble(partition: number, error: unknown, offset?: bigint): void {
    const trouble = error instanceof Error ? error.message : String(error);
    if (troubles.get(partition) !== trouble)
      log.error({ partition, offset, err: error }, 'partition stands still');
    troubles.set(partition, trouble);
  }

  async function findPosition(partition: number): Promise<bigint> {
    const { start, end } = await broker.watermarks(partition);
    const { next, anomalies } = await store.position(partition, start);
    await publishAnomalies(anomalies);
    if (next > end) {
      throw new PositionBeyondEnd(
        `The stored position ${next} of ${topics.readings}/${partition} is beyond the log's end ${end}: it is not the log that was read before. ` +
          'Point this scorer at the right log, or give it a group of its own (KAFKA_GROUP).',
      );
    }
    if (next >= start) return next;
    log.error(
      { partition, from: next, to: start },
      'messages were deleted from the log before they were read',
    );
    if (!(await store.skipGap(partition, next, start))) throw new Error('another scorer moved the position');
    observer.gapSkipped(partition, start - next);
    return start;
  }

  async function publishAnomalies(anomalies: readonly AnomalyRecord[]): Promise<void> {
    if (anomalies.length > 0) await broker.publish(topics.anomalies, anomalies.map(encodeAnomaly));
  }

  async function publishStored(anomalies: readonly AnomalyRecord[]): Promise<void> {
    const startMs = performance.now();
    await publishAnomalies(anomalies);
    if (anomalies.length > 0) observer.spent('publish', performance.now() - startMs);
  }

  /** A letter that is too large for its topic goes without its message: its origin says where that still is. */
  async function publishDeadLetters(letters: readonly DeadLetterDraft[]): Promise<void> {
    try {
      await broker.publish(topics.deadLetters, letters.map(encodeDeadLetter));
    } catch (error) {
      if (!(error instanceof MessageTooLarge)) throw error;
      for (const letter of letters) {
        await broker.publish(topics.deadLetters, [encodeDeadLetter(letter)]).catch((cause) => {
          if (!(cause instanceof MessageTooLarge)) throw cause;
          return broker.publish(topics.deadLetters, [encodeDeadLetter(withoutContent(letter))]);
        });
      }
    }
  }

  async function handleBlock(fetched: Fetched, left: Promise<never>): Promise<boolean> {
    const { partition } = fetched;
    const position = await Promise.race([
      positions.get(partition) ?? resume(partition, 'position unknown'),
      left,
    ]);
    if (fetched.from !== position) {
      observer.dropped(partition, 'elsewhere');
      broker.seek(partition, position);
      return false;
    }
    try {
      const batches = toBatches(fetched);
      for (let index = 0; index < fetched.messages.length; ) {
        const stored = await storeSome(batches, index);
        if (stored === 'fenced') {
          observer.dropped(partition, 'fenced');
          await Promise.race([resume(partition, 'another scorer was faster'), left]);
          return false;
        }
        index = stored.nextIndex;
        reached.set(partition, stored.next);
        await publishStored(stored.anomalies);
        if (stored.sample !== null) shadow?.compare(stored.sample);
      }
    } catch (error) {
      observer.dropped(partition, 'error');
      noteTrouble(partition, error, fetched.from);
      await Promise.race([resume(partition, 'storing or publishing failed'), left]);
      return false;
    }
    positions.set(partition, Promise.resolve(fetched.next));
    broker.reportPosition(partition, fetched.next);
    return true;
  }

  /** Stores as many messages from `firstIndex` on as fit into the engine, dead letters first. */
  async function storeSome(batches: Batches, firstIndex: number) {
    const score = () => {
      const answer = scoreMessages(options.activeModel(), topics.readings, batches, firstIndex);
      observer.spent('decode', answer.decodeMs);
      observer.spent('score', answer.scoreMs);
      return answer;
    };
    let scored = score();
    if (scored.deadLetters.length > 0) {
      // A refused message is kept before the position moves past it. Publishing takes a while, in which other
      // partitions use the engine's memory: score again afterwards. Rare enough to be simple.
      await publishDeadLetters(scored.deadLetters);
      scored = score();
    }
    const { verdicts, nextIndex } = scored;
    const { rowCount, ignoredFeatureCount } = verdicts.block; // Later it is another block's.
    const sample = shadow?.sample(verdicts, batches, firstIndex) ?? null;
    const countStored = observer.scored(verdicts.block, batches.fetched.messages, firstIndex);
    const startMs = performance.now();
    if (!(await store.write(verdicts))) return 'fenced';
    observer.spent('store', performance.now() - startMs);
    countStored();
    observer.stored({
      partition: verdicts.partition,
      messageCount: nextIndex - firstIndex,
      readingCount: rowCount,
      ignoredFeatureCount,
      anomalies: verdicts.anomalies,
      refused: scored.deadLetters.map(({ message, rejection }) => ({ offset: message.offset, ...rejection })),
    });
    return { nextIndex, next: verdicts.next, anomalies: verdicts.anomalies, sample };
  }

  return {
    handlers: {
      assigned(partitions) {
        positions.clear();
        reached.clear();
        troubles.clear();
        for (const partition of partitions) void resume(partition, 'assigned');
      },
      async block(fetched, left) {
        blocksUnderWay += 1;
        try {
          return await handleBlock(fetched, left);
        } catch (error) {
          // Only an ended wait comes here: the group gave this process up, or the partition was assigned anew.
          const { partition, from } = fetched;
          const why = error instanceof Error ? error.message : String(error);
          log.info({ partition, offset: from, why }, 'block left to whoever has the partition now');
          return false;
        } finally {
          blocksUnderWay -= 1;
        }
      },
    },
    partitions: () =>
      [...positions.keys()].map((partition) => ({
        partition,
        next: reached.get(partition) ?? null,
        isStanding: troubles.has(partition),
      })),
    blocksUnderWay: () => blocksUnderWay,
    troubles: () => [...troubles].map(([partition, trouble]) => `partition ${partition}: ${trouble}`),
  };
}

/** The messages of a fetch as the engine takes them. */
export type Batches = {
  readonly fetched: Fetched;
  /** A SensorBatch in Protobuf per message, null where there is none. */
  readonly batches: readonly (ByteSpan | null)[];
  /** Why there is none. */
  readonly refused: readonly Refused[];
};
type Refused = { readonly index: number; readonly rejection: Rejection };

/** Protobuf as it is, JSON encoded anew. */
export function toBatches(fetched: Fetched): Batches {
  const refused: Refused[] = [];
  const isJson = createJsonCheck();
  const batches = fetched.messages.map((message, index) => {
    const { value } = message;
    if (value !== null && value.length > 0 && !isJson(value, message)) return value;
    const encoded = encodeUnlikely(message);
    if ('batch' in encoded) return encoded.batch;
    refused.push({ index, rejection: encoded.rejected });
    return null;
  });
  return { fetched, batches, refused };
}

function encodeUnlikely({ value, timeMs, unreadable }: Message): ReturnType<typeof encodeJsonReadings> {
  if (unreadable !== undefined) {
    const { messageCount, why } = unreadable;
    const detail = `A batch of ${messageCount} messages, of which this is the last one’s offset, cannot be unpacked: ${why}. Its bytes are this letter's value.`;
    return { rejected: { reason: 'unreadable', detail } };
  }
  if (value === null || value.length === 0)
    return { rejected: { reason: 'empty-message', detail: 'The message has no value.' } };
  return encodeJsonReadings(bytesOf(value), { fallbackTimeMs: timeMs });
}

/** By its header; without one by its first byte: a brace or bracket begins no field of a SensorBatch. */
function createJsonCheck() {
  // Messages that follow one another mostly come from the same program and lie in the same buffer.
  let lastType: Uint8Array | undefined;
  let isLastJson = false;
  let bytes: Uint8Array = new Uint8Array(0);
  return (value: ByteSpan, { contentType }: Message): boolean => {
    if (contentType !== null) {
      if (contentType !== lastType) isLastJson = new TextDecoder().decode(contentType).includes('json');
      lastType = contentType;
      return isLastJson;
    }
    if (bytes.buffer !== value.buffer) bytes = new Uint8Array(value.buffer);
    const first = bytes[value.byteOffset];
    return first === '{'.charCodeAt(0) || first === '['.charCodeAt(0);
  };
}

type Scored = {
  readonly verdicts: Verdicts;
  /** The first message that did not fit any more. */
  readonly nextIndex: number;
  readonly deadLetters: readonly DeadLetterDraft[];
  readonly decodeMs: number;
  readonly scoreMs: number;
};

/** Decodes and scores messages from `firstIndex` on, as many as the engine has room for. Waits for nothing. */
export function scoreMessages(
  { engine, modelId, version }: ActiveModel,
  topic: string,
  { fetched, batches, refused }: Batches,
  firstIndex: number,
): Scored {
  const { partition, messages } = fetched;
  const beginMs = performance.now();
  engine.begin();
  const appended = engine.appendAll(batches, firstIndex);
  const nextIndex = appended.next;
  const decodedMs = performance.now();
  const block = engine.score();
  const scoredMs = performance.now();
  const offsets = new Float64Array(nextIndex - firstIndex);
  for (let index = 0; index < offsets.length; index += 1)
    offsets[index] = offsetOf(messages, firstIndex + index); // `from` takes ten times as long.
  const deadLetters = [...refused, ...appended.refused]
    .filter(({ index }) => index >= firstIndex && index < nextIndex)
    .sort((a, b) => a.index - b.index)
    .map(({ index, rejection }) => ({ topic, partition, message: messages[index] as Message, rejection }));
  const verdicts: Verdicts = {
    partition,
    from: firstIndex === 0 ? fetched.from : BigInt(offsetOf(messages, firstIndex)),
    next: nextIndex < messages.length ? BigInt(offsetOf(messages, nextIndex)) : fetched.next,
    modelId,
    modelOffset: engine.model.offset,
    block,
    offsets,
    anomalies: collectAnomalies({ engine, version, topic, partition, block, offsets }),
  };
  return { verdicts, nextIndex, deadLetters, decodeMs: decodedMs - beginMs, scoreMs: scoredMs - decodedMs };
}

const offsetOf = (messages: readonly Message[], index: number): number => (messages[index] as Message).offset;

function collectAnomalies({
  engine,
  version,
  topic,
  partition,
  block,
  offsets,
}: {
  readonly engine: Scoring;
  readonly version: string;
  readonly topic: string;
  readonly partition: number;
  readonly block: Verdicts['block'];
  readonly offsets: Float64Array;
}): AnomalyRecord[] {
  const { features, offset: modelOffset, sha256 } = engine.model;
  const anomalies: AnomalyRecord[] = [];
  let message = 0;
  let rowStart = 0;
  const rowEnd = () => rowStart + (block.messageRows[message] as number);
  for (const [anomalyIndex, blockRow] of block.anomalyRows.entries()) {
    while (blockRow >= rowEnd()) {
      rowStart = rowEnd();
      message += 1;
    }
    const offset = BigInt(offsets[message] as number);
    const row = blockRow - rowStart;
    const severity = block.severities[blockRow] as number;
    const score = block.scores[blockRow] as number;
    anomalies.push({
      id: `${topic}-${partition}-${offset}-${row}`,
      topic,
      partition,
      offset,
      row,
      station: block.station(blockRow),
      timeMs: block.times[blockRow] as number,
      values: features.map((_, feature) =>
        present(block.values[blockRow * block.valueStride + feature] as number),
      ),
      features,
      score,
      decision: score - modelOffset,
      severity: present(severity),
      reasons: block.reasonsOf(anomalyIndex),
      modelSha256: sha256,
      modelVersion: version,
    });
  }
  return anomalies;
}

const present = (value: number): number | null => (Number.isNaN(value) ? null : value);

const protobufHeader = (messageType: string) =>
  `application/x-protobuf; messageType="lonetree.v1.${messageType}"`;

function encodeAnomaly({
  features,
  values,
  severity,
  offset,
  timeMs,
  reasons,
  ...rest
}: AnomalyRecord): Outgoing {
  const anomaly = create(AnomalySchema, {
    ...rest,
    offset,
    timeMs: BigInt(timeMs),
    reasons: [...reasons],
    values: features.map((name, feature) => {
      const value = values[feature] ?? null;
      return value === null ? { name } : { name, value };
    }),
    ...(severity === null ? {} : { severity }),
  });
  return {
    key: rest.station,
    value: toBinary(AnomalySchema, anomaly),
    headers: { 'content-type': protobufHeader('Anomaly'), id: rest.id },
  };
}

type DeadLetterDraft = {
  readonly topic: string;
  readonly partition: number;
  readonly message: Message;
  readonly rejection: Rejection;
};

/** What is left of a letter that is too large: where its message is, why it was refused, and how large it was. */
function withoutContent({ message, rejection, ...origin }: DeadLetterDraft): DeadLetterDraft {
  const { key, value } = message;
  const detail = `${rejection.detail} The message (key ${key?.length ?? 0} bytes, value ${(value ?? message.unreadable?.content)?.length ?? 0} bytes) is too large for this topic; it is at its origin until the log deletes it.`;
  return {
    ...origin,
    message: {
      offset: message.offset,
      timeMs: message.timeMs,
      key: null,
      value: null,
      contentType: null,
      headers: {},
    },
    rejection: { ...rejection, detail },
  };
}

function encodeDeadLetter({ topic, partition, message, rejection }: DeadLetterDraft): Outgoing {
  const letter = create(DeadLetterSchema, {
    topic,
    partition,
    offset: BigInt(message.offset),
    reason: rejection.reason,
    detail: rejection.detail,
    key: message.key ?? new Uint8Array(),
    value:
      message.value === null ? (message.unreadable?.content ?? new Uint8Array()) : bytesOf(message.value),
    headers: { ...message.headers },
    messageTimeMs: BigInt(message.timeMs),
  });
  return {
    key: message.key,
    value: toBinary(DeadLetterSchema, letter),
    headers: {
      'content-type': protobufHeader('DeadLetter'),
      id: `${topic}-${partition}-${message.offset}`,
      reason: rejection.reason,
    },
  };
}
