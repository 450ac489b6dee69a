// `bun run throughput`: how many readings a second come from Kafka into PostgreSQL, and at what price.
import { join } from 'node:path';
import { median, startScorer } from '@lonetree/devstack';
import { startFakeMlflow } from '../../test/fake-mlflow.ts';
import { moreAlarming, shippedForest } from '../../test/forest-variants.ts';
import { measureBareCopy } from './bare-copy.ts';
import { type BenchStack, startBenchStack } from './bench-stack.ts';
import { type Options, parseOptions, UsageError, usage } from './options.ts';
import { drain } from './rate.ts';
import { soak } from './soak.ts';
import { type Kind, type Turn, takeTurns } from './turns.ts';

type Goal = {
  readonly what: string;
  readonly goal: string;
  readonly measured: number;
  readonly isMet: boolean;
};
type Report = {
  readonly readings: number;
  /** Rows of each turn: all must be there every time. */
  readonly rows: readonly number[];
  readonly goals: readonly Goal[];
  readonly figures: Readonly<Record<string, unknown>>;
};

const copyShareMin = 0.75;
const memoryMbMax = 350;
const metricsShareMin = 0.97;
const uncounted = join('scorer', 'bench', 'throughput', 'uncounted-scorer.ts');

const atLeast = (what: string, measured: number, least: number): Goal => ({
  what,
  goal: `at least ${least}`,
  measured,
  isMet: measured >= least,
});
const below = (what: string, measured: number, most: number): Goal => ({
  what,
  goal: `below ${most}`,
  measured,
  isMet: measured < most,
});
const rounded = (value: number) => Number(value.toFixed(3));

const measure: {
  readonly [K in Options['mode']['kind']]: (stack: BenchStack, options: Options) => Promise<Report>;
} = {
  async rate(stack, options) {
    const { batch, rounds } = options;
    const readings = await fill(stack, options);
    await stack.sql`checkpoint`; // Writing what came before is not the scorers'.
    const scorers = startScorers(stack, options);
    const drained = await drain(stack, { scorers, group: 'scorer', skippedShare: 0 });
    const exitCodes = await Promise.all(scorers.map((scorer) => scorer.stop()));
    const [row] = await stack.sql`select count(*)::float8 as rows from prediction`;
    const copied = median(await measureBareCopy(stack.sql, stack.databaseUrl, rounds));
    const readingsPerSecond = drained.messagesPerSecond * batch;
    return {
      readings,
      rows: [row?.rows as number],
      goals: [
        // With less a message the log is what takes most of the time: the goal is of full ones.
        ...(batch === 1_000
          ? [atLeast('of the bare copy', rounded(readingsPerSecond / copied), copyShareMin)]
          : []),
        below('MB of the largest scorer', drained.scorerPeakMb, memoryMbMax),
      ],
      figures: {
        readingsPerSecond: Math.round(readingsPerSecond),
        bareCopyRowsPerSecond: Math.round(copied),
        ofBareCopy: rounded(readingsPerSecond / copied),
        scorerPeakMb: drained.scorerPeakMb,
        processor: Object.fromEntries(
          Object.entries(drained.processor).map(([name, { nsPerMessage, busy }]) => [
            name,
            { nsPerReading: Math.round(nsPerMessage / batch), busy },
          ]),
        ),
        exitCodes,
      },
    };
  },

  async soak(stack, options) {
    if (options.mode.kind !== 'soak') throw new Error('assertion failed: another mode');
    const scorers = startScorers(stack, options);
    const { readings, rows, scorerMbByMinute } = await soak(stack, { ...options, ...options.mode, scorers });
    await Promise.all(scorers.map((scorer) => scorer.stop()));
    return {
      readings,
      rows: [rows],
      goals: [below('MB of the largest scorer', Math.max(...scorerMbByMinute), memoryMbMax)],
      figures: { readingsPerSecond: options.mode.readingsPerSecond, scorerMbByMinute },
    };
  },

  async shadow(stack, options) {
    if (options.mode.kind !== 'shadow') throw new Error('assertion failed: another mode');
    const mlflow = startFakeMlflow();
    mlflow.versions.set('1', { artifact: shippedForest() }).set('2', { artifact: moreAlarming() });
    mlflow.aliases.set('champion', '1').set('challenger', '2');
    const kind = (name: string, sampleRate: string): Kind => ({
      name,
      environment: { MLFLOW_TRACKING_URI: mlflow.uri, SHADOW_SAMPLE_RATE: sampleRate },
    });
    const readings = await fill(stack, options);
    const { sampleRate } = options.mode;
    const turns = await takeTurns(stack, [kind('without', '0'), kind('with', sampleRate)], options);
    await mlflow.stop();
    const figures = compare(turns, options);
    return {
      readings,
      rows: rowsOf(turns),
      // What is scored and stored twice costs as much as the first time, and nothing beyond that.
      goals: [atLeast('with a shadow of without', figures.ratio, rounded(1 / (1 + Number(sampleRate))))],
      figures: {
        sampleRate: Number(sampleRate),
        ...figures,
        // Less than the sample rate when the shadow was behind.
        shadowShare: rounded(median(turns.map(([, { shadowRows, rows }]) => shadowRows / rows))),
      },
    };
  },

  async metrics(stack, options) {
    const readings = await fill(stack, options);
    const kinds: [Kind, Kind] = [
      { name: 'without', environment: {}, entry: uncounted },
      { name: 'with', environment: {} },
    ];
    const turns = await takeTurns(stack, kinds, options);
    const figures = compare(turns, options);
    return {
      readings,
      rows: rowsOf(turns),
      goals: [atLeast('with metrics of without', figures.ratio, metricsShareMin)],
      figures,
    };
  },
};

