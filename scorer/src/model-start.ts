// Which model a scorer starts with: the one that is followed, else the last good one, else the file.
import { Engine } from '@lonetree/core-wasm';
import type { ModelCache } from './model-cache.ts';
import { ModelFailure, toFailure } from './model-failure.ts';
import { type Identity, isSame, type ModelSource, type Offer } from './model-source.ts';

export type StartOptions = {
  readonly source: ModelSource;
  /** The file, when that is not the source itself. */
  readonly fallback: ModelSource | null;
  readonly cache: Pick<ModelCache, 'load'>;
  /** Anew for each step: what a source has not delivered by then does not hold up the start. */
  readonly signal: () => AbortSignal;
};

export type FirstModel = {
  readonly engine: Engine;
  readonly offer: Offer;
  readonly bytes: Uint8Array;
  /** As an earlier process left it. */
  readonly heldBack: Identity | null;
  /** Why better ones were not taken, in order. */
  readonly failures: readonly ModelFailure[];
};

/** Throws a ModelFailure that says all that was tried. */
export async function loadFirst(options: StartOptions): Promise<FirstModel> {
  const { lastGood, heldBack } = await options.cache.load();
  const failures: ModelFailure[] = [];
  for (const find of listOffers(options, lastGood, heldBack)) {
    try {
      const offer = await find();
      if (offer === null) continue;
      const bytes = await offer.read(options.signal());
      return { engine: await Engine.load(bytes), offer, bytes, heldBack, failures };
    } catch (error) {
      failures.push(toFailure(error));
    }
  }
  const [only] = failures;
  if (only !== undefined && failures.length === 1) throw only;
  const details = failures.map(({ message }) => message).join(' ');
  throw new ModelFailure('file', `There is no model to start with. ${details}`);
}

/** Best first. What is held back is left out as long as there is anything else. */
function listOffers(
  { source, fallback, signal }: StartOptions,
  lastGood: Offer | null,
  heldBack: Identity | null,
): readonly (() => Promise<Offer | null>)[] {
  const file = fallback ?? source;
  const isFileHeldBack = heldBack?.version === '';
  const unlessHeldBack = (offer: Offer) => (heldBack !== null && isSame(offer, heldBack) ? null : offer);
  const onDisk = () => Promise.resolve(lastGood);
  return [
    ...(fallback === null ? [] : [() => source.find(signal()).then(unlessHeldBack)]),
    // A file's model on disk is of use only when that file is held back: who names another file wants that one.
    ...(fallback === null || lastGood?.version === '' ? [] : [onDisk]),
    () => file.find(signal()).then(unlessHeldBack),
    ...(isFileHeldBack ? [onDisk] : []),
    ...(heldBack === null ? [] : [() => file.find(signal())]),
  ];
}
