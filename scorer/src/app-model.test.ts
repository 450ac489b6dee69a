// The routes to the model, asked as an operator asks them, with the real keeper, a real store and a registry that fails.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digest, type FakeMlflow, startFakeMlflow } from '../test/fake-mlflow.ts';
import { damaged, retrained, shippedForest, withOtherFeature } from '../test/forest-variants.ts';
import { idleState } from '../test/idle-state.ts';
import { type AppOptions, createApp } from './app.ts';
import type { CarriedOut } from './app-model.ts';
import type { RequestFailure } from './app-problems.ts';
import { createSqliteBroker } from './broker-sqlite.ts';
import type { ChallengerKeeper } from './challenger-keeper.ts';
import { createMetrics } from './metrics.ts';
import { createModelCache } from './model-cache.ts';
import { createModelKeeper, type ModelKeeper, type ResidentModel } from './model-keeper.ts';
import { createRegistrySource } from './model-source.ts';
import { createRegistry } from './registry.ts';
import { type Database, openDatabase } from './sqlite.ts';
import { createSqliteStore } from './store-sqlite.ts';

const adminToken = 'let-me-change-models';
let folder: string;
let database: Database;
let mlflow: FakeMlflow;
let keeper: ModelKeeper;
let orders: CarriedOut[];
let failures: RequestFailure[];
let options: AppOptions;
let app: ReturnType<typeof createApp>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-app-model-'));
  database = openDatabase(folder);
  orders = [];
  failures = [];
  mlflow = startFakeMlflow();
  promote('4', shippedForest());
  const store = createSqliteStore({ database, group: 'group', topic: 'readings', retentionDays: 30 });
  const metrics = createMetrics(idleState);
  const registry = createRegistry({
    uri: mlflow.uri,
    name: 'lonetree',
    forestSizeMax: 1 << 20,
    answerDeadlineMs: 500,
    downloadDeadlineMs: 60_000,
    tryCount: 1,
    retry: { firstMs: 1, maxMs: 1 },
    wait: () => Promise.resolve(),
    random: () => 0,
  });
  keeper = createModelKeeper({
    source: createRegistrySource(registry, 'champion'),
    fallback: null,
    cache: createModelCache(join(folder, 'models'), 'lonetree'),
    store,
    name: 'lonetree',
    scorer: 'scorer-1',
    startDeadlineMs: 5_000,
    log: { info() {}, warn() {} },
    observer: metrics,
    now: Date.now,
  });
  options = {
    store,
    broker: createSqliteBroker({
      database,
      topic: 'readings',
      blockMessagesMax: 100,
      blockSizeMax: 1e6,
      now: Date.now,
    }),
    keeper,
    challenger: null,
    modelName: 'lonetree',
    scorer: 'scorer-1',
    adminToken,
    changeDeadlineMs: 5_000,
    notReady: () => Promise.resolve([]),
    metrics,
    readingsTopic: 'readings',
    bodySizeMax: 1 << 20,
    queryRowsMax: 10,
    confirmDeadlineMs: 50,
    onFailure: (failure) => failures.push(failure),
    onOrder: (order) => orders.push(order),
  };
  app = createApp(options);
});
afterEach(async () => {
  await keeper.stop();
  await mlflow.stop();
  database.close();
  rmSync(folder, { recursive: true });
});

function promote(version: string, artifact: Uint8Array): void {
  mlflow.versions.set(version, { artifact });
  mlflow.aliases.set('champion', version);
}

async function begin(): Promise<void> {
  await keeper.load();
  await keeper.begin();
}

async function ask(path: string, request: RequestInit = {}) {
  const response = await app.request(path, request);
  return { status: response.status, headers: response.headers, body: (await response.json()) as object };
}

const post = (what: 'swap' | 'rollback', body?: string, authorization = `Bearer ${adminToken}`) =>
  ask(`/v1/model/${what}`, {
    method: 'POST',
    headers: { authorization },
    ...(body === undefined ? {} : { body }),
  });

const model = async () => (await ask('/v1/model')).body;
const lastSwap = () =>
  database.query('select version, cause, requested_by, why from model_swap order by id desc').get();

