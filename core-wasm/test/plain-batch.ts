// SensorBatch read without any cleverness, by the Protobuf specification alone: what the WebAssembly walk has to answer for
// bytes of any kind. (@bufbuild/protobuf is the oracle of well-formed messages; it is lenient with the others.)
import type { RejectionReason } from '../src/index.ts';

export type PlainReading = {
  readonly station: string;
  readonly timeMs: number;
  readonly values: readonly number[];
};
export type PlainAnswer =
  | { readonly readings: readonly PlainReading[]; readonly ignoredFeatureCount: number }
  | { readonly reason: RejectionReason };

class Refused extends Error {
  readonly reason: RejectionReason;
  constructor(reason: RejectionReason) {
    super(reason);
    this.reason = reason;
  }
}

type Field = { readonly key: string; readonly varint: bigint; readonly bytes: Uint8Array };

/** All fields of a message; the key is field number and wire type. */
function* readFields(message: Uint8Array): Generator<Field> {
  let at = 0;
  const take = (size: bigint): Uint8Array => {
    if (size > BigInt(message.length - at)) throw new Refused('truncated');
    at += Number(size);
    return message.subarray(at - Number(size), at);
  };
  const readVarint = (): bigint => {
    let value = 0n;
    for (let index = 0n; index < 10n; index += 1n) {
      const byte = BigInt(take(1n)[0] as number);
      value |= (byte & 127n) << (7n * index);
      if (byte < 128n) return BigInt.asUintN(64, value);
    }
    throw new Refused('malformed');
  };
  while (at < message.length) {
    const start = at;
    const tag = readVarint();
    if (tag > 0xffffffffn || tag < 8n || at - start > 5) throw new Refused('malformed');
    const wireType = Number(tag & 7n);
    const key = `${tag >> 3n}/${wireType}`;
    const empty = new Uint8Array();
    if (wireType === 0) yield { key, varint: readVarint(), bytes: empty };
    else if (wireType === 1) yield { key, varint: 0n, bytes: take(8n) };
    else if (wireType === 2) yield { key, varint: 0n, bytes: take(readVarint()) };
    else if (wireType === 5) yield { key, varint: 0n, bytes: take(4n) };
    else throw new Refused('malformed');
  }
}

function* readPacked(bytes: Uint8Array): Generator<bigint> {
  for (let at = 0; at < bytes.length; ) {
    let end = at;
    while ((bytes[end] ?? 0) > 127) end += 1;
    if (end - at >= 10) throw new Refused('malformed');
    if (end >= bytes.length) throw new Refused('truncated');
    let value = 0n;
    for (let i = end; i >= at; i -= 1) value = (value << 7n) | BigInt((bytes[i] as number) & 127);
    yield BigInt.asUintN(64, value);
    at = end + 1;
  }
}

const zigzag = (value: bigint) => BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n));

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Refused('malformed');
  }
}

function readColumn(bytes: Uint8Array) {
  let name = '';
  const values: number[] = [];
  for (const field of readFields(bytes)) {
    if (field.key === '1/2') name = decodeText(field.bytes);
    else if (field.key === '2/2') decodeText(field.bytes);
    else if (field.key === '3/2' || field.key === '3/5') {
      if (field.bytes.length % 4 !== 0) throw new Refused('malformed');
      const view = new DataView(field.bytes.buffer, field.bytes.byteOffset, field.bytes.length);
      for (let at = 0; at < view.byteLength; at += 4) values.push(view.getFloat32(at, true));
    }
  }
  return { name, values };
}

function readBatch(message: Uint8Array) {
  const batch = {
    stations: [] as string[],
    indices: [] as number[],
    baseTime: 0n,
    deltas: [] as bigint[],
    columns: [] as { name: string; values: number[] }[],
  };
  for (const { key, varint, bytes } of readFields(message)) {
    if (key === '1/2') batch.stations.push(decodeText(bytes));
    else if (key === '2/0') batch.indices.push(Number(varint & 0xffffffffn));
    else if (key === '2/2')
      for (const index of readPacked(bytes)) batch.indices.push(Number(index & 0xffffffffn));
    else if (key === '3/0') batch.baseTime = zigzag(varint);
    else if (key === '4/0') batch.deltas.push(zigzag(varint));
    else if (key === '4/2') for (const delta of readPacked(bytes)) batch.deltas.push(zigzag(delta));
    else if (key === '5/2') batch.columns.push(readColumn(bytes));
  }
  return batch;
}

/** The readings of a batch for a model with these features, or why there are none. */
export function readPlainBatch(message: Uint8Array, features: readonly string[]): PlainAnswer {
  try {
    if (message.length === 0) throw new Refused('empty-message');
    const { stations, indices, baseTime, deltas, columns } = readBatch(message);
    const count = deltas.length;
    if (columns.some(({ values }) => values.length !== count)) throw new Refused('column-length');
    if (count === 0) throw new Refused('no-readings');
    if (stations.length === 0) throw new Refused('no-station');
    for (const name of stations) {
      if (name === '') throw new Refused('no-station');
      if (Buffer.byteLength(name) > 255 || name.includes('\0')) throw new Refused('station-name');
    }
    const isOne = stations.length === 1 && indices.length === 0;
    if (!isOne && (indices.length !== count || indices.some((index) => index >= stations.length))) {
      throw new Refused('station-index');
    }
    let time = baseTime;
    const times = deltas.map((delta) => (time += delta));
    if (times.some((ms) => ms < 946_684_800_000n || ms >= 4_133_980_800_000n))
      throw new Refused('time-out-of-range');
    const known = columns.filter(({ name }) => features.includes(name));
    if (new Set(known.map(({ name }) => name)).size < known.length) throw new Refused('duplicate-feature');
    if (known.length < features.length) throw new Refused('missing-feature');
    const inOrder = features.map((feature) => known.find(({ name }) => name === feature)?.values ?? []);
    return {
      ignoredFeatureCount: columns.length - known.length,
      readings: times.map((ms, row) => ({
        station: stations[isOne ? 0 : (indices[row] as number)] as string,
        timeMs: Number(ms),
        values: inOrder.map((values) => {
          const value = values[row] as number;
          return Math.abs(value) < 3.4e38 ? value : Number.NaN;
        }),
      })),
    };
  } catch (error) {
    if (error instanceof Refused) return { reason: error.reason };
    throw error;
  }
}
