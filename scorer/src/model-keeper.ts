// The model that scores, the one before it, and the way from one to the next. Whatever fails, the running model goes on.
// One change at a time; the switch itself is an assignment, which blocks see between two of them.
import { Engine } from '@lonetree/core-wasm';
import type { ModelCache } from './model-cache.ts';
import { differencesOf } from './model-columns.ts';
import { ModelFailure, toFailure } from './model-failure.ts';
import { type Identity, isSame, type ModelSource, type Offer } from './model-source.ts';
import { type FirstModel, loadFirst } from './model-start.ts';
import type { ActiveModel } from './pipeline.ts';
import type { ModelSwap, Store, SwapCause } from './store.ts';

/** A model in memory that scores, or did before. */
export type ResidentModel = ActiveModel &
  Identity & {
    readonly engine: Engine;
    readonly source: Offer['source'];
    /** When it was registered, or its file written. */
    readonly createdAtMs: number;
    readonly loadedAtMs: number;
  };

/** Who wants a change, and why: recorded with it. */
export type ChangeRequest = {
  readonly cause: Exclude<SwapCause, 'start'>;
  readonly requestedBy: string;
  readonly why: string;
};

export type KeeperState = {
  readonly active: ResidentModel | null;
  /** Where a rollback leads. */
  readonly previous: ResidentModel | null;
  /** Rolled back from: not followed until something else is named. */
  readonly heldBack: Identity | null;
  /** Why the last look did not end well; null when it did. */
  readonly lastFailure: { readonly atMs: number; readonly what: string } | null;
};

/** What metrics are to know of the model that scores. */
export type UsedModel = Identity & {
  readonly name: string;
  readonly createdAtMs: number;
  readonly alarmRate: number | null;
  readonly features: readonly string[];
};

export type KeeperObserver = {
  modelUsed(model: UsedModel, cause: SwapCause): void;
  modelFailed(failure: ModelFailure): void;
};

type Prepared = { readonly engine: Engine; readonly bytes: Uint8Array | null };

export type ModelKeeper = {
  state(): KeeperState;
  /** Loads the first model there is: the source's, the last good one, the fallback. Throws ModelFailure. */
  load(): Promise<void>;
  /** Records the loaded model, which scores from then on. May be tried again. */
  begin(): Promise<void>;
  /** Looks what the source offers, and changes to it. Answers whether the model changed; throws ModelFailure. */
  look(request: ChangeRequest): Promise<boolean>;
  /** Back to the model before at once. Answers false when there is none. */
  rollBack(request: Omit<ChangeRequest, 'cause'>): Promise<boolean>;
  /** Ends what is under way. */
  stop(): Promise<void>;
};

export type KeeperOptions = {
  readonly source: ModelSource;
  /** Used when neither the source nor the disk has a model; null when the source is that file itself. */
  readonly fallback: ModelSource | null;
  readonly cache: ModelCache;
  readonly store: Pick<Store, 'registerModel' | 'recordSwap'>;
  /** The name that the model is registered by. */
  readonly name: string;
  readonly scorer: string;
  /** A source that has not delivered by then does not hold up the start. */
  readonly startDeadlineMs: number;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  readonly observer: KeeperObserver;
  readonly now: () => number;
};

