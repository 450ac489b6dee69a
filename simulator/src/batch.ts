// Gathers readings into SensorBatch messages, one station's or one gateway's at a time. Pure.
import { create, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import type { Reading } from './fleet.ts';

/** One message as every publisher takes it. */
export type SimulatedMessage = {
  readonly key: string;
  readonly value: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  readonly sequence: number;
  readonly readingCount: number;
  /** When it should leave, milliseconds since the run began. */
  readonly dueMs: number;
};

export const CONTENT_TYPE = 'application/x-protobuf';
export const BATCH_SIZE_MAX = 100_000;

export type BatcherOptions = {
  readonly stations: readonly string[];
  readonly features: readonly { readonly name: string; readonly unit: string }[];
  /** Readings in one message. */
  readonly batchSize: number;
  /** 0: every station sends its own messages. Otherwise station i reports through gateway i mod gatewayCount. */
  readonly gatewayCount: number;
  /** First messages of different lengths, so that not all senders fill theirs at the same moment. */
  readonly isStaggered: boolean;
};

export type Batcher = {
  /** Takes a reading; answers with the message that it completes. */
  add(reading: Reading, dueMs: number): SimulatedMessage | null;
  /** What is left over, as shorter messages. */
  finish(): SimulatedMessage[];
};

export function createBatcher(options: BatcherOptions): Batcher {
  checkOptions(options);
  const { stations, gatewayCount } = options;
  const senderCount = gatewayCount === 0 ? stations.length : Math.min(gatewayCount, stations.length);
  const senders = Array.from({ length: senderCount }, (_, index) =>
    createSender(index, senderCount, options),
  );
  let sequence = 0;
  const send = (sender: Sender): SimulatedMessage => {
    const message = sender.send(sequence);
    sequence += 1;
    return message;
  };
  return {
    add(reading, dueMs) {
      const sender = senders[reading.stationIndex % senderCount] as Sender;
      return sender.add(reading, dueMs) ? send(sender) : null;
    },
    finish: () => senders.filter((sender) => sender.readingCount() > 0).map(send),
  };
}

function checkOptions({ batchSize, gatewayCount }: BatcherOptions): void {
  if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > BATCH_SIZE_MAX) {
    throw new RangeError(`batchSize is ${batchSize}; give a whole number from 1 to ${BATCH_SIZE_MAX}`);
  }
  if (!Number.isInteger(gatewayCount) || gatewayCount < 0) {
    throw new RangeError(`gatewayCount is ${gatewayCount}; give a whole number, 0 for none`);
  }
}

type Sender = {
  /** True when the message is full. */
  add(reading: Reading, dueMs: number): boolean;
  readingCount(): number;
  send(sequence: number): SimulatedMessage;
};

function createSender(senderIndex: number, senderCount: number, options: BatcherOptions): Sender {
  const { stations, features, batchSize, gatewayCount, isStaggered } = options;
  const key = gatewayCount === 0 ? (stations[senderIndex] as string) : `gateway-${senderIndex + 1}`;
  let stationIndices: number[] = [];
  let timesMs: number[] = [];
  let columns: number[][] = features.map(() => []);
  let lastDueMs = 0;
  let size = isStaggered ? Math.ceil((batchSize * (senderIndex + 1)) / senderCount) : batchSize;
  return {
    add({ stationIndex, timeMs, values }, dueMs) {
      stationIndices.push(stationIndex);
      timesMs.push(timeMs);
      for (let index = 0; index < columns.length; index++)
        (columns[index] as number[]).push(values[index] as number);
      lastDueMs = dueMs;
      return timesMs.length >= size;
    },
    readingCount: () => timesMs.length,
    send(sequence) {
      const value = encode({ stations, features, stationIndices, timesMs, columns });
      const readingCount = timesMs.length;
      stationIndices = [];
      timesMs = [];
      columns = features.map(() => []);
      size = batchSize;
      const headers = { 'content-type': CONTENT_TYPE, sequence: String(sequence) };
      return { key, value, headers, sequence, readingCount, dueMs: lastDueMs };
    },
  };
}

type Rows = {
  readonly stations: readonly string[];
  readonly features: BatcherOptions['features'];
  readonly stationIndices: readonly number[];
  readonly timesMs: readonly number[];
  readonly columns: readonly number[][];
};

function encode({ stations, features, stationIndices, timesMs, columns }: Rows): Uint8Array {
  const present = [...new Set(stationIndices)];
  const places = new Map(present.map((stationIndex, place) => [stationIndex, place]));
  const baseTimeMs = timesMs[0] as number;
  let previousMs = baseTimeMs;
  const timeDeltasMs = timesMs.map((timeMs) => {
    const delta = BigInt(timeMs - previousMs);
    previousMs = timeMs;
    return delta;
  });
  return toBinary(
    SensorBatchSchema,
    create(SensorBatchSchema, {
      stations: present.map((stationIndex) => stations[stationIndex] as string),
      // One station alone needs no indices.
      stationIndices:
        present.length === 1 ? [] : stationIndices.map((stationIndex) => places.get(stationIndex) as number),
      baseTimeMs: BigInt(baseTimeMs),
      timeDeltasMs,
      columns: features.map(({ name, unit }, index) => ({ name, unit, values: columns[index] as number[] })),
    }),
  );
}
