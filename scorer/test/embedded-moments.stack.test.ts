// A process with one SQLite file, killed at the one moment that random kills hardly meet: verdicts stored, anomalies not
// published.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { AnomalySchema } from '@lonetree/proto';
import { openDatabase } from '../src/sqlite.ts';

const killCount = 10;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-embedded-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function runUntilKilled(seed: number, killAt: number): Promise<void> {
  const { KAFKA_BROKERS: _, DATABASE_URL: __, ...environment } = process.env;
  const child = Bun.spawn([process.execPath, join(import.meta.dir, 'chaos', 'embedded.ts')], {
    env: { ...environment, DATA_DIR: folder, PORT: '0', FLEET: String(seed), KILL_AT: String(killAt) },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
    timeout: 30_000,
    killSignal: 'SIGTERM',
  });
  const complaint = await new Response(child.stderr).text();
  await child.exited;
  expect({ complaint, signal: child.signalCode }).toEqual({ complaint: '', signal: 'SIGKILL' });
}

/** Ids in the table, and ids on the topic, each as often as they are there. */
function readAnomalies() {
  const database = openDatabase(folder);
  const recorded = (database.query('select id from anomaly').all() as { id: string }[]).map(({ id }) => id);
  const published = (
    database.query(`select value from log where topic = 'anomalies'`).all() as { value: Uint8Array }[]
  ).map(({ value }) => fromBinary(AnomalySchema, value).id);
  const lastBlock = database
    .query('select id from anomaly join consumer_offset on "offset" >= block_offset')
    .all() as { id: string }[];
  database.close();
  return { recorded, published, lastBlock: lastBlock.map(({ id }) => id) };
}

test('anomalies that a killed process had stored and not published are published by the next one', async () => {
  for (let kill = 1; kill <= killCount; kill += 1) {
    await runUntilKilled(kill, 1 + (kill % 3));
    const { recorded, published, lastBlock } = readAnomalies();
    expect(new Set(recorded).size).toBe(recorded.length);
    // Only those of the block that was stored just before the kill are missing, and all of them.
    const missing = new Set(recorded).difference(new Set(published));
    expect(missing.size).toBeGreaterThan(0);
    expect(missing).toEqual(new Set(lastBlock));
    expect(new Set(published).isSubsetOf(new Set(recorded))).toBe(true);
  }
}, 120_000);
