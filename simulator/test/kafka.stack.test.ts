// Proves delivery to a real Kafka: what the ledger says is what the topic has, also across a broker's
// sudden death.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { startKafka } from '@lonetree/devstack';
import { SensorBatchSchema } from '@lonetree/proto';
import { Kafka, logLevel } from 'kafkajs';
import type { FaultLabel } from '../src/faults.ts';

const MAIN = join(import.meta.dir, '../src/main.ts');
const TIMEOUT_MS = 120_000;
let kafka: Awaited<ReturnType<typeof startKafka>>;
let directory = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lonetree-kafka-'));
  kafka = await startKafka();
}, TIMEOUT_MS);
afterAll(async () => {
  await kafka?.stop();
  await rm(directory, { recursive: true, force: true });
}, TIMEOUT_MS);

type Stored = {
  partition: number;
  offset: bigint;
  key: string;
  headers: Record<string, string>;
  value: Uint8Array;
};

/** Everything that a topic holds, read to its end. */
async function readTopic(topic: string): Promise<Stored[]> {
  const client = new Kafka({ brokers: [kafka.brokers], logLevel: logLevel.NOTHING });
  const admin = client.admin();
  await admin.connect();
  const left = new Map(
    (await admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, BigInt(high)]),
  );
  await admin.disconnect();
  for (const [partition, high] of left) if (high === 0n) left.delete(partition);
  const stored: Stored[] = [];
  const consumer = client.consumer({ groupId: `reader-of-${topic}` });
  const end = Promise.withResolvers<void>();
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      const offset = BigInt(message.offset);
      const headers = Object.entries(message.headers ?? {}).map(([name, value]) => [name, String(value)]);
      const value = new Uint8Array(message.value ?? []);
      stored.push({
        partition,
        offset,
        key: String(message.key),
        headers: Object.fromEntries(headers),
        value,
      });
      if (offset + 1n >= (left.get(partition) ?? 0n)) left.delete(partition);
      if (left.size === 0) end.resolve();
    },
  });
  await end.promise;
  await consumer.disconnect();
  return stored;
}

function start(topic: string, args: readonly string[]) {
  const command = [process.execPath, MAIN, '--brokers', kafka.brokers, '--topic', topic, ...args];
  return Bun.spawn(command, { stdout: 'pipe', stderr: 'pipe' });
}

async function readLedger(file: string): Promise<string[]> {
  return (await readFile(file, 'utf8')).trim().split('\n').toSorted();
}

function ledgerOf(stored: readonly Stored[]): string[] {
  return stored
    .map(({ partition, offset, headers, value }) => {
      const { timeDeltasMs } = fromBinary(SensorBatchSchema, value);
      return [partition, offset, headers.sequence, timeDeltasMs.length].join('\t');
    })
    .toSorted();
}

describe('simulator on Kafka', () => {
  test(
    'the ledger is the topic: every message once, each station in one partition and in order',
    async () => {
      const ledger = join(directory, 'plain.tsv');
      const args = [
        '--stations',
        '20',
        '--rate',
        'max',
        '--batch',
        '50',
        '--readings',
        '40000',
        '--ledger',
        ledger,
      ];
      const child = start('plain', args);
      const [stdout, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ readings: 40_000, acknowledged: 800, failed: 0 });
      const stored = await readTopic('plain');
      expect(ledgerOf(stored)).toEqual(await readLedger(ledger));
      expect(new Set(stored.map(({ partition }) => partition)).size).toBeGreaterThan(1);
      for (const key of new Set(stored.map((message) => message.key))) {
        const own = stored.filter((message) => message.key === key);
        expect(new Set(own.map(({ partition }) => partition)).size).toBe(1);
        const sequences = own.map(({ headers }) => Number(headers.sequence));
        expect(sequences).toEqual(sequences.toSorted((left, right) => left - right));
        expect(own.every(({ headers }) => headers['content-type'] === 'application/x-protobuf')).toBe(true);
      }
    },
    TIMEOUT_MS,
  );

  test(
    'labels go to their own topic',
    async () => {
      const args = ['--readings', '6000', '--rate', 'max', '--interval', '1s', '--faults', 'every:20s'];
      const child = start('labelled', [...args, '--labels-topic', 'labels']);
      const [stdout, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
      expect(exitCode).toBe(0);
      const { faults } = JSON.parse(stdout) as { faults: Record<string, number> };
      const labels = (await readTopic('labels')).map(
        ({ value }) => JSON.parse(new TextDecoder().decode(value)) as FaultLabel,
      );
      for (const [kind, count] of Object.entries(faults)) {
        expect(labels.filter((label) => label.kind === kind).length).toBe(count);
      }
      expect(labels.length).toBeGreaterThan(20);
    },
    TIMEOUT_MS,
  );

  test(
    'a broker killed in mid-stream and started again costs no message and doubles none',
    async () => {
      const ledger = join(directory, 'killed.tsv');
      const args = ['--stations', '20', '--rate', '2000', '--readings', '10000', '--ledger', ledger];
      const child = start('killed', args);
      while (!(await readFile(ledger, 'utf8').catch(() => '')).includes('\n')) await Bun.sleep(20);
      await kafka.kill9();
      await kafka.start();
      const [stdout, exitCode] = await Promise.all([child.stdout.text(), child.exited]);
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ messages: 10_000, acknowledged: 10_000, failed: 0 });
      const stored = await readTopic('killed');
      expect(ledgerOf(stored)).toEqual(await readLedger(ledger));
    },
    TIMEOUT_MS,
  );
});
