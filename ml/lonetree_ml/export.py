"""Turns a fitted scikit-learn IsolationForest into a forest file's content, with scikit-learn's own bits."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn.ensemble._iforest import _average_path_length

from lonetree_ml import drift
from lonetree_ml.forest import (
    GUARD,
    HAS_HIGH,
    HAS_LOW,
    MISSING_COUNTS,
    MISSING_GOES_RIGHT,
    NODE,
    Forest,
    Guards,
    Summary,
    TrainingScores,
    Tree,
    scores_of,
)
from lonetree_ml.forest_file import ForestFileError, check_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from sklearn.ensemble import IsolationForest

    from lonetree_ml.verdict import Verdict

    Floats = NDArray[np.float64]

SELF_TEST_ROWS = 96
SUMMARY_PROBABILITIES = np.r_[0.0, 0.001, np.arange(1, 100) / 100, 0.999, 1.0]
"""Drift is measured at these: a Kolmogorov-Smirnov distance is too small by at most their step, a tenth of what counts."""
SCORED_ROWS_MAX = 50_000
"""Of more training rows so many, evenly spaced, tell how the forest scores them."""


def build(
    forest: IsolationForest,
    features: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    verdict: Verdict | None = None,
    training: Floats | None = None,
    stations: NDArray[np.intp] | None = None,
    meta: dict[str, Any] | None = None,
) -> Forest:
    """Return the forest file's content. With a `verdict` its threshold and guards, else the forest's own `offset_`.

    `units` by feature, as far as they are known. `stations`, shape (rows,), says where known whose each training row is,
    each station's together and in order of time: then it can be told how many independent rows they are worth.
    """
    check_features(forest, features)
    trees = [_tree(forest, index) for index in range(len(forest.estimators_))]
    denominator = float(len(trees) * _mean_path_length(forest))
    offset = float(forest.offset_) if verdict is None else -verdict.threshold
    test_rows = _self_test_rows(trees, len(features))
    return Forest(
        features=list(features),
        units=[(units or {}).get(name, "") for name in features],
        trees=trees,
        max_samples=int(forest._max_samples),
        denominator=denominator,
        offset=offset,
        sum_threshold=sum_threshold(denominator, offset),
        test_rows=test_rows,
        test_sums=path_length_sums(forest, test_rows),
        guards=None if verdict is None else _guards(verdict),
        summary=None if training is None else _summary(training),
        training_scores=None if training is None else _training_scores(forest, training, stations),
        meta={"format": "lonetree", "versions": _versions(), **(meta or {})},
    )


def check_features(forest: IsolationForest, features: Sequence[str]) -> None:
    """Raise ForestFileError unless these are as many names as the forest has features, and the format can hold them."""
    if len(features) != forest.n_features_in_:
        named = f"{len(features)} are named: {', '.join(features)}"
        raise ForestFileError(f"The forest was fitted on {forest.n_features_in_} features, but {named}.")
    check_names(list(features))


def check_threshold(model: IsolationForest, forest: Forest, rows: NDArray[Any]) -> None:
    """Prove on these rows that comparing sums gives the verdicts of scikit-learn's scores. Rows: (rows, features)."""
    by_sum = path_length_sums(model, rows) < forest.sum_threshold
    by_score = model.score_samples(rows) < forest.offset
    if not np.array_equal(by_sum, by_score):
        raise AssertionError(f"the sum threshold judges {np.sum(by_sum != by_score)} of {len(rows)} rows unlike the score")


def path_length_sums(forest: IsolationForest, rows: NDArray[Any]) -> Floats:
    """scikit-learn's path-length sums, before they become scores: its own arrays, added up in its own order."""
    narrow = np.asarray(rows, dtype=np.float32)
    sums = np.zeros(len(narrow), order="F")
    for index, (tree, columns) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        leaves = tree.tree_.apply(np.ascontiguousarray(narrow[:, columns]))
        sums += forest._decision_path_lengths[index][leaves] + forest._average_path_length_per_tree[index][leaves] - 1.0
    return sums


def sum_threshold(denominator: float, offset: float) -> float:
    """Find the smallest float64 sum that scikit-learn does not score below `offset`: bisection over the bits of float64."""

    def is_abnormal(bits: int) -> bool:
        sums = np.array([bits], dtype=np.uint64).view(np.float64)
        return bool(scores_of(sums, denominator)[0] < offset)

    low, high = 0, int(np.array([np.finfo(np.float64).max]).view(np.uint64)[0])
    if not is_abnormal(low):
        return 0.0
    if is_abnormal(high):
        return float(np.finfo(np.float64).max)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_abnormal(middle) else (low, middle)
    return float(np.array([high], dtype=np.uint64).view(np.float64)[0])


