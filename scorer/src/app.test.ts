// Every route, asked as a client asks it, with the real engine, the real pipeline and one SQLite file.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { Engine } from '@lonetree/core-wasm';
import { SensorBatchSchema } from '@lonetree/proto';
import { z } from 'zod';
import { idleState } from '../test/idle-state.ts';
import { createApp } from './app.ts';
import type { RequestFailure } from './app-problems.ts';
import { type Broker, MessageTooLarge, NothingPublished } from './broker.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import { createMetrics } from './metrics.ts';
import type { ResidentModel } from './model-keeper.ts';
import { createPipeline } from './pipeline.ts';
import { encodeReadings } from './reading-json.ts';
import { type Database, openDatabase } from './sqlite.ts';
import { createSqliteStore } from './store-sqlite.ts';

const modelFile = join(import.meta.dir, '..', '..', 'models', 'default.forest');
const bodySizeMax = 16 << 20;
const timeMs = Date.UTC(2026, 10, 23, 12);
const ordinary = { temperature: 28.1, humidity: 17.5, sound: 54.3 };
const hot = { ...ordinary, temperature: 1_000 };

type Answer = { readonly status: number; readonly headers: Headers; readonly body: unknown };

const notCalled = () => {
  throw new Error('not to be called');
};

let folder: string;
let database: Database;
let broker: Broker;
let app: ReturnType<typeof createApp>;
let notReady: string[];
let isModelLoaded: boolean;
let logError: Error | null;
let isLogSilent: boolean;
let failures: RequestFailure[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lonetree-app-'));
  database = openDatabase(folder);
  const store = createSqliteStore({ database, group: 'group', topic: 'readings', retentionDays: 30 });
  const logTable = createSqliteBroker({
    database,
    topic: 'readings',
    blockMessagesMax: 100,
    blockSizeMax: 1e6,
    now: Date.now,
  });
  logError = null;
  isLogSilent = false;
  broker = {
    ...logTable,
    publish(topic, messages) {
      if (isLogSilent) return new Promise(() => {});
      return logError === null ? logTable.publish(topic, messages) : Promise.reject(logError);
    },
  };
  const engine = await Engine.load(readFileSync(modelFile));
  const modelId = await store.registerModel(engine.model, { name: 'default', version: '7' });
  const active: ResidentModel = {
    engine,
    modelId,
    version: '7',
    sha256: engine.model.sha256,
    source: 'registry',
    createdAtMs: timeMs,
    loadedAtMs: timeMs,
  };
  isModelLoaded = true;
  notReady = [];
  failures = [];
  const metrics = createMetrics(idleState);
  const pipeline = createPipeline({
    shadow: null,
    broker,
    store,
    activeModel: () => active,
    topics: { readings: 'readings', anomalies: 'anomalies', deadLetters: 'dead' },
    log: { info() {}, warn() {}, error() {} },
    observer: metrics,
    wait: Bun.sleep,
    retry: { firstMs: 1, maxMs: 10 },
  });
  await broker.consume(pipeline.handlers);
  app = createApp({
    store,
    broker,
    keeper: {
      state: () => ({
        active: isModelLoaded ? active : null,
        previous: null,
        heldBack: null,
        lastFailure: null,
      }),
      look: notCalled,
      rollBack: notCalled,
    },
    challenger: null,
    modelName: 'default',
    scorer: 'scorer-1',
    adminToken: undefined,
    changeDeadlineMs: 50,
    notReady: () => Promise.resolve(notReady),
    metrics,
    readingsTopic: 'readings',
    bodySizeMax,
    queryRowsMax: 1_000,
    confirmDeadlineMs: 50,
    onFailure: (failure) => failures.push(failure),
    onOrder: notCalled,
  });
});

afterEach(async () => {
  await broker.close();
  database.close();
  await rm(folder, { recursive: true });
});

/** What was behind failures that are the scorer's. */
const causes = () =>
  failures
    .filter(({ problem: { status, cause } }) => status >= 500 && cause !== undefined)
    .map(({ problem: { cause } }) => (cause as Error).message);

