"""The verdict keeps its alarm rate on readings it has not seen, and finds faults of one sensor that a forest cannot see."""

from typing import NamedTuple

import pytest
from verdict_quality import CASES, Quality, lines, measure


class Measured(NamedTuple):
    often: Quality
    rarely: Quality


@pytest.fixture(scope="module")
def measured(pytestconfig: pytest.Config) -> dict[str, Measured]:
    kept = {name: measure(name, *case) for name, case in CASES.items() if name.startswith(("simulator", "machine"))}
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join(lines([one for qualities in kept.values() for one in qualities])))
    return {name: Measured(*qualities) for name, qualities in kept.items()}


def test_the_realised_alarm_rate_is_within_a_fifth_of_the_nominal_one(measured: dict[str, Measured]) -> None:
    for qualities in measured.values():
        for one in qualities:
            assert 1 / 1.2 <= one.rate <= 1.2, (one.name, one.alarm_rate, one.rate)


def test_one_value_at_six_standard_deviations_is_found_in_99_of_100_readings(measured: dict[str, Measured]) -> None:
    for name, qualities in measured.items():
        kinds = ["at 6 sd"] if name.startswith("simulator") else ["value at 6 sd", "sensor moved by 6 sd"]
        for one in qualities:
            for kind in kinds:
                assert one.found[kind] >= 0.99, (name, one.alarm_rate, kind)


def test_at_one_in_a_hundred_any_value_moved_by_six_standard_deviations_is_found(measured: dict[str, Measured]) -> None:
    for often, _ in measured.values():
        assert min(often.found.values()) >= 0.99, often


def test_a_plain_forest_misses_two_of_three_of_them(measured: dict[str, Measured]) -> None:
    simulated = measured["simulator, 43,825 rows"]
    assert simulated.often.plain_found["at 6 sd"] < 0.34
    assert simulated.rarely.plain_found["at 6 sd"] < 0.1
