// Score, guards, reasons and severity of the rows whose path-length sums are known. docs/VERDICT.md defines them.
import {
  alarmRate,
  denominator,
  featureCount,
  guards,
  hasGuards,
  knotCount,
  knotDecades,
  knotScores,
  offset,
  sumThreshold,
} from './forest';
import { allocate, enlarge } from './memory';
import {
  abnormalRows,
  firstReasons,
  rowCount,
  rowSize,
  rows,
  scores,
  severities,
  sums,
  verdicts,
} from './rows';

/** Reasons are u16: kind × 1,024 + feature. */
const forestReason: u32 = 0;
const highReason: u32 = 1024;
const lowReason: u32 = 2048;
const missingReason: u32 = 3072;
/** Severity ends this many decades above the alarm rate's own. */
const decadesMax: f64 = 6;

let alarmDecades: f64 = 0;
let thresholdSurprise: f64 = 0;
/** Per feature: f32 high and low limit; ±∞ without one. */
let highLimits: usize = 0;
let lowLimits: usize = 0;
/** u8 per feature: whether a missing value is a reason. */
let missingCounts: usize = 0;

export let reasons: usize = 0;
let reasonCapacity: usize = 0;
export let abnormalCount: u32 = 0;

/** Readies what verdicts need beside the file. Answers false when there is no memory. */
export function prepareVerdicts(): bool {
  highLimits = allocate((<usize>featureCount) << 2);
  lowLimits = allocate((<usize>featureCount) << 2);
  missingCounts = allocate(featureCount);
  if (highLimits == 0 || lowLimits == 0 || missingCounts == 0) return false;
  for (let f: u32 = 0; f < featureCount; f++) {
    const guard = guards + <usize>f * 40;
    const flags: u32 = hasGuards ? load<u32>(guard, 32) : 0;
    store<f32>(highLimits + ((<usize>f) << 2), flags & 1 ? <f32>load<f64>(guard) : f32.POSITIVE_INFINITY);
    store<f32>(lowLimits + ((<usize>f) << 2), flags & 2 ? <f32>load<f64>(guard, 16) : f32.NEGATIVE_INFINITY);
    store<u8>(missingCounts + f, flags & 4 ? 1 : 0);
  }
  if (!hasGuards) return true;
  alarmDecades = -Math.log10(alarmRate);
  thresholdSurprise = surprise(-offset);
  return true;
}

/** scikit-learn's score_samples of a path-length sum: in [−1, 0]. */
function scoreOf(sum: f64): f64 {
  return denominator == 0 ? -0.5 : -Math.exp2(-sum / denominator);
}

/** Fills scores, verdicts, severities, the list of abnormal rows and their reasons. Answers false without memory. */
export function judge(): bool {
  const count = rowCount;
  let reasonCount: u32 = 0;
  abnormalCount = 0;
  for (let r: u32 = 0; r < count; r++) {
    if (!reserveReasons(reasonCount)) return false;
    const at = (<usize>r) << 3;
    const sum = load<f64>(sums + at);
    const score = scoreOf(sum);
    store<f64>(scores + at, score);
    const first = reasonCount;
    if (sum < sumThreshold) reasonCount = addReason(reasonCount, forestReason);
    if (hasGuards) reasonCount = addGuardReasons(reasonCount, rows + <usize>r * rowSize);
    const isAbnormal = reasonCount > first;
    store<u8>(verdicts + r, isAbnormal ? 1 : 0);
    store<f64>(severities + at, severityOf(score, isAbnormal, rows + <usize>r * rowSize));
    if (!isAbnormal) continue;
    store<u32>(abnormalRows + ((<usize>abnormalCount) << 2), r);
    store<u32>(firstReasons + ((<usize>abnormalCount) << 2), first);
    abnormalCount += 1;
  }
  store<u32>(firstReasons + ((<usize>abnormalCount) << 2), reasonCount);
  return true;
}

