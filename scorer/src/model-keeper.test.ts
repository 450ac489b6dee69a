// The keeper between a registry that fails as a test wants it, a real store and a real disk.
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digest, type FakeMlflow, startFakeMlflow } from '../test/fake-mlflow.ts';
import { damaged, retrained, shippedForest, withOtherFeature } from '../test/forest-variants.ts';
import { createModelCache } from './model-cache.ts';
import { type FailureReason, ModelFailure } from './model-failure.ts';
import { createModelKeeper, type ModelKeeper } from './model-keeper.ts';
import { createFileSource, createRegistrySource } from './model-source.ts';
import { createRegistry } from './registry.ts';
import { type Database, openDatabase } from './sqlite.ts';
import type { Store } from './store.ts';
import { createSqliteStore } from './store-sqlite.ts';

let folder: string;
let modelFile: string;
let database: Database;
let store: Store;
let storeError: Error | null;
/** Called before a swap is recorded. */
let beforeRecord: () => Promise<void>;
let mlflow: FakeMlflow;
let logged: string[];
let failures: FailureReason[];
let causes: string[];
const keepers: ModelKeeper[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lonetree-keeper-'));
  modelFile = join(folder, 'given.forest');
  writeFileSync(modelFile, shippedForest());
  database = openDatabase(folder);
  const table = createSqliteStore({ database, group: 'group', topic: 'readings', retentionDays: 30 });
  storeError = null;
  beforeRecord = () => Promise.resolve();
  const orFail = <T>(work: () => Promise<T>) => (storeError === null ? work() : Promise.reject(storeError));
  store = {
    ...table,
    registerModel: (...what) => orFail(() => table.registerModel(...what)),
    recordSwap: (swap) => orFail(() => beforeRecord().then(() => table.recordSwap(swap))),
  };
  mlflow = startFakeMlflow();
  logged = [];
  failures = [];
  causes = [];
});
afterEach(async () => {
  await Promise.all(keepers.splice(0).map((keeper) => keeper.stop()));
  await mlflow.stop();
  database.close();
  rmSync(folder, { recursive: true });
});

/** Version, bytes and alias at once. */
function promote(version: string, artifact: Uint8Array, sha256?: string | null): void {
  mlflow.versions.set(version, sha256 === undefined ? { artifact } : { artifact, sha256 });
  mlflow.aliases.set('champion', version);
}

/** A keeper that is not started. `file`: without a registry. */
function createKeeper(follows: 'registry' | 'file' = 'registry'): ModelKeeper {
  const file = createFileSource(modelFile, 1 << 20);
  const registry = createRegistry({
    uri: mlflow.uri,
    name: 'lonetree',
    forestSizeMax: 1 << 20,
    answerDeadlineMs: 500,
    downloadDeadlineMs: 5_000,
    tryCount: 2,
    retry: { firstMs: 1, maxMs: 1 },
    wait: () => Promise.resolve(),
    random: () => 0,
  });
  const keeper = createModelKeeper({
    source: follows === 'file' ? file : createRegistrySource(registry, 'champion'),
    fallback: follows === 'file' ? null : file,
    cache: createModelCache(join(folder, 'models'), 'lonetree'),
    store,
    name: 'lonetree',
    scorer: 'scorer-1',
    startDeadlineMs: 5_000,
    log: { info() {}, warn: (_, message) => logged.push(message) },
    observer: {
      modelUsed: (_, cause) => causes.push(cause),
      modelFailed: ({ reason }) => failures.push(reason),
    },
    now: Date.now,
  });
  keepers.push(keeper);
  return keeper;
}

async function start(follows: 'registry' | 'file' = 'registry'): Promise<ModelKeeper> {
  const keeper = createKeeper(follows);
  await keeper.load();
  await keeper.begin();
  return keeper;
}

const byPoll = { cause: 'poll', requestedBy: '', why: '' } as const;
const byRequest = { cause: 'request', requestedBy: 'ann', why: 'asked' } as const;
const order = { requestedBy: 'ann', why: 'it alarms too often' };

async function reasonOf(work: Promise<unknown>): Promise<FailureReason> {
  const error = await work.then(
    () => new Error('it did not fail'),
    (cause: unknown) => cause,
  );
  if (error instanceof ModelFailure) return error.reason;
  throw error;
}

