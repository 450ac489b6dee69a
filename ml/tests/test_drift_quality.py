"""The drift rule is silent on streams that do not drift, and finds those that do; a short form of drift_quality.py."""

from dataclasses import replace

import pytest
from drift_quality import AR_9, AR_99, HEADER, INDEPENDENT, Outcome, measure

SHORT = {
    "independent": replace(INDEPENDENT, windows=400, references=4),
    "AR 0.9": replace(AR_9, windows=400, references=4),
    "AR 0.99": replace(AR_99, windows=200, references=4),
    "independent, 0.5 σ": replace(INDEPENDENT, name="independent, 0.5 σ", shift=0.5, windows=30, references=3),
    "AR 0.9, 0.5 σ": replace(AR_9, name="AR 0.9, 0.5 σ", shift=0.5, windows=30, references=3),
    "AR 0.99, 0.5 σ, long": replace(
        AR_99, name="AR 0.99, 0.5 σ, long", shift=0.5, each=5_000, training_each=20_000, windows=12, references=3
    ),
    "AR 0.99, 1 σ": replace(AR_99, name="AR 0.99, 1 σ", shift=1.0, windows=12, references=3),
    "one station": replace(
        AR_9, name="AR 0.9, one station of 20 by 3 σ", shift=3.0, moved_stations=1, windows=30, references=3
    ),
    "most stations": replace(AR_9, name="AR 0.9, 16 of 20 by 3 σ", shift=3.0, moved_stations=16, windows=30, references=3),
}


@pytest.fixture(scope="module")
def measured(pytestconfig: pytest.Config) -> dict[str, Outcome]:
    outcomes = {name: measure(case) for name, case in SHORT.items()}
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join([HEADER, *(outcome.line() for outcome in outcomes.values())]))
    return outcomes


def test_without_drift_nothing_is_said_in_a_thousand_windows_however_alike_the_readings_are(
    measured: dict[str, Outcome],
) -> None:
    still = ("independent", "AR 0.9", "AR 0.99")
    assert sum(measured[name].verdicts for name in still) == 1_000
    for name in still:
        assert (measured[name].fleet, measured[name].station) == (0, 0), name


def test_the_usual_test_cries_wolf_on_nearly_every_window_of_alike_readings(measured: dict[str, Outcome]) -> None:
    for name in ("AR 0.9", "AR 0.99"):
        assert measured[name].usual >= 0.9 * measured[name].verdicts, name


def test_a_shift_of_half_a_standard_deviation_is_found(measured: dict[str, Outcome]) -> None:
    for name in ("independent, 0.5 σ", "AR 0.9, 0.5 σ", "AR 0.99, 0.5 σ, long", "AR 0.99, 1 σ"):
        assert measured[name].fleet >= 0.95 * measured[name].verdicts, name


def test_one_station_of_twenty_is_named_and_is_no_drift_of_the_fleet(measured: dict[str, Outcome]) -> None:
    outcome = measured["one station"]
    assert outcome.station >= 0.95 * outcome.verdicts
    assert (outcome.fleet, outcome.named_wrongly) == (0, 0)


def test_when_most_stations_move_the_fleet_has_drifted(measured: dict[str, Outcome]) -> None:
    assert measured["most stations"].fleet >= 0.95 * measured["most stations"].verdicts
