"""The gate lets good challengers pass and refuses each kind of bad one; a short form of gate_quality.py."""

import pytest
from gate_quality import CASES, HEADER, Outcome, measure


@pytest.fixture(scope="module")
def measured(pytestconfig: pytest.Config) -> list[Outcome]:
    outcomes = [measure(case, 10 if case.is_good else 3) for case in CASES]
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print("\n" + "\n".join([HEADER, *(outcome.line() for outcome in outcomes)]))
    return outcomes


def test_good_challengers_pass(measured: list[Outcome]) -> None:
    good = [outcome for outcome in measured if outcome.case.is_good]
    assert sum(outcome.seeds for outcome in good) == 40
    assert sum(outcome.passed for outcome in good) >= 0.95 * 40


def test_each_kind_of_bad_challenger_is_refused(measured: list[Outcome]) -> None:
    assert [outcome.case.name for outcome in measured if not outcome.case.is_good and outcome.passed > 0] == []
