// What a load test finds: the contents of results.json.
import type { LatenessSummary } from './generator-protocol.ts';
import type { Percentiles } from './histogram.ts';
import type { MachineUsage } from './process-usage.ts';
import type { Arrivals } from './schedule.ts';

export type Step = {
  readonly name: string;
  readonly batchSize: number;
  readonly arrivals: Arrivals;
  /** Messages a second, as planned and as sent. */
  readonly targetRate: number;
  readonly achievedRate: number;
  /** Readings a second that became rows, from the first scheduled message to the last stored one. */
  readonly rowsPerSecond: number;
  readonly messages: number;
  readonly readings: number;
  /** From a message's scheduled time until a query saw it stored. */
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** From a message's scheduled time until its anomaly arrived at a subscriber. */
  readonly anomaly: Percentiles;
  readonly lateness: LatenessSummary;
  /** From one look at the positions to the next: a latency is at most so much too long, never too short. */
  readonly resolution: LatenessSummary;
  readonly lagPeakMessages: number;
  readonly lagEndMessages: number;
} & MachineUsage &
  Losses;

export type Losses = {
  /** Messages that Kafka did not acknowledge. */
  readonly failedMessages: number;
  /** Why the last of them was not. */
  readonly sendError: string | null;
  /** Readings without a row, and rows beyond the first of the same reading. */
  readonly lost: number;
  readonly duplicate: number;
  /** Stored anomalies that did not arrive on their topic in time. */
  readonly anomaliesMissing: number;
};

/** Its times are not looked at, but it must not lose anything either. */
export type WarmUp = Losses & { readonly name: string };

export type Saturation = Losses &
  MachineUsage & {
    readonly batchSize: number;
    readonly messagesPerSecond: number;
    readonly rowsPerSecond: number;
    readonly messages: number;
    /** How long that rate was watched. */
    readonly seconds: number;
    /** False: all was stored when it was sent, so the rate is the generator's and the scorer may do more. */
    readonly hadBacklog: boolean;
  };

export type Baseline = {
  readonly messages: number;
  readonly rowsPerSecond: number;
  /** Our rows a second at one reading a message, the slower of two bursts around it, over its. */
  readonly ratio: number;
};

export type Objective = {
  readonly what: string;
  readonly limit: string;
  readonly measured: string;
  readonly isMet: boolean;
};

export type Results = {
  readonly startedAt: string;
  readonly command: string;
  readonly machine: string;
  readonly stack: string;
  readonly warmUps: readonly WarmUp[];
  readonly saturations: readonly Saturation[];
  readonly steps: readonly Step[];
  readonly baseline: Baseline | null;
  readonly objectives: readonly Objective[];
  /** What makes the command fail. */
  readonly failures: readonly string[];
};
