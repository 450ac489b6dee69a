// The verdict without any cleverness: reasons and severity of one row, as docs/VERDICT.md defines them.
import { isMissing } from './plain-forest.ts';

export type PlainGuard = {
  readonly high: number | null;
  readonly highScale: number;
  readonly low: number | null;
  readonly lowScale: number;
  readonly isMissingReason: boolean;
};
export type PlainGuards = {
  readonly alarmRate: number;
  readonly knots: readonly (readonly [score: number, decades: number])[];
  readonly limits: readonly PlainGuard[];
};

/** What a verdict needs beside the row. */
export type Judging = {
  readonly features: readonly string[];
  readonly sumThreshold: number;
  readonly offset: number;
  readonly guards: PlainGuards | null;
};

export function reasonsOf(model: Judging, row: ArrayLike<number>, sum: number): string[] {
  const reasons = sum < model.sumThreshold ? ['forest'] : [];
  const limits = model.guards?.limits ?? [];
  const add = (kind: string, isTrue: (value: number, guard: PlainGuard) => boolean) => {
    for (const [feature, guard] of limits.entries()) {
      if (isTrue(Math.fround(row[feature] as number), guard))
        reasons.push(`${kind}:${model.features[feature]}`);
    }
  };
  add('high', (value, { high }) => !isMissing(value) && high !== null && value > Math.fround(high));
  add('low', (value, { low }) => !isMissing(value) && low !== null && value < Math.fround(low));
  add('missing', (value, { isMissingReason }) => isMissing(value) && isMissingReason);
  return reasons;
}

export function severityOf(
  model: Judging,
  row: ArrayLike<number>,
  score: number,
  isAbnormal: boolean,
): number {
  if (model.guards === null) return Number.NaN;
  const { knots, limits, alarmRate } = model.guards;
  const alarmDecades = -Math.log10(alarmRate);
  const beyond = surprise(knots, -score) - surprise(knots, -model.offset);
  if (!isAbnormal) return alarmDecades + Math.min(beyond, 0);
  const excesses = limits.flatMap(({ high, highScale, low, lowScale }, feature) => {
    const value = Math.fround(row[feature] as number);
    if (isMissing(value)) return [];
    return [
      ...(high === null ? [] : [(value - high) / highScale]),
      ...(low === null ? [] : [(low - value) / lowScale]),
    ];
  });
  return alarmDecades + Math.min(Math.max(beyond, 0, ...excesses), 6);
}

/** Decades of rarity of a positive score: linear between the knots, the slope of the last four beyond. */
export function surprise(knots: PlainGuards['knots'], score: number): number {
  const at = (index: number) => knots[index] as readonly [number, number];
  const slope = (from: number, to: number) => (at(to)[1] - at(from)[1]) / (at(to)[0] - at(from)[0]);
  const last = knots.length - 1;
  if (score <= at(0)[0] || last === 0) return at(0)[1];
  if (score > at(last)[0]) return at(last)[1] + slope(Math.max(0, last - 4), last) * (score - at(last)[0]);
  const next = knots.findIndex(([knot]) => score <= knot);
  return at(next - 1)[1] + slope(next - 1, next) * (score - at(next - 1)[0]);
}
