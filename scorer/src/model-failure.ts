// Why the model that should score does not: one kind of failure for the registry, files, refusals and the store.
import { ForestRefused } from '@lonetree/core-wasm';

/** One short word for metrics and programs. */
export type FailureReason =
  /** Does not answer, or not in time. */
  | 'registry-away'
  /** Answers what it should not: 5xx, a login page, nonsense. */
  | 'registry-error'
  /** Knows no version by that alias. */
  | 'alias-missing'
  /** The bytes are not those that were registered. */
  | 'digest'
  | 'too-large'
  /** A file cannot be read. */
  | 'file'
  /** Not a forest file, damaged, or its self-test fails. */
  | 'forest'
  /** Needs other features than the model that runs. */
  | 'features'
  /** The database does not take the record. */
  | 'store'
  /** The last good model or what is held back could not be kept on disk. */
  | 'cache'
  /** A rollback or the end of the scorer came first. */
  | 'superseded';

/** The running model goes on. The message says what is wrong, and what to do where that is not plain. */
export class ModelFailure extends Error {
  readonly reason: FailureReason;

  constructor(reason: FailureReason, detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.reason = reason;
  }
}

/** Whatever loading a model threw, as a ModelFailure. */
export function toFailure(error: unknown): ModelFailure {
  if (error instanceof ModelFailure) return error;
  const { name, message } = error as Error;
  if (error instanceof ForestRefused) return new ModelFailure('forest', message, { cause: error });
  if (name === 'TimeoutError')
    return new ModelFailure('registry-away', 'The registry did not deliver in time.', { cause: error });
  return new ModelFailure('forest', `The model could not be made ready: ${message}`, { cause: error });
}
