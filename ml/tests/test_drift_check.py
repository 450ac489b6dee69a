"""`drift` on a real database: verdict, report, metrics, event and cool-down; what cannot be told is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from conftest import Outcome, Servers
from numpy.typing import NDArray
from stored import START, Connection, add_event, add_model, add_predictions

from lonetree_ml import forest_file, training
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows

HOUR = timedelta(hours=1)
AT = "2026-07-01T02:00:00Z"
ROWS = 4_000
Drift = Callable[..., Outcome]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.forest"
    rows = simulated_rows(20_000, np.random.default_rng(0))
    _, forest, _ = training.train(rows, SIMULATED_FEATURES, trees=20, samples=256, seed=0, alarm_rate=0.01)
    forest_file.write(path, forest)
    return path


@pytest.fixture
def drift(run: Callable[..., Outcome], servers: Servers, model: Path) -> Drift:
    def check(*arguments: object, at: str = AT) -> Outcome:
        return run("drift", "--record", "--at", at, "--model", model, "--database-url", servers.database_url, *arguments)

    return check


def rows(seed: int, sigmas: float = 0.0, feature: int = 0) -> NDArray[np.float64]:
    values = simulated_rows(ROWS, np.random.default_rng(seed))
    values[:, feature] += sigmas * values[:, feature].std()
    return values


def store(database: Connection, first: NDArray[np.float64], second: NDArray[np.float64], start: datetime = START) -> None:
    number = add_model(database)
    add_predictions(database, first, number, start=start)
    add_predictions(database, second, number, start=start + HOUR, offset=1_000)


def test_readings_like_those_of_the_training_are_no_drift(drift: Drift, database: Connection) -> None:
    store(database, rows(1), rows(2))
    report = drift().report
    assert report is not None
    assert (report["drifted"], report["kind"], report["cooling_down"]) == (False, "none", False)
    assert [(one["from"], one["to"]) for one in report["windows"]] == [
        ("2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
        ("2026-07-01T01:00:00Z", "2026-07-01T02:00:00Z"),
    ]
    assert [one["feature"] for one in report["windows"][0]["features"]] == SIMULATED_FEATURES
    assert report["windows"][0]["rows"] == ROWS


def test_a_shift_in_both_windows_is_the_fleets_and_is_told_everywhere(
    drift: Drift, database: Connection, tmp_path: Path
) -> None:
    store(database, rows(1, 1.0), rows(2, 1.0))
    page, metrics, verdict = tmp_path / "d.html", tmp_path / "d.prom", tmp_path / "d.json"
    report = drift("--report", page, "--metrics", metrics, "--json", verdict).report
    assert report is not None
    assert (report["drifted"], report["kind"], report["moved"], report["cooling_down"]) == (
        True,
        "fleet",
        ["temperature"],
        False,
    )
    assert json.loads(verdict.read_text()) == report
    samples = dict(line.rsplit(" ", 1) for line in metrics.read_text().splitlines() if not line.startswith("#"))
    assert samples["lonetree_drift_detected"] == "1.0"
    assert samples['lonetree_drift_feature_detected{feature="temperature"}'] == "1.0"
    assert samples['lonetree_drift_feature_detected{feature="sound"}'] == "0.0"
    assert float(samples['lonetree_drift_wasserstein_sigmas{feature="temperature"}']) == pytest.approx(1, rel=0.1)
    assert float(samples["lonetree_drift_window_end_timestamp_seconds"]) == datetime(2026, 7, 1, 2, tzinfo=UTC).timestamp()
    text = page.read_text()
    assert "The fleet has drifted in temperature" in text
    assert "src=" not in text
    assert "href=" not in text
    plots = text.split("<svg")[1:]
    assert len(plots) == 3  # the file has another model's scores: its SHA-256 is not the stored one
    for plot in plots:
        svg = ET.fromstring("<svg" + plot.split("</svg>")[0] + "</svg>")  # noqa: S314 of our own making
        assert len(svg.findall("polyline")) == 3
    events = database.execute("select kind, detail from event").fetchall()
    assert [(kind, detail["kind"], detail["at"]) for kind, detail in events] == [("drift", "fleet", AT)]


def test_one_window_that_moved_is_no_drift(drift: Drift, database: Connection) -> None:
    store(database, rows(1), rows(2, 1.0))
    report = drift().report
    assert report is not None
    assert report["kind"] == "none"
    assert [window["features"][0]["drifted"] for window in report["windows"]] == [False, True]


def test_a_stations_fault_is_named_and_does_not_count_as_the_fleets(drift: Drift, database: Connection) -> None:
    first, second = rows(1), rows(2)
    for values in (first, second):
        values[3::10, 1] += 60
    store(database, first, second)
    report = drift().report
    assert report is not None
    assert (report["drifted"], report["kind"], report["stations"]) == (True, "station", ["station-003"])


def test_repeating_the_command_gives_the_same_verdict_and_one_event(drift: Drift, database: Connection) -> None:
    store(database, rows(1, 1.0), rows(2, 1.0))
    assert drift().report == drift().report
    assert database.execute("select count(*) from event").fetchall() == [(1,)]


def test_looking_by_hand_is_not_recorded_and_makes_no_later_verdict_old_news(
    drift: Drift, run: Callable[..., Outcome], servers: Servers, model: Path, database: Connection
) -> None:
    store(database, rows(1, 1.0), rows(2, 1.0))
    by_hand = run("drift", "--at", AT, "--model", model, "--database-url", servers.database_url)
    assert by_hand.report is not None
    assert by_hand.report["drifted"]
    assert database.execute("select count(*) from event").fetchall() == [(0,)]
    report = drift("--cool-down", "2h", at="2026-07-01T02:00:01Z").report
    assert report is not None
    assert not report["cooling_down"]


def test_a_feature_named_score_is_told_like_the_others(
    run: Callable[..., Outcome], servers: Servers, database: Connection, tmp_path: Path
) -> None:
    names = ["temperature", "score", "sound"]
    values = simulated_rows(20_000, np.random.default_rng(0))
    _, forest, _ = training.train(values, names, trees=20, samples=256, seed=0, alarm_rate=0.01)
    forest_file.write(tmp_path / "m.forest", forest)
    number = add_model(database, features=names)
    for hour in range(2):
        add_predictions(database, rows(hour), number, start=START + hour * HOUR, offset=1_000 * hour)
    report = run("drift", "--at", AT, "--model", tmp_path / "m.forest", "--database-url", servers.database_url).report
    assert report is not None
    assert [one["feature"] for one in report["windows"][0]["features"]] == names


def test_after_a_verdict_of_drift_there_is_nothing_new_until_the_cool_down_is_over(
    drift: Drift, database: Connection
) -> None:
    number = add_model(database)
    for hour in range(6):
        add_predictions(database, rows(hour, 1.0), number, start=START + hour * HOUR, offset=1_000 * hour)
    cooling = []
    for hour in range(2, 6):
        report = drift("--cool-down", "2h", at=f"2026-07-01T{hour:02}:00:00Z").report
        assert report is not None
        cooling.append(report["cooling_down"])
        assert report["drifted"]
    assert cooling == [False, True, True, False]


def test_after_a_promotion_there_is_nothing_new_until_the_cool_down_is_over(drift: Drift, database: Connection) -> None:
    store(database, rows(1, 1.0), rows(2, 1.0))
    add_event(database, "promotion", START, {"version": "2"})
    assert [drift("--cool-down", length).report["cooling_down"] for length in ("3h", "1h")] == [True, False]  # type: ignore[index]


def test_a_stations_fault_does_not_silence_the_fleets_drift(drift: Drift, database: Connection) -> None:
    store(database, rows(1, 1.0), rows(2, 1.0))
    told = {"drifted": True, "cooling_down": False, "kind": "station", "stations": ["x"], "at": "2026-07-01T01:30:00Z"}
    add_event(database, "drift", START, told)
    report = drift().report
    assert report is not None
    assert not report["cooling_down"]


def test_times_with_an_offset_are_told_in_utc(drift: Drift, database: Connection) -> None:
    store(database, rows(1), rows(2))
    report = drift(at="2026-07-01T04:00:00+02:00").report
    assert report is not None
    assert report["at"] == AT


def test_an_empty_window_is_refused(drift: Drift, database: Connection) -> None:
    add_predictions(database, rows(1), add_model(database))
    outcome = drift()
    assert outcome.code == 1
    assert "Nothing was stored from 2026-07-01T01:00:00Z to 2026-07-01T02:00:00Z" in outcome.log
    assert database.execute("select count(*) from event").fetchall() == [(0,)]


def test_a_window_with_too_few_readings_is_refused(drift: Drift, database: Connection) -> None:
    store(database, rows(1), rows(2)[:50])
    outcome = drift()
    assert outcome.code == 1
    assert "Only 50 readings" in outcome.log
    assert "at least 100" in outcome.log


def test_a_time_without_a_zone_is_wrong_use(drift: Drift) -> None:
    outcome = drift(at="2026-07-01T02:00:00")
    assert outcome.code == 2
    assert "has no zone" in outcome.log


@pytest.mark.parametrize("length", ["1", "h", "0h", "1w", "-1h", "999999d"])
def test_a_length_that_is_none_is_wrong_use(drift: Drift, length: str) -> None:
    assert drift(f"--window={length}").code == 2


def test_a_database_that_is_away_is_told_without_its_password(run: Callable[..., Outcome], model: Path) -> None:
    outcome = run("drift", "--model", model, "--database-url", "postgres://me:secret@127.0.0.1:9/lonetree")
    assert outcome.code == 1
    assert "PostgreSQL at 127.0.0.1:9/lonetree fails" in outcome.log
    assert "secret" not in outcome.log


def test_without_a_database_it_is_wrong_use(
    run: Callable[..., Outcome], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    outcome = run("drift", "--model", model)
    assert outcome.code == 2
    assert "DATABASE_URL" in outcome.log


def test_a_database_without_the_scorers_tables_is_told(run: Callable[..., Outcome], servers: Servers, model: Path) -> None:
    outcome = run("drift", "--model", model, "--database-url", servers.database_url.rsplit("/", 1)[0] + "/template1")
    assert outcome.code == 1
    assert "makes the tables when it starts" in outcome.log


def test_a_model_without_a_training_summary_is_refused(
    run: Callable[..., Outcome], servers: Servers, model: Path, tmp_path: Path
) -> None:
    bare = replace(forest_file.read(model), summary=None, training_scores=None)
    forest_file.write(tmp_path / "bare.forest", bare)
    outcome = run("drift", "--model", tmp_path / "bare.forest", "--database-url", servers.database_url)
    assert outcome.code == 1
    assert "no training summary" in outcome.log
