"""Each check of the gate alone: what passes, what is refused, and what is said."""

from dataclasses import replace

import numpy as np
import pytest
from gate_quality import model
from numpy.typing import NDArray

from lonetree_ml import gate
from lonetree_ml.forest import Forest
from lonetree_ml.golden import simulated_rows

RATE = 0.01


@pytest.fixture(scope="module")
def champion() -> Forest:
    return model(rows(0, 5_000), RATE, 0)


@pytest.fixture(scope="module")
def challenger() -> Forest:
    return model(rows(1, 5_000), RATE, 1)


def rows(seed: int, count: int = 3_000) -> NDArray[np.float64]:
    return simulated_rows(count, np.random.default_rng(seed))


def failed(checks: list[gate.Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check.passed}


def test_a_good_challenger_passes_every_check(champion: Forest, challenger: Forest) -> None:
    checks = gate.check(challenger, champion, rows(2))
    assert failed(checks) == {}
    assert [check.name for check in checks] == [
        "schema",
        "size",
        "training",
        "alert rate",
        "detection",
        "ranking",
        "own threshold",
    ]


def test_the_first_model_passes_without_a_champion(challenger: Forest) -> None:
    assert failed(gate.check(challenger, None, rows(2))) == {}


@pytest.mark.parametrize("features", [["humidity", "temperature", "sound"], ["temperature", "humidity", "noise"]])
def test_other_features_or_another_order_are_refused_before_anything_is_scored(
    champion: Forest, challenger: Forest, features: list[str]
) -> None:
    checks = gate.check(replace(challenger, features=features), champion, np.empty((0, 3)))
    assert "temperature, humidity, sound" in failed(checks)["schema"]


def test_another_unit_is_refused_where_both_models_say_theirs(champion: Forest, challenger: Forest) -> None:
    celsius = replace(champion, units=["Cel", "", "dB"])
    assert failed(gate.check(replace(challenger, units=["Cel", "%", ""]), celsius, rows(2))) == {}
    detail = failed(gate.check(replace(challenger, units=["[degF]", "%", "dB"]), celsius, rows(2)))["schema"]
    assert detail == "temperature in [degF], the champion in Cel"


def alike(seed: int, order: tuple[int, int, int] = (0, 1, 2)) -> NDArray[np.float64]:
    """Two sensors of nearly the same range, and a third one."""
    values = np.random.default_rng(seed).normal([20, 23, 0], [2, 2.5, 1], (3_000, 3))
    return values[:, list(order)]


def test_columns_that_were_swapped_are_seen_although_each_could_be_a_drift_of_its_own() -> None:
    before = model(alike(0), RATE, 0)
    swapped = alike(1, (1, 0, 2))
    detail = failed(gate.check(model(swapped, RATE, 1), before, alike(2, (1, 0, 2))))["training"]
    assert "temperature and humidity look like each other before: swapped columns?" in detail
    assert failed(gate.check(model(alike(1), RATE, 1), before, alike(2))) == {}
    # One that moved to where the other one is, and stays there, is no swap.
    moved = np.array([3, 0, 0])
    drifted = alike(1) + moved
    assert "training" not in failed(gate.check(model(drifted, RATE, 1), before, alike(2) + moved))


def test_too_few_rows_to_judge_the_alert_rate_are_refused_and_told(champion: Forest, challenger: Forest) -> None:
    assert "2,000 are needed" in failed(gate.check(challenger, champion, rows(2, 500)))["alert rate"]


def test_a_challenger_that_alarms_all_the_time_or_never_is_refused(champion: Forest, challenger: Forest) -> None:
    often = replace(challenger, sum_threshold=challenger.sum_threshold * 1.3)
    assert "allowed at the rate 0.01: 3 to 90" in failed(gate.check(often, champion, rows(2)))["alert rate"]
    guards = challenger.guards
    assert guards is not None
    limits = guards.limits.copy()
    limits["flags"] = 0
    never = replace(challenger, sum_threshold=0.0, guards=replace(guards, limits=limits))
    assert {"alert rate", "own threshold"} <= failed(gate.check(never, champion, rows(2))).keys()


def test_a_challenger_without_a_nominal_alarm_rate_is_refused(champion: Forest, challenger: Forest) -> None:
    assert "--alarm-rate" in failed(gate.check(replace(challenger, guards=None), champion, rows(2)))["alert rate"]


def test_a_challenger_without_a_training_summary_is_refused(champion: Forest, challenger: Forest) -> None:
    assert {"size", "training"} <= failed(gate.check(replace(challenger, summary=None), champion, rows(2))).keys()


def test_a_champion_without_guards_and_summary_can_be_replaced(champion: Forest, challenger: Forest) -> None:
    old = replace(champion, summary=None, guards=None)
    assert failed(gate.check(challenger, old, rows(2))) == {}


def test_a_challenger_that_ranks_labelled_anomalies_worse_is_refused(champion: Forest, challenger: Forest) -> None:
    window = rows(2)
    labels = np.zeros(len(window), dtype=np.int64)
    labels[:50] = 1
    window[:50, 0] += 6
    assert failed(gate.check(challenger, champion, window, labels)) == {}
    blind = model(rows(3, 5_000) * [0, 1, 1] + [500, 0, 0], RATE, 3)
    assert "labels" in failed(gate.check(blind, champion, window, labels))


def test_too_few_labels_decide_nothing(champion: Forest, challenger: Forest) -> None:
    labels = np.zeros(3_000, dtype=np.int64)
    labels[0] = 1
    checks = gate.check(challenger, champion, rows(2), labels)
    assert failed(checks) == {}
    assert checks[-1].detail.startswith("not compared: 1 abnormal")


def test_missing_values_are_judged_and_no_obstacle(champion: Forest) -> None:
    training, window = rows(4, 5_000), rows(5)
    training[::3, 1] = np.nan
    window[::3, 1] = np.nan
    old = model(training, RATE, 0)
    training[0, 0] += 0.1
    assert failed(gate.check(model(training, RATE, 1), old, window)) == {}
    assert "missing in 33% more" in failed(gate.check(model(training, RATE, 1), champion, window))["training"]
