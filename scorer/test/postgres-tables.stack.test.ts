// What the PostgreSQL store does beside what every store promises: COPY's bytes, day partitions, locks, time-outs.
import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { copyColumns, Engine } from '@lonetree/core-wasm';
import { type Postgres, startPostgres } from '@lonetree/devstack';
import postgres, { type Sql } from 'postgres';
import { anomalyColumns, encodeAnomalies } from '../src/copy-anomalies.ts';
import { migrations } from '../src/migrations-postgres.ts';
import { scoreMessages, toBatches } from '../src/pipeline.ts';
import { encodeReadings } from '../src/reading-json.ts';
import type { Store, Verdicts } from '../src/store.ts';
import { createPostgresStore } from '../src/store-postgres.ts';

const dayMs = 86_400_000;
const nowMs = Date.UTC(2026, 10, 23, 12);
const topic = 'readings';
let server: Postgres;
let engine: Engine;
let sql: Sql;
let store: Store;
let modelId: number;
const stores: Store[] = [];

function openStore(
  changes: { deadlineMs?: number; lockTimeoutMs?: number; schemaDeadlineMs?: number } = {},
): Store {
  const opened = createPostgresStore({
    url: server.url,
    group: 'group',
    topic,
    connectionCount: 3,
    queryConnectionCount: 2,
    deadlineMs: 5_000,
    schemaDeadlineMs: 30_000,
    lockTimeoutMs: 2_000,
    connectTimeoutMs: 2_000,
    partitionDaysAhead: 3,
    ...changes,
  });
  stores.push(opened);
  return opened;
}

beforeAll(async () => {
  server = await startPostgres();
  engine = await Engine.load(readFileSync(join(import.meta.dir, '..', '..', 'models', 'default.forest')));
  sql = postgres(server.url, { max: 2, fetch_types: false, onnotice() {} });
}, 120_000);

beforeEach(async () => {
  await sql.unsafe('drop schema public cascade; create schema public');
  store = openStore();
  await store.migrate();
  modelId = await store.registerModel(engine.model, { name: 'default', version: '' });
});

afterAll(async () => {
  await Promise.all(stores.map((opened) => opened.close()));
  await sql.end();
  await server.stop();
}, 60_000);

type Reading = { station?: string; timeMs?: number; temperature?: number | null };
const hot = 1_000;

/** Scored messages from an offset on. */
function score(from: bigint, messages: readonly (readonly Reading[])[]): Verdicts {
  const fetched = messages.map((readings, index) => {
    const encoded = encodeReadings(
      readings.map(({ station = 'a', timeMs = nowMs, temperature = 28 }) => ({
        station,
        timeMs,
        values: {
          temperature,
          humidity: 17.5,
          sound: 54.3,
        },
      })),
    );
    if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
    return {
      offset: Number(from) + index,
      timeMs: nowMs,
      key: null,
      value: encoded.batch,
      contentType: null,
      headers: {},
    };
  });
  const next = from + BigInt(messages.length);
  const batches = toBatches({ partition: 0, from, next, messages: fetched });
  return scoreMessages({ engine, modelId, version: '' }, topic, batches, 0).verdicts;
}

/** What PostgreSQL itself writes when it copies the table out. */
async function copyOut(table: string, columns: readonly string[]): Promise<Buffer> {
  const names = columns.map((column) => `"${column}"`).join(', ');
  const stream = await sql`copy (select ${sql.unsafe(names)} from ${sql(table)} order by "offset", row)
    to stdout with (format binary)`.readable();
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(Buffer.from(piece as Uint8Array));
  return Buffer.concat(pieces);
}

const partitionOf = async (offset: bigint) => {
  const [row] =
    await sql`select tableoid::regclass::text as name from prediction where "offset" = ${String(offset)}`;
  return row?.name as string | undefined;
};
const partitions = async () => {
  const rows = await sql`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'prediction'::regclass order by 1`;
  return rows.map(({ name }) => name as string);
};

