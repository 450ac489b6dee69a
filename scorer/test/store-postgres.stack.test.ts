import { afterAll, beforeAll, expect, test } from 'bun:test';
import { type Postgres, startPostgres } from '@lonetree/devstack';
import postgres from 'postgres';
import { createPostgresStore } from '../src/store-postgres.ts';
import { createClient } from '../src/store-postgres-client.ts';
import { describeStore } from './store-contract.ts';

let server: Postgres;
beforeAll(async () => {
  server = await startPostgres();
}, 120_000);
afterAll(() => server.stop());

let databaseCount = 0;
const limits = {
  topic: 'readings',
  connectionCount: 2,
  queryConnectionCount: 2,
  deadlineMs: 5_000,
  schemaDeadlineMs: 60_000,
  lockTimeoutMs: 2_000,
  connectTimeoutMs: 2_000,
  partitionDaysAhead: 3,
};

describeStore('the store in PostgreSQL', async () => {
  databaseCount += 1;
  const name = `store_${databaseCount}`;
  const admin = postgres(server.url, { max: 1, onnotice() {} });
  await admin.unsafe(`create database ${name}`);
  await admin.end();
  const url = new URL(server.url);
  url.pathname = name;
  const stores: ReturnType<typeof createPostgresStore>[] = [];
  const sql = postgres(url.href, { max: 1, onnotice() {} });
  return {
    query: async (statement) => [...(await sql.unsafe(statement))],
    open(group) {
      const store = createPostgresStore({ ...limits, url: url.href, group });
      stores.push(store);
      return store;
    },
    async dispose() {
      await Promise.all([sql.end(), ...stores.map((store) => store.close())]);
    },
  };
});

test('the store is ready however many wait for answers to what they ask', async () => {
  const store = createPostgresStore({ ...limits, url: server.url, group: 'asked' });
  await store.migrate();
  const admin = postgres(server.url, { max: 1, onnotice() {} });
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  const asked: Promise<unknown>[] = [];
  const isReady = await admin.begin(async (tx) => {
    await tx`lock table prediction in access exclusive mode`;
    for (let index = 0; index < 4; index += 1) asked.push(store.predictions({ limit: 1 }).finally(answer));
    return await Promise.race([store.isReady(), answered.then(() => 'answered before')]);
  });
  expect(isReady).toBe(true);
  expect(await Promise.all(asked)).toEqual([[], [], [], []]);
  await Promise.all([admin.end(), store.close()]);
});

test('a connection that the server closed while nobody used it is not used again, and work on others ends well', async () => {
  const client = createClient({
    url: server.url,
    applicationName: 'closed meanwhile',
    connectionCount: 2,
    connectTimeoutMs: 2_000,
    deadlineMs: 5_000,
  });
  const processOf = (seconds: number) =>
    client.runAlone(async (connection) => {
      const [row] = await connection`select pg_backend_pid() as pid, pg_sleep(${seconds})`;
      return row?.pid as number;
    });
  const both = await Promise.all([processOf(0.2), processOf(0)]);
  const underWay = processOf(1);
  const other = await processOf(0);
  await server.sql(`select pg_terminate_backend(${other})`);
  await Bun.sleep(200); // Nothing tells when the client has noticed.
  const next = await processOf(0);
  expect(both).toContain(other);
  expect(both).not.toContain(next);
  expect(both).toContain(await underWay);
  await client.close();
});
