"""The parts of the drift rule, on values whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from lonetree_ml import drift, export
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows

PROBABILITIES = export.SUMMARY_PROBABILITIES
STATIONS = 10


def quantiles_of(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.quantile(values, PROBABILITIES))


def window(values: NDArray[np.floating], scores: NDArray[np.float64] | None = None) -> drift.Window:
    names = [f"s{index}" for index in range(STATIONS)]
    stations = np.repeat(np.arange(STATIONS), len(values) // STATIONS)
    nan = np.full(len(values), np.nan)
    return drift.Window(values.astype(np.float32), nan if scores is None else scores, stations, names)


@pytest.fixture(scope="module")
def forest() -> IsolationForest:
    return IsolationForest(n_estimators=10, random_state=0).fit(simulated_rows(5_000, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def reference(forest: IsolationForest) -> drift.Reference:
    training = simulated_rows(20_000, np.random.default_rng(1))
    return drift.reference_of(export.build(forest, SIMULATED_FEATURES, training=training))


def rows(seed: int = 2, count: int = 3_000) -> NDArray[np.float64]:
    return simulated_rows(count, np.random.default_rng(seed))


def said(reference: drift.Reference, *windows: drift.Window) -> drift.Verdict:
    return drift.decide([drift.measure(reference, one) for one in windows])


def moved(values: NDArray[np.float64], feature: int, deviations: float) -> NDArray[np.float64]:
    shifted = values.copy()
    shifted[:, feature] += deviations * values[:, feature].std()
    return shifted


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_the_autocorrelation_time_is_what_theory_says(phi: float) -> None:
    generator = np.random.default_rng(3)
    series = generator.standard_normal((20, 3_000))
    for step in range(1, 3_000):
        series[:, step] = phi * series[:, step - 1] + np.sqrt(1 - phi**2) * series[:, step]
    found = drift.autocorrelation_time(series.ravel(), np.repeat(np.arange(20), 3_000))
    assert found == pytest.approx((1 + phi) / (1 - phi), rel=0.15)


def test_stations_that_differ_by_themselves_cost_no_effective_rows() -> None:
    generator = np.random.default_rng(4)
    stations = np.repeat(np.arange(20), 500)
    values = generator.standard_normal(10_000) + 5 * generator.standard_normal(20)[stations]
    assert drift.effective_rows(values, stations) > 9_000


def test_a_series_too_short_to_tell_counts_as_one_row_a_station() -> None:
    walk = np.random.default_rng(5).standard_normal((20, 100)).cumsum(axis=1)
    assert drift.effective_rows(walk.ravel(), np.repeat(np.arange(20), 100)) == pytest.approx(20)


def test_the_distance_from_quantiles_is_at_most_a_step_below_the_distance_from_the_values() -> None:
    generator = np.random.default_rng(6)
    for _ in range(20):
        training, values = generator.normal(size=5_000), generator.normal(generator.random(), 1 + generator.random(), 800)
        everywhere = np.concatenate([training, values])
        exact = np.abs(
            np.searchsorted(np.sort(training), everywhere, "right") / 5_000
            - np.searchsorted(np.sort(values), everywhere, "right") / 800
        ).max()
        found = drift.ks_distance(PROBABILITIES, quantiles_of(training), values)
        assert exact - 0.011 <= found <= exact + 0.001


def test_values_that_many_readings_share_are_no_distance() -> None:
    coarse = np.round(np.random.default_rng(7).normal(size=20_000))
    assert drift.ks_distance(PROBABILITIES, quantiles_of(coarse), coarse[:5_000]) < 0.02


def test_a_constant_that_float32_cannot_hold_has_not_drifted_and_has_when_it_changes(forest: IsolationForest) -> None:
    training = rows(8)
    training[:, 1] = 20.1
    reference = drift.reference_of(export.build(forest, SIMULATED_FEATURES, training=training))
    same, other = rows(9), rows(9)
    same[:, 1], other[:, 1] = 20.1, 20.2
    assert said(reference, window(same), window(same)).kind == "none"
    assert said(reference, window(other), window(other)) == drift.Verdict("fleet", ["humidity"], [])


@pytest.mark.parametrize(("scaled", "chance"), [(1.3581, 0.05), (1.6276, 0.01)])
def test_the_chance_is_kolmogorovs(scaled: float, chance: float) -> None:
    assert drift.ks_chance(scaled / np.sqrt(1e8 / 2), 1e8, 1e8) == pytest.approx(chance, abs=1e-4)


def test_the_wasserstein_distance_of_a_shift_is_the_shift() -> None:
    quantiles = quantiles_of(np.random.default_rng(10).normal(size=100_000))
    values = np.random.default_rng(11).normal(0.7, 1, 100_000)
    assert drift.wasserstein(PROBABILITIES, quantiles, values) == pytest.approx(0.7, rel=0.05)


def test_one_window_that_moved_is_no_drift_two_are(reference: drift.Reference) -> None:
    still, shifted = window(rows()), window(moved(rows(3), 2, 1.0))
    assert said(reference, still, shifted).kind == "none"
    assert said(reference, shifted, still).kind == "none"
    assert said(reference, shifted, shifted) == drift.Verdict("fleet", ["sound"], [])


def test_two_windows_that_moved_in_different_features_are_no_drift(reference: drift.Reference) -> None:
    assert said(reference, window(moved(rows(), 0, 1.0)), window(moved(rows(), 2, 1.0))).kind == "none"


def test_a_significant_but_small_change_is_no_drift(reference: drift.Reference) -> None:
    small = drift.measure(reference, window(moved(rows(count=100_000), 0, 0.15)))
    assert small.changes[0].ks_p < 1e-6
    assert not small.changes[0].drifted


def test_a_large_change_among_few_rows_is_no_drift(reference: drift.Reference) -> None:
    assert not drift.measure(reference, window(moved(rows(count=90), 0, 3.0))).changes[0].drifted


def test_scores_alone_can_drift_and_other_models_scores_do_not_count(
    reference: drift.Reference, forest: IsolationForest
) -> None:
    values = rows()
    scores = forest.score_samples(values)
    assert said(reference, window(values, scores), window(values, scores)).kind == "none"
    lower = scores - scores.std()
    assert said(reference, window(values, lower), window(values, lower)) == drift.Verdict("fleet", [drift.SCORE], [])
    assert said(reference, window(values), window(values)).kind == "none"


def test_missing_values_that_become_common_are_drift(reference: drift.Reference) -> None:
    gaps = rows()
    gaps[np.random.default_rng(12).random(len(gaps)) < 0.2, 1] = np.nan
    assert said(reference, window(gaps), window(gaps)) == drift.Verdict("fleet", ["humidity"], [])


def test_a_window_without_a_value_of_a_feature_is_measured(reference: drift.Reference) -> None:
    gaps = rows()
    gaps[:, 1] = np.nan
    change = drift.measure(reference, window(gaps)).changes[1]
    assert (change.missing_share, change.drifted) == (1.0, True)


@pytest.mark.parametrize("fault", ["moved", "stuck", "silent", "noisy"])
def test_one_stations_fault_is_its_own(reference: drift.Reference, fault: str) -> None:
    faulty = rows()
    own = faulty[:300, 0]
    own[:] = {"moved": own + 6, "stuck": np.full(300, own[0] + 1), "silent": np.full(300, np.nan), "noisy": own * 4}[fault]
    assert said(reference, window(faulty), window(faulty)) == drift.Verdict("station", ["temperature"], ["s0"])


def test_one_stations_fault_must_be_the_same_stations_in_both_windows(reference: drift.Reference) -> None:
    first, second = rows(), rows()
    first[:300, 0] += 6
    second[300:600, 0] += 6
    assert said(reference, window(first), window(second)).kind == "none"


def test_a_fault_does_not_hide_the_fleets_drift(reference: drift.Reference) -> None:
    both = moved(rows(), 0, 1.0)
    both[:300, 1] = 0.0
    assert said(reference, window(both), window(both)) == drift.Verdict("fleet", ["temperature"], ["s0"])


def test_a_lone_station_is_the_fleet(reference: drift.Reference) -> None:
    alone = replace(window(moved(rows(), 0, 1.0)), stations=np.zeros(3_000, dtype=np.intp))
    assert said(reference, alone, alone).kind == "fleet"


def test_a_model_without_a_training_summary_is_refused(forest: IsolationForest) -> None:
    with pytest.raises(drift.NoReferenceError, match="no training summary"):
        drift.reference_of(export.build(forest, SIMULATED_FEATURES))