async function ask(path: string, request: RequestInit = {}): Promise<Answer> {
  const response = await app.request(path, request);
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
}

const post = (
  path: string,
  body: Exclude<RequestInit['body'], null | undefined>,
  type = 'application/json',
  headers: Record<string, string> = {},
) => ask(path, { method: 'POST', body, headers: { 'content-type': type, ...headers } });

const reading = (values: Record<string, number | null>, changes: object = {}) => ({
  station: 'press-1',
  time: timeMs,
  values,
  ...changes,
});

function toProtobuf(rows: readonly Record<string, number | null>[]): Uint8Array<ArrayBuffer> {
  const encoded = encodeReadings(rows.map((values) => ({ station: 'press-1', timeMs, values })));
  if ('rejected' in encoded) throw new Error(encoded.rejected.detail);
  return new Uint8Array(encoded.batch);
}

/** RFC 9457, and the same status in the body as in the answer. */
function expectProblem({ status, headers, body }: Answer, expected: number, reason?: string): void {
  expect(status, JSON.stringify(body)).toBe(expected);
  expect(headers.get('content-type')).toBe('application/problem+json');
  expect(body).toMatchObject({ type: 'about:blank', status: expected });
  const { title, detail } = body as { title: string; detail: string };
  expect(title.length).toBeGreaterThan(5);
  expect(detail.length).toBeGreaterThan(5);
  if (reason !== undefined) expect(body).toMatchObject({ reason });
}

/** Sends readings and waits until that many verdicts are stored. */
async function storeReadings(readings: readonly object[]): Promise<void> {
  const count = async () => ((await ask('/v1/predictions?limit=1000')).body as Page).items.length;
  const before = await count();
  expect((await post('/v1/readings', JSON.stringify({ readings }))).status).toBe(202);
  while ((await count()) < before + readings.length) await Bun.sleep(1);
}
type Page = { readonly items: readonly Record<string, unknown>[]; readonly next: string | null };

const takers = ['/v1/score', '/v1/readings'];

test('the first page names where to go on', async () => {
  const { status, body } = await ask('/');
  expect(status).toBe(200);
  for (const path of Object.values(body as Record<string, string>).filter((text) => text.startsWith('/'))) {
    expect((await ask(path)).status).toBe(200);
  }
});

test('/healthz answers while nothing is ready, /readyz says what it waits for', async () => {
  notReady = ['store: it does not answer', 'broker: not connected'];
  expect((await ask('/healthz')).status).toBe(200);
  expect(await ask('/readyz')).toMatchObject({ status: 503, body: { ready: false, waitingFor: notReady } });
  notReady = [];
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: { ready: true } });
});

test('/metrics is in the format that Prometheus reads', async () => {
  const { status, headers, body } = await ask('/metrics');
  expect(status).toBe(200);
  expect(headers.get('content-type')).toStartWith('text/plain');
  expect(body).toContain('# TYPE lonetree_');
});

test('the model is told with its features, units and file digest', async () => {
  const { status, body } = await ask('/v1/model');
  expect(status).toBe(200);
  const sha256 = new Bun.CryptoHasher('sha256').update(readFileSync(modelFile)).digest('hex');
  const features = ['temperature', 'humidity', 'sound'];
  expect(body).toMatchObject({ name: 'default', sha256, features, engine: 'walk' });
});

test('JSON and Protobuf bring the same verdicts, in the order of the readings', async () => {
  const rows = [ordinary, hot, { ...ordinary, sound: null }, { ...ordinary, humidity: 0.1 }];
  const fromJson = await post('/v1/score', JSON.stringify({ readings: rows.map((row) => reading(row)) }));
  expect(fromJson.status).toBe(200);
  const { verdicts } = fromJson.body as { verdicts: Record<string, unknown>[] };
  expect(verdicts).toHaveLength(4);
  expect(verdicts[0]).toMatchObject({ isAnomaly: false, reasons: [] });
  expect(verdicts[1]).toMatchObject({ isAnomaly: true });
  expect(verdicts[1]?.reasons).toContain('high:temperature');
  expect(verdicts[2]).toMatchObject({ isAnomaly: true });
  expect(verdicts[2]?.reasons).toContain('missing:sound');
  for (const type of ['application/x-protobuf', 'application/protobuf; charset=binary']) {
    expect((await post('/v1/score', toProtobuf(rows), type)).body).toEqual(fromJson.body);
  }
});