test('the bytes of a block are those that PostgreSQL writes when it copies the rows out', async () => {
  const messages: Reading[][] = [
    [
      { station: 'größe 7 "é"\t漢', temperature: 28.1 },
      { station: 'b', temperature: null },
    ],
    [
      { timeMs: Date.UTC(2000, 0), temperature: hot },
      { timeMs: Date.UTC(2101, 0) - 1, temperature: -hot },
    ],
    Array.from({ length: 300 }, (_, row) => ({
      station: `station-${row % 7}`,
      timeMs: nowMs - row,
      temperature: 20 + row / 10,
    })),
  ];
  const start = (1n << 32n) - 1n; // Offsets of both sides of 32 bits.
  await store.position(0, start);
  const verdicts = score(start, messages);
  const { block, offsets } = verdicts;
  const pieces = block.copyPieces({ topic, partition: 0, modelId, offsets });
  const predictions = Buffer.concat(Array.from(pieces, (piece) => Buffer.from(piece)));
  const anomalies = Buffer.from(encodeAnomalies(verdicts.anomalies, modelId));
  expect(verdicts.anomalies.length).toBeGreaterThan(2);
  expect(await store.write(verdicts)).toBe(true);
  expect((await copyOut('prediction', copyColumns)).equals(predictions)).toBe(true);
  expect((await copyOut('anomaly', anomalyColumns)).equals(anomalies)).toBe(true);
});

test('the largest block is stored although all of it is abnormal', async () => {
  await store.position(0, 0n);
  const station = 's'.repeat(40);
  const readings = Array.from({ length: engine.rowCountMax }, () => ({ station, temperature: hot }));
  const verdicts = score(0n, [readings]);
  expect(verdicts.anomalies).toHaveLength(engine.rowCountMax);
  expect(await store.write(verdicts)).toBe(true);
  const [row] =
    await sql`select (select count(*) from prediction)::int as predictions, (select count(*) from anomaly)::int as anomalies`;
  expect(row).toEqual({ predictions: engine.rowCountMax, anomalies: engine.rowCountMax });
}, 60_000);

test('days from yesterday to three days ahead have partitions, also when several scorers make them at once', async () => {
  await Promise.all([store.maintain(nowMs), openStore().maintain(nowMs), openStore().maintain(nowMs)]);
  await store.maintain(nowMs);
  const days = ['22', '23', '24', '25', '26'].map((day) => `prediction_202611${day}`);
  expect(await partitions()).toEqual([...days, 'prediction_default']);
});

test('a reading of a day without a partition moves when its day gets one, and stays readable', async () => {
  await store.maintain(nowMs);
  await store.position(0, 0n);
  await store.write(
    score(0n, [
      [{}],
      [{ timeMs: nowMs + 4 * dayMs }],
      [{ timeMs: nowMs + 5 * dayMs }],
      [{ timeMs: Date.UTC(2014, 0) }],
    ]),
  );
  expect(await partitionOf(0n)).toBe('prediction_20261123');
  expect(await partitionOf(1n)).toBe('prediction_default');
  await store.maintain(nowMs + dayMs);
  expect(await partitionOf(1n)).toBe('prediction_20261127');
  expect(await partitionOf(2n)).toBe('prediction_default');
  expect(await partitionOf(3n)).toBe('prediction_default');
  expect((await store.predictions({ limit: 10 })).map(({ offset }) => offset)).toEqual([2n, 1n, 0n, 3n]);
});

