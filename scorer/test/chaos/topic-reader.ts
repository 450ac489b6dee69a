// Reads a whole Kafka topic with a client of its own, for comparing it with what was stored.
import { topicRanges } from '@lonetree/devstack';
import { type IHeaders, Kafka, logLevel } from 'kafkajs';
import { bounds } from '../../src/bounds.ts';
import { useCodecs } from '../../src/broker-kafka-codecs.ts';

export type TopicMessage = {
  readonly partition: number;
  readonly offset: string;
  readonly value: Uint8Array;
  readonly headers: IHeaders;
};

/** All messages that the topic holds when the call is made. */
export async function readTopic(kafka: { readonly brokers: string }, topic: string): Promise<TopicMessage[]> {
  const open = new Map(
    (await topicRanges(kafka, topic))
      .filter(({ start, end }) => end > start)
      .map(({ partition, end }) => [partition, end]),
  );
  const messages: TopicMessage[] = [];
  if (open.size === 0) return messages;
  useCodecs(bounds.unpackedSizeMax);
  const client = new Kafka({ brokers: kafka.brokers.split(','), logLevel: logLevel.NOTHING });
  const consumer = client.consumer({ groupId: `reader-${crypto.randomUUID()}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const { promise: finished, resolve } = Promise.withResolvers<void>();
  await consumer.run({
    autoCommit: false,
    eachBatch: ({ batch }) => {
      for (const { offset, value, headers } of batch.messages) {
        messages.push({
          partition: batch.partition,
          offset,
          value: value ?? new Uint8Array(),
          headers: headers ?? {},
        });
      }
      if (BigInt(batch.lastOffset()) + 1n >= (open.get(batch.partition) ?? 0n)) open.delete(batch.partition);
      if (open.size === 0) resolve();
      return Promise.resolve();
    },
  });
  await finished;
  await consumer.disconnect();
  return messages;
}