test('scoring on request stores nothing and puts nothing into the log', async () => {
  expect((await post('/v1/score', JSON.stringify(reading(hot)))).status).toBe(200);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
  expect(((await ask('/v1/predictions')).body as Page).items).toEqual([]);
});

test('readings that were taken come out as verdicts, abnormal ones with id and reasons', async () => {
  await storeReadings([reading(ordinary, { time: '2026-11-23T12:00:00.001Z' }), reading(hot)]);
  const { items } = (await ask('/v1/predictions')).body as Page;
  expect(items).toMatchObject([
    { station: 'press-1', time: '2026-11-23T12:00:00.001Z', values: ordinary, isAnomaly: false, row: 0 },
    { station: 'press-1', time: '2026-11-23T12:00:00.000Z', values: hot, isAnomaly: true, row: 1 },
  ]);
  const anomalies = (await ask('/v1/anomalies')).body as Page;
  expect(anomalies.items).toMatchObject([{ id: 'readings-0-0-1', offset: '0', values: hot }]);
  expect(anomalies.items[0]?.reasons).toContain('high:temperature');
  expect(anomalies.next).toBeNull();
});

test('pages are chosen by station and time, and their cursors lead through all rows once', async () => {
  const readings = Array.from({ length: 25 }, (_, index) =>
    reading(hot, { station: index % 5 === 0 ? 'Süd "1" & 2' : 'b', time: timeMs + Math.floor(index / 4) }),
  );
  await storeReadings(readings);
  for (const path of ['/v1/predictions', '/v1/anomalies']) {
    const seen: unknown[] = [];
    let next: string | null = '';
    while (next !== null) {
      const cursor = next === '' ? '' : `&cursor=${next}`;
      const page: Page = (await ask(`${path}?limit=10${cursor}`)).body as Page;
      seen.push(...page.items.map(({ row }) => row));
      next = page.next;
    }
    expect(seen).toHaveLength(25);
    expect(new Set(seen).size).toBe(25);
    const station = encodeURIComponent('Süd "1" & 2');
    expect(((await ask(`${path}?station=${station}`)).body as Page).items).toHaveLength(5);
    const range = 'from=2026-11-23T12:00:00.001Z&to=2026-11-23T12:00:00.002Z';
    expect(((await ask(`${path}?${range}`)).body as Page).items).toHaveLength(4);
    const allTime = 'from=0000-01-01&to=%2B200000-01-01T00:00:00Z';
    expect(((await ask(`${path}?${allTime}`)).body as Page).items).toHaveLength(25);
  }
});

test.each(takers)('%s refuses a body of another type or encoding', async (path) => {
  expectProblem(await post(path, 'a,b', 'text/csv'), 415);
  expectProblem(await ask(path, { method: 'POST', body: new Uint8Array(3) }), 415);
  const zipped = Bun.gzipSync(new TextEncoder().encode(JSON.stringify(reading(ordinary))));
  expectProblem(await post(path, zipped, 'application/json', { 'content-encoding': 'gzip' }), 415);
});

test.each(takers)('%s refuses a body beyond its bound, told or untold', async (path) => {
  const body = new Uint8Array(bodySizeMax + 1);
  expectProblem(await post(path, body, 'application/x-protobuf'), 413);
  const untold = new ReadableStream({
    start(controller) {
      controller.enqueue(body);
      controller.close();
    },
  });
  expectProblem(await post(path, untold, 'application/x-protobuf'), 413);
});