const versionOf = (keeper: ModelKeeper) => keeper.state().active?.version;
const downloads = () => mlflow.asked.filter((path) => path.includes('get-artifact')).length;
const swaps = () =>
  database
    .query('select scorer, version, sha256, cause, requested_by, why from model_swap order by id')
    .all() as { version: string; cause: string; sha256: string }[];

describe('starting', () => {
  test('takes what the alias names, and records it', async () => {
    promote('4', retrained(4));
    const { active, lastFailure } = (await start()).state();
    expect(active).toMatchObject({ version: '4', source: 'registry', sha256: digest(retrained(4)) });
    expect(lastFailure).toBeNull();
    expect(swaps()).toEqual([
      {
        scorer: 'scorer-1',
        version: '4',
        sha256: digest(retrained(4)),
        cause: 'start',
        requested_by: '',
        why: '',
      },
    ] as object[] as ReturnType<typeof swaps>);
    expect(causes).toEqual(['start']);
  });

  test('no model scores before it is recorded, and recording may be tried again', async () => {
    promote('4', retrained(4));
    const keeper = createKeeper();
    await keeper.load();
    storeError = new Error('the database is away');
    expect(await reasonOf(keeper.begin())).toBe('store');
    expect(keeper.state().active).toBeNull();
    expect(await reasonOf(keeper.look(byPoll))).toBe('store');
    storeError = null;
    await keeper.begin();
    expect(versionOf(keeper)).toBe('4');
  });

  test('without a registry there is the last good model, also after a restart without one', async () => {
    promote('4', retrained(4));
    await (await start()).stop();
    mlflow.fault = () => new Response('', { status: 500 });
    for (let restart = 0; restart < 2; restart += 1) {
      const { active, lastFailure } = (await start()).state();
      expect(active).toMatchObject({ version: '4', source: 'cache', sha256: digest(retrained(4)) });
      expect(lastFailure?.what).toContain('500');
    }
    expect(failures).toEqual(['registry-error', 'registry-error']);
  });

  test('a registry that comes back confirms the last good model without a download', async () => {
    promote('4', retrained(4));
    await (await start()).stop();
    mlflow.fault = () => new Response('', { status: 500 });
    const keeper = await start();
    mlflow.fault = null;
    expect(await keeper.look(byPoll)).toBe(false);
    expect(keeper.state()).toMatchObject({ active: { source: 'registry' }, lastFailure: null });
    expect(downloads()).toBe(1);
  });

  test('without registry and last good model there is the file, and the registry’s model follows', async () => {
    mlflow.fault = () => new Promise(() => {});
    const keeper = await start();
    expect(keeper.state().active).toMatchObject({
      version: '',
      source: 'file',
      sha256: digest(shippedForest()),
    });
    expect(keeper.state().lastFailure?.what).toContain('500 ms');
    mlflow.fault = null;
    promote('5', retrained(5));
    expect(await keeper.look(byPoll)).toBe(true);
    expect(versionOf(keeper)).toBe('5');
  });

  test('as long as the alias is missing the file scores, and it is said', async () => {
    const keeper = await start();
    expect(keeper.state().active?.source).toBe('file');
    expect(await reasonOf(keeper.look(byPoll))).toBe('alias-missing');
    expect(keeper.state().lastFailure?.what).toContain('champion');
    // Another file is meant when another one is given, although the old one was the last good model.
    await keeper.stop();
    writeFileSync(modelFile, retrained(9));
    expect((await start()).state().active?.sha256).toBe(digest(retrained(9)));
  });

  test.each([
    ['a wrong digest', () => promote('5', retrained(5), 'a'.repeat(64))],
    ['damaged bytes', () => promote('5', damaged(retrained(5)))],
  ])('on a version with %s is a start on the last good model', async (_, publish) => {
    promote('4', retrained(4));
    await (await start()).stop();
    publish();
    const keeper = await start();
    expect(keeper.state()).toMatchObject({ active: { version: '4', source: 'cache' } });
    expect(keeper.state().lastFailure).not.toBeNull();
  });

  test('a last good model that is damaged on disk is refused, and the file scores', async () => {
    promote('4', retrained(4));
    await (await start()).stop();
    writeFileSync(join(folder, 'models', `${digest(retrained(4))}.forest`), damaged(retrained(4)));
    mlflow.fault = () => new Response('', { status: 500 });
    expect((await start()).state().active?.source).toBe('file');
    expect(failures.toSorted()).toEqual(['digest', 'registry-error']);
  });

  test('what was kept for another registered name, or cut off, is no last good model', async () => {
    const state = join(folder, 'models', 'champion.json');
    promote('4', retrained(4));
    await (await start()).stop();
    mlflow.fault = () => new Response('', { status: 500 });
    const kept = await Bun.file(state).text();
    for (const text of [kept.slice(0, 40), kept.replace('lonetree', 'other')]) {
      writeFileSync(state, text);
      const keeper = await start();
      expect(keeper.state().active?.source).toBe('file');
      await keeper.stop();
    }
  });

  test('takes any features; without any model it fails and says all that was tried', async () => {
    promote('4', withOtherFeature());
    const keeper = await start();
    expect(keeper.state().active?.engine.model.features).toContain('pitch');
    await keeper.stop();
    mlflow.aliases.clear();
    rmSync(join(folder, 'models'), { recursive: true });
    writeFileSync(modelFile, 'no forest');
    const failure = await createKeeper()
      .load()
      .catch((error: Error) => error);
    expect(String(failure)).toContain('Registered model alias champion not found');
    expect(String(failure)).toContain('forest file is refused');
  });
});

