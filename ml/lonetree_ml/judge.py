"""Verdicts in numpy from what a forest file holds: for `evaluate`, and as what the scorer is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lonetree_ml.forest import HAS_HIGH, HAS_LOW, MISSING_COUNTS, path_length_sums, scores_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest, Guards

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FLOAT32_LIMIT = 3.4e38
"""Values whose magnitude is not below this are missing."""
SEVERITY_DECADES_MAX = 6
"""Severity ends this many decades above the alarm rate's own."""


@dataclass(frozen=True)
class Judged:
    """Verdicts on rows. `severity` is in decades of rarity, shape (rows,); NaN from a forest without guards.

    `hits` has shape (rows, 1 + 3 · features): forest, then high, low and missing per feature.
    """

    scores: Floats
    severity: Floats
    hits: Flags
    features: Sequence[str]

    @property
    def is_anomaly(self) -> Flags:
        """Shape (rows,): whether there is at least one reason."""
        return np.asarray(self.hits.any(axis=1))

    def reasons(self) -> list[list[str]]:
        """Per row the reasons, named and ordered as the scorer does."""
        names = ["forest", *(f"{kind}:{name}" for kind in ("high", "low", "missing") for name in self.features)]
        return [[names[index] for index in np.flatnonzero(row)] for row in self.hits]


def clean(rows: NDArray[Any]) -> Floats:
    """Return the rows as float64 with NaN for what is not finite or too large for float32. Shape (rows, features)."""
    wide = np.asarray(rows, dtype=np.float64)
    return np.where(np.abs(wide) < FLOAT32_LIMIT, wide, np.nan)


def judge(forest: Forest, rows: NDArray[Any]) -> Judged:
    """Verdicts on rows of shape (rows, features): scikit-learn's forest, untouched, or a guard."""
    narrow = clean(rows).astype(np.float32)
    sums = path_length_sums(forest, narrow)
    scores = scores_of(sums, forest.denominator)
    by_forest = sums < forest.sum_threshold
    if forest.guards is None:
        none = np.zeros((len(narrow), 3 * len(forest.features)), dtype=bool)
        return Judged(scores, np.full(len(narrow), np.nan), np.c_[by_forest, none], forest.features)
    hits = np.c_[by_forest, _guard_hits(forest.guards, narrow)]
    beyond = surprise(forest.guards, -scores) - surprise(forest.guards, np.array([-forest.offset]))
    excess = np.maximum(beyond, _range_excess(forest.guards, narrow))
    added = np.where(hits.any(axis=1), np.clip(excess, 0, SEVERITY_DECADES_MAX), np.minimum(beyond, 0))
    return Judged(scores, added - np.log10(forest.guards.alarm_rate), hits, forest.features)


def _sides(guards: Guards, number: type[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """High and low limits, infinite where there is none. Shapes (features,)."""
    limits = guards.limits
    high = np.where(limits["flags"] & HAS_HIGH, limits["high"], np.inf)
    low = np.where(limits["flags"] & HAS_LOW, limits["low"], -np.inf)
    with np.errstate(over="ignore"):
        return high.astype(number), low.astype(number)


def _guard_hits(guards: Guards, rows: NDArray[np.float32]) -> Flags:
    """Shape (rows, 3 · features). Limits are rounded as values are: a value equal to its limit is not beyond it."""
    high, low = _sides(guards, np.float32)
    missing_counts = (guards.limits["flags"] & MISSING_COUNTS) != 0
    return np.asarray(np.c_[rows > high, rows < low, np.isnan(rows) & missing_counts])


def _range_excess(guards: Guards, rows: NDArray[np.float32]) -> Floats:
    """Decades by which a row's farthest value is beyond its limit; −∞ for a row without values. Shape (rows,)."""
    wide = rows.astype(np.float64)
    high, low = _sides(guards, np.float64)
    excess = np.c_[(wide - high) / guards.limits["high_scale"], (low - wide) / guards.limits["low_scale"]]
    return np.asarray(np.where(np.isnan(excess), -np.inf, excess).max(axis=1))


def surprise(guards: Guards, forest_scores: Floats) -> Floats:
    """Decades of rarity of positive forest scores: linear between the knots, the last slope beyond them."""
    scores, decades = guards.knot_scores, guards.knot_decades
    inside = np.interp(forest_scores, scores, decades)
    if len(scores) == 1:
        return np.asarray(inside)
    first = max(0, len(scores) - 5)
    slope = (decades[-1] - decades[first]) / (scores[-1] - scores[first])
    return np.asarray(np.where(forest_scores > scores[-1], decades[-1] + slope * (forest_scores - scores[-1]), inside))
