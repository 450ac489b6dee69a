// Whether a run was good: objectives, and what must not happen in any step. Pure.
import type { Losses, Objective, Results } from './results.ts';

/** The step that latencies are promised for. */
export const OBJECTIVE_STEP = { batchSize: 64, messagesPerSecond: 1_000 } as const;

const LATENCY_LIMITS_MS = { p50Ms: 3, p99Ms: 15, p999Ms: 60 } as const;
const SCORER_MEMORY_LIMIT_MB = 350;
const BASELINE_RATIO_MIN = 3_000;

type Measured = Pick<Results, 'warmUps' | 'steps' | 'saturations' | 'baseline'>;

/** Those objectives that this run has measured. */
export function judgeObjectives({ steps, saturations, baseline }: Measured): readonly Objective[] {
  const objectives: Objective[] = [];
  const step = steps.find(
    ({ batchSize, targetRate }) =>
      batchSize === OBJECTIVE_STEP.batchSize && targetRate === OBJECTIVE_STEP.messagesPerSecond,
  );
  if (step !== undefined) {
    for (const [name, limitMs] of Object.entries(LATENCY_LIMITS_MS) as [
      keyof typeof LATENCY_LIMITS_MS,
      number,
    ][]) {
      objectives.push({
        what: `${describePercentile(name)} from scheduled time to committed row, ${step.name}`,
        limit: `≤ ${limitMs} ms`,
        measured: `${step[name].toFixed(2)} ms`,
        isMet: step[name] <= limitMs,
      });
    }
  }
  const scorerMb = Math.max(
    ...[...saturations, ...steps].map(({ processes }) => processes.scorer?.peakMb ?? 0),
    0,
  );
  if (scorerMb > 0) {
    objectives.push({
      what: 'memory of the scorer, at saturation and in all steps',
      limit: `< ${SCORER_MEMORY_LIMIT_MB} MB`,
      measured: `${scorerMb} MB`,
      isMet: scorerMb < SCORER_MEMORY_LIMIT_MB,
    });
  }
  if (baseline !== null) {
    objectives.push({
      what: 'rows/s at one reading a message, over those of the usual design',
      limit: `≥ ${BASELINE_RATIO_MIN.toLocaleString('en')} ×`,
      measured: `${Math.round(baseline.ratio).toLocaleString('en')} ×`,
      isMet: baseline.ratio >= BASELINE_RATIO_MIN,
    });
  }
  return objectives;
}

type LossCount = Exclude<keyof Losses, 'sendError'>;

const LOSSES: Readonly<Record<LossCount, string>> = {
  failedMessages: 'messages not acknowledged by Kafka',
  lost: 'readings lost',
  duplicate: 'rows twice',
  anomaliesMissing: 'anomalies missing on their topic',
};

/** One sentence for everything that makes the command exit with 1. */
export function findFailures(measured: Measured, judged: readonly Objective[]): readonly string[] {
  const parts: readonly (Losses & { readonly title: string })[] = [
    ...measured.warmUps.map((warmUp) => ({ ...warmUp, title: warmUp.name })),
    ...measured.saturations.map((probe) => ({ ...probe, title: `saturation, ${probe.batchSize} a message` })),
    ...measured.steps.map((step) => ({ ...step, title: step.name })),
  ];
  const losses = parts.flatMap((part) =>
    (Object.keys(LOSSES) as LossCount[])
      .filter((loss) => part[loss] > 0)
      .map((loss) => `${part.title}: ${part[loss]} ${LOSSES[loss]}${reasonOf(part, loss)}`),
  );
  const missed = judged
    .filter(({ isMet }) => !isMet)
    .map(({ what, limit, measured: found }) => `missed: ${what}: ${found}, wanted ${limit}`);
  return [...losses, ...missed];
}

function reasonOf({ sendError }: Losses, loss: LossCount): string {
  return loss === 'failedMessages' && sendError !== null ? ` (${sendError})` : '';
}

function describePercentile(name: keyof typeof LATENCY_LIMITS_MS): string {
  return { p50Ms: 'p50', p99Ms: 'p99', p999Ms: 'p99.9' }[name];
}
