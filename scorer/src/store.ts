// What the pipeline and the HTTP API need of a database. Two adapters: store-postgres.ts, store-sqlite.ts (embedded).
import type { Block, Model } from '@lonetree/core-wasm';

/** An abnormal reading, as stored, published and shown. */
export type AnomalyRecord = {
  /** `<topic>-<partition>-<offset>-<row>`: the same whenever the message is read again. */
  readonly id: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** 0-based row within its message. */
  readonly row: number;
  readonly station: string;
  /** The reading's own time, milliseconds since the Unix epoch. */
  readonly timeMs: number;
  /** In the order of the model's features; null where missing. */
  readonly values: readonly (number | null)[];
  readonly features: readonly string[];
  readonly score: number;
  readonly decision: number;
  /** Decades of rarity; null when the model carries no calibration. */
  readonly severity: number | null;
  readonly reasons: readonly string[];
  readonly modelSha256: string;
  /** The version in the registry; empty when the model is a file's. */
  readonly modelVersion: string;
};

/** A stored verdict on one reading. */
export type PredictionRecord = Omit<AnomalyRecord, 'id' | 'reasons'> & { readonly isAnomaly: boolean };

/** A scored block of one partition on its way into the store. */
export type Verdicts = {
  readonly partition: number;
  /** The position before the block: the transaction succeeds only if it is still there. */
  readonly from: bigint;
  /** The position after the block. */
  readonly next: bigint;
  /** As `registerModel` answered for the model that scored the block. */
  readonly modelId: number;
  /** score − this = decision. */
  readonly modelOffset: number;
  readonly block: Block;
  /** For each message of the block, as for `block.messageRows`. */
  readonly offsets: Float64Array;
  readonly anomalies: readonly AnomalyRecord[];
};

/** Where a partition stands: what to read next, and the last stored block's anomalies, which may be unpublished. */
export type Position = { readonly next: bigint; readonly anomalies: readonly AnomalyRecord[] };

/** A place in the order newest first: by time, then partition, offset and row. */
export type Cursor = {
  readonly timeMs: number;
  readonly partition: number;
  readonly offset: bigint;
  readonly row: number;
};

export type ReadingQuery = {
  readonly station?: string;
  /** Inclusive. */
  readonly fromMs?: number;
  /** Exclusive. */
  readonly toMs?: number;
  /** Only what comes after this place, newest first. */
  readonly after?: Cursor;
  readonly limit: number;
};

/** Why a scorer began to use a model. */
export type SwapCause = 'start' | 'update' | 'request' | 'poll' | 'rollback';

/** A scorer begins to use a model. */
export type ModelSwap = {
  readonly scorer: string;
  readonly modelId: number;
  readonly version: string;
  readonly sha256: string;
  readonly cause: SwapCause;
  readonly requestedBy: string;
  readonly why: string;
};

/** What champion and challenger say of the same readings. */
export type ShadowScores = {
  readonly partition: number;
  readonly championModelId: number;
  readonly challengerModelId: number;
  /** As the challenger scored it. */
  readonly block: Block;
  /** For each message of the block, as for `block.messageRows`. */
  readonly offsets: readonly number[];
  /** The champion's, for each row of the block. */
  readonly championScores: Float64Array;
  readonly championIsAnomaly: Uint8Array;
};

/** A store serves one consumer group and one topic of readings: both are given when it is made. */
export type Store = {
  /** Creates or updates the tables. Safe when several scorers start at once. */
  migrate(): Promise<void>;
  /** Records a version of a model once and answers its id. */
  registerModel(
    model: Model,
    registered: { readonly name: string; readonly version: string },
  ): Promise<number>;
  /** Adds who uses which model from now on, and why. */
  recordSwap(swap: ModelSwap): Promise<void>;
  /** The partition's position; where there is none yet, `start` becomes it. */
  position(partition: number, start: bigint): Promise<Position>;
  /**
   * Stores the verdicts and moves the position from `from` to `next`, or does neither.
   * Answers false when the position was no longer `from`: another scorer was faster.
   * Reads the block before its first await: the block's memory is used again after that.
   */
  write(verdicts: Verdicts): Promise<boolean>;
  /**
   * Moves the position over messages that the log has deleted before they were read, and records the gap in
   * `position_gap`. Answers false when the position was no longer `from`.
   */
  skipGap(partition: number, from: bigint, to: bigint): Promise<boolean>;
  /**
   * Adds rows to `shadow_score`, in the way of nobody who stores blocks. Nothing else depends on them.
   * Reads the block before its first await.
   */
  writeShadow(scores: ShadowScores): Promise<void>;
  /** Newest first. */
  predictions(query: ReadingQuery): Promise<PredictionRecord[]>;
  /** Newest first. */
  anomalies(query: ReadingQuery): Promise<AnomalyRecord[]>;
  /** Work that has to be done now and then: day partitions ahead, old log and rows out. */
  maintain(nowMs: number): Promise<void>;
  /** Answers a trivial query in time, or not. */
  isReady(): Promise<boolean>;
  close(): Promise<void>;
};
