// The command line of `bun run throughput`: what was asked for, and what is wrong with it. Pure.
import { parseArgs } from 'node:util';

export type Options = {
  readonly readings: number;
  /** Readings a message. */
  readonly batch: number;
  readonly partitions: number;
  readonly scorers: number;
  readonly rounds: number;
  /** `compression.type` of the topic of readings. */
  readonly compression: Compression;
  readonly mode: Mode;
};
const compressions = ['producer', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
type Compression = (typeof compressions)[number];
export type Mode =
  | { readonly kind: 'rate' }
  | { readonly kind: 'metrics' }
  | { readonly kind: 'shadow'; readonly sampleRate: string }
  | { readonly kind: 'soak'; readonly minutes: number; readonly readingsPerSecond: number };

export class UsageError extends Error {}

export const usage = `bun run throughput [-- options]

Readings a second from Kafka into PostgreSQL as queryable rows, by scorers of its own, and beside it psql's bare copy of the
same rows. Prints one line of JSON. Exits 1 when a row is missing or a goal is not reached.

  --readings N    sent before the scorers start (10000000)
  --batch N       readings a message (1000)
  --partitions N  of the topic (6)
  --scorers N     processes that share them (1)
  --compression C of the topic: gzip, snappy, lz4, zstd (producer: as sent, not compressed)
  --rounds N      of the bare copy, or of the turns that are compared (3)

Instead of that:
  --soak MINUTES  keeps a load on, counts all rows, and reports how the scorers' memory moves; with
  --rate N        readings a second; more than can be stored is saturation (100000)
  --shadow SHARE  compares, in turns, a challenger that scores that share of the messages too with none
  --metrics       compares, in turns, a scorer as it is with one that counts nothing
`;

export function parseOptions(args: readonly string[]): Options | 'help' {
  const { values } = parse(args);
  if (values.help) return 'help';
  const modes = (['soak', 'shadow', 'metrics'] as const).filter((name) => values[name] !== undefined);
  if (modes.length > 1) throw new UsageError(`--${modes.join(' and --')} do not go together`);
  if (values.rate !== undefined && values.soak === undefined) throw new UsageError('--rate needs --soak');
  return {
    readings: whole('readings', values.readings, 1_000_000_000),
    batch: whole('batch', values.batch, 10_000),
    partitions: whole('partitions', values.partitions, 1_000),
    scorers: whole('scorers', values.scorers, 64),
    rounds: whole('rounds', values.rounds, 100),
    compression: chooseCompression(values.compression),
    mode: chooseMode(values),
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        readings: { ...text, default: '10000000' },
        batch: { ...text, default: '1000' },
        partitions: { ...text, default: '6' },
        scorers: { ...text, default: '1' },
        rounds: { ...text, default: '3' },
        compression: { ...text, default: 'producer' },
        soak: text,
        rate: text,
        shadow: text,
        metrics: { type: 'boolean' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

function chooseMode({ soak, rate, shadow, metrics }: ReturnType<typeof parse>['values']): Mode {
  if (soak !== undefined)
    return {
      kind: 'soak',
      minutes: whole('soak', soak, 10_000),
      readingsPerSecond: whole('rate', rate ?? '100000', 100_000_000),
    };
  if (metrics === true) return { kind: 'metrics' };
  if (shadow === undefined) return { kind: 'rate' };
  if (!(Number(shadow) > 0 && Number(shadow) <= 1))
    throw new UsageError(`--shadow is "${shadow}"; give a share above 0 and up to 1`);
  return { kind: 'shadow', sampleRate: shadow };
}

function chooseCompression(text: string): Compression {
  const compression = compressions.find((one) => one === text);
  if (compression === undefined)
    throw new UsageError(`--compression is "${text}"; give one of ${compressions.join(', ')}`);
  return compression;
}

function whole(name: string, text: string, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= most) return value;
  throw new UsageError(`--${name} is "${text}"; give a whole number from 1 to ${most}`);
}
