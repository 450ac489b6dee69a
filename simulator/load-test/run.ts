// A whole load test: for each message size a saturation probe, steps up to it, and the step that objectives are about.
import { measureBaseline } from './baseline.ts';
import { type MeasuredStep, measureSaturation, measureStep, stepName } from './measure.ts';
import type { LoadTestOptions } from './options.ts';
import type { Progress } from './progress.ts';
import type { Baseline, Saturation, WarmUp } from './results.ts';
import type { Bench } from './send.ts';
import { OBJECTIVE_STEP } from './verdict.ts';

/** The first burst warms up; each further one is larger until its rate is watched for a good part of a step's time. */
const FIRST_BURST_READINGS = 60_000;
const FIRST_BURST_MESSAGES_MAX = 20_000;
const BURST_MESSAGES_MAX = 3_000_000;
const BURST_READINGS_MAX = 12_000_000;
const BURST_GROWTH_MAX = 20;
const BURSTS_MAX = 5;
const WATCHED_SHARE = 0.4;
const WATCHED_ENOUGH_SHARE = 0.25;
/** Tail percentiles of the step with an objective come from several times as many messages. */
const OBJECTIVE_DURATION_FACTOR = 3;

export type Measured = {
  readonly warmUps: readonly WarmUp[];
  readonly steps: readonly MeasuredStep[];
  readonly saturations: readonly Saturation[];
  readonly baseline: Baseline | null;
};

export async function runLoadTest(
  bench: Bench,
  options: LoadTestOptions,
  progress: Progress,
): Promise<Measured> {
  const steps: MeasuredStep[] = [];
  const saturations: Saturation[] = [];
  let baseline: Baseline | null = null;
  const warmUps: WarmUp[] = [await warmUp(bench, options, progress)];
  for (const batchSize of options.batchSizes) {
    const { before, saturation } = await probe(
      bench,
      { batchSize, seconds: options.durationSeconds },
      progress,
    );
    warmUps.push(...before.map((shorter) => ({ ...shorter, name: `shorter burst, ${batchSize} a message` })));
    saturations.push(saturation);
    if (batchSize === 1 && options.hasBaseline) {
      const usual = await measureBaseline(bench, options.durationSeconds, progress);
      const again = await burst(bench, saturation, progress);
      saturations.push(again);
      // Before and after it, and the slower counts: on a shared machine one of them may have had a better moment.
      const ours = Math.min(saturation.rowsPerSecond, again.rowsPerSecond);
      baseline = { ...usual, ratio: ours / usual.rowsPerSecond };
    }
    for (const messagesPerSecond of ratesOf(options, saturation)) {
      steps.push(await step(bench, { ...options, batchSize, messagesPerSecond }, progress));
    }
    if (batchSize === OBJECTIVE_STEP.batchSize) {
      const durationSeconds = options.durationSeconds * (options.isQuick ? 1 : OBJECTIVE_DURATION_FACTOR);
      steps.push(await step(bench, { ...options, ...OBJECTIVE_STEP, durationSeconds }, progress));
    }
  }
  return { warmUps, steps, saturations, baseline };
}

/** Servers compile what they do often, for seconds at many small requests: without this the first step would show that. */
async function warmUp(
  bench: Bench,
  { durationSeconds: seconds }: LoadTestOptions,
  progress: Progress,
): Promise<WarmUp> {
  progress.begin('warm-up');
  const { step: warm } = await measureStep(
    bench,
    { ...OBJECTIVE_STEP, seconds, arrivals: 'poisson' },
    progress.update,
  );
  progress.end(`${seconds} s, not counted; p50 ${warm.p50Ms.toFixed(2)} ms`);
  return { ...warm, name: 'warm-up' };
}

/** The step with an objective has its own, longer turn. */
function ratesOf({ rates, stepPercents }: LoadTestOptions, saturation: Saturation): readonly number[] {
  const all =
    rates ??
    stepPercents.map((percent) => Math.max(1, Math.round((saturation.messagesPerSecond * percent) / 100)));
  const { batchSize, messagesPerSecond } = OBJECTIVE_STEP;
  return all.filter((rate) => saturation.batchSize !== batchSize || rate !== messagesPerSecond);
}

async function probe(
  bench: Bench,
  { batchSize, seconds }: { readonly batchSize: number; readonly seconds: number },
  progress: Progress,
): Promise<{ readonly before: readonly Saturation[]; readonly saturation: Saturation }> {
  const most = Math.min(BURST_MESSAGES_MAX, Math.floor(BURST_READINGS_MAX / batchSize));
  let messages = Math.min(FIRST_BURST_MESSAGES_MAX, Math.ceil(FIRST_BURST_READINGS / batchSize));
  const before: Saturation[] = [];
  for (;;) {
    const saturation = await burst(bench, { batchSize, messages }, progress);
    const isEnough = before.length > 0 && saturation.seconds >= seconds * WATCHED_ENOUGH_SHARE;
    if (isEnough || messages === most || before.length + 1 === BURSTS_MAX) return { before, saturation };
    before.push(saturation);
    const growth = Math.min(
      BURST_GROWTH_MAX,
      (seconds * WATCHED_SHARE) / Math.max(saturation.seconds, 0.001),
    );
    messages = Math.min(most, Math.ceil(messages * Math.max(1, growth)));
  }
}

async function burst(
  bench: Bench,
  { batchSize, messages: messageCount }: Pick<Saturation, 'batchSize' | 'messages'>,
  progress: Progress,
): Promise<Saturation> {
  const count = messageCount.toLocaleString('en');
  progress.begin(`burst of ${count} messages of ${batchSize.toLocaleString('en')}`);
  const saturation = await measureSaturation(bench, { batchSize, messageCount }, progress.update);
  const rate = Math.round(saturation.rowsPerSecond).toLocaleString('en');
  progress.end(`${rate} rows/s over ${saturation.seconds.toFixed(1)} s`);
  return saturation;
}

async function step(
  bench: Bench,
  request: {
    readonly batchSize: number;
    readonly messagesPerSecond: number;
    readonly durationSeconds: number;
    readonly arrivals: LoadTestOptions['arrivals'];
  },
  progress: Progress,
): Promise<MeasuredStep> {
  const { batchSize, messagesPerSecond, durationSeconds: seconds, arrivals } = request;
  progress.begin(stepName(batchSize, messagesPerSecond));
  await bench.database.settle();
  const measured = await measureStep(
    bench,
    { batchSize, messagesPerSecond, seconds, arrivals },
    progress.update,
  );
  const { p50Ms, p99Ms, rowsPerSecond, lost, duplicate } = measured.step;
  progress.end(
    `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ` +
      `${Math.round(rowsPerSecond).toLocaleString('en')} rows/s, lost ${lost}, duplicate ${duplicate}`,
  );
  return measured;
}
