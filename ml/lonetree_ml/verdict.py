"""What makes a reading abnormal: fits range and missing guards and calibrates them with the forest to one alarm rate.

docs/VERDICT.md says why. All of it is order statistics; nothing is tuned on labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import IsolationForest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FLOAT32_LIMIT = 3.4e38
"""Values whose magnitude is not below this are missing."""
GUARD_SHARE = 0.5
"""Share of the alarm rate that the range guard may spend; the forest has the rest."""
FIT_SHARE = 0.7
"""Share of the rows that forest and limits are fitted on; the others calibrate."""
VALUES_MIN = 100
"""A feature with fewer values gets no limit."""
GROSS_SHARE_MAX = 0.01
"""More gross rows than this are no exception but what the sensor does: none is set aside."""
GROSS_DECADES = 4
SEVERITY_DECADES_MAX = 6
"""Severity ends this many decades above the alarm rate's own."""
DECADE_FACTOR = 3.3219
"""1 / log10(2): from the distance in which half of an exponential tail ends to that in which nine tenths do."""


@dataclass(frozen=True)
class RangeLimits:
    """Per feature; `high`, `low` NaN without a limit; scales are the distance of one decade of rarity. Shapes (features,)."""

    high: Floats
    high_scale: Floats
    low: Floats
    low_scale: Floats


@dataclass(frozen=True)
class Verdict:
    """A forest and its calibration. `threshold` is the positive forest score above which the forest gives a reason."""

    forest: IsolationForest
    alarm_rate: float
    threshold: float
    limits: RangeLimits
    missing_counts: Flags
    knot_scores: Floats
    knot_decades: Floats
    set_aside: Flags
    fit_rows: int
    calibration_rows: int
    realised_alarm_rate: float
    """Share of the calibration rows that forest or guards call abnormal."""


def clean(rows: NDArray[np.floating]) -> Floats:
    """The rows as float64 with NaN for what is not finite or too large for float32. Shape (rows, features)."""
    wide = np.asarray(rows, dtype=np.float64)
    return np.where(np.abs(wide) < FLOAT32_LIMIT, wide, np.nan)


def fit(
    rows: NDArray[np.floating],
    *,
    alarm_rate: float,
    seed: int = 0,
    trees: int = 100,
    samples: int = 256,
    forest: IsolationForest | None = None,
) -> Verdict:
    """Fits forest and guards on `FIT_SHARE` of the rows and calibrates them together on the others.

    A given `forest` is taken as it is, and only calibrated. `rows` has shape (rows, features).
    """
    cleaned = clean(rows)
    feature_count = cleaned.shape[1]
    gross = gross_rows(cleaned)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~gross))
    fit_count = int(FIT_SHARE * len(order))
    fitting, calibration = cleaned[order[:fit_count]], cleaned[order[fit_count:]]
    if forest is None:
        forest = IsolationForest(n_estimators=trees, max_samples=min(samples, fit_count), random_state=seed).fit(fitting)
    limits = range_limits(fitting, GUARD_SHARE * alarm_rate / (2 * feature_count))
    forest_scores = -forest.score_samples(calibration)
    guarded = beyond_limits(limits, calibration).any(axis=1)
    threshold = min(
        _conformal_quantile(np.where(guarded, np.inf, forest_scores), alarm_rate),
        _conformal_quantile(forest_scores, (1 - GUARD_SHARE) * alarm_rate / 2),
    )
    knot_scores, knot_decades = severity_knots(forest_scores)
    missing_counts = np.isnan(cleaned).mean(axis=0) < alarm_rate / (10 * feature_count)
    missing = (np.isnan(calibration) & missing_counts).any(axis=1)
    return Verdict(
        forest=forest,
        alarm_rate=alarm_rate,
        threshold=float(threshold),
        limits=limits,
        missing_counts=missing_counts,
        knot_scores=knot_scores,
        knot_decades=knot_decades,
        set_aside=gross,
        fit_rows=fit_count,
        calibration_rows=len(calibration),
        realised_alarm_rate=float(np.mean((forest_scores > threshold) | guarded | missing)),
    )


def _order_statistic(ascending: Floats, probability: float) -> float:
    """The smallest order statistic that a new value exceeds with probability at most 1 − `probability` (conformal)."""
    rank = int(np.ceil(round((len(ascending) + 1) * probability, 9)))
    return float(ascending[min(max(rank, 1), len(ascending)) - 1])


def _conformal_quantile(values: Floats, alarm_rate: float) -> float:
    """Split-conformal threshold: a new exchangeable value exceeds it with probability at most `alarm_rate`.

    Vovk, Gammerman, Shafer 2005; Lei et al. 2018, theorem 2.2.
    """
    rank = int(np.ceil((len(values) + 1) * (1 - alarm_rate)))
    return float(np.sort(values)[min(rank, len(values)) - 1])


def _tail(ascending: Floats, median: float, spread: float) -> tuple[float, float]:
    """The 99 % point of the upper side, and the distance in which its tail becomes ten times rarer (exponential)."""
    point = _order_statistic(ascending, 0.99)
    is_constant = ascending[0] == ascending[-1]
    floor = max(0.05 * (point - median), 0.02 * spread, (1e-3 if is_constant else 1e-6) * abs(median), 1e-9)
    return point, max(DECADE_FACTOR * (_order_statistic(ascending, 0.995) - point), floor)


