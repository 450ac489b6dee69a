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
const sectionName = (id: number) =>
  String.fromCharCode(id & 255, (id >>> 8) & 255, (id >>> 16) & 255, id >>> 24);

/** In the order of `Refusal` in assembly/forest.ts, from 1. `place` is what the module says beside the code. */
const forestRefusals: readonly (readonly [reason: string, detail: (place: number) => string])[] = [
  ['size', (place) => `its size is not the ${place} bytes that its header or its sections need. ${damaged}`],
  [
    'magic',
    () =>
      'it does not begin with LONETREE. Give a .forest file, as `lonetree_ml train` or `export` writes it.',
  ],
  [
    'version',
    (place) =>
      `its format has version ${place}; this program reads version 1. Export it again with the matching lonetree_ml.`,
  ],
  ['checksum', () => `its CRC-32 does not fit its bytes. ${damaged}`],
  [
    'header',
    (place) =>
      `a flag or reserved byte of its header is not what the format says, ${byte(place)}. ${damaged}`,
  ],
  [
    'limits',
    (place) => `a count in its header is out of bounds, ${byte(place)}: docs/MODEL_FORMAT.md has the limits.`,
  ],
  ['sections', (place) => `its sections are misplaced, doubled or overlap, ${byte(place)}. ${damaged}`],
  ['section-missing', (place) => `it has no section ${sectionName(place)}. ${damaged}`],
  [
    'section-length',
    (place) => `its section ${sectionName(place)} has another length than its content needs. ${damaged}`,
  ],
  [
    'names',
    (place) =>
      `the name of feature ${place} is empty, too long, not UTF-8, has control characters or stands twice. Rename the feature.`,
  ],
  ['tree-table', (place) => `tree ${place} has no nodes, too many, or lies outside the nodes. ${damaged}`],
  ['child', (place) => `a node's children are not the next ones of its tree, ${byte(place)}. ${damaged}`],
  [
    'feature-index',
    (place) =>
      `a node splits on a feature that is not there, or a leaf is not empty, ${byte(place)}. ${damaged}`,
  ],
  [
    'not-finite',
    (place) => `a number is not finite, or negative where it must not be, ${byte(place)}. ${damaged}`,
  ],
  ['depth', (place) => `a tree is not as deep as its header says, or too deep (${place}). ${damaged}`],
  ['sum-threshold', () => `its sum threshold contradicts its offset. ${damaged}`],
  [
    'guards',
    (place) => `a guard's limit, scale, flag or severity knot is not possible, ${byte(place)}. ${damaged}`,
  ],
  ['summary', (place) => `its training summary is not possible, ${byte(place)}. ${damaged}`],
  [
    'self-test',
    () =>
      "its own rows do not get scikit-learn's path-length sums on this machine. Export the model again; if that does not help, please report it.",
  ],
  ['memory', () => 'there is not enough memory to load it.'],
  ['denominator', () => `its denominator is not trees · c(max_samples). ${damaged}`],
];

export function forestRefusal(code: number, place: number): ForestRefused {
  const [reason, detail] = forestRefusals[code - 1] ?? ['unknown', () => `code ${code}`];
  return new ForestRefused(reason, detail(place));
}

export const rejectionReasons = [
  'empty-message',
  'truncated',
  'malformed',
  'too-large',
  'no-readings',
  'no-station',
  'station-name',
  'station-index',
  'column-length',
  'duplicate-feature',
  'missing-feature',
  'time-out-of-range',
  'bad-json',
  'unreadable',
] as const;
export type RejectionReason = (typeof rejectionReasons)[number];

/** Why a message cannot be scored: a word for programs, a sentence for people. */
export type Rejection = { readonly reason: RejectionReason; readonly detail: string };

/** What the module says beside the code: two numbers, a name out of the message, and the model's features. */
export type RejectionFacts = {
  readonly about: number;
  readonly number: number;
  readonly name: string;
  readonly features: readonly string[];
};

/** In the order of `Rejection` in assembly/batch.ts, from 1. */
const rejections: readonly (readonly [RejectionReason, (facts: RejectionFacts) => string])[] = [
  ['truncated', ({ about }) => `The message ends in the middle of a field, at byte ${about}. Send it whole.`],
  [
    'malformed',
    ({ about }) =>
      `The message is not a SensorBatch in Protobuf: it breaks off at byte ${about}. Encode it by proto/lonetree/v1/lonetree.proto.`,
  ],
  ['no-readings', () => 'The batch has no readings: time_deltas_ms is empty. Send one delta per reading.'],
  [
    'no-station',
    ({ about }) =>
      `The batch ${about < 0 ? 'names no station' : `has an empty name for station ${about}`}. Name every station.`,
  ],
  [
    'station-name',
    ({ about, number }) =>
      number > 0
        ? `The name of station ${about} has ${number} bytes; the most is 255.`
        : `The name of station ${about} has a NUL character, which no database takes. Leave it out.`,
  ],
  [
    'station-index',
    ({ about, number }) =>
      `The batch has ${about} station indices for ${number} readings. Only with exactly one station may they be left out.`,
  ],
  [
    'station-index',
    ({ about, number }) =>
      `Reading ${about} has the station index ${number}, but the batch names fewer stations.`,
  ],
  [
    'column-length',
    ({ about, number, name }) =>
      `The column "${name}" has ${about} values, but the batch has ${number} readings (time_deltas_ms). Send NaN where a value is missing.`,
  ],
  [
    'duplicate-feature',
    ({ about, features }) => `The feature "${features[about]}" has two columns. Send one.`,
  ],
  [
    'missing-feature',
    ({ about, features }) =>
      `The model needs the feature "${features[about]}", which the batch has not. Send NaN (null in JSON) where a value is missing.`,
  ],
  [
    'time-out-of-range',
    ({ about, number }) =>
      `Reading ${about} has the time ${number} ms since 1970, which is outside the years 2000 to 2100.`,
  ],
  [
    'too-large',
    ({ number }) => `The batch has more readings than fit into one block (${number}). Send smaller batches.`,
  ],
  ['too-large', () => 'The batch names more than 131,072 stations. Send smaller batches.'],
  ['too-large', () => 'The batch has more than 4,096 columns. Send those that the model needs.'],
];

export function rejection(code: number, facts: RejectionFacts): Rejection {
  const [reason, describe] = rejections[code - 1] ?? [
    'malformed',
    () => `The message was refused with code ${code}.`,
  ];
  return { reason, detail: describe(facts) };
}