def round_down(thresholds: Floats) -> NDArray[np.float32]:
    """Round to the largest float32 not above each threshold: a float32 value is ≤ both or neither."""
    narrow = thresholds.astype(np.float32)
    above = narrow.astype(np.float64) > thresholds
    narrow[above] = np.nextafter(narrow[above], np.float32(-np.inf), dtype=np.float32)
    return narrow


def _mean_path_length(forest: IsolationForest) -> float:
    return float(_average_path_length([forest._max_samples])[0])


def _tree(forest: IsolationForest, index: int) -> Tree:
    """One of the forest's trees in breadth-first order, siblings side by side."""
    tree = forest.estimators_[index].tree_
    columns = np.asarray(forest.estimators_features_[index])
    order, depths, lefts = [0], [0], []
    for position, node in enumerate(order):  # grows while it is read
        is_leaf = tree.children_left[node] < 0
        lefts.append(position if is_leaf else len(order))
        if not is_leaf:
            order += [tree.children_left[node], tree.children_right[node]]
            depths += [depths[position] + 1] * 2
    is_split = tree.children_left[order] >= 0
    features = np.where(is_split, columns[np.where(is_split, tree.feature[order], 0)], 0)
    directions = np.where(is_split & (tree.missing_go_to_left[order] == 0), MISSING_GOES_RIGHT, 0)
    nodes = np.zeros(len(order), dtype=NODE)
    nodes["threshold"] = np.where(is_split, round_down(tree.threshold[order]), 0)
    nodes["feature"] = features | directions
    nodes["left"] = lefts
    values = forest._decision_path_lengths[index] + forest._average_path_length_per_tree[index] - 1.0
    return Tree(nodes, np.asarray(values, dtype=np.float64)[order], max(depths))


def _self_test_rows(trees: Sequence[Tree], feature_count: int) -> NDArray[np.float32]:
    """Rows at thresholds, one float32 beside them, far out, and with missing values. Shape (SELF_TEST_ROWS, features)."""
    generator = np.random.default_rng(0)
    thresholds = np.concatenate([tree.nodes["threshold"][~tree.is_leaf] for tree in trees])
    tested = np.concatenate([tree.features[~tree.is_leaf] for tree in trees])
    rows = np.zeros((SELF_TEST_ROWS, feature_count), dtype=np.float32)
    for feature in range(feature_count):
        choices = thresholds[tested == feature]
        if len(choices) > 0:
            rows[:, feature] = generator.choice(choices, SELF_TEST_ROWS)
    quarter = SELF_TEST_ROWS // 4
    rows[quarter : 2 * quarter] = np.nextafter(rows[quarter : 2 * quarter], np.float32(np.inf))
    beyond = rows[2 * quarter : 3 * quarter]
    beyond[generator.random(beyond.shape) < 0.3] = 1e9
    beyond[generator.random(beyond.shape) < 0.3] = -1e9
    rows[3 * quarter :][generator.random((SELF_TEST_ROWS - 3 * quarter, feature_count)) < 0.5] = np.nan
    return rows


def _guards(verdict: Verdict) -> Guards:
    limits = np.zeros(len(verdict.missing_counts), dtype=GUARD)
    for name, values, scales, flag in (
        ("high", verdict.limits.high, verdict.limits.high_scale, HAS_HIGH),
        ("low", verdict.limits.low, verdict.limits.low_scale, HAS_LOW),
    ):
        present = ~np.isnan(values)
        limits[name] = np.where(present, values, 0)
        limits[f"{name}_scale"] = scales
        limits["flags"] |= np.where(present, flag, 0).astype("<u4")
    limits["flags"] |= np.where(verdict.missing_counts, MISSING_COUNTS, 0).astype("<u4")
    return Guards(verdict.alarm_rate, verdict.knot_scores, verdict.knot_decades, limits)


def _summary(training: Floats) -> Summary:
    missing = np.isnan(training).mean(axis=0)
    quantiles = np.zeros((training.shape[1], len(SUMMARY_PROBABILITIES)))
    for feature in range(training.shape[1]):
        values = training[:, feature][~np.isnan(training[:, feature])]
        if len(values) > 0:
            quantiles[feature] = np.quantile(values, SUMMARY_PROBABILITIES)
    return Summary(len(training), SUMMARY_PROBABILITIES, quantiles, missing)


def _training_scores(forest: IsolationForest, training: Floats, stations: NDArray[np.intp] | None) -> TrainingScores:
    some = slice(None, None, -(-len(training) // SCORED_ROWS_MAX))
    scores = forest.score_samples(training[some])
    worth = np.zeros(training.shape[1] + 1)
    if stations is not None:
        worth[:-1] = [drift.effective_rows(column, stations) for column in training.T]
        worth[-1] = drift.effective_rows(scores, stations[some])
    return TrainingScores(np.quantile(scores, SUMMARY_PROBABILITIES), worth)


def _versions() -> dict[str, str]:
    return {"lonetree_ml": version("lonetree_ml"), "numpy": np.__version__, "scikit-learn": sklearn.__version__}
