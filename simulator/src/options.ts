// The command line: what can be asked for, what was asked for, and what is wrong with it. Pure.
import { parseArgs } from 'node:util';
import { BATCH_SIZE_MAX } from './batch.ts';
import { FEATURES, type FeatureName } from './distribution.ts';
import type { FaultPlan } from './faults.ts';
import { type FleetMode, STATION_COUNT_MAX } from './fleet.ts';
import { parseTime } from './replay.ts';
import type { Shift } from './signal.ts';

/** What the user has to change; the message says which option and how. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

type Destination =
  | { readonly to: 'http'; readonly url: string }
  | { readonly to: 'kafka'; readonly topic: string; readonly ledgerFile: string | null }
  | { readonly to: 'csv'; readonly file: string };

type FleetSource = {
  readonly stationCount: number;
  readonly seed: number;
  readonly mode: FleetMode;
  readonly faults: FaultPlan | null;
  readonly shift?: Shift;
  readonly readingsPerSecond: number | null;
  readonly intervalMs?: number;
  readonly startMs?: number;
  readonly gatewayCount: number;
};

type ReplaySource = {
  readonly file: string;
  readonly speed: number | null;
  readonly timeColumn?: string;
  readonly features?: readonly string[];
  readonly station?: string;
  readonly isShiftedToNow: boolean;
};

/** A file of the same seed is the same file, whenever it is written. */
const CSV_START_MS = Date.UTC(2026, 0, 1);

export type Command = {
  readonly source: { readonly fleet: FleetSource } | { readonly replay: ReplaySource };
  readonly batchSize: number;
  readonly readingCountMax?: number;
  /** Wall-clock end of a replay; a fleet's duration is a number of readings. */
  readonly durationMs?: number;
  readonly destination: Destination;
  /** Empty unless something goes to Kafka. */
  readonly brokers: readonly string[];
  readonly labelsFile: string | null;
  readonly labelsTopic: string | null;
};

const STRINGS = [
  'stations',
  'seed',
  'mode',
  'faults',
  'shift',
  'interval',
  'start',
  'rate',
  'batch',
  'gateways',
  'readings',
  'duration',
  'to',
  'url',
  'brokers',
  'topic',
  'output',
  'labels',
  'labels-topic',
  'ledger',
  'replay',
  'speed',
  'time-column',
  'features',
  'station',
] as const;
type Name = (typeof STRINGS)[number];
type Values = Readonly<Partial<Record<Name, string>>> & { readonly now: boolean };

const FLEET_ONLY: readonly Name[] = [
  'stations',
  'seed',
  'mode',
  'faults',
  'shift',
  'interval',
  'start',
  'rate',
  'gateways',
  'labels',
  'labels-topic',
];
const REPLAY_ONLY: readonly Name[] = ['speed', 'time-column', 'features', 'station'];

