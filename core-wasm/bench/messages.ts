// From a message's bytes to columns, and to scores: decoders beside one another, and the whole way through the engine.
import { readFileSync } from 'node:fs';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { quantile } from '@lonetree/devstack';
import { SensorBatchSchema } from '@lonetree/proto';
import type { Engine } from '../src/index.ts';
import { interleave } from './statistics.ts';
import { type LoadWeb, loadProtobufjs } from './web-peers.ts';

export type DecodeResult = {
  readonly name: string;
  readonly rows: number;
  readonly features: number;
  /** Bytes of a message, on average. */
  readonly size: number;
  readonly nsPerRow: number;
  readonly spread: number;
};

export type WholeWay = {
  readonly rows: number;
  /** Microseconds a message, from bytes to scores and verdicts. */
  readonly p50Us: number;
  readonly p99Us: number;
};

/** Distinct ones, of as many readings as that takes. */
const messageCounts: ReadonlyMap<number, number> = new Map([
  [1, 16_384],
  [64, 1_024],
  [1_000, 64],
]);
const countOf = (rows: number) => messageCounts.get(rows) ?? 64;
const startMs = 1_760_000_000_000;
const protoFile = new URL('../../proto/lonetree/v1/lonetree.proto', import.meta.url);

/** Rows with scikit-learn's path-length sums of them. */
export type KnownRows = { readonly values: Float32Array; readonly sums: Float64Array };
type Source = KnownRows & { readonly features: readonly string[]; readonly rows: number };

/** Which of the known rows a message's row is. */
const indexOf = ({ rows, sums }: Source, message: number, row: number) =>
  (message * rows + row) % sums.length;
const drawValue = (source: Source, message: number, row: number, feature: number) =>
  source.values[indexOf(source, message, row) * source.features.length + feature] as number;

/** Batches of one station's readings, a second apart. */
function encodeBatches(source: Source): Uint8Array[] {
  const { features, rows } = source;
  return Array.from({ length: countOf(rows) }, (_, message) =>
    toBinary(
      SensorBatchSchema,
      create(SensorBatchSchema, {
        stations: [`station-${message}`],
        baseTimeMs: BigInt(startMs),
        timeDeltasMs: Array.from({ length: rows }, () => 1_000n),
        columns: features.map((name, feature) => ({
          name,
          values: Array.from({ length: rows }, (__, row) => drawValue(source, message, row, feature)),
        })),
      }),
    ),
  );
}

/** The same readings as JSON, an object each, as devices send them. */
function encodeJson(source: Source): Uint8Array[] {
  const { features, rows } = source;
  return Array.from({ length: countOf(rows) }, (_, message) => {
    const readings = Array.from({ length: rows }, (__, row) => ({
      station: `station-${message}`,
      time: new Date(startMs + row * 1_000).toISOString(),
      values: Object.fromEntries(
        features.map((name, feature) => [name, drawValue(source, message, row, feature)]),
      ),
    }));
    return new TextEncoder().encode(JSON.stringify(readings));
  });
}

