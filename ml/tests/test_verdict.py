"""The fit and the verdicts are those of the reference, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import verdict_reference as reference
from conftest import hard_data_sets
from sklearn.ensemble import IsolationForest

from lonetree_ml import export, forest_file, verdict
from lonetree_ml.forest import path_length_sums
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows
from lonetree_ml.judge import clean, judge, surprise

DATA_SETS = hard_data_sets()


@pytest.mark.parametrize("alarm_rate", [0.01, 0.001])
@pytest.mark.parametrize("name", DATA_SETS)
def test_the_fit_is_the_references_bit_for_bit(name: str, alarm_rate: float) -> None:
    rows = DATA_SETS[name]
    expected = reference.fit(rows, alarm_rate, seed=5)
    fitted = verdict.fit(rows, alarm_rate=alarm_rate, seed=5)
    assert fitted.threshold == expected.threshold
    np.testing.assert_array_equal([fitted.limits.high, fitted.limits.low], expected.limits)
    np.testing.assert_array_equal([fitted.limits.high_scale, fitted.limits.low_scale], expected.scales)
    np.testing.assert_array_equal(fitted.missing_counts, expected.missing_counts)
    np.testing.assert_array_equal(fitted.knot_scores, expected.knot_scores)
    np.testing.assert_array_equal(fitted.knot_decades, expected.knot_decades)
    counts = (int(fitted.set_aside.sum()), fitted.fit_rows, len(fitted.calibration))
    assert counts == (expected.set_aside, expected.fit_rows, expected.calibration_rows)
    some = reference.clean(rows[:50])
    np.testing.assert_array_equal(fitted.forest.score_samples(some), expected.forest.score_samples(some))


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_forest_from_elsewhere_is_calibrated_as_the_reference_does(name: str) -> None:
    rows = DATA_SETS[name]
    forest = IsolationForest(n_estimators=20, max_samples=64, max_features=0.7, bootstrap=True, random_state=1).fit(
        clean(rows)
    )
    expected = reference.fit(rows, 0.01, seed=2, forest=forest)
    fitted = verdict.fit(rows, alarm_rate=0.01, seed=2, forest=forest)
    assert fitted.threshold == expected.threshold
    np.testing.assert_array_equal([fitted.limits.high, fitted.limits.low], expected.limits)


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_fit_makes_a_file_that_its_reader_accepts(name: str, tmp_path: Path) -> None:
    rows = clean(DATA_SETS[name])
    fitted = verdict.fit(rows, alarm_rate=0.01)
    features = [f"f{index}" for index in range(rows.shape[1])]
    forest = export.build(fitted.forest, features, verdict=fitted, training=rows)
    export.check_threshold(fitted.forest, forest, rows[fitted.calibration])
    forest_file.write(tmp_path / "m.forest", forest)
    again = forest_file.read(tmp_path / "m.forest")
    assert forest_file.to_bytes(again) == (tmp_path / "m.forest").read_bytes()


@pytest.mark.parametrize("alarm_rate", [0.01, 0.001])
def test_verdict_reasons_and_severity_of_the_file_are_the_references_on_20_000_rows(alarm_rate: float) -> None:
    generator = np.random.default_rng(8)
    training = simulated_rows(43_825, generator)
    expected = reference.fit(training, alarm_rate, seed=3)
    fitted = verdict.fit(training, alarm_rate=alarm_rate, seed=3)
    forest = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted)
    rows = simulated_rows(20_000, generator)
    rows[:2_000] = training[fitted.calibration[:2_000]]
    feature = generator.integers(0, 3, 4_000)
    rows[np.arange(2_000, 6_000), feature] += generator.choice([-6, 6], 4_000) * training.std(axis=0)[feature]
    rows[6_000:6_300][generator.random((300, 3)) < 0.4] = np.nan
    rows[6_300:6_400, 1] = -np.inf
    rows[6_400:6_500, 2] = np.finfo(np.float32).max  # finite, and all the same too large
    rows[6_500:6_600] *= 1e9
    is_anomaly, severity, reasons = reference.judge(expected, rows, SIMULATED_FEATURES)
    judged = judge(forest, rows.astype(np.float32))
    assert judged.reasons() == reasons
    np.testing.assert_array_equal(judged.is_anomaly, is_anomaly)
    np.testing.assert_allclose(judged.severity, severity, rtol=1e-6, atol=0)  # values are float32 here, float64 there
    assert {reason for row in reasons for reason in row} == {
        "forest",
        *(f"{kind}:{name}" for kind in ("high", "low", "missing") for name in SIMULATED_FEATURES),
    }


def test_a_value_equal_to_its_limit_is_not_beyond_it() -> None:
    rows = simulated_rows(5_000, np.random.default_rng(1))
    fitted = verdict.fit(rows, alarm_rate=0.01)
    forest = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted)
    at_high = np.tile(fitted.limits.high, (2, 1)).astype(np.float32)
    at_high[1] = np.nextafter(at_high[1], np.float32(np.inf))
    at_low = np.tile(fitted.limits.low, (2, 1)).astype(np.float32)
    at_low[1] = np.nextafter(at_low[1], np.float32(-np.inf))
    np.testing.assert_array_equal(judge(forest, at_high).hits[:, 1:4], [[False] * 3, [True] * 3])
    np.testing.assert_array_equal(judge(forest, at_low).hits[:, 4:7], [[False] * 3, [True] * 3])


def test_severity_is_the_alarm_rates_at_the_threshold_and_ends_six_decades_above() -> None:
    rows = simulated_rows(20_000, np.random.default_rng(1))
    fitted = verdict.fit(rows, alarm_rate=0.001)
    forest = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted)
    guards = forest.guards
    assert guards is not None
    judged = judge(forest, np.r_[rows, np.full((1, 3), 1e9)])
    assert judged.severity[-1] == pytest.approx(9)
    assert (judged.severity[judged.is_anomaly] >= 3).all()
    assert (judged.severity[~judged.is_anomaly] <= 3).all()
    beyond_last = guards.knot_scores[-1] + np.array([0.0, 0.01, 0.02])
    steps = np.diff(surprise(guards, beyond_last))
    assert steps[0] == pytest.approx(steps[1])
    assert steps[0] > 0


def test_the_forests_own_score_is_untouched_by_the_guards() -> None:
    rows = simulated_rows(3_000, np.random.default_rng(4))
    fitted = verdict.fit(rows, alarm_rate=0.01)
    forest = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted)
    np.testing.assert_array_equal(judge(forest, rows).scores, fitted.forest.score_samples(rows))
    np.testing.assert_array_equal(path_length_sums(forest, rows), export.path_length_sums(fitted.forest, rows))
