// Reads the topic of anomalies as a subscriber would, and notes when each arrived. The only file here that knows kafkajs.
import { fromBinary } from '@bufbuild/protobuf';
import { AnomalySchema } from '@lonetree/proto';
import { Kafka, logLevel } from 'kafkajs';
import { nowMs } from './clock.ts';

/** An anomaly at its first arrival; later ones of the same id are the same anomaly. */
export type Arrival = { readonly partition: number; readonly offset: number; readonly arrivedMs: number };

export type AnomalyTopic = {
  readonly arrivals: ReadonlyMap<string, Arrival>;
  /** Forgets what has arrived: a new step begins. */
  clear(): void;
  close(): Promise<void>;
};

const FETCH_WAIT_MAX_MS = 250;

/** From now on, once this promise is settled. */
export async function readAnomalies(brokers: readonly string[], topic: string): Promise<AnomalyTopic> {
  const client = new Kafka({
    clientId: 'lonetree-load-test',
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
  });
  const consumer = client.consumer({
    groupId: `load-test-${crypto.randomUUID()}`,
    maxWaitTimeInMs: FETCH_WAIT_MAX_MS,
  });
  const arrivals = new Map<string, Arrival>();
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: false });
  const joined = new Promise<void>((resolve) => consumer.on(consumer.events.FETCH, () => resolve()));
  await consumer.run({
    autoCommit: false,
    eachBatch: ({ batch }) => {
      const arrivedMs = nowMs();
      for (const { value } of batch.messages) {
        if (value === null) continue;
        const { id, partition, offset } = fromBinary(AnomalySchema, value);
        if (!arrivals.has(id)) arrivals.set(id, { partition, offset: Number(offset), arrivedMs });
      }
      return Promise.resolve();
    },
  });
  await joined;
  return { arrivals, clear: () => arrivals.clear(), close: () => consumer.disconnect() };
}
