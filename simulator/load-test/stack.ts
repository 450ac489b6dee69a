// What is under load: servers and a scorer of our own, or the ones at given addresses.
import { createTopics, startKafka, startPostgres, startScorer, topicRanges } from '@lonetree/devstack';
import type { ProcessGroups } from './process-usage.ts';

export type Stack = {
  readonly title: string;
  readonly brokers: readonly string[];
  readonly databaseUrl: string;
  readonly group: string;
  readonly readingsTopic: string;
  readonly anomaliesTopic: string;
  readonly partitionCount: number;
  /** Empty for servers that are not ours. */
  readonly processes: ProcessGroups;
  /** Throws when a process of ours has ended by itself: waiting any longer is of no use. */
  checkRunning(): void;
  stop(): Promise<void>;
};

export type ForeignStack = { readonly brokers: readonly string[]; readonly databaseUrl: string };

const READINGS_TOPIC = 'readings';
const ANOMALIES_TOPIC = 'anomalies';
const GROUP = 'scorer';
const BROKER_HEAP_MB = 1_024;

/** A broker and a database with what they keep on disk in temporary folders, and one scorer as `bun run scorer` starts it. */
export async function startNativeStack(partitionCount: number): Promise<Stack> {
  const [kafka, database] = await Promise.all([startKafka({ heapMb: BROKER_HEAP_MB }), startPostgres()]);
  const stopServers = async () => {
    await Promise.all([kafka.stop(), database.stop()]);
  };
  try {
    await createTopics(kafka, [
      { name: READINGS_TOPIC, partitions: partitionCount },
      { name: ANOMALIES_TOPIC, partitions: 3 },
      { name: 'readings.dead-letter', partitions: 1 },
    ]);
    const scorer = startScorer({
      brokers: kafka.brokers,
      databaseUrl: database.url,
      environment: { KAFKA_GROUP: GROUP, READINGS_TOPIC, ANOMALIES_TOPIC },
    });
    return {
      title: 'one broker, one database and one scorer of its own, on this machine',
      brokers: [kafka.brokers],
      databaseUrl: database.url,
      group: GROUP,
      readingsTopic: READINGS_TOPIC,
      anomaliesTopic: ANOMALIES_TOPIC,
      partitionCount,
      processes: {
        scorer: () => [scorer.pid],
        Kafka: () => kafka.pids(),
        PostgreSQL: () => database.pids(),
      },
      checkRunning: scorer.checkRunning,
      async stop() {
        await scorer.stop();
        await stopServers();
      },
    };
  } catch (error) {
    await stopServers();
    throw error;
  }
}

/** A scorer, a broker and a database that somebody else runs; readings of simulated stations go into them. */
export async function useForeignStack({ brokers, databaseUrl }: ForeignStack): Promise<Stack> {
  const partitions = await topicRanges({ brokers: brokers.join(',') }, READINGS_TOPIC);
  return {
    title: `Kafka at ${brokers.join(', ')} and PostgreSQL at ${new URL(databaseUrl).host}`,
    brokers,
    databaseUrl,
    group: GROUP,
    readingsTopic: READINGS_TOPIC,
    anomaliesTopic: ANOMALIES_TOPIC,
    partitionCount: partitions.length,
    processes: {},
    checkRunning: () => {},
    stop: () => Promise.resolve(),
  };
}
