// Turns readings written as JSON into a SensorBatch in Protobuf, so that one path decodes and scores everything.
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { Rejection } from '@lonetree/core-wasm';
import { FeatureColumnSchema, SensorBatchSchema } from '@lonetree/proto';
import { parseIsoTime } from '@lonetree/proto/time';

/** One reading as a person or an MQTT bridge writes it; a null value is a missing one. */
export type JsonReading = {
  readonly station: string;
  readonly timeMs: number;
  readonly values: Values;
};
/** Any name is a feature's, `__proto__` too: only own properties count. */
type Values = Readonly<Record<string, number | null>>;

type Refused = { readonly rejected: Rejection };
export type EncodedReadings = { readonly batch: Uint8Array } | Refused;

const refuse = (detail: string, reason: Rejection['reason'] = 'bad-json'): Refused => ({
  rejected: { reason, detail },
});
const utf8 = new TextDecoder('utf-8', { fatal: true });
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Reads UTF-8 JSON: one reading, `{"readings": […]}` or a list of readings. Never throws.
 * `fallbackTimeMs` is the time of a reading that names none; without it such a reading is refused.
 */
export function encodeJsonReadings(
  bytes: Uint8Array,
  options: { fallbackTimeMs?: number } = {},
): EncodedReadings {
  let document: unknown;
  try {
    document = JSON.parse(utf8.decode(bytes));
  } catch (error) {
    return refuse(
      `The message is not JSON: ${error instanceof Error ? error.message : 'it cannot be parsed'}.`,
    );
  }
  const list = Array.isArray(document)
    ? document
    : isObject(document) && Array.isArray(document.readings)
      ? document.readings
      : [document];
  const readings: JsonReading[] = [];
  for (const [index, item] of list.entries()) {
    const reading = parseReading(item, index, options.fallbackTimeMs);
    if ('rejected' in reading) return reading;
    readings.push(reading);
  }
  return encodeReadings(readings);
}

/** Encodes readings that all name the same features; refused when one names others than the first. */
export function encodeReadings(readings: readonly JsonReading[]): EncodedReadings {
  const [first] = readings;
  if (first === undefined) return refuse('There are no readings in the message.', 'no-readings');
  const names = Object.keys(first.values);
  for (const [index, { values }] of readings.entries()) {
    const difference = findDifference(values, first.values, names);
    if (difference !== null) {
      return refuse(
        `Reading ${index} ${difference}: readings of one message name the same features; write null for a missing value.`,
        'missing-feature',
      );
    }
  }
  return { batch: writeBatch(readings, first.timeMs, names) };
}

/** Null when the values are of the first reading's features. */
function findDifference(values: Values, first: Values, names: readonly string[]): string | null {
  const absent = names.find((name) => !Object.hasOwn(values, name));
  if (absent !== undefined) return `lacks "${absent}", which reading 0 has`;
  const own = Object.keys(values);
  if (own.length === names.length) return null;
  return `has "${own.find((name) => !Object.hasOwn(first, name))}", which reading 0 has not`;
}

const batchFields = SensorBatchSchema.field;
const columnFields = FeatureColumnSchema.field;

/** The SensorBatch field by field: several times as fast as by way of a message object, and every request takes it. */
function writeBatch(
  readings: readonly JsonReading[],
  baseTimeMs: number,
  names: readonly string[],
): Uint8Array {
  const writer = new BinaryWriter();
  writeStations(writer, readings);
  writer.tag(batchFields.baseTimeMs.number, WireType.Varint).sint64(BigInt(baseTimeMs));
  writer.tag(batchFields.timeDeltasMs.number, WireType.LengthDelimited).fork();
  let previousMs = baseTimeMs;
  for (const { timeMs } of readings) {
    writeDelta(writer, timeMs - previousMs);
    previousMs = timeMs;
  }
  writer.join();
  const column = new Float32Array(readings.length);
  const columnBytes = new Uint8Array(column.buffer);
  for (const name of names) {
    // A magnitude beyond float32 becomes infinite, which counts as missing.
    for (const [row, reading] of readings.entries()) column[row] = reading.values[name] ?? Number.NaN;
    writer.tag(batchFields.columns.number, WireType.LengthDelimited).fork();
    writer.tag(columnFields.name.number, WireType.LengthDelimited).string(name);
    // On the wire a list of floats is what it is in memory.
    writer.tag(columnFields.values.number, WireType.LengthDelimited).bytes(columnBytes);
    writer.join();
  }
  return writer.finish();
}

