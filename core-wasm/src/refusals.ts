// What the module's numbers mean: why a forest file is refused, and why a message is.

/** Thrown when a forest file cannot be used. The message says what is wrong, where, and what to do. */
export class ForestRefused extends Error {
  override readonly name = 'ForestRefused';
  /** One short word for metrics and tests. */
  readonly reason: string;

  constructor(reason: string, detail: string) {
    super(`The forest file is refused (${reason}): ${detail}`);
    this.reason = reason;
  }
}

const damaged = 'The file is damaged or was not written by lonetree_ml: export it again.';
const byte = (place: number) => `at byte ${place}`;
const sectionName = (id: number) => String.fromCharCode(id & 255, (id >>> 8) & 255, (id >>> 16) & 255, id >>> 24);

/** In the order of `Refusal` in assembly/forest.ts, from 1. `place` is what the module says beside the code. */
const forestRefusals: readonly (readonly [reason: string, detail: (place: number) => string])[] = [
  ['size', (place) => `its size is not the ${place} bytes that its header or its sections need. ${damaged}`],
  ['magic', () => 'it does not begin with LONETREE. Give a .forest file, as `lonetree_ml train` or `export` writes it.'],
  ['version', (place) => `its format has version ${place}; this program reads version 1. Export it again with the matching lonetree_ml.`],
  ['checksum', () => `its CRC-32 does not fit its bytes. ${damaged}`],
  ['header', (place) => `a flag or reserved byte of its header is not what the format says, ${byte(place)}. ${damaged}`],
  ['limits', (place) => `a count in its header is out of bounds, ${byte(place)}: docs/MODEL_FORMAT.md has the limits.`],
  ['sections', (place) => `its sections are misplaced, doubled or overlap, ${byte(place)}. ${damaged}`],
  ['section-missing', (place) => `it has no section ${sectionName(place)}. ${damaged}`],
  ['section-length', (place) => `its section ${sectionName(place)} has another length than its content needs. ${damaged}`],
  ['names', (place) => `the name of feature ${place} is empty, too long, not UTF-8, or stands twice. Name the features apart.`],
  ['tree-table', (place) => `tree ${place} has no nodes, too many, or lies outside the nodes. ${damaged}`],
  ['child', (place) => `a node's children are not the next ones of its tree, ${byte(place)}. ${damaged}`],
  ['feature-index', (place) => `a node splits on a feature that is not there, or a leaf is not empty, ${byte(place)}. ${damaged}`],
  ['not-finite', (place) => `a number is not finite, or negative where it must not be, ${byte(place)}. ${damaged}`],
  ['depth', (place) => `a tree is not as deep as its header says, or too deep (${place}). ${damaged}`],
  ['sum-threshold', () => `its sum threshold contradicts its offset. ${damaged}`],
  ['guards', (place) => `a guard's limit, scale, flag or severity knot is not possible, ${byte(place)}. ${damaged}`],
  ['summary', (place) => `its training summary is not possible, ${byte(place)}. ${damaged}`],
  ['self-test', () => "its own rows do not get scikit-learn's path-length sums on this machine. Export the model again; if that does not help, please report it."],
  ['memory', () => 'there is not enough memory to load it.'],
];

export function forestRefusal(code: number, place: number): ForestRefused {
  const [reason, detail] = forestRefusals[code - 1] ?? ['unknown', () => `code ${code}`];
  return new ForestRefused(reason, detail(place));
}

export const rejectionReasons = [
  'truncated',
  'malformed',
  'no-readings',
  'no-station',
  'station-index',
  'column-length',
  'duplicate-feature',
  'missing-feature',
  'time-out-of-range',
  'too-large',
  'empty-message',
  'bad-json',
] as const;
export type RejectionReason = (typeof rejectionReasons)[number];

/** Why a message cannot be scored: a word for programs, a sentence for people. */
export type Rejection = { readonly reason: RejectionReason; readonly detail: string };

type Describe = (about: number, number: number, features: readonly string[]) => string;

/** In the order of `Rejection` in assembly/batch.ts, from 1. */
const rejections: readonly (readonly [RejectionReason, Describe])[] = [
  ['truncated', (at) => `The message ends in the middle of a field, at byte ${at}.`],
  ['malformed', (at) => `The message is not a SensorBatch in Protobuf: it breaks off at byte ${at}.`],
  ['no-readings', () => 'The batch has no readings: time_deltas_ms is empty.'],
  ['no-station', () => 'The batch names no station.'],
  [
    'station-index',
    (length, number) =>
      length < 0
        ? `A station index is ${number}, but the batch names fewer stations.`
        : `The batch has ${length} station indices for ${number} readings; with several stations every reading needs one.`,
  ],
  ['column-length', (length, count) => `A column has ${length} values, but the batch has ${count} readings (time_deltas_ms).`],
  ['duplicate-feature', (feature, _, features) => `The feature "${features[feature]}" has two columns.`],
  ['missing-feature', (feature, _, features) => `The model needs the feature "${features[feature]}", which the batch has not. Send NaN where a value is missing.`],
  ['time-out-of-range', (row, time) => `Reading ${row} has the time ${time} ms since 1970, which is outside the years 2000 to 2099.`],
  ['too-large', (_, max) => `The batch has more readings than fit into one block (${max}): send smaller batches.`],
];

export function rejection(code: number, about: number, number: number, features: readonly string[]): Rejection {
  const [reason, describe] = rejections[code - 1] ?? ['malformed', () => `The message was refused with code ${code}.`];
  return { reason, detail: describe(about, number, features) };
}