test('verdicts keep being stored once while their day moves out of the default partition', async () => {
  await store.position(0, 0n);
  const writer = openStore();
  let next = 0n;
  let isMaking = true;
  const writing = (async () => {
    while (isMaking || next < 20n) {
      const readings = Array.from({ length: 500 }, (_, index) => ({ timeMs: nowMs + (index % 5) * dayMs }));
      // A block whose rows were routed before the partition was there fails and is written again, as by the pipeline.
      const isStored = await writer.write(score(next, [readings])).catch(() => false);
      if (isStored) next += 1n;
      else next = (await writer.position(0, 0n)).next;
    }
  })();
  for (let day = 0; day < 6; day += 1) {
    await Bun.sleep(60);
    await store.maintain(nowMs + (day - 2) * dayMs).catch(() => {});
  }
  isMaking = false;
  await writing;
  await store.maintain(nowMs + 3 * dayMs);
  const [row] =
    await sql`select count(*)::int as rows, count(distinct ("offset", row))::int as distinct_rows from prediction`;
  expect(row).toEqual({ rows: Number(next) * 500, distinct_rows: Number(next) * 500 });
  const [left] = await sql`select count(*)::int as rows from prediction_default`;
  expect(left?.rows).toBe(0);
}, 60_000);

test('a day with too many readings to move stays where it is, and the next days get their partitions', async () => {
  await sql`insert into prediction select ${topic}, 0, n / 1000, n % 1000, ${new Date(nowMs + dayMs)}, 'a', '{1,2,3}', -0.4, 0, false, ${modelId}
    from generate_series(0, 500000) as n`;
  await store.maintain(nowMs);
  const days = ['22', '23', '25', '26'].map((day) => `prediction_202611${day}`);
  expect(await partitions()).toEqual([...days, 'prediction_default']);
}, 60_000);

test('the index of times covers what is stored after each maintenance', async () => {
  await store.maintain(nowMs);
  await sql.unsafe('create extension pageinspect');
  const ranges = async () => {
    const [row] = await sql`select count(*)::int as count from brin_page_items(
      get_raw_page('prediction_20261123_time_idx', 2), 'prediction_20261123_time_idx') where not placeholder and value is not null`;
    return row?.count as number;
  };
  await sql`insert into prediction select ${topic}, 0, n, 0, ${new Date(nowMs)}, 'a', '{1,2,3}', -0.4, 0, false, ${modelId}
    from generate_series(0, 50000) as n`;
  await store.maintain(nowMs);
  const before = await ranges();
  await sql`insert into prediction select ${topic}, 0, n, 0, ${new Date(nowMs)}, 'a', '{1,2,3}', -0.4, 0, false, ${modelId}
    from generate_series(0, 50000) as n`;
  await store.maintain(nowMs);
  expect(await ranges()).toBeGreaterThan(before);
});

test('who waits to make a partition gives up soon, and is tried again', async () => {
  const impatient = openStore({ lockTimeoutMs: 100 });
  const { promise: release, resolve } = Promise.withResolvers<void>();
  const { promise: locked, resolve: hasLock } = Promise.withResolvers<void>();
  const holder = sql.begin(async (tx) => {
    await tx`lock table prediction_default in share mode`;
    hasLock();
    await release;
  });
  await locked;
  await expect(impatient.maintain(nowMs)).rejects.toThrow('lock timeout');
  resolve();
  await holder;
  await impatient.maintain(nowMs);
  expect(await partitions()).toHaveLength(6);
});

test('a query that hangs ends at its deadline and keeps no block from being stored', async () => {
  await store.maintain(nowMs);
  const other = openStore({ deadlineMs: 500 });
  await other.position(0, 0n);
  const { promise: release, resolve } = Promise.withResolvers<void>();
  const { promise: locked, resolve: hasLock } = Promise.withResolvers<void>();
  const holder = sql.begin(async (tx) => {
    await tx`lock table prediction_default in access exclusive mode`;
    hasLock();
    await release;
  });
  await locked;
  const hanging = other.predictions({ limit: 1 }).then(
    () => 'answered',
    () => 'ended',
  );
  for (let offset = 0n; offset < 20n; offset += 1n) {
    expect(await other.write(score(offset, [[{}]]))).toBe(true);
    await Bun.sleep(50);
  }
  expect(await hanging).toBe('ended');
  expect(await other.isReady()).toBe(true);
  resolve();
  await holder;
  expect(await other.predictions({ limit: 100 })).toHaveLength(20);
});