const lines = (text: string) => new TextEncoder().encode(text);
const isProtobuf = 'application/x-protobuf';
const isJson = 'application/json';

test.each<[what: string, body: () => Uint8Array<ArrayBuffer>, type: string, status: number, reason: string]>([
  ['no bytes', () => new Uint8Array(), isJson, 400, 'empty-message'],
  ['no bytes', () => new Uint8Array(), isProtobuf, 400, 'empty-message'],
  ['half a batch', () => toProtobuf([ordinary]).slice(0, 30), isProtobuf, 400, 'truncated'],
  ['no Protobuf', () => new Uint8Array(12).fill(255), isProtobuf, 400, 'malformed'],
  ['half a JSON', () => lines('{"station":'), isJson, 400, 'bad-json'],
  ['200,000 levels', () => lines('['.repeat(200_000)), isJson, 400, 'bad-json'],
  ['200,000 objects', () => lines('{"values":'.repeat(200_000)), isJson, 400, 'bad-json'],
  ['a number', () => lines('7'), isJson, 400, 'bad-json'],
  ['a missing feature', () => toProtobuf([{ temperature: 1 }]), isProtobuf, 422, 'missing-feature'],
  [
    'a missing feature',
    () => lines(JSON.stringify(reading({ temperature: 1 }))),
    isJson,
    422,
    'missing-feature',
  ],
  [
    'a time before 2000',
    () => lines(JSON.stringify(reading(ordinary, { time: '1999-12-31T23:59:59Z' }))),
    isJson,
    422,
    'time-out-of-range',
  ],
  [
    'a time after 2100',
    () => lines(JSON.stringify(reading(ordinary, { time: '2101-01-01T00:00:00Z' }))),
    isJson,
    422,
    'time-out-of-range',
  ],
  ['unequal columns', unequalColumns, isProtobuf, 422, 'column-length'],
])('%s is refused with its reason', async (_, body, type, status, reason) => {
  for (const path of takers) expectProblem(await post(path, body(), type), status, reason);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
});

/** One reading, of which one column has no value. */
function unequalColumns(): Uint8Array<ArrayBuffer> {
  const columns = Object.entries(ordinary).map(([name, value]) => ({
    name,
    values: name === 'sound' ? [] : [value],
  }));
  const fields = { stations: ['press-1'], baseTimeMs: BigInt(timeMs), timeDeltasMs: [0n], columns };
  return new Uint8Array(toBinary(SensorBatchSchema, create(SensorBatchSchema, fields)));
}

test('random bytes are refused or scored, and never an error of the scorer', async () => {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  };
  const good = toProtobuf([ordinary, hot]);
  for (let round = 0; round < 500; round += 1) {
    const bytes = round % 2 === 0 ? new Uint8Array(random()).map(random) : good.slice();
    if (round % 2 === 1) bytes[(random() * 256 + random()) % bytes.length] = random();
    for (const type of [isProtobuf, isJson]) {
      const { status } = await post('/v1/score', bytes, type);
      expect([200, 400, 413, 422]).toContain(status);
    }
  }
  expect(causes()).toEqual([]);
});

test('what is not there is a problem, and a wrong method says which is right', async () => {
  expectProblem(await ask('/v1/nothing'), 404);
  expectProblem(await ask('/nothing', { method: 'POST', body: 'x' }), 404);
  for (const [path, method, allowed] of [
    ['/v1/score', 'GET', 'POST'],
    ['/v1/readings', 'DELETE', 'POST'],
    ['/v1/predictions', 'POST', 'GET'],
    ['/v1/model', 'PUT', 'GET'],
    ['/readyz', 'POST', 'GET'],
  ] as const) {
    const answer = await ask(path, { method });
    expectProblem(answer, 405);
    expect(answer.headers.get('allow')?.split(', ')).toContain(allowed);
  }
});

