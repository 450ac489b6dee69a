// The load test's command line: what was asked for, and what is wrong with it. Pure.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { UsageError } from '../src/options.ts';
import type { Arrivals } from './schedule.ts';

export type LoadTestOptions = {
  readonly batchSizes: readonly number[];
  /** Messages a second for every message size; `null`: shares of what the saturation probe finds. */
  readonly rates: readonly number[] | null;
  readonly stepPercents: readonly number[];
  readonly durationSeconds: number;
  readonly arrivals: Arrivals;
  readonly seed: number;
  readonly partitionCount: number;
  /** `null`: a stack of our own. */
  readonly foreign: { readonly brokers: readonly string[]; readonly databaseUrl: string } | null;
  readonly hasBaseline: boolean;
  /** Short steps, too short to judge objectives by. */
  readonly isQuick: boolean;
  readonly outFolder: string;
  readonly markdownFile: string | null;
};

const BATCH_SIZE_MAX = 10_000;
const RATE_MAX = 1_000_000;
const STEP_PERCENT_MAX = 200;
const PARTITIONS_MAX = 1_000;
const SECONDS_MAX = 3_600;
const LIST_LENGTH_MAX = 20;

const usual = { batch: '1,64,1000', steps: '10,25,50,75,90', duration: '10', partitions: '6' };
const quick = { batch: '1,64', steps: '10,50', duration: '1', partitions: '2' };

export function parseLoadTest(args: readonly string[]): LoadTestOptions | 'help' {
  const values = readValues(args);
  if (values.help) return 'help';
  const fallback = values.quick ? quick : usual;
  const batchSizes = numbers('batch', values.batch ?? fallback.batch, BATCH_SIZE_MAX);
  if (values.baseline && !batchSizes.includes(1)) {
    throw new UsageError(
      `--baseline compares at one reading a message: give --batch 1 beside ${values.batch}`,
    );
  }
  const foreign = parseForeign(values);
  if (foreign !== null && values.partitions !== undefined) {
    throw new UsageError('--partitions does not go with --brokers: the topic there has its own');
  }
  if (values.rates !== undefined && values.steps !== undefined) {
    throw new UsageError(
      '--rates and --steps cannot both be given: rates are messages/s, steps shares of saturation',
    );
  }
  return {
    batchSizes,
    rates: values.rates === undefined ? null : numbers('rates', values.rates, RATE_MAX),
    stepPercents: numbers('steps', values.steps ?? fallback.steps, STEP_PERCENT_MAX),
    durationSeconds: wholeNumber(
      'duration',
      (values.duration ?? fallback.duration).replace(/s$/, ''),
      SECONDS_MAX,
    ),
    arrivals: parseArrivals(values.arrivals ?? 'poisson'),
    seed: wholeNumber('seed', values.seed ?? '1', Number.MAX_SAFE_INTEGER),
    partitionCount: wholeNumber('partitions', values.partitions ?? fallback.partitions, PARTITIONS_MAX),
    foreign,
    hasBaseline: values.baseline,
    isQuick: values.quick,
    outFolder: values.out ?? join('.data', 'load-test'),
    markdownFile: values.markdown ?? null,
  };
}

type Values = ReturnType<typeof readValues>;

function readValues(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  try {
    return parseArgs({
      args: [...args],
      strict: true,
      allowPositionals: false,
      options: {
        batch: text,
        rates: text,
        steps: text,
        duration: text,
        arrivals: text,
        seed: text,
        partitions: text,
        brokers: text,
        database: text,
        out: text,
        markdown: text,
        'allow-remote': flag,
        baseline: flag,
        quick: flag,
        help: { ...flag, short: 'h' },
      },
    }).values;
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function parseForeign(values: Values): LoadTestOptions['foreign'] {
  if (values.brokers === undefined && values.database === undefined) return null;
  if (values.brokers === undefined || values.database === undefined) {
    throw new UsageError(
      '--brokers and --database belong together: readings go into one and are looked for in the other',
    );
  }
  if (values.baseline)
    throw new UsageError('--baseline needs servers of its own: leave --brokers and --database out');
  const brokers = values.brokers.split(',').map((broker) => broker.trim());
  for (const broker of brokers) {
    if (!/^[^\s:]+:\d+$/.test(broker))
      throw new UsageError(`--brokers has "${broker}"; give host:port,host:port`);
  }
  if (!/^postgres(ql)?:\/\//.test(values.database) || !URL.canParse(values.database)) {
    throw new UsageError('--database cannot be used; give postgres://user:password@host:port/database');
  }
  const hosts = [...brokers.map((broker) => broker.replace(/:\d+$/, '')), new URL(values.database).hostname];
  const remote = hosts.find((host) => !isLoopback(host));
  if (remote !== undefined && !values['allow-remote']) {
    throw new UsageError(
      `"${remote}" is not this machine, and a load test may take down what it is aimed at: add --allow-remote if you mean it`,
    );
  }
  return { brokers, databaseUrl: values.database };
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

function parseArrivals(text: string): Arrivals {
  if (text === 'poisson' || text === 'constant') return text;
  throw new UsageError(`--arrivals is "${text}"; give poisson or constant`);
}

function numbers(name: string, text: string, max: number): readonly number[] {
  const parts = text.split(',');
  if (parts.length > LIST_LENGTH_MAX)
    throw new UsageError(`--${name} has more than ${LIST_LENGTH_MAX} numbers`);
  return parts.map((part) => wholeNumber(name, part, max));
}

function wholeNumber(name: string, text: string, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value;
  throw new UsageError(`--${name} has "${text}"; give whole numbers from 1 to ${max}`);
}
