// Turns readings written as JSON into a SensorBatch in Protobuf, so that one path decodes and scores everything.
import { create, toBinary } from '@bufbuild/protobuf';
import type { Rejection } from '@lonetree/core-wasm';
import { SensorBatchSchema } from '@lonetree/proto';

/** One reading as a person or an MQTT bridge writes it; a null value is a missing one. */
export type JsonReading = {
  readonly station: string;
  readonly timeMs: number;
  readonly values: ReadonlyMap<string, number | null>;
};

type Refused = { readonly rejected: Rejection };
export type EncodedReadings = { readonly batch: Uint8Array } | Refused;

const refuse = (detail: string, reason: Rejection['reason'] = 'bad-json'): Refused => ({
  rejected: { reason, detail },
});
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
    document = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
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
  const names = [...first.values.keys()];
  const columns = names.map((): number[] => []);
  const stations = new Map<string, number>();
  const stationIndices: number[] = [];
  const timeDeltasMs: bigint[] = [];
  let previousMs = first.timeMs;
  for (const [index, { station, timeMs, values }] of readings.entries()) {
    const strange = [...values.keys()].find((name) => !first.values.has(name));
    const absent = names.find((name) => !values.has(name));
    if (strange !== undefined || absent !== undefined) {
      const difference =
        absent === undefined
          ? `has "${strange}", which reading 0 has not`
          : `lacks "${absent}", which reading 0 has`;
      return refuse(
        `Reading ${index} ${difference}: readings of one message name the same features; write null for a missing value.`,
        'missing-feature',
      );
    }
    if (!stations.has(station)) stations.set(station, stations.size);
    stationIndices.push(stations.get(station) ?? 0);
    timeDeltasMs.push(BigInt(timeMs - previousMs));
    previousMs = timeMs;
    for (const [column, name] of names.entries()) columns[column]?.push(values.get(name) ?? Number.NaN);
  }
  const batch = create(SensorBatchSchema, {
    stations: [...stations.keys()],
    stationIndices: stations.size === 1 ? [] : stationIndices,
    baseTimeMs: BigInt(first.timeMs),
    timeDeltasMs,
    columns: names.map((name, column) => ({ name, values: toFloat32(columns[column] ?? []) })),
  });
  return { batch: toBinary(SensorBatchSchema, batch) };
}

/** Values as the wire carries them. A magnitude beyond float32 becomes infinite, which counts as missing. */
const toFloat32 = (values: readonly number[]): number[] => values.map(Math.fround);

function parseReading(
  item: unknown,
  index: number,
  fallbackTimeMs: number | undefined,
): JsonReading | Refused {
  if (!isObject(item)) return refuse(`Reading ${index} is not an object.`);
  const { station, time, values, ...rest } = item;
  if (typeof station !== 'string' || station === '')
    return refuse(`Reading ${index} has no "station": give its name as text.`, 'no-station');
  const timeMs = parseTime(time, fallbackTimeMs);
  if (timeMs === null) {
    return refuse(
      `Reading ${index} has ${time === undefined ? 'no "time"' : `the time ${shorten(time)}`}: give milliseconds since 1970 or ISO 8601 text.`,
      'time-out-of-range',
    );
  }
  const parsed = values === undefined ? parseFlat(rest) : parseValues(values, index);
  return 'rejected' in parsed ? parsed : { station, timeMs, values: parsed };
}

/** A whole number of milliseconds that a batch can carry, or null. Years outside 2000–2100 are refused when decoding. */
function parseTime(time: unknown, fallbackTimeMs: number | undefined): number | null {
  const timeMs = time === undefined ? fallbackTimeMs : typeof time === 'string' ? Date.parse(time) : time;
  return typeof timeMs === 'number' && Math.abs(timeMs) <= 8.64e15 ? Math.round(timeMs) : null;
}

function parseValues(values: unknown, index: number): ReadonlyMap<string, number | null> | Refused {
  if (!isObject(values)) return refuse(`Reading ${index} has "values" that are not an object of numbers.`);
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && typeof value !== 'number') {
      return refuse(
        `Reading ${index}: "${shorten(name)}" is ${shorten(value)}, not a number; write null for a missing value.`,
      );
    }
  }
  return new Map(Object.entries(values) as [string, number | null][]);
}

/** Flat messages, as MQTT bridges send them, carry other things than numbers beside the values: these are no features. */
function parseFlat(fields: Record<string, unknown>): ReadonlyMap<string, number | null> {
  return new Map(
    Object.entries(fields).filter(
      (entry): entry is [string, number | null] => entry[1] === null || typeof entry[1] === 'number',
    ),
  );
}

/** A piece of someone else's input for a message: short, whatever it is. */
function shorten(value: unknown): string {
  const text = typeof value === 'object' && value !== null ? 'an object or list' : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
