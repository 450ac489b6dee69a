// Sends records to Kafka and tells at which offsets they stand. The only file that knows this client; unlike the
// simulator's it never tries again, so that it cannot put a record into the topic twice, and it is several times as fast.
import { type MessageToProduce, Producer } from '@platformatic/kafka';
import type { SimulatedMessage } from '../src/batch.ts';

/** A message as the client takes it: made once, sent many times. */
export type ReadyRecord = MessageToProduce;

export type Placed = { readonly partition: number; readonly baseOffset: number };

export type RecordProducer = {
  /** One request; a partition's records stand one after the other, in the order given, from its base offset on. */
  send(records: ReadyRecord[]): Promise<readonly Placed[]>;
  close(): Promise<void>;
};

/** Requests that wait for their answers on a connection: enough that an open loop is never held up by them. */
const IN_FLIGHT_MAX = 1_000;
const REQUEST_TIMEOUT_MS = 30_000;

export function createRecordProducer(brokers: readonly string[]): RecordProducer {
  const producer = new Producer({
    clientId: 'lonetree-load-test',
    bootstrapBrokers: [...brokers],
    acks: -1,
    idempotent: false,
    retries: false,
    maxInflights: IN_FLIGHT_MAX,
    timeout: REQUEST_TIMEOUT_MS,
    autocreateTopics: false,
  });
  return {
    async send(records) {
      const { offsets } = await producer.send({ messages: records });
      return (offsets ?? []).map(({ partition, offset }) => ({ partition, baseOffset: Number(offset) }));
    },
    close: () => producer.close(),
  };
}

/** Messages take the partitions in turn: as many of them as there are, so that each keeps its own. */
export function prepareRecords(
  messages: readonly SimulatedMessage[],
  { topic, partitionCount }: { readonly topic: string; readonly partitionCount: number },
): readonly ReadyRecord[] {
  const contentType = messages[0]?.headers['content-type'] ?? '';
  const headers = new Map([[Buffer.from('content-type'), Buffer.from(contentType)]]);
  const keys = new Map(messages.map(({ key }) => [key, Buffer.from(key)]));
  return messages.map(({ key, value }, index) => ({
    topic,
    partition: index % partitionCount,
    key: keys.get(key) as Buffer,
    value: Buffer.from(value.buffer, value.byteOffset, value.byteLength),
    headers,
  }));
}