export async function measureDecoders(options: {
  readonly engine: Engine;
  readonly known: KnownRows;
  readonly rows: number;
  /** Null: without protobufjs. */
  readonly loadWeb: LoadWeb;
  readonly repetitions: number;
  readonly seconds: number;
}): Promise<DecodeResult[]> {
  const { engine, rows } = options;
  const { features } = engine.model;
  const source = { ...options.known, features, rows };
  const [batches, json] = [encodeBatches(source), encodeJson(source)];
  const protobufjs =
    options.loadWeb &&
    (await loadProtobufjs(options.loadWeb, readFileSync(protoFile, 'utf8'), 'lonetree.v1.SensorBatch'));
  const text = new TextDecoder();
  const decoders = new Map<string, { readonly messages: Uint8Array[]; decode(message: Uint8Array): unknown }>(
    [
      [
        'wasm',
        {
          messages: batches,
          decode(message) {
            engine.begin();
            const appended = engine.append(message);
            if (!('rowCount' in appended) || appended.rowCount !== rows)
              throw new Error('the engine did not decode the message');
            return appended;
          },
        },
      ],
      ['bufbuild', { messages: batches, decode: (message) => fromBinary(SensorBatchSchema, message) }],
      ...(protobufjs === null ? [] : [['protobufjs', { messages: batches, decode: protobufjs }] as const]),
      ['json', { messages: json, decode: (message) => JSON.parse(text.decode(message)) as unknown }],
    ],
  );
  checkEngine(engine, batches, source);
  // What the engine decodes is in its own memory: its sums say whether it is right.
  for (const [name, { messages, decode }] of decoders)
    if (name !== 'wasm')
      for (const [index, message] of messages.entries()) checkDecoded(name, decode(message), source, index);
  const measures = new Map(
    [...decoders].map(([name, { messages, decode }]) => [
      name,
      () => nsPerMessage(messages, decode, options.seconds) / rows,
    ]),
  );
  const title = `decoding, ${rows} readings a message`;
  const summaries = await interleave(measures, { repetitions: options.repetitions, title });
  return [...summaries].map(([name, summary]) => {
    const { messages } = decoders.get(name) as { messages: Uint8Array[] };
    const size = Math.round(messages.reduce((sum, { length }) => sum + length, 0) / messages.length);
    return { name, rows, features: features.length, size, ...summary };
  });
}

/** From bytes to sums, which must be scikit-learn's. */
function checkEngine(engine: Engine, messages: readonly Uint8Array[], source: Source): void {
  for (const [message, bytes] of messages.entries()) {
    engine.begin();
    engine.append(bytes);
    const { sums } = engine.score();
    const expected = Float64Array.from(
      { length: source.rows },
      (_, row) => source.sums[indexOf(source, message, row)] as number,
    );
    if (sums.length !== source.rows || sums.some((sum, row) => !Object.is(sum, expected[row])))
      throw new Error(`wasm: message ${message}: the sums are not scikit-learn's`);
  }
}

/** Every value of the message must be what was sent. */
function checkDecoded(decoder: string, decoded: unknown, source: Source, message: number): void {
  type Columns = { readonly columns: readonly { readonly values: ArrayLike<number> }[] };
  type Readings = readonly { readonly values: Record<string, number> }[];
  for (const [feature, name] of source.features.entries())
    for (let row = 0; row < source.rows; row += 1) {
      const value =
        decoder === 'json'
          ? (decoded as Readings)[row]?.values[name]
          : (decoded as Columns).columns[feature]?.values[row];
      const sent = drawValue(source, message, row, feature);
      if (value !== sent)
        throw new Error(
          `${decoder}: message ${message}, ${name}, row ${row}: read ${value}, sent was ${sent}`,
        );
    }
}

function nsPerMessage(
  messages: readonly Uint8Array[],
  decode: (message: Uint8Array) => unknown,
  seconds: number,
): number {
  let count = 0;
  const began = Bun.nanoseconds();
  let elapsed = 0;
  for (; elapsed < seconds * 1e9; elapsed = Bun.nanoseconds() - began) {
    for (const message of messages) if (decode(message) === undefined) throw new Error('nothing decoded');
    count += messages.length;
  }
  return elapsed / count;
}

/** Each message alone through `begin`, `append` and `score`, up to its first score. */
export function measureWholeWay(
  engine: Engine,
  known: KnownRows,
  { rows, count }: { readonly rows: number; readonly count: number },
): WholeWay {
  const source = { ...known, features: engine.model.features, rows };
  const messages = encodeBatches(source);
  checkEngine(engine, messages, source);
  const times = new Float64Array(count);
  let sink = 0;
  for (let index = -count; index < count; index += 1) {
    const message = messages[(index + count) % messages.length] as Uint8Array;
    const began = Bun.nanoseconds();
    engine.begin();
    engine.append(message);
    sink += engine.score().scores[0] as number;
    // The first half warms up.
    if (index >= 0) times[index] = Bun.nanoseconds() - began;
  }
  if (!(sink < 0)) throw new Error('scores are missing');
  const us = (p: number) => Number((quantile([...times], p) / 1_000).toPrecision(3));
  return { rows, p50Us: us(0.5), p99Us: us(0.99) };
}