export function parseCommand(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Command | 'help' {
  const values = readValues(args);
  if (values === 'help') return 'help';
  const isReplay = values.replay !== undefined;
  for (const name of isReplay ? FLEET_ONLY : REPLAY_ONLY) {
    if (values[name] === undefined) continue;
    throw new UsageError(`--${name} ${isReplay ? 'does not go with' : 'needs'} --replay`);
  }
  if (values.now && !isReplay)
    throw new UsageError('--now needs --replay; a simulated fleet measures now anyway');
  const brokers = (values.brokers ?? env.KAFKA_BROKERS ?? '').split(',').filter((broker) => broker !== '');
  const destination = parseDestination(values, brokers);
  const source = isReplay
    ? { replay: parseReplay(values, destination) }
    : { fleet: parseFleet(values, destination) };
  const labelsTopic = values['labels-topic'] ?? null;
  if (labelsTopic !== null && brokers.length === 0) throw new UsageError('--labels-topic needs --brokers');
  return {
    source,
    batchSize: wholeNumber(values, 'batch', 1, 1, BATCH_SIZE_MAX),
    ...parseEnd(values, source),
    destination,
    brokers,
    labelsFile: values.labels ?? null,
    labelsTopic,
  };
}

function readValues(args: readonly string[]): Values | 'help' {
  const strings = Object.fromEntries(STRINGS.map((name) => [name, { type: 'string' }] as const));
  const options = { ...strings, now: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const;
  try {
    const { values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false });
    return values.help === true
      ? 'help'
      : { ...(values as Partial<Record<Name, string>>), now: values.now === true };
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function parseDestination(values: Values, brokers: readonly string[]): Destination {
  const to = values.to ?? (brokers.length > 0 ? 'kafka' : 'http');
  if (values.ledger !== undefined && to !== 'kafka') throw new UsageError('--ledger needs --to kafka');
  if (values.output !== undefined && to !== 'csv') throw new UsageError('--output needs --to csv');
  switch (to) {
    case 'kafka':
      if (brokers.length === 0) throw new UsageError('--to kafka needs --brokers host:port or KAFKA_BROKERS');
      return { to, topic: values.topic ?? 'readings', ledgerFile: values.ledger ?? null };
    case 'http': {
      const url = values.url ?? 'http://127.0.0.1:8080';
      if (!/^https?:/.test(url) || !URL.canParse(url)) {
        throw new UsageError(`--url is "${url}"; give for example http://127.0.0.1:8080`);
      }
      return { to, url };
    }
    case 'csv':
      if (values.output === undefined) throw new UsageError('--to csv needs --output FILE');
      return { to, file: values.output };
    default:
      throw new UsageError(`--to is "${to}"; give kafka, http or csv`);
  }
}

function parseFleet(values: Values, { to }: Destination): FleetSource {
  const stationCount = wholeNumber(values, 'stations', 12, 1, STATION_COUNT_MAX);
  const mode = values.mode ?? 'independent';
  if (mode !== 'independent' && mode !== 'correlated') {
    throw new UsageError(`--mode is "${mode}"; give independent or correlated`);
  }
  const readingsPerSecond = speedOf(values, 'rate', to === 'csv' ? null : stationCount);
  return {
    stationCount,
    seed: wholeNumber(values, 'seed', 1, 0, Number.MAX_SAFE_INTEGER),
    mode,
    faults: parseFaults(values.faults ?? 'none'),
    ...(values.shift === undefined ? {} : { shift: parseShift(values.shift) }),
    readingsPerSecond,
    ...(values.interval === undefined ? {} : { intervalMs: duration('interval', values.interval) }),
    ...(values.start === undefined
      ? to === 'csv'
        ? { startMs: CSV_START_MS }
        : {}
      : { startMs: time('start', values.start) }),
    gatewayCount: wholeNumber(values, 'gateways', 0, 0, STATION_COUNT_MAX),
  };
}

function parseReplay(values: Values, { to }: Destination): ReplaySource {
  return {
    file: values.replay as string,
    speed: speedOf(values, 'speed', to === 'csv' ? null : 1),
    ...(values['time-column'] === undefined ? {} : { timeColumn: values['time-column'] }),
    ...(values.features === undefined ? {} : { features: values.features.split(',') }),
    ...(values.station === undefined ? {} : { station: values.station }),
    isShiftedToNow: values.now,
  };
}

function parseFaults(text: string): FaultPlan | null {
  if (text === 'none') return null;
  if (text.startsWith('every:')) return { everyMs: duration('faults', text.slice('every:'.length)) };
  const perStationHour = Number(text);
  if (text !== '' && perStationHour > 0 && Number.isFinite(perStationHour)) return { perStationHour };
  throw new UsageError(`--faults is "${text}"; give none, faults per station and hour as 0.5, or every:9s`);
}

function parseShift(text: string): Shift {
  const parts = text.split(',').map((part) => /^([a-z]+):(-?\d+(?:\.\d+)?)$/.exec(part));
  const names = parts.map((part) => FEATURES.find(({ name }) => name === part?.[1])?.name);
  if (names.includes(undefined) || new Set(names).size < names.length) {
    const known = FEATURES.map(({ name }) => name).join(', ');
    throw new UsageError(
      `--shift is "${text}"; give standard deviations as temperature:1,sound:-0.5, each of ${known} at most once`,
    );
  }
  return Object.fromEntries(parts.map((part, index) => [names[index] as FeatureName, Number(part?.[2])]));
}

function parseEnd(
  values: Values,
  source: Command['source'],
): { readonly readingCountMax?: number; readonly durationMs?: number } {
  const readingCount = wholeNumber(values, 'readings', Number.POSITIVE_INFINITY, 1, Number.MAX_SAFE_INTEGER);
  const durationMs = values.duration === undefined ? null : duration('duration', values.duration);
  if (durationMs === null)
    return readingCount === Number.POSITIVE_INFINITY ? {} : { readingCountMax: readingCount };
  if ('replay' in source) {
    return {
      durationMs,
      ...(readingCount === Number.POSITIVE_INFINITY ? {} : { readingCountMax: readingCount }),
    };
  }
  const { stationCount, readingsPerSecond, intervalMs = 1_000 } = source.fleet;
  // Unpaced, a duration can only be one of the readings' own time.
  const rowMs = readingsPerSecond === null ? intervalMs / stationCount : 1_000 / readingsPerSecond;
  return { readingCountMax: Math.min(readingCount, Math.max(1, Math.round(durationMs / rowMs))) };
}

function wholeNumber(values: Values, name: Name, fallback: number, min: number, max: number): number {
  const text = values[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`--${name} is "${text}"; give a whole number from ${min} to ${max}`);
}

function speedOf(values: Values, name: 'rate' | 'speed', fallback: number | null): number | null {
  const text = values[name];
  if (text === undefined) return fallback;
  if (text === 'max') return null;
  const value = Number(text);
  if (text !== '' && value > 0 && Number.isFinite(value)) return value;
  throw new UsageError(`--${name} is "${text}"; give a number above 0, or max`);
}

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

function duration(name: Name, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  const durationMs = match === null ? 0 : Number(match[1]) * UNITS_MS[match[2] as keyof typeof UNITS_MS];
  if (durationMs > 0 && Number.isFinite(durationMs)) return durationMs;
  throw new UsageError(`--${name} has the time "${text}"; give for example 500ms, 30s, 10m or 2h`);
}

function time(name: Name, text: string): number {
  try {
    return parseTime(text, `--${name}`);
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
