// Draws SensorBatch messages in every form that the wire format allows: packed or not, in pieces, in any order, with fields
// that nobody knows, numbers written longer than needed, and earlier values of fields that count once.
import type { Random } from './random.ts';

export type BatchShape = { readonly features: readonly string[]; readonly countMax: number };

const utf8 = new TextEncoder();

/** A varint, at times with more bytes than it needs. */
function varint(value: bigint, random?: Random): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  } while (rest > 0n);
  if (random?.chance(0.05)) while (bytes.length < 10 && random.chance(0.7)) bytes.push(128);
  bytes[bytes.length - 1] = (bytes.at(-1) as number) & 127;
  return bytes;
}

const zigzag = (value: bigint) => (value << 1n) ^ (value >> 63n);
const tag = (field: number, wireType: number) => varint(BigInt(field * 8 + wireType));
const delimited = (field: number, bytes: readonly number[] | Uint8Array, random?: Random) => [
  ...tag(field, 2),
  ...varint(BigInt(bytes.length), random),
  ...bytes,
];
const floatBytes = (values: readonly number[]) => [...new Uint8Array(Float32Array.from(values).buffer)];

/** A list as one packed field, as several, or as single values. */
function listFields<T>(
  random: Random,
  values: readonly T[],
  packed: (part: readonly T[]) => number[],
  single: (value: T) => number[],
): number[][] {
  const fields: number[][] = [];
  for (let at = 0; at < values.length; ) {
    const size = random.chance(0.6) ? values.length : random.below(5);
    const part = values.slice(at, at + size);
    if (random.chance(0.8)) fields.push(packed(part));
    else fields.push(...part.map(single));
    at += part.length;
  }
  return fields;
}

function unknownField(random: Random): number[] {
  const field = 6 + random.below(random.chance(0.1) ? 2 ** 29 - 7 : 20);
  const wireType = random.pick([0, 1, 2, 5]);
  if (wireType === 0) return [...tag(field, 0), ...varint(BigInt(random.below(2 ** 32)) << 31n, random)];
  if (wireType === 2) return delimited(field, random.bytes(random.below(9)));
  return [...tag(field, wireType), ...random.bytes(wireType === 1 ? 8 : 4)];
}

/** Mixes lists of fields, each in its own order, and puts unknown fields in between. */
function mix(random: Random, lists: readonly number[][][]): number[] {
  const queues = lists.filter((list) => list.length > 0).map((list) => [...list]);
  const bytes: number[] = [];
  const isMixed = random.chance(0.4);
  while (queues.length > 0) {
    if (random.chance(0.05)) bytes.push(...unknownField(random));
    const index = isMixed ? random.below(queues.length) : 0;
    bytes.push(...((queues[index] as number[][]).shift() as number[]));
    if (queues[index]?.length === 0) queues.splice(index, 1);
  }
  return bytes;
}

function drawValue(random: Random): number {
  const strange = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    3.4028e38,
    -3.4028e38,
    -0,
    1e-42,
  ];
  return random.chance(0.1) ? random.pick(strange) : random.next() * 8 - 4;
}

function columnBytes(random: Random, name: string, count: number): number[] {
  const values = Array.from({ length: count }, () => drawValue(random));
  const names = [
    ...(random.chance(0.05) ? [delimited(1, utf8.encode('earlier'))] : []),
    delimited(1, utf8.encode(name)),
  ];
  const units = random.chance(0.5) ? [delimited(2, utf8.encode('°C'))] : [];
  const lists = listFields(
    random,
    values,
    (part) => delimited(3, floatBytes(part), random),
    (value) => [...tag(3, 5), ...floatBytes([value])],
  );
  return mix(random, [names, units, lists]);
}

/** A message that has all that the features need. */
export function drawBatch(random: Random, { features, countMax }: BatchShape): Uint8Array {
  const count = 1 + random.below(countMax);
  const stationCount = random.chance(0.4) ? 1 : 1 + random.below(6);
  const stations = Array.from(
    { length: stationCount },
    (_, index) => random.pick(['s', 'Süd ', '站']) + index,
  );
  const hasIndices = stationCount > 1 || random.chance(0.5);
  const indices = hasIndices ? Array.from({ length: count }, () => BigInt(random.below(stationCount))) : [];
  const deltas = Array.from({ length: count }, () =>
    BigInt(random.below(2000) - (random.chance(0.1) ? 1900 : 0)),
  );
  const baseTime = 1_760_000_000_000n + BigInt(random.below(1e9));
  const names = [...features, ...Array.from({ length: random.below(3) }, (_, index) => `other${index}`)];
  if (random.chance(0.5)) names.sort(() => random.next() - 0.5);
  const base = (value: bigint) => [...tag(3, 0), ...varint(zigzag(value), random)];
  return Uint8Array.from(
    mix(random, [
      stations.map((name) => delimited(1, utf8.encode(name), random)),
      listFields(
        random,
        indices,
        (part) =>
          delimited(
            2,
            part.flatMap((index) => varint(index, random)),
            random,
          ),
        (index) => [...tag(2, 0), ...varint(index, random)],
      ),
      [...(random.chance(0.1) ? [base(5n)] : []), base(baseTime)],
      listFields(
        random,
        deltas,
        (part) =>
          delimited(
            4,
            part.flatMap((delta) => varint(zigzag(delta), random)),
            random,
          ),
        (delta) => [...tag(4, 0), ...varint(zigzag(delta), random)],
      ),
      names.map((name) => delimited(5, columnBytes(random, name, count), random)),
    ]),
  );
}
