// Announcements of models from Kafka: every scorer reads every one, in a group of its own that it leaves nothing behind of.
import type { Kafka } from 'kafkajs';
import { createKafkaClient, type KafkaClientOptions } from './broker-kafka-client.ts';
import type { Announcement, ModelUpdates } from './model-update.ts';

export type KafkaUpdatesOptions = KafkaClientOptions & {
  readonly topic: string;
  readonly bounds: {
    readonly requestTimeoutMs: number;
    readonly unpackedSizeMax: number;
    readonly sessionTimeoutMs: number;
    readonly heartbeatIntervalMs: number;
    readonly updatesFetchWaitMaxMs: number;
    readonly updatesRetryMs: number;
  };
};

export function createKafkaUpdates(options: KafkaUpdatesOptions): ModelUpdates {
  const { topic, bounds, log } = options;
  const kafka = createKafkaClient(options, bounds);
  // Scorers that were given one id by mistake would share its announcements.
  const groupId = `model-updates-${options.clientId}-${crypto.randomUUID()}`;
  /** What is to be read next: the group keeps no positions. */
  const positions = new Map<number, bigint>();
  /** The topic was made after this began: all that it has is news. */
  let isTopicNew = false;
  const closing = Promise.withResolvers<'closed'>();
  let isClosing = false;
  let reading: Promise<void> = Promise.resolve();

  /** What is announced from here on is read, also when joining the group takes its time. Answers false without a topic. */
  async function findEnds(): Promise<boolean> {
    const admin = kafka.admin();
    try {
      await admin.connect();
      if (!(await admin.listTopics()).includes(topic)) {
        isTopicNew = true;
        return false;
      }
      if (isTopicNew) return true;
      for (const { partition, high } of await admin.fetchTopicOffsets(topic))
        if (!positions.has(partition)) positions.set(partition, BigInt(high));
      return true;
    } finally {
      await admin.disconnect();
    }
  }

  /** The life of one consumer: until it crashes for good, or all ends. */
  async function readOn(handle: (announcement: Announcement) => void): Promise<void> {
    const consumer = kafka.consumer({
      groupId,
      allowAutoTopicCreation: false,
      // After a crash it waits for its earlier self to be given up.
      sessionTimeout: bounds.sessionTimeoutMs,
      heartbeatInterval: bounds.heartbeatIntervalMs,
      maxWaitTimeInMs: bounds.updatesFetchWaitMaxMs,
    });
    const crashed = Promise.withResolvers<never>();
    crashed.promise.catch(() => {}); // Whoever waits below sees it.
    consumer.on(consumer.events.CRASH, ({ payload: { error, restart } }) => {
      if (!restart) crashed.reject(error);
    });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload: { memberAssignment } }) => {
      for (const partition of memberAssignment[topic] ?? [])
        consumer.seek({ topic, partition, offset: String(positions.get(partition) ?? 0n) });
      log.info({ topic, group: groupId }, 'announcements of models are read');
    });
    try {
      await consumer.connect();
      await consumer.subscribe({ topic });
      await consumer.run({
        autoCommit: false,
        eachMessage({ partition, message: { offset, value, headers = {} } }) {
          positions.set(partition, BigInt(offset) + 1n);
          const { 'content-type': contentType } = headers;
          handle({
            value,
            headers: contentType instanceof Uint8Array ? { 'content-type': contentType } : {},
          });
          return Promise.resolve();
        },
      });
      await Promise.race([crashed.promise, closing.promise]);
    } finally {
      await consumer.disconnect();
    }
  }

  async function readUntilClosed(handle: (announcement: Announcement) => void): Promise<void> {
    for (let lastTrouble = ''; !isClosing; ) {
      try {
        if (!(await findEnds())) throw new Error(`there is no topic ${topic}`);
        await readOn(handle);
      } catch (error) {
        const { message } = error as Error;
        if (message !== lastTrouble && !isClosing)
          log.warn(
            { topic, err: error },
            'announcements of models cannot be read; the registry is asked now and then',
          );
        lastTrouble = message;
        await Promise.race([Bun.sleep(bounds.updatesRetryMs), closing.promise]);
      }
    }
  }

  return {
    follow(handle) {
      reading = readUntilClosed(handle);
    },
    async close() {
      isClosing = true;
      closing.resolve('closed');
      await reading;
      await deleteGroup(kafka, groupId).catch((error) => {
        log.debug(
          { group: groupId, err: error },
          'the group of announcements is left to the broker to remove',
        );
      });
    },
  };
}

/** Empty and without positions, the broker would remove it later by itself. */
async function deleteGroup(kafka: Kafka, groupId: string): Promise<void> {
  const admin = kafka.admin({ retry: { retries: 0 } });
  try {
    await admin.connect();
    await admin.deleteGroups([groupId]);
  } finally {
    await admin.disconnect();
  }
}
