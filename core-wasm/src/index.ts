// The public face of core-wasm.
export type { Block } from './block.ts';
export { type CopyFacts, copyColumns } from './copy.ts';
export {
  type Appended,
  type AppendedAll,
  type ByteSpan,
  Engine,
  forestSizeMax,
  messageSizeMax,
} from './engine.ts';
export type { Model, TrainingSummary } from './model.ts';
export { ForestRefused, type Rejection, type RejectionReason, rejectionReasons } from './refusals.ts';
