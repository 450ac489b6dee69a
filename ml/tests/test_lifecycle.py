"""Retrain, gate and promote on a real database and a local registry: what is good goes through, the rest is refused."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome, Servers
from numpy.typing import NDArray
from stored import START, Connection, add_model, add_predictions

from lonetree_ml import forest_file
from lonetree_ml.golden import simulated_rows
from lonetree_ml.window import HELD_OUT, TRAINING, Span, read

Command = Callable[..., Outcome]
FROM, TO = "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"
RATE = "0.01"


@pytest.fixture
def command(run: Callable[..., Outcome], servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command on the database, with a registry of this test's own."""
    monkeypatch.setenv("DATABASE_URL", servers.database_url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return run


def store(database: Connection, values: NDArray[np.float64]) -> None:
    add_predictions(database, values, add_model(database))


def rows(seed: int, count: int = 12_000) -> NDArray[np.float64]:
    return simulated_rows(count, np.random.default_rng(seed))


def retrain(command: Command, *arguments: object) -> Outcome:
    return command("retrain", "--from", FROM, "--to", TO, "--alarm-rate", RATE, *arguments)


def gate(command: Command, *arguments: object) -> Outcome:
    return command("gate", *arguments, "--from", FROM, "--to", TO)


def failed(outcome: Outcome) -> set[str]:
    assert outcome.report is not None
    return {check["name"] for check in outcome.report["checks"] if not check["passed"]}


def test_a_model_is_retrained_gated_promoted_and_replaced_by_the_next(command: Command, database: Connection) -> None:
    store(database, rows(1))
    first = retrain(command, "--register").report
    assert first is not None
    assert (first["version"], first["stations"]) == ("1", 10)
    assert 0.7 * 12_000 < first["rows"] < 0.8 * 12_000  # the rest is held out
    assert failed(gate(command, "--version", 1)) == set()
    assert command("promote", "--version", 1, "--why", "first").code == 0
    second = retrain(command, "--register", "--seed", 1).report
    assert second is not None
    assert second["version"] == "2"
    verdict = gate(command).report  # the challenger's
    assert verdict is not None
    assert (verdict["passed"], verdict["version"], verdict["champion"]) == (True, "2", "1")
    assert command("promote", "--alias", "challenger", "--why", "second").code == 0
    kinds = [kind for (kind,) in database.execute("select kind from event order by id").fetchall()]
    assert kinds == ["registration", "gate", "promotion"] * 2
    listed = command("list").report
    assert listed is not None
    assert [(one["version"], one["aliases"], one["gate"]) for one in listed["versions"]] == [
        ("2", ["champion"], "passed against 1"),
        ("1", [], "passed"),
    ]


def test_what_a_model_is_judged_on_it_was_not_trained_on(database: Connection) -> None:
    store(database, rows(1))
    span = Span(START, START + timedelta(hours=1))
    # Whatever the seeds and sizes.
    trained = {tuple(row) for row in read(database, span, rows_max=5_000, seed=1, part=TRAINING).values}
    judged = {tuple(row) for row in read(database, span, rows_max=12_000, seed=2, part=HELD_OUT).values}
    assert min(len(trained), len(judged)) > 2_000
    assert trained & judged == set()


def test_a_model_that_replaces_another_has_its_shape_and_alarm_rate_unless_told(
    command: Command, database: Connection
) -> None:
    store(database, rows(1))
    assert retrain(command, "--register", "--trees", 60, "--samples", 128).code == 0
    assert command("promote", "--version", 1, "--why", "first", "--force").code == 0
    assert command("retrain", "--from", FROM, "--to", TO, "--register", "--samples", 64).code == 0
    listed = command("list").report
    assert listed is not None
    assert [one["alarm_rate"] for one in listed["versions"]] == [0.01, 0.01]
    assert "60 trees" in {check["name"]: check["detail"] for check in gate(command).report["checks"]}["size"]  # type: ignore[index]


def test_a_retraining_that_is_repeated_makes_no_second_version(command: Command, database: Connection) -> None:
    store(database, rows(1))
    again = [retrain(command, "--register", "--why", "drift").report for _ in range(2)]
    assert [(one["version"], one["recorded"]) for one in again] == [("1", True), ("1", True)]  # type: ignore[index]
    told = [detail for (detail,) in database.execute("select detail from event where kind = 'registration'").fetchall()]
    report = again[0]
    assert report is not None
    assert [{**one, "run_id": len(one["run_id"])} for one in told] == [
        {
            "name": "lonetree",
            "version": "1",
            "sha256": report["sha256"],
            "run_id": 32,
            "features": ["temperature", "humidity", "sound"],
            "trees": 100,
            "max_samples": 256,
            "rows": report["rows"],
            "alarm_rate": 0.01,
            "realised_alarm_rate": report["realised_alarm_rate"],
            "trained_from": FROM,
            "trained_to": TO,
            "why": "drift",
        }
    ]
    assert retrain(command, "--register", "--seed", 1).report["version"] == "2"  # type: ignore[index]


def test_who_passed_against_another_champion_passes_again_first(command: Command, database: Connection) -> None:
    store(database, rows(1))
    for seed in range(3):
        assert retrain(command, "--register", "--seed", seed).code == 0
    assert command("promote", "--version", 1, "--why", "first", "--force").code == 0
    assert failed(gate(command, "--version", 3)) == set()
    assert command("promote", "--version", 2, "--why", "by hand", "--force").code == 0
    late = command("promote", "--version", 3, "--why", "late")
    assert late.code == 1
    assert "passed against 1; now version 2 is the champion" in late.log
    assert failed(gate(command, "--version", 3)) == set()
    assert command("promote", "--version", 3, "--why", "again").code == 0


def test_what_people_say_of_stored_readings_counts_in_the_gate(
    command: Command, database: Connection, tmp_path: Path
) -> None:
    store(database, rows(1))
    for seed in (1, 2):
        assert retrain(command, "--seed", seed, "--output", tmp_path / f"{seed}.forest").code == 0
    files = ("--challenger", tmp_path / "2.forest", "--champion", tmp_path / "1.forest")
    without = gate(command, *files).report
    assert without is not None
    assert "labels" not in {check["name"] for check in without["checks"]}
    # Abnormal is what is hot, and it is not stored as that: labels are of people.
    add_predictions(database, rows(2, 300) + np.array([20, 0, 0]), 1, offset=1_000)
    database.execute(
        """insert into feedback (topic, partition, "offset", row, is_anomaly)
        select topic, partition, "offset", row, "offset" >= 1000 from prediction where "offset" < 5 or "offset" >= 1000"""
    )
    report = gate(command, *files).report
    assert report is not None
    told = {check["name"]: check for check in report["checks"]}["labels"]
    assert told["passed"]
    assert "PR-AUC 1.0000 on 300 labelled anomalies, the champion's 1.0000" in told["detail"]


def test_a_version_that_the_gate_refuses_is_not_promoted_and_no_challenger_any_more(
    command: Command, database: Connection
) -> None:
    store(database, rows(1))
    assert retrain(command, "--register").code == 0
    assert gate(command).code == 0
    assert command("promote", "--version", 1, "--why", "first").code == 0
    assert retrain(command, "--register", "--trees", 10).code == 0
    assert failed(gate(command, "--version", 2)) == {"size"}
    refused = command("promote", "--version", 2, "--why", "hope")
    assert refused.code == 1
    assert "failed: size" in refused.log
    assert [one["aliases"] for one in command("list").report["versions"]] == [[], ["champion"]]  # type: ignore[index]


def test_a_challenger_of_another_unit_is_refused_although_the_window_has_that_unit_too(
    command: Command, database: Connection
) -> None:
    store(database, rows(1))
    assert retrain(command, "--register").code == 0
    assert command("promote", "--version", 1, "--why", "first", "--force").code == 0
    database.execute("truncate prediction")
    add_predictions(database, rows(2) * [1.8, 1, 1] + [32, 0, 0], 1)
    assert retrain(command, "--register").code == 0
    assert "training" in failed(gate(command))


def test_the_same_readings_and_seed_give_the_same_model(command: Command, database: Connection, tmp_path: Path) -> None:
    store(database, rows(1))
    digests = []
    for seed in (3, 3, 4):
        report = retrain(command, "--seed", seed, "--rows-max", 2_000, "--output", tmp_path / "m.forest").report
        assert report is not None
        assert report["rows"] <= 2_000
        assert report["sha256"] == hashlib.sha256((tmp_path / "m.forest").read_bytes()).hexdigest()
        digests.append(report["sha256"])
    assert digests[0] == digests[1] != digests[2]


def test_files_are_compared_without_a_registry(command: Command, database: Connection, tmp_path: Path) -> None:
    store(database, rows(1))
    for seed in (1, 2):
        assert retrain(command, "--seed", seed, "--output", tmp_path / f"{seed}.forest").code == 0
    files = ("--challenger", tmp_path / "2.forest", "--champion", tmp_path / "1.forest")
    assert failed(gate(command, *files)) == set()
    (tmp_path / "rows.csv").write_text(
        "humidity,temperature,sound,fault\n" + "".join(f"{h},{t},{s},0\n" for t, h, s in rows(2, 3_000))
    )
    assert failed(command("gate", *files, "--rows", tmp_path / "rows.csv", "--label", "fault")) == set()
    content = bytearray((tmp_path / "2.forest").read_bytes())
    content[5_000] ^= 1
    (tmp_path / "2.forest").write_bytes(content)
    damaged = gate(command, *files)
    assert failed(damaged) == {"file"}
    assert damaged.report is not None
    assert "checksum" in damaged.report["checks"][0]["detail"]


def test_other_features_than_the_champions_are_refused(command: Command, database: Connection, tmp_path: Path) -> None:
    store(database, rows(1))
    assert retrain(command, "--output", tmp_path / "1.forest").code == 0
    assert retrain(command, "--features", "sound,humidity", "--output", tmp_path / "2.forest").code == 0
    assert failed(gate(command, "--challenger", tmp_path / "2.forest", "--champion", tmp_path / "1.forest")) == {"schema"}


def test_units_go_from_the_champion_to_what_replaces_it(command: Command, database: Connection, tmp_path: Path) -> None:
    store(database, rows(1))
    assert retrain(command, "--register", "--units", "temperature=Cel,sound=dB").code == 0
    assert command("promote", "--version", 1, "--why", "first", "--force").code == 0
    for options, units in (((), ["Cel", "", "dB"]), (("--units", "humidity=%"), ["", "%", ""])):
        assert retrain(command, "--register", *options, "--output", tmp_path / "next.forest").code == 0
        assert forest_file.read(tmp_path / "next.forest").units == units


def test_drift_uses_the_champion_and_its_scores(command: Command, database: Connection) -> None:
    store(database, rows(1))
    assert retrain(command, "--register").code == 0
    assert command("promote", "--version", 1, "--why", "first", "--force").code == 0
    sha256 = command("list").report["versions"][0]["sha256"]  # type: ignore[index]
    number = add_model(database, sha256, "1")
    for hour in range(2):
        add_predictions(
            database, rows(hour + 5), number, start=START + timedelta(hours=5 + hour), scores=np.full(12_000, -0.9)
        )
    report = command("drift", "--at", "2026-07-01T07:00:00Z").report
    assert report is not None
    assert (report["model"]["version"], report["kind"], report["moved"]) == ("1", "fleet", ["score"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["retrain", "--from", FROM, "--to", TO], "--register, --output"),
        (["retrain", "--from", TO, "--to", FROM, "--register"], "must lie before"),
        (["gate", "--version", "1"], "what to judge by"),
        (["gate", "--version", "1", "--from", FROM], "what to judge by"),
        (["gate", "--version", "1", "--from", FROM, "--to", TO, "--rows", "x.csv"], "what to judge by"),
        (["gate", "--version", "1", "--from", FROM, "--to", TO, "--label", "y"], "column of --rows"),
        (["gate", "--version", "1", "--champion", "x", "--from", FROM, "--to", TO], "for --challenger"),
    ],
)
def test_options_that_contradict_each_other_are_wrong_use(command: Command, arguments: list[str], problem: str) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert problem in outcome.log


def test_what_is_not_there_is_told(command: Command, database: Connection) -> None:
    assert "Nothing was stored" in retrain(command, "--register").log
    store(database, rows(1, 500))
    few = retrain(command, "--register")
    assert few.code == 1
    assert "a quarter being held out" in few.log
    none = gate(command)
    assert none.code == 1
    assert "No version of lonetree has the alias challenger" in none.log
    unknown = gate(command, "--version", 7)
    assert unknown.code == 1
    assert "has no version 7" in unknown.log
    absent = gate(command, "--challenger", "absent.forest")
    assert absent.code == 1
    assert "absent.forest does not exist" in absent.log
    champion = command("drift")
    assert champion.code == 1
    assert "No version of lonetree has the alias champion" in champion.log
