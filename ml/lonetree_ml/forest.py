"""A forest as the forest file holds it, in numpy arrays, and its scores. Knows neither scikit-learn nor files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NODE = np.dtype([("threshold", "<f4"), ("feature", "<u2"), ("left", "<u2")])
GUARD = np.dtype(
    [
        ("high", "<f8"),
        ("high_scale", "<f8"),
        ("low", "<f8"),
        ("low_scale", "<f8"),
        ("flags", "<u4"),
        ("zero", "<u4"),
    ]
)
MISSING_GOES_RIGHT = 0x8000
HAS_HIGH, HAS_LOW, MISSING_COUNTS = 1, 2, 4


@dataclass(frozen=True)
class Tree:
    """One tree in breadth-first order. `nodes` has dtype NODE, `values` float64, both of shape (nodes,)."""

    nodes: NDArray[np.void]
    values: Floats
    depth: int

    @property
    def is_leaf(self) -> NDArray[np.bool_]:
        """Shape (nodes,). A leaf names itself as its left child."""
        return np.asarray(self.nodes["left"] == np.arange(len(self.nodes)))

    @property
    def features(self) -> NDArray[np.int64]:
        """The feature that each node tests, shape (nodes,); 0 at a leaf."""
        return self.nodes["feature"].astype(np.int64) & ~MISSING_GOES_RIGHT


@dataclass(frozen=True)
class Guards:
    """Range and missing guards. `limits` has dtype GUARD and shape (features,), the knots shape (knots,)."""

    alarm_rate: float
    knot_scores: Floats
    knot_decades: Floats
    limits: NDArray[np.void]


@dataclass(frozen=True)
class Summary:
    """What the training rows looked like: `quantiles` has shape (features, probabilities)."""

    rows: int
    probabilities: Floats
    quantiles: Floats
    missing_shares: Floats


@dataclass(frozen=True)
class TrainingScores:
    """How the forest scored its training rows, at the summary's probabilities, and how many rows these are worth.

    `effective_rows`, shape (features + 1,): per feature, then of the score; 0 where unknown.
    """

    quantiles: Floats
    effective_rows: Floats


@dataclass(frozen=True)
class Forest:
    """Everything a forest file holds. `test_rows` has shape (rows, features) and dtype float32."""

    features: Sequence[str]
    units: Sequence[str]
    trees: Sequence[Tree]
    max_samples: int
    denominator: float
    offset: float
    sum_threshold: float
    test_rows: NDArray[np.float32]
    test_sums: Floats
    guards: Guards | None = None
    summary: Summary | None = None
    training_scores: TrainingScores | None = None
    meta: dict[str, Any] | None = None


def path_length_sums(forest: Forest, rows: NDArray[Any]) -> Floats:
    """Path-length sums of rows of shape (rows, features), scikit-learn's bits: float32 rows, values added in tree order."""
    narrow = np.asarray(rows, dtype=np.float32)
    missing = np.isnan(narrow)
    index = np.arange(len(narrow))
    sums = np.zeros(len(narrow))
    for tree in forest.trees:
        left = tree.nodes["left"].astype(np.int64)
        features, is_leaf = tree.features, tree.is_leaf
        missing_right = (tree.nodes["feature"] & MISSING_GOES_RIGHT) != 0
        at = np.zeros(len(narrow), dtype=np.int64)
        for _ in range(tree.depth):
            tested = features[at]
            is_beyond = narrow[index, tested] > tree.nodes["threshold"][at]
            goes_right = np.where(missing[index, tested], missing_right[at], is_beyond)
            at = np.where(is_leaf[at], at, left[at] + goes_right)
        sums += tree.values[at]
    return sums


def scores_of(sums: Floats, denominator: float) -> Floats:
    """Shape (rows,): score_samples of path-length sums, −2^(−sum / denominator) (Liu, Ting, Zhou 2008, eq. 2, negated).

    The expression is scikit-learn's, operation by operation, so that the bits are the same.
    """
    return np.asarray(-(2 ** -np.divide(sums, denominator, out=np.ones_like(sums), where=denominator != 0)))
