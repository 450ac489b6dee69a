// Plays a CSV file of one station's readings again: a time column, and one column per feature.
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream';
import { parseIsoTime } from '@lonetree/proto/time';
import { CsvError, parse } from 'csv-parse';
import { createBatcher, type SimulatedMessage } from './batch.ts';
import type { Reading } from './fleet.ts';

export type ReplayOptions = {
  readonly file: string;
  /** How much faster than it happened; null: as fast as the publisher takes it. */
  readonly speed: number | null;
  /** By default the column called time, timestamp, date or datetime. */
  readonly timeColumn?: string;
  /** By default all columns but the time. */
  readonly features?: readonly string[];
  /** By default the file's name without its extension. */
  readonly station?: string;
  /** Moves all times alike so that the first reading has this one. */
  readonly firstTimeMs?: number;
  readonly batchSize: number;
  readonly readingCountMax?: number;
};

/** What is wrong in the file, and where; the message starts with `file:line`. */
class ReplayError extends Error {
  override readonly name = 'ReplayError';
}

const TIME_COLUMNS = ['time', 'timestamp', 'date', 'datetime'];

export async function* replay(options: ReplayOptions): AsyncGenerator<SimulatedMessage> {
  const { file, speed, batchSize, readingCountMax = Number.POSITIVE_INFINITY } = options;
  const records = readRecords(file);
  const header = await records.next();
  if (header.done) throw new ReplayError(`${file}:1: the file is empty; give a header line and readings`);
  const columns = chooseColumns(header.value.cells, options);
  const batcher = createBatcher({
    stations: [options.station ?? basename(file).replace(/\.[^.]*$/, '')],
    features: columns.features.map(({ name }) => ({ name, unit: '' })),
    batchSize,
    gatewayCount: 0,
    isStaggered: false,
  });
  const reading: Reading = { stationIndex: 0, timeMs: 0, values: new Float32Array(columns.features.length) };
  let shiftMs: number | null = null;
  let previousMs: number | null = null;
  let dueMs = 0;
  let readingCount = 0;
  for await (const { cells, line } of records) {
    if (readingCount === readingCountMax) break;
    const place = `${file}:${line}`;
    const timeMs = parseTime(cells[columns.time.index] ?? '', `${place}: column ${columns.time.name}`);
    shiftMs ??= options.firstTimeMs === undefined ? 0 : options.firstTimeMs - timeMs;
    // A step back in time stays in the data; it only costs no waiting.
    if (speed !== null && previousMs !== null) dueMs += Math.max(0, timeMs - previousMs) / speed;
    previousMs = timeMs;
    reading.timeMs = timeMs + shiftMs;
    for (const [feature, { name, index }] of columns.features.entries()) {
      reading.values[feature] = parseValue(cells[index] ?? '', `${place}: column ${name}`);
    }
    readingCount += 1;
    const message = batcher.add(reading, dueMs);
    if (message !== null) yield message;
  }
  yield* batcher.finish();
}

type Record = { readonly cells: readonly string[]; readonly line: number };

async function* readRecords(file: string): AsyncGenerator<Record, void> {
  const parser = parse({ bom: true, info: true, skip_empty_lines: true, trim: true });
  // Errors of either stream come out of the loop below.
  pipeline(createReadStream(file), parser, () => {});
  try {
    for await (const { record, info } of parser as AsyncIterable<{
      record: string[];
      info: { lines: number };
    }>) {
      yield { cells: record, line: info.lines };
    }
  } catch (cause) {
    if (cause instanceof CsvError) {
      const line = typeof cause.lines === 'number' ? cause.lines : 0;
      throw new ReplayError(`${file}:${line}: ${cause.message}; every line needs the header's columns`, {
        cause,
      });
    }
    throw new ReplayError(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

type Column = { readonly name: string; readonly index: number };

function chooseColumns(
  names: readonly string[],
  { file, timeColumn, features }: ReplayOptions,
): { readonly time: Column; readonly features: readonly Column[] } {
  const place = `${file}:1`;
  const all = names.map((name, index) => ({ name, index }));
  const doubled = all.find(({ name, index }) => names.indexOf(name) !== index);
  if (doubled !== undefined)
    throw new ReplayError(`${place}: two columns are called ${doubled.name}; rename one`);
  const find = (wanted: string): Column | undefined => all.find(({ name }) => name === wanted);
  const time =
    timeColumn === undefined
      ? all.find(({ name }) => TIME_COLUMNS.includes(name.toLowerCase()))
      : find(timeColumn);
  if (time === undefined) {
    const wanted = timeColumn === undefined ? 'no time column' : `no column ${timeColumn}`;
    throw new ReplayError(`${place}: ${wanted} among ${names.join(', ')}; name one with --time-column`);
  }
  const chosen = features?.map((wanted) => {
    const column = find(wanted);
    if (column === undefined)
      throw new ReplayError(`${place}: no column ${wanted} among ${names.join(', ')}`);
    return column;
  });
  const rest = chosen ?? all.filter((column) => column !== time);
  if (rest.length === 0)
    throw new ReplayError(`${place}: only a time column; readings need at least one value`);
  return { time, features: rest };
}

/** A plain number below this is taken as seconds: as milliseconds it would be before 1973. */
const MILLISECONDS_MIN = 1e11;

/** Milliseconds since the Unix epoch; a time without a zone is UTC. */
export function parseTime(text: string, place: string): number {
  const number = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  const timeMs = Number.isNaN(number) ? parseIsoTime(text) : number * (number < MILLISECONDS_MIN ? 1_000 : 1);
  if (!Number.isFinite(timeMs)) {
    throw new ReplayError(
      `${place}: "${text}" is no time; give ISO 8601 or seconds or milliseconds since 1970`,
    );
  }
  return Math.floor(timeMs);
}

function parseValue(text: string, place: string): number {
  if (text === '' || text.toLowerCase() === 'nan') return Number.NaN;
  const value = Number(text);
  if (Number.isNaN(value)) {
    throw new ReplayError(`${place}: "${text}" is no number; leave the cell empty when the value is missing`);
  }
  return value;
}
