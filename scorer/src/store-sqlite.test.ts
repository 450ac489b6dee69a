import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@lonetree/core-wasm';
import { describeStore } from '../test/store-contract.ts';
import type { Broker } from './broker.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import { scoreMessages, toBatches } from './pipeline.ts';
import { encodeReadings } from './reading-json.ts';
import { type Database, openDatabase } from './sqlite.ts';
import type { Store } from './store.ts';
import { countStoredReadings, createSqliteStore } from './store-sqlite.ts';

const options = { group: 'group', topic: 'readings', retentionDays: 30 };

describeStore('the store in SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lonetree-store-'));
  const database = openDatabase(folder);
  return {
    open: (group) => createSqliteStore({ ...options, database, group }),
    query: (statement) => Promise.resolve(database.query(statement).all()),
    async dispose() {
      database.close();
      await rm(folder, { recursive: true });
    },
  };
});

describe('the SQLite file over time', () => {
  const dayMs = 86_400_000;
  let folder: string;
  let database: Database;
  let store: Store;
  let broker: Broker;
  let engine: Engine;
  let modelId: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'lonetree-store-'));
    database = openDatabase(folder);
    store = createSqliteStore({ ...options, database });
    broker = createSqliteBroker({
      database,
      topic: 'readings',
      blockMessagesMax: 10,
      blockSizeMax: 1e6,
      now: Date.now,
    });
    engine = await Engine.load(readFileSync(join(import.meta.dir, '..', '..', 'models', 'default.forest')));
    modelId = await store.registerModel(engine.model, { name: 'default', version: '' });
    await store.position(0, 0n);
  });
  afterEach(async () => {
    await store.close();
    await rm(folder, { recursive: true });
  });

  /** Publishes and scores messages of abnormal readings whose own time is long ago. */
  async function score(from: bigint, messageCount: number, readingCount: number) {
    const values = { temperature: 1_000, humidity: 1_000, sound: 1_000 };
    const reading = { station: 's', timeMs: Date.UTC(2001), values };
    const encoded = encodeReadings(Array.from({ length: readingCount }, () => reading));
    if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
    const { batch } = encoded;
    const messages = Array.from({ length: messageCount }, (_, index) => ({
      offset: Number(from) + index,
      timeMs: Date.now(),
      key: null,
      value: batch,
      contentType: null,
      headers: {},
    }));
    await broker.publish(
      'readings',
      messages.map(({ value }) => ({ key: null, value })),
    );
    const next = from + BigInt(messageCount);
    const batches = toBatches({ partition: 0, from, next, messages });
    return scoreMessages({ engine, modelId, version: '' }, 'readings', batches, 0).verdicts;
  }
  const count = (table: string, condition = 'true') =>
    (database.query(`select count(*) as n from ${table} where ${condition}`).get() as { n: number }).n;

  test('verdicts leave when they were stored long ago, however old the readings are', async () => {
    await store.write(await score(0n, 3, 2_000));
    await store.write(await score(3n, 1, 5));
    await store.maintain(Date.now() + 29 * dayMs);
    expect(count('prediction')).toBe(6_005);
    await store.maintain(Date.now() + 31 * dayMs);
    expect(count('prediction')).toBe(0);
  });

  test('shadow scores leave like verdicts', async () => {
    const insert = database.query(
      'insert into shadow_score values (?, 0, 0, ?, 0, ?, 1, 2, -0.5, -0.5, 0, 0, ?)',
    );
    for (let row = 0; row < 5_000; row += 1) insert.run('readings', row, 's', Date.now());
    await store.maintain(Date.now() + 29 * dayMs);
    expect(count('shadow_score')).toBe(5_000);
    await store.maintain(Date.now() + 31 * dayMs);
    expect(count('shadow_score')).toBe(0);
  });

  test('the last block’s anomalies stay, as they may not be published yet', async () => {
    await store.write(await score(0n, 1, 4));
    await store.write(await score(1n, 1, 3));
    await store.maintain(Date.now() + 31 * dayMs);
    expect(count('anomaly')).toBe(3);
    expect((await store.position(0, 0n)).anomalies).toHaveLength(3);
  });

  test('readings leave the log when they are stored, and never before', async () => {
    await store.write(await score(0n, 3, 1));
    await score(3n, 2, 1); // published, not stored
    await broker.publish('anomalies', [{ key: null, value: new Uint8Array(3) }]);
    await store.maintain(Date.now());
    expect(count('log')).toBe(6);
    await store.maintain(Date.now() + 2 * dayMs);
    expect(count('log', "topic = 'readings'")).toBe(2);
    expect(count('log', "topic = 'anomalies'")).toBe(1);
    expect(await broker.watermarks(0)).toEqual({ start: 3n, end: 5n });
    await store.maintain(Date.now() + 31 * dayMs);
    expect(count('log', "topic = 'anomalies'")).toBe(0);
  });

  test('offsets go on after all messages have left the log', async () => {
    await store.write(await score(0n, 3, 1));
    await store.maintain(Date.now() + 2 * dayMs);
    expect(count('log')).toBe(0);
    expect(await broker.watermarks(0)).toEqual({ start: 3n, end: 3n });
    await score(3n, 1, 1);
    expect(await broker.watermarks(0)).toEqual({ start: 3n, end: 4n });
  });

  test('closing ends a clean-up that is under way', async () => {
    await store.write(await score(0n, 9, 2_000));
    const cleaning = store.maintain(Date.now() + 31 * dayMs);
    await store.close();
    await cleaning;
    database = openDatabase(folder);
    expect(count('prediction')).toBeGreaterThan(0);
    database.close();
  });

  test('what was stored is counted, also after it was deleted, and a fenced block is not', async () => {
    await store.write(await score(0n, 3, 7));
    await store.write(await score(0n, 3, 7));
    await store.maintain(Date.now() + 31 * dayMs);
    expect(countStoredReadings(database, options)).toBe(21);
    expect(countStoredReadings(database, { ...options, group: 'other' })).toBe(0);
  });

  test('a full disk rejects the block whole, and with room again it is stored', async () => {
    const verdicts = await score(0n, 5, 1_000);
    const { pages } = database.query('select page_count as pages from pragma_page_count').get() as {
      pages: number;
    };
    database.run(`pragma max_page_count = ${pages + 5}`);
    await expect(store.write(verdicts)).rejects.toThrow('full');
    expect(count('prediction')).toBe(0);
    expect(count('anomaly')).toBe(0);
    expect((await store.position(0, 0n)).next).toBe(0n);
    database.run('pragma max_page_count = 1000000');
    expect(await store.write(verdicts)).toBe(true);
    expect(count('prediction')).toBe(5_000);
  });
});
