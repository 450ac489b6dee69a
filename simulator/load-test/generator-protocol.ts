// What the load test and its generator process say to each other.
import type { Arrivals } from './schedule.ts';

export type GeneratorTarget = {
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly partitionCount: number;
};

export type StepPlan = GeneratorTarget & {
  readonly batchSize: number;
  readonly messageCount: number;
  readonly arrivals: Arrivals;
  readonly seed: number;
  readonly firstTimeMs: number;
  /** `null`: as fast as acknowledgements come. */
  readonly messagesPerSecond: number | null;
};

/** Consecutive messages of one partition that one request brought there. */
export type Run = {
  readonly partition: number;
  readonly baseOffset: number;
  /** The messages `firstMessage`, `firstMessage + partitionCount`, … of the step. */
  readonly firstMessage: number;
  readonly count: number;
  readonly acknowledgedMs: number;
};

export type SentStep = {
  readonly kind: 'sent';
  /** Scheduled times count from here. */
  readonly startMs: number;
  readonly lastSentMs: number;
  readonly runs: readonly Run[];
  /** How long after its scheduled time each message was handed to the client. */
  readonly lateness: LatenessSummary;
  /** Why messages were not acknowledged, if any were not. */
  readonly lastError: string | null;
};

export type LatenessSummary = { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number };

export type GeneratorAnswer =
  | { readonly kind: 'ready' }
  /** Everything is prepared. */
  | { readonly kind: 'started' }
  | { readonly kind: 'progress'; readonly sentMessages: number }
  | { readonly kind: 'failed'; readonly message: string }
  | SentStep;
