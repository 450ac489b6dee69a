// Latencies in HDR histograms: exact to three digits from a microsecond on. The only file that knows the library.
import { build, type Histogram } from 'hdr-histogram-js';

const MICROSECONDS = 1_000;
const LONGEST_US = 3_600_000_000;
const HGRM_TICKS_PER_HALF = 5;

export type Percentiles = {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
};

export type LatencyHistogram = {
  readonly count: number;
  record(milliseconds: number): void;
  atPercentile(percentile: number): number;
  percentiles(): Percentiles;
  /** The text format of HdrHistogram's own tools, values in milliseconds. */
  hgrm(): string;
};

export function createLatencyHistogram(): LatencyHistogram {
  const histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_US,
    numberOfSignificantValueDigits: 3,
  });
  const at = (percentile: number) =>
    histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile) / MICROSECONDS;
  return {
    get count() {
      return histogram.totalCount;
    },
    record(milliseconds) {
      // Clocks of two processes may differ by a microsecond or two; nothing takes less than no time.
      const microseconds = Math.round(milliseconds * MICROSECONDS);
      histogram.recordValue(Math.min(Math.max(1, microseconds), LONGEST_US));
    },
    atPercentile: at,
    percentiles: () => ({
      count: histogram.totalCount,
      p50Ms: at(50),
      p90Ms: at(90),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: at(100),
    }),
    hgrm: () => histogram.outputPercentileDistribution(HGRM_TICKS_PER_HALF, MICROSECONDS),
  };
}