function writeStations(writer: BinaryWriter, readings: readonly JsonReading[]): void {
  const indices = new Map<string, number>();
  for (const { station } of readings) {
    if (indices.has(station)) continue;
    indices.set(station, indices.size);
    writer.tag(batchFields.stations.number, WireType.LengthDelimited).string(station);
  }
  // One station is everybody's.
  if (indices.size === 1) return;
  writer.tag(batchFields.stationIndices.number, WireType.LengthDelimited).fork();
  for (const { station } of readings) writer.uint32(indices.get(station) as number);
  writer.join();
}

/** The same bytes either way; without a BigInt it is faster. */
function writeDelta(writer: BinaryWriter, deltaMs: number): void {
  if (Math.abs(deltaMs) < 2 ** 31) writer.sint32(deltaMs);
  else writer.sint64(BigInt(deltaMs));
}

function parseReading(
  item: unknown,
  index: number,
  fallbackTimeMs: number | undefined,
): JsonReading | Refused {
  if (!isObject(item)) return refuse(`Reading ${index} is not an object.`);
  const { station, time, values } = item;
  if (typeof station !== 'string' || station === '') {
    const what = station === undefined ? 'no "station"' : `the "station" ${shorten(station)}`;
    return refuse(`Reading ${index} has ${what}: give its name as text.`, 'no-station');
  }
  const timeMs = parseTime(time, fallbackTimeMs);
  if (timeMs === null) {
    return refuse(
      `Reading ${index} has ${time === undefined ? 'no "time"' : `the time ${shorten(time)}`}: give milliseconds since 1970 or ISO 8601 text.`,
      'time-out-of-range',
    );
  }
  if (values === undefined) return { station, timeMs, values: numbersOf(item) };
  return refusalOf(values, index) ?? { station, timeMs, values: values as Values };
}

/** A whole number of milliseconds that a batch can carry, or null. Years outside 2000–2100 are refused when decoding. */
function parseTime(time: unknown, fallbackTimeMs: number | undefined): number | null {
  const timeMs = time === undefined ? fallbackTimeMs : typeof time === 'string' ? parseIsoTime(time) : time;
  return typeof timeMs === 'number' && Math.abs(timeMs) <= 8.64e15 ? Math.round(timeMs) : null;
}

function refusalOf(values: unknown, index: number): Refused | null {
  if (!isObject(values)) return refuse(`Reading ${index} has "values" that are not an object of numbers.`);
  for (const name of Object.keys(values)) {
    const value = values[name];
    if (value !== null && typeof value !== 'number') {
      return refuse(
        `Reading ${index}: ${shorten(name)} is ${shorten(value)}, not a number: write null for a missing value.`,
      );
    }
  }
  return null;
}

/** Flat messages, as MQTT bridges send them, carry other things than numbers beside the values: these are no features. */
function numbersOf(fields: Record<string, unknown>): Values {
  return Object.fromEntries(
    Object.entries(fields).filter(
      (entry): entry is [string, number | null] =>
        entry[0] !== 'time' && (entry[1] === null || typeof entry[1] === 'number'),
    ),
  );
}

/** A piece of someone else's input for a message: short, whatever it is. */
function shorten(value: unknown): string {
  const text = typeof value === 'object' && value !== null ? 'an object or list' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