export function createModelKeeper(options: KeeperOptions): ModelKeeper {
  const { source, cache, store, log, observer, now } = options;
  let active: ResidentModel | null = null;
  let previous: ResidentModel | null = null;
  let heldBack: Identity | null = null;
  let lastFailure: KeeperState['lastFailure'] = null;
  /** Its bytes will not become better: it is not downloaded again unless somebody asks. */
  let refused: { readonly sha256: string; readonly failure: ModelFailure } | null = null;
  /** Loaded, and not recorded yet. */
  let first: FirstModel | null = null;
  /** A rollback comes before its record. */
  let unrecorded: ModelSwap | null = null;
  /** Ends what is under way when something else has to come first. */
  let underWay = new AbortController();
  let isStopped = false;
  let tail: Promise<unknown> = Promise.resolve();

  function oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const done = tail.then(work);
    tail = done.catch(() => {}); // Whoever waits for it sees it.
    return done;
  }

  function interrupt(why: string): void {
    underWay.abort(new ModelFailure('superseded', why));
    underWay = new AbortController();
  }

  function noteFailure(error: unknown): ModelFailure {
    const failure = toFailure(error);
    if (failure.reason === 'superseded') return failure;
    observer.modelFailed(failure);
    // An hour without a registry is a line and not hundreds.
    if (failure.message !== lastFailure?.what)
      log.warn({ reason: failure.reason, err: failure }, 'the model stays as it is');
    lastFailure = { atMs: now(), what: failure.message };
    return failure;
  }

  /** Checked, self-tested, fast and warm; the bytes are null where they are in memory already. */
  async function prepare(offer: Offer, signal: AbortSignal): Promise<Prepared> {
    const residents = [active, previous].filter((model) => model !== null);
    const resident = residents.find((model) => model.sha256 === offer.sha256);
    if (resident !== undefined) return { engine: resident.engine, bytes: null };
    const bytes = await offer.read(signal);
    const engine = await Engine.load(bytes);
    if (active !== null) checkColumns(active.engine, engine);
    await accelerate(engine);
    return { engine, bytes };
  }

  async function accelerate(engine: Engine): Promise<void> {
    try {
      await engine.accelerate();
      log.info({ engine: engine.scoring, sha256: engine.model.sha256 }, 'scoring engine chosen');
    } catch (error) {
      log.warn({ err: error }, 'the faster scoring engine could not be made ready: trees are walked');
    }
  }

  async function register(engine: Engine, offer: Offer): Promise<ResidentModel> {
    const { version, sha256, source: from, createdAtMs } = offer;
    const named = { name: options.name, version };
    const modelId = await store.registerModel(engine.model, named).catch(storeFailed);
    return { engine, modelId, version, sha256, source: from, createdAtMs, loadedAtMs: now() };
  }

  async function record(swap: ModelSwap): Promise<void> {
    await store.recordSwap(swap).catch(storeFailed);
  }

  function describeSwap(
    { modelId, version, sha256 }: ResidentModel,
    request: Omit<ChangeRequest, 'cause'> & { readonly cause: SwapCause },
  ): ModelSwap {
    const { cause, requestedBy, why } = request;
    return { scorer: options.scorer, modelId, version, sha256, cause, requestedBy, why };
  }

  function announce({ engine, createdAtMs }: ResidentModel, swap: ModelSwap): void {
    const { scorer: _, modelId: __, ...what } = swap;
    log.info(what, 'model in use');
    const { version, sha256, cause } = swap;
    const { alarmRate, features } = engine.model;
    observer.modelUsed({ name: options.name, version, sha256, createdAtMs, alarmRate, features }, cause);
  }

  async function keepOnDisk(bytes: Uint8Array | null): Promise<void> {
    if (active === null) return;
    await cache.keep({ lastGood: active, heldBack }, bytes).catch(noteFailure);
  }

  async function change(offer: Offer, request: ChangeRequest, signal: AbortSignal): Promise<void> {
    const { engine, bytes } = await prepare(offer, signal);
    signal.throwIfAborted();
    const next = await register(engine, offer);
    const swap = describeSwap(next, request);
    await record(swap);
    signal.throwIfAborted(); // Who came first meanwhile records itself after this.
    previous = active;
    active = next;
    announce(next, swap);
    await keepOnDisk(bytes);
  }

  async function follow(request: ChangeRequest, signal: AbortSignal): Promise<boolean> {
    if (active === null) throw new ModelFailure('store', 'The first model is not recorded in the store yet.');
    await recordRollback();
    const offer = await source.find(signal);
    const isAskedFor = request.cause === 'request';
    if (heldBack !== null && isSame(offer, heldBack) && !isAskedFor) return false;
    if (heldBack !== null) {
      heldBack = null;
      await keepOnDisk(null);
    }
    if (isSame(offer, active)) {
      active = { ...active, source: offer.source }; // The registry is back, and says what the disk said.
      return false;
    }
    if (refused?.sha256 === offer.sha256 && !isAskedFor) throw refused.failure;
    try {
      await change(offer, request, signal);
    } catch (error) {
      const failure = toFailure(error);
      if (failure.reason === 'forest' || failure.reason === 'features')
        refused = { sha256: offer.sha256, failure };
      throw failure;
    }
    refused = null;
    return true;
  }

  async function recordRollback(): Promise<void> {
    if (unrecorded === null) return;
    await record(unrecorded);
    unrecorded = null;
  }

  return {
    state: () => ({ active, previous, heldBack, lastFailure }),

    async load() {
      const { signal: stopped } = underWay;
      const signal = () => AbortSignal.any([stopped, AbortSignal.timeout(options.startDeadlineMs)]);
      first = await loadFirst({ source, fallback: options.fallback, cache, signal });
      heldBack = first.heldBack;
      // What the source said comes last, and so is what is shown.
      for (const failure of first.failures.toReversed()) noteFailure(failure);
    },

    begin: () =>
      oneAtATime(async () => {
        if (first === null) throw new Error('assertion failed: no model was loaded');
        const { engine, offer, bytes } = first;
        const model = await register(engine, offer);
        const swap = describeSwap(model, { cause: 'start', requestedBy: '', why: '' });
        await record(swap);
        active = model;
        first = null;
        announce(model, swap);
        void accelerate(engine); // It scores meanwhile.
        void oneAtATime(() => keepOnDisk(bytes)); // Nor does the start wait for the disk.
      }),

    look: (request) =>
      oneAtATime(async () => {
        const { signal } = underWay;
        if (isStopped) throw new ModelFailure('superseded', ending);
        const earlier = lastFailure;
        try {
          const isChanged = await follow(request, signal);
          if (lastFailure === earlier) lastFailure = null;
          return isChanged;
        } catch (error) {
          throw noteFailure(signal.aborted ? signal.reason : error);
        }
      }),

    async rollBack(request) {
      if (active === null || previous === null) return false;
      interrupt('A rollback came first.');
      heldBack = { version: active.version, sha256: active.sha256 };
      active = previous;
      previous = null;
      const swap = describeSwap(active, { ...request, cause: 'rollback' });
      unrecorded = swap;
      announce(active, swap);
      await oneAtATime(async () => {
        await keepOnDisk(null);
        await recordRollback().catch(noteFailure);
      });
      return true;
    },

    async stop() {
      isStopped = true;
      interrupt(ending);
      await tail;
    },
  };
}

const ending = 'The scorer is stopping.';

function storeFailed(error: Error): never {
  throw new ModelFailure('store', `The store did not record it: ${error.message}`, { cause: error });
}

function checkColumns(running: Engine, next: Engine): void {
  const differences = differencesOf(running.model, next.model);
  if (differences.length === 0) return;
  const detail = `The model's columns are not those of the running one: ${differences.join(', ')}. A scorer that is started anew takes it.`;
  throw new ModelFailure('features', detail);
}