test('the model tells its version, where it is from, where a rollback leads and what failed', async () => {
  await begin();
  expect(await model()).toMatchObject({
    name: 'lonetree',
    version: '4',
    source: 'registry',
    sha256: digest(shippedForest()),
    scorer: 'scorer-1',
    previous: null,
    heldBack: null,
    lastFailure: null,
  });
  mlflow.fault = () => new Response('', { status: 500 });
  await post('swap');
  const { lastFailure } = (await model()) as { lastFailure: { at: string; what: string } };
  expect(Date.parse(lastFailure.at)).toBeGreaterThan(Date.now() - 60_000);
  expect(lastFailure.what).toContain('500');
});

test('a swap changes the model and says so, and the next one finds it in use already', async () => {
  await begin();
  promote('5', retrained(5));
  const first = await post('swap', '{"by": "ann", "why": "summer"}');
  expect(first).toMatchObject({
    status: 200,
    body: {
      swapped: true,
      model: { version: '5', previous: { version: '4', sha256: digest(shippedForest()) } },
    },
  });
  expect(lastSwap()).toEqual({ version: '5', cause: 'request', requested_by: 'ann', why: 'summer' });
  expect(await post('swap')).toMatchObject({
    status: 200,
    body: { swapped: false, model: { version: '5' } },
  });
});

test('verdicts on request name the version', async () => {
  await begin();
  const values = { temperature: 28, humidity: 17, sound: 54 };
  const request = {
    method: 'POST',
    body: JSON.stringify({ station: 'a', values }),
    headers: { 'content-type': 'application/json' },
  };
  expect((await ask('/v1/score', request)).body).toMatchObject({ modelVersion: '4' });
  promote('5', retrained(5));
  await post('swap');
  expect((await ask('/v1/score', request)).body).toMatchObject({
    modelVersion: '5',
    modelSha256: digest(retrained(5)),
  });
});

test('orders are told with who gave them, in which request and whether they changed anything', async () => {
  await begin();
  promote('5', retrained(5));
  await post('swap', '{"by": "ann", "why": "summer"}');
  await post('swap');
  await post('rollback', '{"by": "bob"}');
  const requestId = expect.any(String);
  expect(orders).toEqual([
    { requestId, order: 'swap', requestedBy: 'ann', why: 'summer', isSwapped: true },
    { requestId, order: 'swap', requestedBy: '', why: '', isSwapped: false },
    { requestId, order: 'rollback', requestedBy: 'bob', why: '', isSwapped: true },
  ]);
  expect(failures).toEqual([]);
  await post('rollback');
  expect([orders.length, failures.length]).toEqual([3, 1]);
});

test('a rollback leads to the model before, once', async () => {
  await begin();
  promote('5', retrained(5));
  await post('swap');
  expect(await post('rollback', '{"by": "ann", "why": "too loud"}')).toMatchObject({
    status: 200,
    body: { swapped: true, model: { version: '4', heldBack: '5', previous: null } },
  });
  expect(lastSwap()).toEqual({ version: '4', cause: 'rollback', requested_by: 'ann', why: 'too loud' });
  expect(await post('rollback')).toMatchObject({ status: 409, body: { status: 409, reason: 'no-previous' } });
});

test.each([
  [409, 'features', () => promote('5', withOtherFeature())],
  [409, 'forest', () => promote('5', damaged(retrained(5)))],
  [409, 'alias-missing', () => mlflow.aliases.clear()],
  [502, 'registry-error', () => (mlflow.fault = () => new Response('', { status: 500 }))],
  [504, 'registry-away', () => (mlflow.fault = () => new Promise(() => {}))],
])('a swap that fails is answered with %i and %s, and the model stays', async (status, reason, spoil) => {
  await begin();
  spoil();
  const answer = await post('swap');
  expect(answer.headers.get('content-type')).toBe('application/problem+json');
  expect(answer).toMatchObject({ status, body: { status, reason } });
  const told = failures.map(({ path, problem }) => `${path} ${problem.status} ${problem.reason}`);
  expect(told).toEqual([`/v1/model/swap ${status} ${reason}`]);
  expect(await model()).toMatchObject({ version: '4' });
});

