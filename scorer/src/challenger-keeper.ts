// The challenger, if the registry names one: loaded beside the model that scores, and never in its place. Whatever fails, there
// is none, or the one before.
import { Engine } from '@lonetree/core-wasm';
import { differencesOf } from './model-columns.ts';
import { ModelFailure, toFailure } from './model-failure.ts';
import type { ResidentModel } from './model-keeper.ts';
import { isSame, type ModelSource, type Offer } from './model-source.ts';
import type { Store } from './store.ts';

export type ChallengerState = {
  /** Null: there is none, or it cannot be compared with the model that scores. */
  readonly challenger: ResidentModel | null;
  /** Why the last look did not end well; null when it did. */
  readonly lastFailure: { readonly atMs: number; readonly what: string } | null;
};

export type ChallengerKeeper = {
  state(): ChallengerState;
  /** Looks what the source offers. Whatever fails is told to log and metrics. */
  look(): Promise<void>;
  /** Ends what is under way. */
  stop(): Promise<void>;
};

export type ChallengerOptions = {
  readonly source: ModelSource;
  readonly store: Pick<Store, 'registerModel'>;
  /** The model that scores; null as long as there is none. */
  readonly active: () => ResidentModel | null;
  /** The name that the model is registered by. */
  readonly name: string;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  readonly observer: { challengerFailed(failure: ModelFailure): void };
  readonly now: () => number;
};

export function createChallengerKeeper(options: ChallengerOptions): ChallengerKeeper {
  const { source, store, log, observer } = options;
  let challenger: ResidentModel | null = null;
  /** Its bytes will not become better: it is not downloaded again. */
  let refused: { readonly sha256: string; readonly failure: ModelFailure } | null = null;
  let lastFailure: ChallengerState['lastFailure'] = null;
  let tail = Promise.resolve();
  /** One look waits at most: it answers all that asked for it meanwhile. */
  let isLookWaiting = false;
  const stopping = new AbortController();

  async function follow(): Promise<void> {
    const active = options.active();
    if (active === null) return;
    const offer = await source.find(stopping.signal).catch(noneWhenMissing);
    if (offer === null) return leave('there is none any more');
    if (isSame(offer, active)) return leave('it is the champion now');
    if (challenger !== null && isSame(offer, challenger)) return;
    leave('another one comes');
    if (refused?.sha256 === offer.sha256) throw refused.failure;
    try {
      challenger = await prepare(offer, active);
    } catch (error) {
      const failure = toFailure(error);
      if (failure.reason === 'forest' || failure.reason === 'features')
        refused = { sha256: offer.sha256, failure };
      throw failure;
    }
    log.info({ version: offer.version, sha256: offer.sha256 }, 'challenger scores in shadow');
  }

  function leave(why: string): void {
    if (challenger !== null) log.info({ version: challenger.version, why }, 'challenger leaves the shadow');
    challenger = null;
  }

  async function prepare(offer: Offer, active: ResidentModel): Promise<ResidentModel> {
    const { version, sha256, source: from, createdAtMs } = offer;
    const engine = await Engine.load(await offer.read(stopping.signal));
    const differences = differencesOf(active.engine.model, engine.model);
    if (differences.length > 0)
      throw new ModelFailure(
        'features',
        `The challenger’s columns are not those of the model that scores: ${differences.join(', ')}.`,
      );
    await engine.accelerate();
    stopping.signal.throwIfAborted();
    const modelId = await store
      .registerModel(engine.model, { name: options.name, version })
      .catch((error: Error) => {
        throw new ModelFailure('store', `The store did not record the challenger: ${error.message}`, {
          cause: error,
        });
      });
    return { engine, modelId, version, sha256, source: from, createdAtMs, loadedAtMs: options.now() };
  }

  async function look(): Promise<void> {
    isLookWaiting = false;
    if (stopping.signal.aborted) return;
    try {
      await follow();
      lastFailure = null;
    } catch (error) {
      if (stopping.signal.aborted) return;
      const failure = toFailure(error);
      observer.challengerFailed(failure);
      // An hour without a registry is a line and not hundreds.
      if (failure.message !== lastFailure?.what)
        log.warn({ reason: failure.reason, err: failure }, 'the challenger is not compared');
      lastFailure = { atMs: options.now(), what: failure.message };
    }
  }

  return {
    state: () => ({ challenger, lastFailure }),
    look() {
      if (!isLookWaiting) {
        isLookWaiting = true;
        tail = tail.then(look);
      }
      return tail;
    },
    async stop() {
      stopping.abort(new ModelFailure('superseded', 'The scorer is stopping.'));
      await tail;
    },
  };
}

/** An alias that names nothing is no failure: mostly there is no challenger. */
function noneWhenMissing(error: unknown): null {
  if (error instanceof ModelFailure && error.reason === 'alias-missing') return null;
  throw error;
}