async function fill(stack: BenchStack, { readings }: Options): Promise<number> {
  console.error(`sending ${readings.toLocaleString('en')} readings`);
  return await stack.send(['--rate', 'max', '--readings', String(readings)]);
}

const startScorers = (stack: BenchStack, { scorers }: Options) =>
  Array.from({ length: scorers }, () => startScorer(stack));

const rowsOf = (turns: readonly (readonly [Turn, Turn])[]) => turns.flat().map(({ rows }) => rows);

function compare(turns: readonly (readonly [Turn, Turn])[], { batch }: Options) {
  const ratios = turns.map(([without, having]) => having.messagesPerSecond / without.messagesPerSecond);
  const rateOf = (which: 0 | 1) =>
    Math.round(batch * median(turns.map((pair) => pair[which].messagesPerSecond)));
  const peakOf = (which: 0 | 1) => Math.max(...turns.map((pair) => pair[which].scorerPeakMb));
  return {
    readingsPerSecondWithout: rateOf(0),
    readingsPerSecondWith: rateOf(1),
    ratio: rounded(median(ratios)),
    ratios: ratios.map(rounded),
    scorerPeakMbWithout: peakOf(0),
    scorerPeakMbWith: peakOf(1),
  };
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === 'help') {
    process.stdout.write(usage);
    return 0;
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(1));
  const stack = await startBenchStack(options);
  try {
    const { readings, rows, goals, figures } = await measure[options.mode.kind](stack, options);
    const missing = rows.map((count) => readings - count);
    const { batch: readingsPerMessage, scorers, compression } = options;
    console.log(
      JSON.stringify({ readings, readingsPerMessage, scorers, compression, ...figures, missing, goals }),
    );
    for (const { what, goal, measured, isMet } of goals)
      console.error(`${isMet ? 'met' : 'MISSED'}: ${what}: ${measured}, wanted ${goal}`);
    return missing.every((count) => count === 0) && goals.every(({ isMet }) => isMet) ? 0 : 1;
  } finally {
    await stack.stop();
  }
}

try {
  process.exit(await main(process.argv.slice(2)));
} catch (error) {
  const { message } = error as Error;
  console.error(
    error instanceof UsageError ? `throughput: ${message}\n\n${usage}` : `throughput: ${message}`,
  );
  process.exit(error instanceof UsageError ? 2 : 1);
}
