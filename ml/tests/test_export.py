"""Any fitted IsolationForest is exported with scikit-learn's bits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from lonetree_ml import export, forest_file
from lonetree_ml.forest import Forest, path_length_sums, scores_of
from lonetree_ml.golden import ADBENCH, DATA
from lonetree_ml.judge import judge
from lonetree_ml.table import read_table

Rows = NDArray[np.float64]


def bits(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    return values.view(np.uint64)


def columns(count: int, features: int, seed: int, missing: float = 0.0) -> Rows:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, features))
    rows[:, 0] = np.round(rows[:, 0], 1)
    rows[generator.random(rows.shape) < missing] = np.nan
    return rows


def probes(forest: Forest, rows: Rows) -> NDArray[np.float32]:
    """The rows as float32, and rows at every threshold and one float32 beside it."""
    thresholds = np.unique(np.concatenate([tree.nodes["threshold"][~tree.is_leaf] for tree in forest.trees]))[:3_000]
    at = np.tile(thresholds[:, None], (1, rows.shape[1]))
    return np.concatenate([rows.astype(np.float32), at, np.nextafter(at, np.float32(9)), np.nextafter(at, np.float32(-9))])


FORESTS: dict[str, tuple[dict[str, Any], Rows]] = {
    "plain": ({}, columns(5_000, 3, 1)),
    "trained with missing values": ({}, columns(5_000, 3, 2, missing=0.2)),
    "trees that see a part of the features": ({"max_features": 0.4}, columns(3_000, 9, 3)),
    "draws with replacement": ({"bootstrap": True, "max_features": 0.5}, columns(3_000, 4, 4, missing=0.1)),
    "1,000 trees of 1,024 samples": ({"n_estimators": 1_000, "max_samples": 1_024}, columns(3_000, 3, 5)),
    "300 features": ({}, columns(1_000, 300, 6)),
    "1,024 features": ({"n_estimators": 10}, columns(300, 1_024, 7)),
    "trees of one sample": ({"n_estimators": 5, "max_samples": 1}, columns(100, 2, 8)),
    "trees of two samples": ({"n_estimators": 5, "max_samples": 2}, columns(100, 2, 9)),
    "trees of three samples": ({"n_estimators": 5, "max_samples": 3}, columns(100, 2, 10)),
    "one tree": ({"n_estimators": 1}, columns(1_000, 2, 11)),
    "constant rows: every tree is a leaf": ({"n_estimators": 5}, np.ones((500, 2))),
    "values of size 1e30": ({}, columns(2_000, 3, 12) * 1e30),
    "values of size 1e-40": ({}, columns(2_000, 3, 13) * 1e-40),
    "contamination": ({"contamination": 0.03}, columns(2_000, 3, 14)),
}


@pytest.mark.parametrize("name", FORESTS)
def test_sums_and_scores_are_scikit_learns_bits_also_after_writing_and_reading(name: str, tmp_path: Path) -> None:
    options, rows = FORESTS[name]
    model = IsolationForest(random_state=0, **options).fit(rows)
    forest = export.build(model, [f"f{index}" for index in range(rows.shape[1])])
    forest_file.write(tmp_path / "m.forest", forest)
    again = forest_file.read(tmp_path / "m.forest")
    hard = probes(forest, rows)
    sums = path_length_sums(again, hard)
    np.testing.assert_array_equal(bits(sums), bits(export.path_length_sums(model, hard)))
    np.testing.assert_array_equal(bits(scores_of(sums, again.denominator)), bits(model.score_samples(hard)))
    export.check_threshold(model, again, hard)
    np.testing.assert_array_equal(judge(again, hard).is_anomaly, model.predict(hard) < 0)


@pytest.mark.parametrize("offset", [-0.5, -0.7, -0.41, -0.6250000000000001, -1.0, -1.5, 0.0, 0.1, -1e-300, -1 + 2**-53])
def test_a_sum_is_below_the_threshold_just_when_its_score_is_below_the_offset(offset: float) -> None:
    denominator = 100 * 10.244770920116851
    threshold = export.sum_threshold(denominator, offset)
    generator = np.random.default_rng(0)
    sums = np.concatenate([generator.random(10_000) * 3_000, [0.0, 5e-324, 1e9]])
    if threshold < 1e300:  # else every sum is abnormal
        sums = np.concatenate([sums, threshold * (1 + np.arange(-50, 51) * 2**-52)])
    np.testing.assert_array_equal(sums < threshold, scores_of(sums, denominator) < offset)


def test_a_threshold_is_rounded_down_to_float32() -> None:
    thresholds = np.array([0.1, -0.1, 1.0, 1 + 2**-30, -1 - 2**-30, 3e38, 1e-46, -1e-46])
    rounded = export.round_down(thresholds)
    assert (rounded.astype(np.float64) <= thresholds).all()
    assert (np.nextafter(rounded, np.float32(np.inf)).astype(np.float64) > thresholds).all()


def test_the_self_test_has_missing_far_and_threshold_values_and_scikit_learns_sums() -> None:
    rows = columns(2_000, 3, 1, missing=0.05)
    model = IsolationForest(random_state=0).fit(rows)
    forest = export.build(model, ["a", "b", "c"])
    assert len(forest.test_rows) >= 64
    assert np.isnan(forest.test_rows).any()
    assert {-1e9, 1e9} <= set(forest.test_rows.ravel().tolist())
    thresholds = np.concatenate([tree.nodes["threshold"][~tree.is_leaf] for tree in forest.trees])
    assert np.isin(forest.test_rows[:24], thresholds).all()
    scores = scores_of(forest.test_sums, forest.denominator)
    np.testing.assert_array_equal(bits(scores), bits(model.score_samples(forest.test_rows)))


@pytest.mark.parametrize("name", ADBENCH)
def test_roc_auc_on_labelled_data_is_scikit_learns_to_1e_9(name: str) -> None:
    table = read_table(DATA / "adbench" / f"{name}.npz")
    model = IsolationForest(random_state=1).fit(table.rows)
    judged = judge(export.build(model, table.features), table.rows)
    expected = roc_auc_score(table.labels, -model.score_samples(table.rows))
    assert abs(roc_auc_score(table.labels, -judged.scores) - expected) < 1e-9


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a"], "fitted on 2 features, but 1 are named"),
        (["a", "a"], "Two features are named 'a'"),
        (["a", ""], "empty or longer"),
        (["a", "é" * 128], "longer than 255 bytes"),
        (["a", "b\n"], "control characters"),
    ],
)
def test_names_that_the_file_cannot_hold_are_refused(names: list[str], problem: str) -> None:
    model = IsolationForest(n_estimators=2).fit(columns(50, 2, 1))
    with pytest.raises(forest_file.ForestFileError, match=problem):
        export.build(model, names)