/** Makes room for one more row's reasons: the forest's, and at most one per feature. */
function reserveReasons(reasonCount: u32): bool {
  const needed = (<usize>reasonCount + 1 + <usize>featureCount) << 1;
  if (needed <= reasonCapacity) return true;
  const place = enlarge(reasons, reasonCapacity, (<usize>reasonCount) << 1, needed);
  if (place == 0) return false;
  reasons = place;
  reasonCapacity = max(needed, reasonCapacity * 2);
  return true;
}

function addReason(count: u32, reason: u32): u32 {
  store<u16>(reasons + ((<usize>count) << 1), <u16>reason);
  return count + 1;
}

/** A row is normal in nearly all cases: one pass finds that out; only an abnormal one is sorted by kind. */
function addGuardReasons(count: u32, row: usize): u32 {
  const features = featureCount;
  let isAny = false;
  for (let f: u32 = 0; f < features; f++) {
    const value = load<f32>(row + ((<usize>f) << 2));
    const at = (<usize>f) << 2;
    if (value == f32.NEGATIVE_INFINITY) isAny = isAny || load<u8>(missingCounts + f) != 0;
    else if (value > load<f32>(highLimits + at) || value < load<f32>(lowLimits + at)) isAny = true;
  }
  if (!isAny) return count;
  for (let f: u32 = 0; f < features; f++) {
    if (load<f32>(row + ((<usize>f) << 2)) > load<f32>(highLimits + ((<usize>f) << 2)))
      count = addReason(count, highReason + f);
  }
  for (let f: u32 = 0; f < features; f++) {
    const value = load<f32>(row + ((<usize>f) << 2));
    const isLow = value != f32.NEGATIVE_INFINITY && value < load<f32>(lowLimits + ((<usize>f) << 2));
    if (isLow) count = addReason(count, lowReason + f);
  }
  for (let f: u32 = 0; f < features; f++) {
    const isMissing = load<f32>(row + ((<usize>f) << 2)) == f32.NEGATIVE_INFINITY;
    if (isMissing && load<u8>(missingCounts + f)) count = addReason(count, missingReason + f);
  }
  return count;
}

/** Decades of rarity. A normal row stays below the alarm rate's; an abnormal one goes up by how far it is beyond. */
function severityOf(score: f64, isAbnormal: bool, row: usize): f64 {
  if (!hasGuards) return NaN;
  const beyond = surprise(-score) - thresholdSurprise;
  if (!isAbnormal) return alarmDecades + min(beyond, 0);
  return alarmDecades + min(max(max(beyond, rangeExcess(row)), 0), decadesMax);
}

/** How far the farthest value is beyond its limit, in units of that side's scale. */
function rangeExcess(row: usize): f64 {
  let excess: f64 = 0;
  for (let f: u32 = 0; f < featureCount; f++) {
    const value = <f64>load<f32>(row + ((<usize>f) << 2));
    if (value == f64.NEGATIVE_INFINITY) continue;
    const guard = guards + <usize>f * 40;
    const flags = load<u32>(guard, 32);
    if (flags & 1) excess = max(excess, (value - load<f64>(guard)) / load<f64>(guard, 8));
    if (flags & 2) excess = max(excess, (load<f64>(guard, 16) - value) / load<f64>(guard, 24));
  }
  return excess;
}

/** Decades of rarity of a positive forest score: linear between the knots, the last slope beyond them. */
function surprise(score: f64): f64 {
  const last = <usize>knotCount - 1;
  if (score <= knotScore(0)) return knotDecade(0);
  if (score > knotScore(last)) {
    if (last == 0) return knotDecade(0);
    const from = last >= 4 ? last - 4 : 0;
    const slope = (knotDecade(last) - knotDecade(from)) / (knotScore(last) - knotScore(from));
    return knotDecade(last) + slope * (score - knotScore(last));
  }
  let low: usize = 0;
  let high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knotScore(middle) <= score) low = middle;
    else high = middle;
  }
  if (score == knotScore(high)) return knotDecade(high);
  const slope = (knotDecade(high) - knotDecade(low)) / (knotScore(high) - knotScore(low));
  return knotDecade(low) + slope * (score - knotScore(low));
}

function knotScore(index: usize): f64 {
  return load<f64>(knotScores + (index << 3));
}

function knotDecade(index: usize): f64 {
  return load<f64>(knotDecades + (index << 3));
}