test.each([
  'limit=0',
  'limit=1001',
  'limit=1.5',
  'limit=x',
  'from=yesterday',
  'to=x',
  'station=',
  'station=%00',
  'cursor=x',
  `cursor=${Buffer.from('[1,2,3]').toString('base64url')}`,
  ...[
    '1.5,0,"0",0',
    '9e300,0,"0",0',
    `${timeMs},4294967296,"0",0`,
    `${timeMs},0,"0;drop table prediction",0`,
  ].map((place) => `cursor=${Buffer.from(`[${place}]`).toString('base64url')}`),
])('the query %s is refused and says what is wrong', async (query) => {
  for (const path of ['/v1/predictions', '/v1/anomalies']) {
    const answer = await ask(`${path}?${query}`);
    expectProblem(answer, 400);
    expect((answer.body as { detail: string }).detail).toContain(query.split('=')[0] as string);
  }
});

test('before the model is loaded, what needs it answers that it is not ready', async () => {
  isModelLoaded = false;
  for (const path of takers) {
    const answer = await post(path, JSON.stringify(reading(ordinary)));
    expectProblem(answer, 503);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  }
  expectProblem(await ask('/v1/model'), 503);
});

test('readings that the log certainly did not take are to be sent again, and are taken then', async () => {
  logError = new NothingPublished('not connected');
  const answer = await post('/v1/readings', JSON.stringify(reading(ordinary)));
  expectProblem(answer, 503);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(causes()).toEqual(['not connected']);
  logError = null;
  await storeReadings([reading(ordinary)]);
});

test('nothing is sent to a log that is known to be away', async () => {
  await broker.close();
  const answer = await post('/v1/readings', JSON.stringify(reading(ordinary)));
  expectProblem(answer, 503);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(causes()).toEqual([]);
  expect(await broker.watermarks(0)).toEqual({ start: 0n, end: 0n });
});

test('readings that the log may have taken are unconfirmed, and nothing invites to send them again', async () => {
  logError = new Error('request timed out');
  const answer = await post('/v1/readings', JSON.stringify(reading(ordinary)));
  expectProblem(answer, 504, 'unconfirmed');
  expect(answer.headers.get('retry-after')).toBeNull();
  expect(JSON.stringify(answer.body)).toContain('may or may not have been taken');
  expect(causes()).toEqual(['request timed out']);
});

test('a log that says nothing leaves the readings unconfirmed, in bounded time', async () => {
  isLogSilent = true;
  expectProblem(await post('/v1/readings', JSON.stringify(reading(ordinary))), 504, 'unconfirmed');
  expect(causes()).toEqual(['no answer within 50 ms']);
});

test('readings that the log will never take are too large, not to be sent again', async () => {
  logError = new MessageTooLarge('readings takes no message of that size');
  expectProblem(await post('/v1/readings', JSON.stringify(reading(ordinary))), 413, 'too-large');
  expect(causes()).toEqual([]);
});

test('every answer has a request id: the one that was sent, or else a new one', async () => {
  const idOf = async (path: string, sent?: string) =>
    (await ask(path, sent === undefined ? {} : { headers: { 'x-request-id': sent } })).headers.get(
      'x-request-id',
    );
  for (const path of ['/healthz', '/v1/model', '/v1/predictions?limit=x', '/nowhere'])
    expect(await idOf(path, 'trace-7_a')).toBe('trace-7_a');
  const made = [await idOf('/healthz'), await idOf('/healthz')];
  expect(new Set(made).size).toBe(2);
  // What would make another line of a log, or fill it, is no id.
  for (const sent of ['a b', '{"level":60}', 'x'.repeat(256)])
    expect(await idOf('/healthz', sent)).toMatch(/^[0-9a-f-]{36}$/);
});

