// Sends one message with two readings of a station to Kafka, as docs/SENDING_DATA.md explains.
import { create, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { Kafka } from 'kafkajs';

const kafka = new Kafka({ brokers: (process.env.KAFKA_BROKERS ?? '127.0.0.1:9094').split(',') });
// Idempotent: what the client sends again by itself is in the topic once.
const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });

const station = 'press-ts';
const batch = create(SensorBatchSchema, {
  stations: [station],
  baseTimeMs: BigInt(Date.now()),
  timeDeltasMs: [0n, 1_000n], // The second reading is one second younger.
  columns: [
    { name: 'temperature', unit: 'Cel', values: [28.7, 28.6] },
    { name: 'humidity', unit: '%', values: [17.5, 17.6] },
    { name: 'sound', unit: 'dB', values: [54.1, Number.NaN] }, // NaN: no value.
  ],
});

await producer.connect();
await producer.send({
  topic: process.env.READINGS_TOPIC ?? 'readings',
  messages: [
    {
      key: station, // A station's messages keep their order.
      value: Buffer.from(toBinary(SensorBatchSchema, batch)),
      headers: { 'content-type': 'application/x-protobuf' },
    },
  ],
});
await producer.disconnect();