describe('a swap', () => {
  test('changes to what the alias names, with who and why, and keeps the model before', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', retrained(5));
    expect(await keeper.look({ ...byRequest, cause: 'update' })).toBe(true);
    expect(keeper.state()).toMatchObject({
      active: { version: '5', sha256: digest(retrained(5)) },
      previous: { version: '4', sha256: digest(retrained(4)) },
      heldBack: null,
      lastFailure: null,
    });
    expect(swaps().at(-1)).toMatchObject({
      version: '5',
      cause: 'update',
      requested_by: 'ann',
      why: 'asked',
    });
    expect(await keeper.look(byPoll)).toBe(false);
    expect(swaps()).toHaveLength(2);
  });

  test('the new model is the fast one from its first block on', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', retrained(5));
    const engines: (string | undefined)[] = [];
    const looking = keeper.look(byPoll).then(() => engines.push(keeper.state().active?.engine.scoring));
    while (engines.length === 0) {
      if (versionOf(keeper) === '5') engines.push(keeper.state().active?.engine.scoring);
      await Bun.sleep(0);
    }
    await looking;
    expect(engines[0]).not.toBe('walk');
  });

  test('of the bytes that score already, or did before, none are downloaded', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    const { engine } = keeper.state().active ?? {};
    promote('5', retrained(5));
    await keeper.look(byPoll);
    mlflow.aliases.set('champion', '4');
    await keeper.look(byPoll);
    expect(keeper.state().active?.engine).toBe(engine as NonNullable<typeof engine>);
    promote('6', retrained(4));
    expect(await keeper.look(byPoll)).toBe(true);
    expect(versionOf(keeper)).toBe('6');
    expect(downloads()).toBe(2);
    expect(swaps().map(({ version }) => version)).toEqual(['4', '5', '4', '6']);
  });

  test.each<[string, FailureReason, () => void]>([
    [
      'a registry that answers 500',
      'registry-error',
      () => (mlflow.fault = () => new Response('', { status: 500 })),
    ],
    ['a registry that is silent', 'registry-away', () => (mlflow.fault = () => new Promise(() => {}))],
    ['a missing alias', 'alias-missing', () => mlflow.aliases.clear()],
    ['a version without a digest', 'digest', () => promote('5', retrained(5), null)],
    ['a wrong digest', 'digest', () => promote('5', retrained(5), 'a'.repeat(64))],
    ['a damaged artifact', 'forest', () => promote('5', damaged(retrained(5)))],
    ['no forest at all', 'forest', () => promote('5', Buffer.from('<html>'))],
    ['an artifact that is too large', 'too-large', () => promote('5', new Uint8Array(2 << 20))],
    ['other features', 'features', () => promote('5', withOtherFeature())],
    [
      'a database that is away',
      'store',
      () => {
        promote('5', retrained(5));
        storeError = new Error('away');
      },
    ],
  ])(
    'that meets %s changes nothing, is seen (%s), and goes through when all is well',
    async (_, reason, spoil) => {
      promote('4', retrained(4));
      const keeper = await start();
      const before = keeper.state().active;
      spoil();
      expect(await reasonOf(keeper.look(byPoll))).toBe(reason);
      const { active, previous, lastFailure } = keeper.state();
      expect(active).toBe(before);
      expect(previous).toBeNull();
      expect(lastFailure?.what.length).toBeGreaterThan(10);
      expect(failures).toEqual([reason]);
      expect(swaps()).toHaveLength(1);
      // The same trouble again is counted, and no line of the log.
      expect(await reasonOf(keeper.look(byPoll))).toBe(reason);
      expect([failures.length, logged.length]).toEqual([2, 1]);

      mlflow.fault = null;
      storeError = null;
      promote('5', retrained(6));
      expect(await keeper.look(byPoll)).toBe(true);
      expect(keeper.state()).toMatchObject({ active: { version: '5' }, lastFailure: null });
    },
  );

  test('bytes that were refused are not downloaded again until somebody asks', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', withOtherFeature());
    for (let look = 0; look < 3; look += 1) expect(await reasonOf(keeper.look(byPoll))).toBe('features');
    expect(downloads()).toBe(2);
    expect(await reasonOf(keeper.look(byRequest))).toBe('features');
    expect(downloads()).toBe(3);
  });

  test('an artifact that was wrong under its digest is looked at again', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', damaged(retrained(5)), digest(retrained(5)));
    expect(await reasonOf(keeper.look(byPoll))).toBe('digest');
    promote('5', retrained(5));
    expect(await keeper.look(byPoll)).toBe(true);
  });

  test('a disk that takes nothing does not keep a model from scoring, and is seen', async () => {
    promote('4', retrained(4));
    writeFileSync(join(folder, 'models'), 'not a folder');
    const keeper = await start();
    promote('5', retrained(5));
    expect(await keeper.look(byPoll)).toBe(true);
    expect(keeper.state().lastFailure?.what).toContain('cannot be kept');
    expect(failures).toEqual(['cache', 'cache']);
  });

  test('looks come one after the other', async () => {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', retrained(5));
    expect(await Promise.all([keeper.look(byPoll), keeper.look(byRequest), keeper.look(byPoll)])).toEqual([
      true,
      false,
      false,
    ]);
    expect(swaps()).toHaveLength(2);
  });

  test('on disk there are never more than four models', async () => {
    promote('0', retrained(0));
    const keeper = await start();
    for (let version = 1; version < 8; version += 1) {
      promote(String(version), retrained(version));
      await keeper.look(byPoll);
    }
    const glob = new Bun.Glob('*.forest');
    const kept = await Array.fromAsync(glob.scan({ cwd: join(folder, 'models') }));
    expect(kept).toHaveLength(4);
    expect(kept).toContain(`${digest(retrained(7))}.forest`);
  });
});

