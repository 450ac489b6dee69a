// Sends one message with two readings of a station to Kafka, as docs/SENDING_DATA.md explains.
import { create, toBinary } from '@bufbuild/protobuf';
import { SensorBatchSchema } from '@lonetree/proto';
import { Kafka, logLevel, Partitioners } from 'kafkajs';

const brokers = (process.env.KAFKA_BROKERS ?? '127.0.0.1:9094').split(',');
const topic = process.env.READINGS_TOPIC ?? 'readings';
const kafka = new Kafka({ brokers, logLevel: logLevel.NOTHING }); // What fails for good is thrown.
// Idempotent: what the client sends again by itself is in the topic once.
const producer = kafka.producer({
  idempotent: true,
  maxInFlightRequests: 1,
  createPartitioner: Partitioners.DefaultPartitioner,
});

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
  topic,
  messages: [
    {
      key: station, // A station's messages keep their order.
      value: Buffer.from(toBinary(SensorBatchSchema, batch)),
      headers: { 'content-type': 'application/x-protobuf' },
    },
  ],
});
await producer.disconnect();
console.log(`sent 2 readings of ${station} to ${topic}`);
