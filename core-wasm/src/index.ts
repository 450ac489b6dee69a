// The public face of core-wasm.
export { type CopyFacts, copyColumns } from './copy.ts';
export {
  type Appended,
  type AppendedAll,
  type Block,
  Engine,
  forestSizeMax,
  messageSizeMax,
} from './engine.ts';
export type { Model, TrainingSummary } from './model.ts';
export { ForestRefused, type Rejection, type RejectionReason, rejectionReasons } from './refusals.ts';