describe('a rollback', () => {
  async function swapped(): Promise<ModelKeeper> {
    promote('4', retrained(4));
    const keeper = await start();
    promote('5', retrained(5));
    await keeper.look(byPoll);
    return keeper;
  }

  test('leads to the model before, is recorded, and leads no further', async () => {
    const keeper = await swapped();
    expect(await keeper.rollBack(order)).toBe(true);
    expect(keeper.state()).toMatchObject({
      active: { version: '4' },
      previous: null,
      heldBack: { version: '5' },
      lastFailure: null,
    });
    expect(swaps().at(-1)).toMatchObject({ version: '4', cause: 'rollback', why: 'it alarms too often' });
    expect(await keeper.rollBack(order)).toBe(false);
    expect(swaps()).toHaveLength(3);
  });

  test('without a model before there is none', async () => {
    promote('4', retrained(4));
    expect(await (await start()).rollBack(order)).toBe(false);
  });

  test('the version is held back until another one is named, and then it may come again', async () => {
    const keeper = await swapped();
    await keeper.rollBack(order);
    expect(await keeper.look(byPoll)).toBe(false);
    expect(await keeper.look({ ...byPoll, cause: 'update' })).toBe(false);
    expect(versionOf(keeper)).toBe('4');
    mlflow.aliases.set('champion', '4');
    expect(await keeper.look(byPoll)).toBe(false);
    expect(keeper.state().heldBack).toBeNull();
    mlflow.aliases.set('champion', '5');
    expect(await keeper.look(byPoll)).toBe(true);
    expect(versionOf(keeper)).toBe('5');
  });

  test('who asks for the version that is held back gets it', async () => {
    const keeper = await swapped();
    await keeper.rollBack(order);
    expect(await keeper.look(byRequest)).toBe(true);
    expect(keeper.state()).toMatchObject({
      active: { version: '5' },
      heldBack: null,
      previous: { version: '4' },
    });
  });

  test('is remembered over a restart: the version stays held back, and the one before scores', async () => {
    const keeper = await swapped();
    await keeper.rollBack(order);
    await keeper.stop();
    const restarted = await start();
    expect(restarted.state()).toMatchObject({
      active: { version: '4', source: 'cache' },
      heldBack: { version: '5' },
    });
    expect(await restarted.look(byPoll)).toBe(false);
    promote('6', retrained(6));
    expect(await restarted.look(byPoll)).toBe(true);
    expect(restarted.state().heldBack).toBeNull();
  });

  test('comes before a download that is under way, which changes nothing any more', async () => {
    const keeper = await swapped();
    promote('6', retrained(6));
    const asked = Promise.withResolvers<void>();
    mlflow.fault = (path) => {
      if (!path.includes('get-artifact')) return undefined;
      asked.resolve();
      return new Promise(() => {});
    };
    const looking = reasonOf(keeper.look(byPoll));
    await asked.promise;
    expect(await keeper.rollBack(order)).toBe(true);
    expect(await looking).toBe('superseded');
    expect(versionOf(keeper)).toBe('4');
    expect(failures).toEqual([]);
  });

  test('comes before a model that is being recorded, and has the last word there too', async () => {
    const keeper = await swapped();
    promote('6', retrained(6));
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const { promise: held, resolve: hold } = Promise.withResolvers<void>();
    beforeRecord = () => {
      hold();
      return released;
    };
    const looking = reasonOf(keeper.look(byPoll));
    await held;
    const rolling = keeper.rollBack(order);
    expect(versionOf(keeper)).toBe('4');
    release();
    expect(await rolling).toBe(true);
    expect(await looking).toBe('superseded');
    expect(versionOf(keeper)).toBe('4');
    expect(swaps().map(({ version }) => version)).toEqual(['4', '5', '6', '4']);
  });

  test('comes at once while the database is away, and is recorded when it is back', async () => {
    const keeper = await swapped();
    storeError = new Error('away');
    expect(await keeper.rollBack(order)).toBe(true);
    expect(versionOf(keeper)).toBe('4');
    expect(keeper.state().lastFailure?.what).toContain('away');
    expect(swaps()).toHaveLength(2);
    storeError = null;
    await keeper.look(byPoll);
    expect(swaps().at(-1)).toMatchObject({ version: '4', cause: 'rollback' });
    await keeper.look(byPoll);
    expect(swaps()).toHaveLength(3);
  });
});

