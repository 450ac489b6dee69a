// A whole load test: for each message size a saturation probe, steps up to it, and the step that objectives are about.
import { measureBaseline } from './baseline.ts';
import { type MeasuredStep, measureSaturation, measureStep, stepName } from './measure.ts';
import type { LoadTestOptions } from './options.ts';
import type { Progress } from './progress.ts';
import type { Baseline, Saturation, WarmUp } from './results.ts';
import type { Bench } from './send.ts';
import { OBJECTIVE_STEP } from './verdict.ts';

/** The first burst only warms up and tells how long the one that counts has to be. */
const FIRST_BURST_READINGS = 60_000;
const FIRST_BURST_MESSAGES_MAX = 20_000;
const SECOND_BURST_MESSAGES_MAX = 3_000_000;
const SECOND_BURST_READINGS_MAX = 5_000_000;
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
    const { rough, saturation } = await probe(
      bench,
      { batchSize, seconds: options.durationSeconds },
      progress,
    );
    warmUps.push({ ...rough, name: `first burst, ${batchSize} a message` });
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
): Promise<{ readonly rough: Saturation; readonly saturation: Saturation }> {
  progress.begin(`first burst, ${batchSize.toLocaleString('en')} readings a message`);
  const first = Math.min(FIRST_BURST_MESSAGES_MAX, Math.ceil(FIRST_BURST_READINGS / batchSize));
  const rough = await measureSaturation(bench, { batchSize, messageCount: first }, progress.update);
  progress.end('not counted');
  const wanted = Math.round(rough.messagesPerSecond * seconds);
  const most = Math.min(SECOND_BURST_MESSAGES_MAX, Math.floor(SECOND_BURST_READINGS_MAX / batchSize));
  const messageCount = Math.max(first, Math.min(wanted, most));
  return { rough, saturation: await burst(bench, { batchSize, messages: messageCount }, progress) };
}

async function burst(
  bench: Bench,
  { batchSize, messages: messageCount }: Pick<Saturation, 'batchSize' | 'messages'>,
  progress: Progress,
): Promise<Saturation> {
  progress.begin(`saturation with ${batchSize.toLocaleString('en')} readings a message`);
  const saturation = await measureSaturation(bench, { batchSize, messageCount }, progress.update);
  progress.end(`${Math.round(saturation.rowsPerSecond).toLocaleString('en')} rows/s`);
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
