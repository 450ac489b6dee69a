// Takes fault labels to where the readings never go: a file of JSON lines, a Kafka topic.
import { closeSync, openSync, writeSync } from 'node:fs';
import type { FaultLabel } from './faults.ts';
import { createKafkaPublisher } from './kafka-publisher.ts';

export type LabelSink = {
  write(labels: readonly FaultLabel[]): void;
  close(): Promise<void>;
};

/** One JSON line per fault, written when it begins. */
export function createLabelFile(file: string): LabelSink {
  const descriptor = openSync(file, 'w');
  return {
    write: (labels) => {
      writeSync(descriptor, labels.map((label) => `${JSON.stringify(label)}\n`).join(''));
    },
    close: async () => closeSync(descriptor),
  };
}

export type LabelTopicOptions = {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly signal: AbortSignal;
};

/** One JSON message per fault, keyed by station. */
export async function createLabelTopic(options: LabelTopicOptions): Promise<LabelSink> {
  const publisher = await createKafkaPublisher(options);
  let sequence = 0;
  return {
    write(labels) {
      const messages = labels.map((label) => ({
        key: label.station,
        value: new TextEncoder().encode(JSON.stringify(label)),
        headers: { 'content-type': 'application/json' },
        sequence: sequence++,
        readingCount: 0,
        dueMs: 0,
      }));
      // Labels are few; readings need not wait for them.
      void publisher.publish(messages);
    },
    async close() {
      await publisher.close();
      const { failedMessages, lastError } = publisher.delivery;
      if (failedMessages > 0) throw new Error(`${failedMessages} labels not published: ${lastError}`);
    },
  };
}