test('a change that takes long goes on without whoever asked for it', async () => {
  await begin();
  app = createApp({ ...options, changeDeadlineMs: 20 });
  promote('5', retrained(5));
  const { promise: late, resolve: release } = Promise.withResolvers<Response>();
  mlflow.fault = (path) => (path.includes('get-artifact') ? late : undefined);
  expect(await post('swap')).toMatchObject({ status: 504, body: { title: 'Still under way' } });
  expect(await model()).toMatchObject({ version: '4' });
  release(new Response(new Uint8Array(retrained(5))));
  while (keeper.state().active?.version !== '5') await Bun.sleep(1);
});

test.each([
  ['no token', ''],
  ['another token', `Bearer ${adminToken}x`],
  ['the beginning of the token', `Bearer ${adminToken.slice(0, -1)}`],
  ['another scheme', `Basic ${adminToken}`],
])('%s is answered with 401, and nothing is looked for', async (_, authorization) => {
  await begin();
  const asked = mlflow.asked.length;
  for (const what of ['swap', 'rollback'] as const) {
    const answer = await post(what, undefined, authorization);
    expect(answer).toMatchObject({ status: 401, body: { status: 401 } });
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
  }
  expect(mlflow.asked).toHaveLength(asked);
});

test('a scorer without a token takes no orders, whatever is sent', async () => {
  await begin();
  app = createApp({ ...options, adminToken: undefined });
  for (const authorization of ['', 'Bearer ', 'Bearer undefined']) {
    expect(await post('swap', undefined, authorization)).toMatchObject({ status: 403 });
    expect(await post('rollback', undefined, authorization)).toMatchObject({ status: 403 });
  }
});

test('before the first model is recorded there is nothing to change', async () => {
  expect(await post('swap')).toMatchObject({ status: 503 });
  expect(await post('rollback')).toMatchObject({ status: 503 });
  expect(await ask('/v1/model')).toMatchObject({ status: 503 });
});

test.each([['[]'], ['{"by": 7}'], ['{"who": "ann"}'], [`{"why": "${'x'.repeat(1_001)}"}`], ['{']])(
  'the body %p is refused, and an empty one is none',
  async (body) => {
    await begin();
    expect(await post('swap', body)).toMatchObject({ status: 400 });
    expect(await post('swap', '')).toMatchObject({ status: 200 });
  },
);

test('a body that is too large is left', async () => {
  await begin();
  expect(await post('swap', ' '.repeat(100_000))).toMatchObject({ status: 413 });
});

test('the OpenAPI document says what the routes answer, and that they need a token', async () => {
  const { body } = await ask('/openapi.json');
  for (const what of ['swap', 'rollback']) {
    const { security, responses } = (body as { paths: Record<string, { post: Record<string, object> }> })
      .paths[`/v1/model/${what}`]?.post ?? { security: [], responses: {} };
    expect(security).toEqual([{ bearer: [] }]);
    expect(Object.keys(responses as object)).toEqual([
      '200',
      '400',
      '401',
      '403',
      '409',
      '413',
      '502',
      '503',
      '504',
    ]);
  }
});

test('the challenger is shown with why there is none, and a swap looks for it too', async () => {
  await begin();
  expect(await model()).toMatchObject({ challenger: null, challengerFailure: null });
  let lookCount = 0;
  let state: ReturnType<ChallengerKeeper['state']> = {
    challenger: null,
    lastFailure: { atMs: Date.UTC(2026, 10, 23), what: 'it needs pitch' },
  };
  app = createApp({
    ...options,
    challenger: {
      state: () => state,
      look() {
        lookCount += 1;
        return Promise.resolve();
      },
    },
  });
  const failure = { at: '2026-11-23T00:00:00.000Z', what: 'it needs pitch' };
  expect(await model()).toMatchObject({ challenger: null, challengerFailure: failure });
  state = { challenger: { ...(keeper.state().active as ResidentModel), version: '9' }, lastFailure: null };
  const challenger = { version: '9', sha256: digest(shippedForest()) };
  expect(await model()).toMatchObject({ challenger, challengerFailure: null });
  expect(lookCount).toBe(0);
  expect((await post('swap')).status).toBe(200);
  expect(lookCount).toBe(1);
});