def _side_limit(ascending: Floats, median: float, spread: float, alpha: float) -> tuple[float, float]:
    """The conformal limit of the upper side at `alpha`; where the sample is too small for it, the tail beyond the maximum."""
    _, scale = _tail(ascending, median, spread)
    count = len(ascending)
    rank = int(np.ceil(round((count + 1) * (1 - alpha), 9)))
    limit = ascending[rank - 1] if rank <= count else ascending[-1] + scale * np.log10(1 / ((count + 1) * alpha))
    if limit >= ascending[-1]:
        limit = max(limit, ascending[-1] + 0.1 * scale)
    return float(limit), scale


def range_limits(rows: Floats, alpha: float) -> RangeLimits:
    """Limits that an ordinary value exceeds with probability `alpha` per feature and side. `rows`: (rows, features)."""
    feature_count = rows.shape[1]
    limits = np.full((2, feature_count), np.nan)
    scales = np.ones((2, feature_count))
    for feature in range(feature_count):
        values = np.sort(rows[:, feature][~np.isnan(rows[:, feature])])
        if len(values) < VALUES_MIN:
            continue
        median = float(np.median(values))
        spread = _order_statistic(values, 0.75) - _order_statistic(values, 0.25)
        for side, (ascending, sign) in enumerate(((values, 1), (-values[::-1], -1))):
            limit, scales[side, feature] = _side_limit(ascending, sign * median, spread, alpha)
            limits[side, feature] = sign * limit
    return RangeLimits(limits[0], scales[0], limits[1], scales[1])


def beyond_limits(limits: RangeLimits, rows: Floats) -> Flags:
    """Shape (rows, 2 · features): high, then low. A missing value is beyond nothing."""
    with np.errstate(invalid="ignore"):
        return np.c_[(rows - limits.high) / limits.high_scale > 0, (limits.low - rows) / limits.low_scale > 0]


def gross_rows(rows: Floats) -> Flags:
    """Rows so far out on a side that they would spoil the fit; none when they are more than `GROSS_SHARE_MAX`."""
    gross = np.zeros(len(rows), dtype=bool)
    for feature in range(rows.shape[1]):
        column = rows[:, feature]
        values = np.sort(column[~np.isnan(column)])
        if len(values) < VALUES_MIN:
            continue
        median = float(np.median(values))
        half_width = max(_order_statistic(values, 0.99) - median, median - _order_statistic(values, 0.01))
        if half_width <= 0:
            continue
        for ascending, sign in ((values, 1), (-values[::-1], -1)):
            point, scale = _tail(ascending, sign * median, 0.0)
            gross |= sign * column > point + GROSS_DECADES * max(scale, 0.25 * half_width)
    return gross if gross.mean() <= GROSS_SHARE_MAX else np.zeros(len(rows), dtype=bool)


def severity_knots(forest_scores: Floats) -> tuple[Floats, Floats]:
    """Quantiles of the calibration scores at quarter decades of rarity, as far as ten rows lie beyond."""
    decades = np.arange(0, max(1.0, np.log10(len(forest_scores) / 10.0)) + 0.125, 0.25)
    knots = np.quantile(forest_scores, 1 - 10.0**-decades)
    keep = np.r_[True, np.diff(knots) > 1e-9]
    return knots[keep], decades[keep]


@dataclass(frozen=True)
class Judged:
    """Verdicts on rows: `severity` in decades of rarity, shape (rows,); `reasons` by row, as the scorer names them."""

    severity: Floats
    reasons: list[list[str]]


def judge(fitted: Verdict, rows: NDArray[np.floating], features: list[str]) -> Judged:
    """Verdicts in numpy, for evaluation and as what the scorer is compared with. `rows`: (rows, features)."""
    cleaned = clean(rows)
    forest_scores = -fitted.forest.score_samples(cleaned)
    surprise = _surprise(fitted, forest_scores) - _surprise(fitted, np.array([fitted.threshold]))
    limits = fitted.limits
    with np.errstate(invalid="ignore"):
        beyond = np.c_[(cleaned - limits.high) / limits.high_scale, (limits.low - cleaned) / limits.low_scale]
    beyond = np.where(np.isnan(beyond), -np.inf, beyond)
    hits = np.c_[forest_scores > fitted.threshold, beyond > 0, np.isnan(cleaned) & fitted.missing_counts]
    names = ["forest", *(f"{kind}:{name}" for kind in ("high", "low", "missing") for name in features)]
    excess = np.clip(np.maximum(surprise, beyond.max(axis=1)), 0, SEVERITY_DECADES_MAX)
    severity = -np.log10(fitted.alarm_rate) + np.where(hits.any(axis=1), excess, np.minimum(surprise, 0))
    return Judged(severity, [[names[index] for index in np.flatnonzero(row)] for row in hits])


def _surprise(fitted: Verdict, forest_scores: Floats) -> Floats:
    """Decades of rarity of positive forest scores: linear between the knots, the last slope beyond them."""
    scores, decades = fitted.knot_scores, fitted.knot_decades
    inside = np.interp(forest_scores, scores, decades)
    if len(scores) == 1:
        return inside
    first = max(0, len(scores) - 5)
    slope = (decades[-1] - decades[first]) / (scores[-1] - scores[first])
    return np.where(forest_scores > scores[-1], decades[-1] + slope * (forest_scores - scores[-1]), inside)
