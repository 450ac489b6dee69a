// Makes topics and reads how far they reach, with a client that is closed again at once.
import { type Admin, Kafka as KafkaClient, logLevel } from 'kafkajs';

export type Topic = {
  readonly name: string;
  readonly partitions: number;
  /** By Kafka's names. */
  readonly settings?: Readonly<Record<string, string>>;
};

/** As the settings' defaults name them. */
export const projectTopics: readonly Topic[] = [
  { name: 'readings', partitions: 6 },
  { name: 'anomalies', partitions: 6 },
  { name: 'readings.dead-letter', partitions: 1 },
  { name: 'model-updates', partitions: 1 },
];

/** Makes the topics that are not there yet, one replica each. */
export async function createTopics(
  kafka: { readonly brokers: string },
  topics: readonly Topic[],
): Promise<void> {
  await withAdmin(kafka.brokers, async (admin) => {
    await admin.createTopics({
      waitForLeaders: true,
      topics: topics.map(({ name, partitions, settings = {} }) => ({
        topic: name,
        numPartitions: partitions,
        replicationFactor: 1,
        configEntries: Object.entries(settings).map(([key, value]) => ({ name: key, value })),
      })),
    });
  });
}

export type TopicRange = { readonly partition: number; readonly start: bigint; readonly end: bigint };

/** For each partition in order: its first offset, and the one that its next message will get. */
export async function topicRanges(kafka: { readonly brokers: string }, topic: string): Promise<TopicRange[]> {
  return await withAdmin(kafka.brokers, async (admin) => {
    const offsets = await admin.fetchTopicOffsets(topic);
    return offsets
      .map(({ partition, low, high }) => ({ partition, start: BigInt(low), end: BigInt(high) }))
      .sort((a, b) => a.partition - b.partition);
  });
}

async function withAdmin<T>(brokers: string, work: (admin: Admin) => Promise<T>): Promise<T> {
  const client = new KafkaClient({
    brokers: brokers.split(','),
    clientId: 'lonetree-devstack',
    logLevel: logLevel.NOTHING,
  });
  const admin = client.admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}
