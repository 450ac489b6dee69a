// `bun run latency`: milliseconds from the moment a message is sent to Kafka until its readings can be queried in
// PostgreSQL, under a low, steady load. One scorer. Exits 1 when a message does not arrive.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createTopics, startKafka, startPostgres } from '@lonetree/devstack';
import { Kafka, logLevel } from 'kafkajs';
import postgres from 'postgres';
import { encodeReadings } from '../src/reading-json.ts';

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1000' },
    batch: { type: 'string', default: '64' },
    partitions: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '20' },
  },
});
const [rate, batch, partitions] = [Number(values.rate), Number(values.batch), Number(values.partitions)];
const messageCount = rate * Number(values.seconds);
/** Messages sent before measuring begins: the scorer's code is compiled by then. */
const warmUpCount = 5 * rate;
const arrivalDeadlineMs = 10_000;

const [kafka, database] = await Promise.all([startKafka({ heapMb: 512 }), startPostgres()]);
await createTopics(kafka, [
  { name: 'readings', partitions },
  { name: 'anomalies', partitions: 1 },
  { name: 'readings.dead-letter', partitions: 1 },
]);
const scorer = spawn(process.execPath, ['scorer/src/main.ts'], {
  cwd: join(import.meta.dir, '..', '..'),
  env: {
    ...process.env,
    KAFKA_BROKERS: kafka.brokers,
    DATABASE_URL: database.url,
    PORT: '0',
    LOG_LEVEL: 'warn',
  },
  stdio: ['ignore', 'ignore', 'inherit'],
});
const sql = postgres(database.url, { max: 1, onnotice() {} });
const producer = new Kafka({ brokers: [kafka.brokers], logLevel: logLevel.ERROR }).producer();
await producer.connect();

/** Per partition, in the order of offsets: messages that are in the log and not known to be stored. */
const underWay = Array.from({ length: partitions }, (): { offset: number; sentMs: number }[] => []);
const latencies: number[] = [];
let sentCount = 0;
let storedCount = 0;

/** Made once: the load must not be what keeps the machine busy. */
const batches = Array.from({ length: 100 }, (_, station) => {
  const readings = Array.from({ length: batch }, (__, index) => ({
    station: `station-${station}`,
    timeMs: Date.now() - index,
    values: new Map([
      ['temperature', 28 + (index % 5) / 10],
      ['humidity', 17.5],
      ['sound', 54],
    ]),
  }));
  const encoded = encodeReadings(readings);
  if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
  return Buffer.from(encoded.batch);
});

async function send(sequence: number): Promise<void> {
  const partition = sequence % partitions;
  const sentMs = performance.now();
  const [answer] = await producer.send({
    topic: 'readings',
    messages: [{ partition, value: batches[sequence % batches.length] as Buffer }],
  });
  underWay[partition]?.push({ offset: Number(answer?.baseOffset), sentMs });
}

/** A look at the table takes the machine's time, too. */
const lookEveryMs = 1;

/** Notes which messages have been stored. What the log has not confirmed to us yet is noted the next time. */
async function look(): Promise<void> {
  const positions = await sql`select partition, next_offset::float8 as next from consumer_offset`;
  const nowMs = performance.now();
  for (const { partition, next } of positions) {
    const waiting = underWay[partition as number] ?? [];
    waiting.sort((a, b) => a.offset - b.offset);
    while (waiting[0] !== undefined && waiting[0].offset < next) {
      const { sentMs } = waiting.shift() as { sentMs: number };
      storedCount += 1;
      if (storedCount > warmUpCount) latencies.push(nowMs - sentMs);
    }
  }
}

while ((await sql`select 1 from pg_tables where tablename = 'consumer_offset'`).length === 0)
  await Bun.sleep(100);
while ((await sql`select 1 from consumer_offset`).length < partitions) await Bun.sleep(100);
const sending = (async () => {
  const startMs = performance.now();
  const sends: Promise<void>[] = [];
  for (; sentCount < warmUpCount + messageCount; await Bun.sleep(1)) {
    const due = ((performance.now() - startMs) * rate) / 1_000;
    for (; sentCount < Math.min(due, warmUpCount + messageCount); sentCount += 1) sends.push(send(sentCount));
  }
  await Promise.all(sends);
  return performance.now();
})();
let sentAllMs = Number.POSITIVE_INFINITY;
void sending.then((atMs) => {
  sentAllMs = atMs;
});
while (storedCount < warmUpCount + messageCount && performance.now() - sentAllMs < arrivalDeadlineMs) {
  await look();
  await Bun.sleep(lookEveryMs);
}

latencies.sort((a, b) => a - b);
const percentile = (share: number) =>
  Number((latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2));
const gone = new Promise((resolve) => scorer.once('exit', resolve));
scorer.kill('SIGTERM');
await Promise.all([gone, sql.end(), producer.disconnect()]);
await Promise.all([kafka.stop(), database.stop()]);
const missing = warmUpCount + messageCount - storedCount;
console.log(
  JSON.stringify({
    messagesPerSecond: rate,
    readingsPerMessage: batch,
    messages: latencies.length,
    missing,
    p50Ms: percentile(0.5),
    p90Ms: percentile(0.9),
    p99Ms: percentile(0.99),
    maxMs: latencies.at(-1),
  }),
);
process.exit(missing === 0 ? 0 : 1);