test('a block whose statements the server forgets, as behind a pooler, is stored whole or not at all', async () => {
  await store.position(0, 0n);
  expect(await store.write(score(0n, [[{}]]))).toBe(true);
  // Now the move of the position is a prepared statement on the connection: it is gone when its turn comes.
  await sql.unsafe(`create function forget() returns trigger language plpgsql as 'begin deallocate all; return null; end';
    create trigger forget before insert on prediction for each statement execute function forget()`);
  await store.write(score(1n, [[{}]])).catch(() => {}); // The pipeline would read the position after either answer.
  const { next } = await store.position(0, 0n);
  const [row] = await sql`select count(*)::int as count from prediction`;
  expect(row?.count).toBe(Number(next));
  await sql`drop trigger forget on prediction`;
  expect(await store.write(score(next, [[{}]]))).toBe(true);
});

test('what the server refuses of a block is the reason that is given', async () => {
  await store.position(0, 0n);
  await sql`alter table prediction rename to elsewhere`;
  await expect(store.write(score(0n, [[{}]]))).rejects.toThrow('relation "prediction" does not exist');
  await sql`alter table elsewhere rename to prediction`;
  expect(await store.write(score(0n, [[{}]]))).toBe(true);
});

test('a migration that breaks off leaves nothing, and the next scorer makes it whole', async () => {
  await sql.unsafe(
    'drop schema public cascade; create schema public; create table anomaly (in_the_way integer)',
  );
  await expect(store.migrate()).rejects.toThrow('"anomaly" already exists');
  const tables = await sql`select tablename from pg_tables where schemaname = 'public'`;
  expect(tables.map(({ tablename }) => tablename)).toEqual(['anomaly']);
  await sql`drop table anomaly`;
  await store.migrate();
  const [row] = await sql`select count(*)::int as versions from schema_migration`;
  expect(row?.versions).toBe(migrations.length);
});

test('a database of the first version keeps its models and verdicts, which are of no registered version', async () => {
  await sql.unsafe(`drop schema public cascade; create schema public;
    create table schema_migration (version integer primary key, applied_at timestamptz not null default now());
    insert into schema_migration (version) values (1);
    ${migrations[0]};
    insert into model (sha256, name, features, score_offset) values ('aa', 'old', '{x}', -0.5), ('bb', 'old', '{x}', -0.6)`);
  await sql`insert into prediction select ${topic}, 0, n, 0, ${new Date(nowMs)}, 'a', '{1}', -0.4, 0, false, 1 + n
    from generate_series(0, 1) as n`;
  await store.migrate();
  const found = await store.predictions({ limit: 9 });
  const models = found.map(({ modelSha256, modelVersion }) => `${modelSha256} ${modelVersion}.`);
  expect(new Set(models)).toEqual(new Set(['aa .', 'bb .']));
  const [model] = await sql`insert into model (sha256, version, name, features, score_offset)
    values ('aa', '1', 'new', '{x}', -0.5) returning id`;
  expect(model?.id).toBe(3);
});

test('shadow scores have partitions of their own days', async () => {
  await store.maintain(nowMs);
  await sql`insert into shadow_score select ${topic}, 0, n, 0, ${new Date(nowMs)}, 'a', 1, 2, -0.4, -0.5, false, true
    from generate_series(0, 9) as n`;
  const rows = await sql`select tableoid::regclass::text as name, count(*)::int from shadow_score group by 1`;
  expect(rows.map(({ name, count }) => [name, count])).toEqual([['shadow_score_20261123', 10]]);
});

test('a database of a newer program is refused, not changed', async () => {
  await sql`insert into schema_migration (version) values (99)`;
  await expect(store.migrate()).rejects.toThrow('The database has schema version 99');
});