describe('without a registry', () => {
  test('another file is followed, and half of one refused', async () => {
    const keeper = await start('file');
    expect(await keeper.look(byPoll)).toBe(false);
    writeFileSync(modelFile, retrained(5).subarray(0, 100_000));
    expect(await reasonOf(keeper.look(byPoll))).toBe('forest');
    writeFileSync(modelFile, retrained(5));
    expect(await keeper.look(byPoll)).toBe(true);
    expect(keeper.state().active).toMatchObject({
      version: '',
      source: 'file',
      sha256: digest(retrained(5)),
    });
    rmSync(modelFile);
    expect(await reasonOf(keeper.look(byPoll))).toBe('file');
    expect(mlflow.asked).toEqual([]);
  });

  test('a file that was rolled back from is not started with', async () => {
    const keeper = await start('file');
    writeFileSync(modelFile, retrained(5));
    await keeper.look(byPoll);
    await keeper.rollBack(order);
    await keeper.stop();
    const restarted = await start('file');
    expect(restarted.state().active).toMatchObject({ source: 'cache', sha256: digest(shippedForest()) });
    await restarted.stop();
    rmSync(join(folder, 'models', `${digest(shippedForest())}.forest`));
    expect((await start('file')).state().active?.sha256).toBe(digest(retrained(5)));
  });

  test('a file that cannot be read is no reason to start with an older one', async () => {
    await (await start('file')).stop();
    rmSync(modelFile);
    expect(await reasonOf(createKeeper('file').load())).toBe('file');
  });
});
