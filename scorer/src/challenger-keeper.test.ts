// The keeper of the challenger between a registry that fails as a test wants it and a real store.
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine } from '@lonetree/core-wasm';
import { digest, type FakeMlflow, startFakeMlflow } from '../test/fake-mlflow.ts';
import {
  damaged,
  moreAlarming,
  retrained,
  shippedForest,
  withOtherFeature,
} from '../test/forest-variants.ts';
import { type ChallengerKeeper, createChallengerKeeper } from './challenger-keeper.ts';
import type { FailureReason } from './model-failure.ts';
import type { ResidentModel } from './model-keeper.ts';
import { createRegistrySource } from './model-source.ts';
import { createRegistry } from './registry.ts';
import { type Database, openDatabase } from './sqlite.ts';
import { createSqliteStore } from './store-sqlite.ts';

let folder: string;
let database: Database;
let mlflow: FakeMlflow;
let keeper: ChallengerKeeper;
let active: ResidentModel | null;
let storeError: Error | null;
let failures: FailureReason[];
let warnings: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-challenger-'));
  database = openDatabase(folder);
  const store = createSqliteStore({ database, group: 'group', topic: 'readings', retentionDays: 30 });
  mlflow = startFakeMlflow();
  storeError = null;
  failures = [];
  warnings = [];
  const engine = await Engine.load(shippedForest());
  active = {
    engine,
    modelId: await store.registerModel(engine.model, { name: 'lonetree', version: '1' }),
    version: '1',
    sha256: engine.model.sha256,
    source: 'registry',
    createdAtMs: 0,
    loadedAtMs: 0,
  };
  const registry = createRegistry({
    uri: mlflow.uri,
    name: 'lonetree',
    forestSizeMax: 1 << 20,
    answerDeadlineMs: 500,
    downloadDeadlineMs: 5_000,
    tryCount: 1,
    retry: { firstMs: 1, maxMs: 1 },
    wait: () => Promise.resolve(),
    random: () => 0,
  });
  keeper = createChallengerKeeper({
    source: createRegistrySource(registry, 'challenger'),
    store: {
      registerModel: (...what) =>
        storeError === null ? store.registerModel(...what) : Promise.reject(storeError),
    },
    active: () => active,
    name: 'lonetree',
    log: { info() {}, warn: (_, message) => warnings.push(message) },
    observer: { challengerFailed: ({ reason }) => failures.push(reason) },
    now: () => 1_000,
  });
});
afterEach(async () => {
  await keeper.stop();
  await mlflow.stop();
  database.close();
  rmSync(folder, { recursive: true });
});

/** What the alias names; `artifact` undefined: nothing. */
function propose(version: string, artifact?: Uint8Array): void {
  if (artifact === undefined) mlflow.aliases.delete('challenger');
  else {
    mlflow.versions.set(version, { artifact });
    mlflow.aliases.set('challenger', version);
  }
}

const version = () => keeper.state().challenger?.version ?? null;
const downloads = () => mlflow.asked.filter((path) => path.includes('get-artifact')).length;

test('what the alias names is loaded, made fast and recorded as a model, and as no swap', async () => {
  propose('4', moreAlarming());
  await keeper.look();
  const { challenger, lastFailure } = keeper.state();
  expect(challenger).toMatchObject({ version: '4', sha256: digest(moreAlarming()) });
  expect(challenger?.engine.scoring).toBe('cells');
  expect(lastFailure).toBeNull();
  expect(database.query('select id, version, name from model where id <> 1').all()).toEqual([
    { id: challenger?.modelId, version: '4', name: 'lonetree' },
  ]);
  expect(database.query('select 1 from model_swap').all()).toEqual([]);
});

test('no challenger is no failure, and one that is taken away leaves', async () => {
  await keeper.look();
  expect([version(), keeper.state().lastFailure]).toEqual([null, null]);
  propose('4', moreAlarming());
  await keeper.look();
  expect(version()).toBe('4');
  propose('4');
  await keeper.look();
  expect([version(), failures]).toEqual([null, []]);
});

test('another challenger takes its place, the same one is not loaded again', async () => {
  propose('4', moreAlarming());
  await keeper.look();
  await keeper.look();
  expect(downloads()).toBe(1);
  propose('5', retrained(5));
  await keeper.look();
  expect([version(), downloads()]).toEqual(['5', 2]);
});

test('one that becomes the champion is its challenger no more', async () => {
  propose('4', moreAlarming());
  await keeper.look();
  active = keeper.state().challenger;
  await keeper.look();
  expect([version(), failures]).toEqual([null, []]);
});

test.each([
  ['other features', withOtherFeature(), 'features', /does not read sound, it needs pitch/],
  ['a damaged file', damaged(retrained(3)), 'forest', /checksum/],
] as const)(
  'one with %s is ignored, its reason shown, and is not downloaded again',
  async (_, artifact, reason, what) => {
    propose('4', moreAlarming());
    await keeper.look();
    propose('5', artifact);
    await keeper.look();
    await keeper.look();
    expect([version(), downloads()]).toEqual([null, 2]);
    expect(failures).toEqual([reason, reason]);
    expect(warnings).toHaveLength(1);
    expect(keeper.state().lastFailure).toMatchObject({ atMs: 1_000, what: expect.stringMatching(what) });
    propose('4', moreAlarming());
    await keeper.look();
    expect([version(), keeper.state().lastFailure]).toEqual(['4', null]);
  },
);

test('while the registry is away the challenger stays, and is followed again afterwards', async () => {
  propose('4', moreAlarming());
  await keeper.look();
  mlflow.fault = () => new Response('gone', { status: 503 });
  await keeper.look();
  expect([version(), failures]).toEqual(['4', ['registry-error']]);
  mlflow.fault = null;
  propose('5', retrained(5));
  await keeper.look();
  expect([version(), keeper.state().lastFailure]).toEqual(['5', null]);
});

test('one that the store does not record is not used before it does', async () => {
  storeError = new Error('the database is away');
  propose('4', moreAlarming());
  await keeper.look();
  expect([version(), failures]).toEqual([null, ['store']]);
  storeError = null;
  await keeper.look();
  expect(version()).toBe('4');
});

test('as long as no model scores nothing is compared with it', async () => {
  active = null;
  propose('4', moreAlarming());
  await keeper.look();
  expect([version(), mlflow.asked]).toEqual([null, []]);
});

test('looks that come while one is under way are answered by one', async () => {
  propose('4', moreAlarming());
  const looks = Array.from({ length: 100 }, () => keeper.look());
  await Bun.sleep(0);
  propose('5', retrained(5));
  await Promise.all([...looks, ...Array.from({ length: 100 }, () => keeper.look())]);
  expect(version()).toBe('5');
  expect(mlflow.asked.filter((path) => path.includes('alias')).length).toBeLessThan(4);
});

test('a stop ends what is under way, and nothing is looked for afterwards', async () => {
  mlflow.fault = () => new Promise(() => {});
  const looking = keeper.look();
  await Bun.sleep(5);
  await keeper.stop();
  await looking;
  mlflow.fault = null;
  propose('4', moreAlarming());
  await keeper.look();
  expect([version(), failures]).toEqual([null, []]);
});
