"""What makes a reading abnormal: fits range and missing guards and calibrates them with the forest to one alarm rate.

docs/VERDICT.md says why. All of it is order statistics; nothing is tuned on labels. Values, limits and scales are in the
feature's own unit, scores are scikit-learn's without the sign, and rarity is in decades: 3 is one in a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import IsolationForest

from lonetree_ml.judge import clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

GUARD_SHARE = 0.5
"""Share of the alarm rate that the range guard may spend; the forest has the rest."""
FIT_SHARE = 0.7
"""Share of the rows that forest and limits are fitted on; the others calibrate."""
VALUES_MIN = 100
"""A feature with fewer values gets no limit."""
GROSS_SHARE_MAX = 0.01
"""More gross rows than this are no exception but what the sensor does: none is set aside."""
GROSS_DECADES = 4
DECADE_FACTOR = 3.3219
"""1 / log10(2): from the distance in which half of an exponential tail ends to that in which nine tenths do."""


@dataclass(frozen=True)
class RangeLimits:
    """Per feature, shapes (features,). A limit is NaN where there is none; a scale is the distance of one decade."""

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
    """The gross rows, shape (rows,)."""
    fit_rows: int
    calibration: NDArray[np.intp]
    """Numbers of the rows that calibrated."""
    realised_alarm_rate: float
    """Share of the calibration rows that forest or guards call abnormal."""


def fit(
    rows: NDArray[np.floating],
    *,
    alarm_rate: float,
    seed: int = 0,
    trees: int = 100,
    samples: int = 256,
    forest: IsolationForest | None = None,
) -> Verdict:
    """Fit forest and guards on `FIT_SHARE` of the rows and calibrate them together on the others.

    A given `forest` is taken as it is, and only calibrated. `rows` has shape (rows, features).
    """
    cleaned = clean(rows)
    feature_count = cleaned.shape[1]
    gross = gross_rows(cleaned)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(~gross))
    fit_count = int(FIT_SHARE * len(shuffled))
    fitting, calibration = cleaned[shuffled[:fit_count]], cleaned[shuffled[fit_count:]]
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
        calibration=shuffled[fit_count:],
        realised_alarm_rate=float(np.mean((forest_scores > threshold) | guarded | missing)),
    )


def _order_statistic(ascending: Floats, probability: float) -> float:
    """Find the smallest order statistic that a new value exceeds with probability at most 1 − `probability`."""
    rank = int(np.ceil(round((len(ascending) + 1) * probability, 9)))
    return float(ascending[min(max(rank, 1), len(ascending)) - 1])


def _conformal_quantile(values: Floats, alarm_rate: float) -> float:
    """Split-conformal threshold: a new exchangeable value exceeds it with probability at most `alarm_rate`.

    Vovk, Gammerman, Shafer 2005; Lei, G'Sell, Rinaldo, Tibshirani, Wasserman 2018, theorem 2.2.
    """
    rank = int(np.ceil((len(values) + 1) * (1 - alarm_rate)))
    return float(np.sort(values)[min(rank, len(values)) - 1])


def _tail(ascending: Floats, median: float, spread: float) -> tuple[float, float]:
    """Find the upper side's 99 % point, and the distance in which its exponential tail becomes ten times rarer."""
    point = _order_statistic(ascending, 0.99)
    is_constant = ascending[0] == ascending[-1]
    floor = max(0.05 * (point - median), 0.02 * spread, (1e-3 if is_constant else 1e-6) * abs(median), 1e-9)
    return point, max(DECADE_FACTOR * (_order_statistic(ascending, 0.995) - point), floor)


def _side_limit(ascending: Floats, median: float, spread: float, alpha: float) -> tuple[float, float]:
    """Find the upper side's conformal limit at `alpha`; where the sample is too small for one, beyond its maximum."""
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
        return np.asarray(np.c_[(rows - limits.high) / limits.high_scale > 0, (limits.low - rows) / limits.low_scale > 0])


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
