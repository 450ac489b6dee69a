// The public face of core-wasm.
export { type Appended, type Block, Engine, forestSizeMax, messageSizeMax } from './engine.ts';
export type { Model, TrainingSummary } from './model.ts';
export { ForestRefused, type Rejection, type RejectionReason, rejectionReasons } from './refusals.ts';
