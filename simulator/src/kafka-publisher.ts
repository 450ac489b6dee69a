// Publishes to a Kafka topic with an idempotent producer and tells the ledger which messages the broker
// has.
import {
  Kafka,
  logLevel,
  Partitioners,
  type PartitionMetadata,
  type Producer,
  type RetryOptions,
} from 'kafkajs';
import type { SimulatedMessage } from './batch.ts';
import { countFailed, noDelivery, type Publisher, settlesWithin } from './publisher.ts';
import { createQueue } from './queue.ts';

/** One message that the broker has acknowledged. */
export type LedgerEntry = {
  readonly partition: number;
  readonly offset: bigint;
  readonly sequence: number;
  readonly readingCount: number;
};

export type KafkaPublisherOptions = {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly signal: AbortSignal;
  readonly onAcknowledged?: (entries: readonly LedgerEntry[]) => void;
};

/** Below the broker's default `message.max.bytes` of 1 MiB, as a partition's part of a request is one record batch. */
const REQUEST_SIZE_MAX = 900_000;
/** Key, headers and framing of one record. */
const RECORD_OVERHEAD_SIZE = 120;
const QUEUE_SIZE_MAX = 8 * 1_024 * 1_024;
const NEW_TOPIC_PARTITION_COUNT = 6;
const CLOSE_TIMEOUT_MS = 30_000;
/** Long enough to sit out a broker's restart. */
const SEND_RETRIES = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 40 };
const CONNECT_RETRIES = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 5 };

export async function createKafkaPublisher(options: KafkaPublisherOptions): Promise<Publisher> {
  const { topic, signal } = options;
  const partitionMetadata = await ensureTopic(options);
  const kafka = createClient(options.brokers, SEND_RETRIES);
  const choosePartition = Partitioners.DefaultPartitioner();
  const partitionOf = (message: SimulatedMessage): number =>
    choosePartition({ topic, partitionMetadata, message: { key: message.key, value: null } });
  const delivery = noDelivery();
  const queue = createQueue<SimulatedMessage>({
    sizeMax: QUEUE_SIZE_MAX,
    sizeOf: ({ value }) => value.length + RECORD_OVERHEAD_SIZE,
    signal,
  });
  let producer = await connectProducer(kafka);

  const sendAll = async (): Promise<void> => {
    for (;;) {
      const messages = await queue.take(REQUEST_SIZE_MAX);
      if (messages.length === 0) return;
      try {
        const entries = await send(producer, topic, messages, partitionOf);
        delivery.acknowledgedMessages += messages.length;
        options.onAcknowledged?.(entries);
      } catch (cause) {
        countFailed(delivery, messages, describe(cause));
        // The broker may have the failed records under the sequence numbers that this producer would use again,
        // and would then take the next records for repetitions of them. A new producer has its own numbers.
        void producer.disconnect().catch(() => {});
        producer = await connectProducer(kafka);
      }
    }
  };
  let broken: Error | null = null;
  const sending = sendAll().catch((cause: unknown) => {
    broken = new Error(`Kafka at ${options.brokers.join(',')} is gone: ${describe(cause)}`, { cause });
    countFailed(delivery, queue.abandon(), broken.message);
  });

  return {
    delivery,
    async publish(messages) {
      if (broken === null) await queue.put(messages);
      if (broken !== null) throw broken;
    },
    async close() {
      queue.close();
      const isDone = await settlesWithin(sending, CLOSE_TIMEOUT_MS);
      countFailed(
        delivery,
        queue.abandon(),
        delivery.lastError ?? `not sent within ${CLOSE_TIMEOUT_MS / 1_000} s`,
      );
      if (isDone) await producer.disconnect().catch(() => {});
    },
  };
}

function createClient(brokers: readonly string[], retry: RetryOptions): Kafka {
  const clientId = 'lonetree-simulator';
  return new Kafka({
    clientId,
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    requestTimeout: 5_000,
    retry,
  });
}

async function connectProducer(kafka: Kafka): Promise<Producer> {
  const producer = kafka.producer({
    idempotent: true,
    allowAutoTopicCreation: false,
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  return producer;
}

async function ensureTopic({ brokers, topic }: KafkaPublisherOptions): Promise<PartitionMetadata[]> {
  // A wrong address should be said soon, while a broker that was there is waited for.
  const admin = createClient(brokers, CONNECT_RETRIES).admin();
  try {
    await admin.connect();
    await admin.createTopics({
      topics: [{ topic, numPartitions: NEW_TOPIC_PARTITION_COUNT }],
      waitForLeaders: true,
    });
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics[0]?.partitions ?? [];
  } catch (cause) {
    const place = brokers.join(',');
    throw new Error(`topic ${topic} on Kafka at ${place}: ${describe(cause)}; check --brokers and --topic`, {
      cause,
    });
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

async function send(
  producer: Producer,
  topic: string,
  messages: readonly SimulatedMessage[],
  partitionOf: (message: SimulatedMessage) => number,
): Promise<LedgerEntry[]> {
  const partitions = messages.map(partitionOf);
  const metadata = await producer.send({
    topic,
    acks: -1,
    messages: messages.map((message, index) => ({
      key: message.key,
      value: Buffer.from(message.value.buffer, message.value.byteOffset, message.value.byteLength),
      headers: { ...message.headers },
      partition: partitions[index] as number,
    })),
  });
  // Records of one partition stand in the log in the order they were given, from its base offset on.
  const nextOffsets = new Map(
    metadata.map(({ partition, baseOffset }) => [partition, BigInt(baseOffset ?? -1)]),
  );
  return messages.map(({ sequence, readingCount }, index) => {
    const partition = partitions[index] as number;
    const offset = nextOffsets.get(partition) as bigint;
    nextOffsets.set(partition, offset + 1n);
    return { partition, offset, sequence, readingCount };
  });
}

function describe(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