test('a failure is told with its request, whoever failed, and what went well is not', async () => {
  const headers = { 'x-request-id': 'mine' };
  await ask('/v1/predictions?limit=1', { headers });
  await ask('/readyz', { headers });
  expect(failures).toEqual([]);
  await ask('/v1/predictions?limit=x&station=secret', { headers });
  await ask('/nowhere', { headers });
  await ask('/v1/predictions', { headers, method: 'PUT' });
  database.run('drop table prediction');
  await ask('/v1/predictions', { headers });
  const request = { requestId: 'mine', method: 'GET', path: '/v1/predictions' };
  const told = failures.map(({ problem: { status }, ...rest }) => ({ ...rest, status }));
  expect(told).toEqual([
    { ...request, status: 400 },
    { ...request, path: '/nowhere', status: 404 },
    { ...request, method: 'PUT', status: 405 },
    { ...request, status: 503 },
  ]);
  expect(causes()).toEqual(['no such table: prediction']);
});

test('a store that fails is a problem without its details', async () => {
  database.run('drop table prediction');
  const answer = await ask('/v1/predictions');
  expectProblem(answer, 503);
  expect(JSON.stringify(answer.body)).not.toContain('prediction');
  expect(causes()).toEqual(['no such table: prediction']);
});

type JsonSchema = Readonly<Record<string, unknown>>;
type Content = Readonly<Record<string, { readonly schema: JsonSchema }>>;
type Operation = {
  readonly summary: string;
  readonly requestBody?: { readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly content: Content }>>;
};
type Document = {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
};

test('/openapi.json documents every route under /v1, and the answers are as it says', async () => {
  // The schemas refer to each other by where they lie in the document: as definitions of each they can be read.
  const text = JSON.stringify((await ask('/openapi.json')).body);
  const document = JSON.parse(text.replaceAll('#/components/schemas/', '#/$defs/')) as Document;
  expect(document.openapi).toBe('3.1.0');
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const routed = app.routes
    .filter(({ path, method }) => path.startsWith('/v1/') && method !== 'ALL')
    .map(({ path, method }) => `${method} ${path}`);
  expect(documented.toSorted()).toEqual([...new Set(routed)].toSorted());

  const accepts = (schema: JsonSchema, value: unknown) =>
    z.fromJSONSchema({ ...schema, $defs: document.components.schemas }).safeParse(value).success;
  const expectDocumented = (path: string, method: string, { status, headers, body }: Answer) => {
    const type = headers.get('content-type')?.split(';')[0] ?? '';
    const schema = document.paths[path]?.[method]?.responses[status]?.content[type]?.schema;
    if (schema === undefined) throw new Error(`${method} ${path} → ${status} ${type} is not documented`);
    expect(accepts(schema, body), `${path} → ${JSON.stringify(body)}`).toBe(true);
    expect(accepts(schema, { unlike: 'all of them' })).toBe(false);
  };

  const good = JSON.stringify({ readings: [reading(ordinary), reading(hot)] });
  await storeReadings([reading(ordinary), reading({ ...hot, sound: null })]);
  for (const path of takers) {
    const request = document.paths[path]?.post?.requestBody?.content['application/json']?.schema ?? {};
    expect(accepts(request, JSON.parse(good))).toBe(true);
    expect(accepts(request, reading(ordinary))).toBe(true);
    expect(accepts(request, { station: 7 })).toBe(false);
    for (const [body, type] of [
      [good, isJson],
      ['{', isJson],
      [JSON.stringify(reading({})), isJson],
      ['', 'text/csv'],
      [new Uint8Array(bodySizeMax + 1), isProtobuf],
    ] as const) {
      expectDocumented(path, 'post', await post(path, body, type));
    }
  }
  for (const path of ['/v1/predictions', '/v1/anomalies']) {
    const answer = await ask(path);
    expect((answer.body as Page).items.length).toBeGreaterThan(0);
    expectDocumented(path, 'get', answer);
    expectDocumented(path, 'get', await ask(`${path}?limit=0`));
  }
  expectDocumented('/v1/model', 'get', await ask('/v1/model'));
  logError = new Error('request timed out');
  expectDocumented('/v1/readings', 'post', await post('/v1/readings', good));
  isModelLoaded = false;
  expectDocumented('/v1/model', 'get', await ask('/v1/model'));
  for (const path of takers) expectDocumented(path, 'post', await post(path, good));
});
