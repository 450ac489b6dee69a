// What a forest file says about itself: for people, for the API and for naming reasons. Scoring does not need it.
import { ForestRefused } from './refusals.ts';

export type Model = {
  /** SHA-256 of the file's bytes, hexadecimal: the model's identity. */
  readonly sha256: string;
  readonly features: readonly string[];
  /** In the order of the features; empty where unknown. */
  readonly units: readonly string[];
  readonly treeCount: number;
  /** Readings that each tree was grown from. */
  readonly maxSamples: number;
  /** Edges to the deepest leaf. */
  readonly maxDepth: number;
  /** The forest calls a reading abnormal when its score is below this. */
  readonly offset: number;
  /** The nominal alarm rate of forest and guards together; null when the file carries no guards. */
  readonly alarmRate: number | null;
  /** What made the file, as the trainer wrote it; null when it wrote nothing. */
  readonly meta: Readonly<Record<string, unknown>> | null;
  /** What the training rows looked like; null when the file does not say. */
  readonly summary: TrainingSummary | null;
};

export type TrainingSummary = {
  readonly rowCount: number;
  readonly probabilities: readonly number[];
  /** Per feature its quantiles at the probabilities. */
  readonly quantiles: readonly (readonly number[])[];
  /** Per feature the share of missing values. */
  readonly missingShares: readonly number[];
};

const headerSize = 96;

/** Reads a file that the module has checked. Throws ForestRefused for names or META that are no text. */
export function readModel(forest: Uint8Array, sha256: string): Model {
  const view = new DataView(forest.buffer, forest.byteOffset, forest.byteLength);
  const sections = readSections(forest, view);
  const featureCount = view.getUint32(24, true);
  const { features, units } = readNames(sections.get('FEAT') as Uint8Array, featureCount);
  const guards = sections.get('GARD');
  const summary = sections.get('SUMM');
  const meta = sections.get('META');
  return {
    sha256,
    features,
    units,
    treeCount: view.getUint32(28, true),
    maxSamples: view.getUint32(32, true),
    maxDepth: view.getUint32(36, true),
    offset: view.getFloat64(56, true),
    alarmRate:
      guards === undefined ? null : new DataView(guards.buffer, guards.byteOffset).getFloat64(0, true),
    meta: meta === undefined ? null : readMeta(meta),
    summary: summary === undefined ? null : readSummary(summary, featureCount),
  };
}

/** The file's sections by their ids. */
export function readSections(forest: Uint8Array, view: DataView): Map<string, Uint8Array> {
  const sections = new Map<string, Uint8Array>();
  for (let index = 0; index < view.getUint32(20, true); index += 1) {
    const entry = headerSize + 16 * index;
    const start = view.getUint32(entry + 4, true);
    const id = String.fromCharCode(...forest.subarray(entry, entry + 4));
    sections.set(id, forest.subarray(start, start + view.getUint32(entry + 8, true)));
  }
  return sections;
}

function readNames(section: Uint8Array, featureCount: number) {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const features: string[] = [];
  const units: string[] = [];
  let at = 0;
  const readText = (feature: number) => {
    const size = view.getUint16(at, true);
    const bytes = section.subarray(at + 2, at + 2 + size);
    at += 2 + size;
    return decodeText(bytes, 'names', `the name or unit of feature ${feature} is not UTF-8.`);
  };
  for (let feature = 0; feature < featureCount; feature += 1) {
    features.push(readText(feature));
    units.push(readText(feature));
  }
  return { features, units };
}

function decodeText(bytes: Uint8Array, reason: string, detail: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ForestRefused(reason, detail);
  }
}

function readMeta(section: Uint8Array): Readonly<Record<string, unknown>> {
  const text = decodeText(section, 'meta', 'its META section is not UTF-8.');
  try {
    const meta: unknown = JSON.parse(text);
    if (typeof meta === 'object' && meta !== null && !Array.isArray(meta))
      return meta as Record<string, unknown>;
  } catch {
    // Said below, together with JSON that is no object.
  }
  throw new ForestRefused('meta', 'its META section is not a JSON object.');
}

function readSummary(section: Uint8Array, featureCount: number): TrainingSummary {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const count = view.getUint32(0, true);
  const numbers = (first: number, length: number) =>
    Array.from({ length }, (_, index) => view.getFloat64(8 + (first + index) * 8, true));
  return {
    probabilities: numbers(0, count),
    quantiles: Array.from({ length: featureCount }, (_, feature) => numbers(count * (1 + feature), count)),
    missingShares: numbers(count * (1 + featureCount), featureCount),
    rowCount: view.getFloat64(8 + (count * (1 + featureCount) + featureCount) * 8, true),
  };
}
