"""The verdict, written as plainly as possible and apart from the package: what its fit and its verdicts are compared with.

Uses numpy and scikit-learn only. Sides are 0 (high) and 1 (low); the low side is the high side of the negated values.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest

Array = np.ndarray[Any, np.dtype[Any]]

DECADES_MAX = 6.0
RANGE_SHARE = 0.5


@dataclass
class Model:
    alarm_rate: float
    forest: IsolationForest
    threshold: float
    limits: Array  # (2, features)
    scales: Array  # (2, features)
    missing_counts: Array  # (features,)
    knot_scores: Array
    knot_decades: Array
    set_aside: int
    fit_rows: int
    calibration_rows: int


def clean(rows: Array) -> Array:
    rows = np.asarray(rows, float)
    return np.where(np.abs(rows) < 3.4e38, rows, np.nan)


def order(ascending: Array, share: float) -> float:
    """Smallest order statistic with P(new value ≤ it) ≥ share."""
    rank = int(np.ceil(round((len(ascending) + 1) * share, 9)))
    return float(ascending[min(max(rank, 1), len(ascending)) - 1])


def tail(ascending: Array, median: float, iqr: float) -> tuple[float, float]:
    """The 99 % point, and the distance of one decade beyond it in an exponential tail."""
    point = order(ascending, 0.99)
    relative = 1e-3 if ascending[0] == ascending[-1] else 1e-6
    floor = max(0.05 * (point - median), 0.02 * iqr, relative * abs(median), 1e-9)
    return point, max(3.3219 * (order(ascending, 0.995) - point), floor)


def limit(ascending: Array, median: float, iqr: float, alpha: float) -> tuple[float, float]:
    _, scale = tail(ascending, median, iqr)
    n = len(ascending)
    rank = int(np.ceil(round((n + 1) * (1 - alpha), 9)))
    largest = ascending[-1]
    found = ascending[rank - 1] if rank <= n else largest + scale * np.log10(1 / ((n + 1) * alpha))
    return (max(found, largest + 0.1 * scale) if found >= largest else found), scale


def both_sides(values: Array) -> list[tuple[Array, int]]:
    return [(values, 1), (-values[::-1], -1)]


def present(rows: Array, feature: int) -> Array:
    column = rows[:, feature]
    return np.sort(column[~np.isnan(column)])


def fit_limits(rows: Array, alpha: float) -> tuple[Array, Array]:
    limits, scales = np.full((2, rows.shape[1]), np.nan), np.ones((2, rows.shape[1]))
    for feature in range(rows.shape[1]):
        values = present(rows, feature)
        if len(values) < 100:
            continue
        median, iqr = np.median(values), order(values, 0.75) - order(values, 0.25)
        for side, (ascending, sign) in enumerate(both_sides(values)):
            found, scales[side, feature] = limit(ascending, sign * median, iqr, alpha)
            limits[side, feature] = sign * found
    return limits, scales


def find_gross(rows: Array) -> Array:
    gross = np.zeros(len(rows), bool)
    for feature in range(rows.shape[1]):
        values = present(rows, feature)
        if len(values) < 100:
            continue
        median = np.median(values)
        half_width = max(order(values, 0.99) - median, median - order(values, 0.01))
        if half_width <= 0:
            continue
        for ascending, sign in both_sides(values):
            point, scale = tail(ascending, sign * median, 0.0)
            gross |= sign * rows[:, feature] > point + 4 * max(scale, 0.25 * half_width)
    return gross if gross.mean() <= 0.01 else np.zeros(len(rows), bool)


def conformal(scores: Array, alarm_rate: float) -> float:
    rank = int(np.ceil((len(scores) + 1) * (1 - alarm_rate)))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def fit(rows: Array, alarm_rate: float, seed: int, forest: IsolationForest | None = None) -> Model:
    rows = clean(rows)
    features = rows.shape[1]
    gross = find_gross(rows)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(~gross))
    count = int(0.7 * len(shuffled))
    fitting, calibration = rows[shuffled[:count]], rows[shuffled[count:]]
    if forest is None:
        forest = IsolationForest(n_estimators=100, max_samples=min(256, count), random_state=seed).fit(fitting)
    limits, scales = fit_limits(fitting, RANGE_SHARE * alarm_rate / (2 * features))
    scores = -forest.score_samples(calibration)
    guarded = (excess(calibration, limits, scales) > 0).any(1)
    decades = np.arange(0, max(1.0, np.log10(len(scores) / 10.0)) + 0.125, 0.25)
    knots = np.quantile(scores, 1 - 10.0**-decades)
    keep = np.r_[True, np.diff(knots) > 1e-9]
    return Model(
        alarm_rate=alarm_rate,
        forest=forest,
        threshold=min(
            conformal(np.where(guarded, np.inf, scores), alarm_rate), conformal(scores, (1 - RANGE_SHARE) * alarm_rate / 2)
        ),
        limits=limits,
        scales=scales,
        missing_counts=np.isnan(rows).mean(0) < alarm_rate / (10 * features),
        knot_scores=knots[keep],
        knot_decades=decades[keep],
        set_aside=int(gross.sum()),
        fit_rows=count,
        calibration_rows=len(calibration),
    )


def excess(rows: Array, limits: Array, scales: Array) -> Array:
    """Decades beyond the limits: high per feature, then low per feature; −∞ where value or limit is missing."""
    beyond = np.c_[(rows - limits[0]) / scales[0], (limits[1] - rows) / scales[1]]
    return np.where(np.isnan(beyond), -np.inf, beyond)


def surprise(model: Model, scores: Array) -> Array:
    x, y = model.knot_scores, model.knot_decades
    first = max(0, len(x) - 5)
    slope = (y[-1] - y[first]) / (x[-1] - x[first]) if len(x) > 1 else 0.0
    return np.where(scores > x[-1], y[-1] + slope * (scores - x[-1]), np.interp(scores, x, y))


def judge(model: Model, rows: Array, features: list[str]) -> tuple[Array, Array, list[list[str]]]:
    """Verdicts, severities in decades, and reasons."""
    rows = clean(rows)
    scores = -model.forest.score_samples(rows)
    beyond = excess(rows, model.limits, model.scales)
    rarer = surprise(model, scores) - surprise(model, np.asarray(model.threshold))
    hits = np.c_[scores > model.threshold, beyond > 0, np.isnan(rows) & model.missing_counts]
    is_anomaly = hits.any(1)
    farthest = np.clip(np.maximum(rarer, beyond.max(1)), 0, DECADES_MAX)
    severity = -np.log10(model.alarm_rate) + np.where(is_anomaly, farthest, np.minimum(rarer, 0))
    names = ["forest", *(f"{kind}:{name}" for kind in ("high", "low", "missing") for name in features)]
    return is_anomaly, severity, [[names[i] for i in np.flatnonzero(hit)] for hit in hits]
