// A histogram for Prometheus that costs a few nanoseconds an observation. Which bucket a value falls in is looked up by the
// top bits of its float64, so each power of two has 16 equal parts: log-linear, as in HDR histograms. In a part that a bound
// cuts in two, the value is compared with the bound: counts are exact.
import type { Histogram, MetricValue, Registry } from 'prom-client';

export type LogLinearOptions<Label extends string> = {
  readonly name: string;
  readonly help: string;
  /** Upper bounds of the buckets, inclusive, ascending; one more bucket takes what is above them all. */
  readonly bounds: readonly number[];
  /** A label and all the values that it has; each has buckets of its own. */
  readonly label?: { readonly name: string; readonly values: readonly Label[] };
  readonly registry: Registry;
};

/** Sign, exponent and the first four bits of the fraction. */
const partCount = 1 << 16;
const part = new Float64Array(1);
const partBits = new Uint32Array(part.buffer);
const partShift = 16;

/** How often values fell in each bucket, and their sum. */
export class BucketCounts {
  readonly counts: Float64Array;
  sum = 0;
  readonly #bounds: Float64Array;
  readonly #firstBuckets: Uint8Array;

  constructor(bounds: Float64Array, firstBuckets: Uint8Array) {
    this.counts = new Float64Array(bounds.length + 1);
    this.#bounds = bounds;
    this.#firstBuckets = firstBuckets;
  }

  /** Counts a finite value `weight` times. */
  observe(value: number, weight = 1): void {
    part[0] = value;
    let bucket = this.#firstBuckets[(partBits[1] as number) >>> partShift] as number;
    while (value > (this.#bounds[bucket] as number)) bucket += 1;
    (this.counts[bucket] as number) += weight;
    this.sum += value * weight;
  }

  /** Counts `factor` times each of many finite values. */
  observeEach(values: Float64Array, factor: number): void {
    const counts = this.counts;
    const bounds = this.#bounds;
    const firstBuckets = this.#firstBuckets;
    let sum = 0;
    // An iterator would take five times as long.
    for (let index = 0; index < values.length; index += 1) {
      const value = factor * (values[index] as number);
      part[0] = value;
      let bucket = firstBuckets[(partBits[1] as number) >>> partShift] as number;
      while (value > (bounds[bucket] as number)) bucket += 1;
      (counts[bucket] as number) += 1;
      sum += value;
    }
    this.sum += sum;
  }

  /** Adds what another one of the same histogram has counted. */
  add(other: BucketCounts): void {
    for (const [bucket, count] of other.counts.entries()) (this.counts[bucket] as number) += count;
    this.sum += other.sum;
  }
}

export class LogLinearHistogram<Label extends string = never> {
  readonly name: string;
  readonly help: string;
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly labelNames: readonly string[];
  readonly #bounds: Float64Array;
  readonly #firstBuckets: Uint8Array;
  /** By the label's value; without a label there is one, of the value ''. */
  readonly #series: ReadonlyMap<string, BucketCounts>;

  constructor({ name, help, bounds, label, registry }: LogLinearOptions<Label>) {
    this.name = name;
    this.help = help;
    this.labelNames = label === undefined ? [] : [label.name];
    this.#bounds = Float64Array.from(bounds);
    this.#firstBuckets = findFirstBuckets(this.#bounds);
    this.#series = new Map((label?.values ?? ['']).map((value) => [value, this.counts()]));
    registry.registerMetric(this as unknown as Histogram);
  }

  /** Counts that are not shown before they are added to those of `of`. */
  counts(): BucketCounts {
    return new BucketCounts(this.#bounds, this.#firstBuckets);
  }

  /** What is shown, for a value of the label if there is one. */
  of(...[value]: [Label] extends [never] ? [] : [value: Label]): BucketCounts {
    return this.#series.get(value ?? '') as BucketCounts;
  }

  /** What the registry asks for. */
  get() {
    const { name, help, type, aggregator } = this;
    return Promise.resolve({ name, help, type, aggregator, values: this.#samples() });
  }

  reset(): void {
    for (const series of this.#series.values()) {
      series.counts.fill(0);
      series.sum = 0;
    }
  }

  #samples(): (MetricValue<string> & { metricName: string })[] {
    const [labelName] = this.labelNames;
    return [...this.#series].flatMap(([labelValue, { counts, sum }]) => {
      const labels = labelName === undefined ? {} : { [labelName]: labelValue };
      let total = 0;
      const buckets = Array.from(counts, (count, bucket) => {
        total += count;
        const le = this.#bounds[bucket] ?? '+Inf';
        return { metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: total };
      });
      return [
        ...buckets,
        { metricName: `${this.name}_sum`, labels, value: sum },
        { metricName: `${this.name}_count`, labels, value: total },
      ];
    });
  }
}

/** For each part the bucket of its least value; that of another value of the part is this one or follows it. */
function findFirstBuckets(bounds: Float64Array): Uint8Array {
  const buckets = new Uint8Array(partCount);
  let bucket = 0;
  for (let index = 0; index < partCount / 2; index += 1) {
    partBits[0] = 0;
    partBits[1] = index << partShift;
    while ((part[0] as number) > (bounds[bucket] as number)) bucket += 1;
    buckets[index] = bucket;
  }
  return buckets; // The other half is of negative values: its least ones are below all bounds, or are compared with them.
}
