// What a scored block shows of the WebAssembly module's memory.
import { type CopyFacts, copyPieces } from './copy.ts';
import type { Address, Kernel } from './kernel.ts';

/**
 * A scored block: views into WebAssembly memory, valid until the next `begin`. Copy or encode before any await.
 * Row r's value of feature f is `values[r * valueStride + f]`, NaN where missing.
 */
export type Block = {
  readonly rowCount: number;
  readonly featureCount: number;
  readonly values: Float32Array;
  readonly valueStride: number;
  /** Milliseconds since the Unix epoch. */
  readonly times: Float64Array;
  /** Path-length sums, scikit-learn's bits. */
  readonly sums: Float64Array;
  /** scikit-learn's `score_samples`: in [−1, 0], within 2.3e-16. */
  readonly scores: Float64Array;
  /** Decades of rarity; NaN when the model carries no calibration. */
  readonly severities: Float64Array;
  /** 1 where abnormal. */
  readonly isAnomaly: Uint8Array;
  /** The abnormal rows, ascending. */
  readonly anomalyRows: Uint32Array;
  /** The reasons of the abnormal row `anomalyRows[anomalyIndex]`: forest, then high, low and missing by feature. */
  reasonsOf(anomalyIndex: number): string[];
  station(row: number): string;
  /** The station's UTF-8 bytes: `memory.subarray(stationStart[row], stationStart[row] + stationLength[row])`. */
  readonly memory: Uint8Array;
  readonly stationStart: Uint32Array;
  readonly stationLength: Uint32Array;
  /** For each message that `appendAll` took: its readings. */
  readonly messageRows: Uint32Array;
  /** Columns of those messages that are no feature of the model. */
  readonly ignoredFeatureCount: number;
  /** All rows in PostgreSQL's binary COPY format: see assembly/copy.ts. A piece is valid until the next one is made. */
  copyPieces(facts: CopyFacts): Generator<Uint8Array, void>;
};

const reasonKinds = ['forest', 'high', 'low', 'missing'] as const;
const featuresPerKind = 1024;
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Makes each view when it is first asked for: a message of one reading is scored in less time than all of them take. */
export class ScoredBlock implements Block {
  readonly rowCount: number;
  readonly featureCount: number;
  readonly valueStride: number;
  readonly #kernel: Kernel;
  readonly #features: readonly string[];
  #values?: Float32Array;
  #times?: Float64Array;
  #sums?: Float64Array;
  #scores?: Float64Array;
  #severities?: Float64Array;
  #isAnomaly?: Uint8Array;
  #anomalyRows?: Uint32Array;
  #firstReasons?: Uint32Array;
  #memory?: Uint8Array;
  #stationStart?: Uint32Array;
  #stationLength?: Uint32Array;
  #messageRows?: Uint32Array;
  #stationNames?: Map<number, string>;

  constructor(kernel: Kernel, features: readonly string[]) {
    this.rowCount = kernel.rowCount.value >>> 0;
    this.featureCount = features.length;
    this.valueStride = kernel.rowSize.value >>> 2;
    this.#kernel = kernel;
    this.#features = features;
  }

  get values(): Float32Array {
    const length = this.rowCount * this.valueStride;
    this.#values ??= new Float32Array(this.#buffer, this.#place('rows'), length);
    return this.#values;
  }

  get times(): Float64Array {
    this.#times ??= new Float64Array(this.#buffer, this.#place('times'), this.rowCount);
    return this.#times;
  }

  get sums(): Float64Array {
    this.#sums ??= new Float64Array(this.#buffer, this.#place('sums'), this.rowCount);
    return this.#sums;
  }

  get scores(): Float64Array {
    this.#scores ??= new Float64Array(this.#buffer, this.#place('scores'), this.rowCount);
    return this.#scores;
  }

  get severities(): Float64Array {
    this.#severities ??= new Float64Array(this.#buffer, this.#place('severities'), this.rowCount);
    return this.#severities;
  }

  get isAnomaly(): Uint8Array {
    this.#isAnomaly ??= new Uint8Array(this.#buffer, this.#place('verdicts'), this.rowCount);
    return this.#isAnomaly;
  }

  get anomalyRows(): Uint32Array {
    const length = this.#kernel.abnormalCount.value >>> 0;
    this.#anomalyRows ??= new Uint32Array(this.#buffer, this.#place('abnormalRows'), length);
    return this.#anomalyRows;
  }

  get memory(): Uint8Array {
    const size = this.#kernel.stationNamesSize.value >>> 0;
    this.#memory ??= new Uint8Array(this.#buffer, this.#place('stationNames'), size);
    return this.#memory;
  }

  get stationStart(): Uint32Array {
    this.#stationStart ??= new Uint32Array(this.#buffer, this.#place('stationPlaces'), this.rowCount);
    return this.#stationStart;
  }

  get stationLength(): Uint32Array {
    this.#stationLength ??= new Uint32Array(this.#buffer, this.#place('stationSizes'), this.rowCount);
    return this.#stationLength;
  }

  get messageRows(): Uint32Array {
    const length = this.#kernel.messageCount.value >>> 0;
    this.#messageRows ??= new Uint32Array(this.#buffer, this.#place('messageRows'), length);
    return this.#messageRows;
  }

  get ignoredFeatureCount(): number {
    return this.#kernel.ignoredInBlock.value >>> 0;
  }

  reasonsOf(anomalyIndex: number): string[] {
    const length = this.anomalyRows.length + 1;
    this.#firstReasons ??= new Uint32Array(this.#buffer, this.#place('firstReasons'), length);
    const first = this.#firstReasons[anomalyIndex] as number;
    const count = (this.#firstReasons[anomalyIndex + 1] as number) - first;
    const codes = new Uint16Array(this.#buffer, this.#place('reasons') + 2 * first, count);
    return Array.from(codes, (code) => describeReason(code, this.#features));
  }

  station(row: number): string {
    const start = this.stationStart[row] as number;
    this.#stationNames ??= new Map();
    const known = this.#stationNames.get(start);
    if (known !== undefined) return known;
    const name = utf8.decode(this.memory.subarray(start, start + (this.stationLength[row] as number)));
    this.#stationNames.set(start, name);
    return name;
  }

  copyPieces(facts: CopyFacts): Generator<Uint8Array, void> {
    return copyPieces(this.#kernel, facts);
  }

  /** Anew each time: memory that has grown is another buffer. */
  get #buffer(): ArrayBuffer {
    return this.#kernel.memory.buffer;
  }

  #place(address: Address): number {
    return this.#kernel[address].value >>> 0;
  }
}

function describeReason(code: number, features: readonly string[]): string {
  const kind = reasonKinds[Math.floor(code / featuresPerKind)] ?? 'forest';
  return kind === 'forest' ? kind : `${kind}:${features[code % featuresPerKind]}`;
}
