"""What each DAG calls, in which order, and how a run ends, with a stand-in for `python -m lonetree_ml`."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.utils import db

DAGS = Path(__file__).parents[1] / "dags"
AT = "2026-05-01T12:00:00+00:00"
WINDOWS = [
    {"from": "2026-04-29T12:00:00Z", "to": "2026-04-30T12:00:00Z"},
    {"from": "2026-04-30T12:00:00Z", "to": "2026-05-01T12:00:00Z"},
]
SPAN = ["--from", "2026-04-29T12:00:00Z", "--to", "2026-05-01T12:00:00Z"]
DRIFTED = {"drifted": True, "kind": "fleet", "cooling_down": False, "windows": WINDOWS}
ANSWERS: dict[str, Any] = {
    "drift": DRIFTED,
    "retrain": {"version": "7", "sha256": "ab", "rows": 200_000},
    "gate": {"passed": True, "checks": []},
    "shadow": {"rows": 10, "spearman": 0.9},
    "promote": {"promoted": "7", "replaced": "6", "announced": True},
    "confirm": {"confirmed": True, "scorers": [{"scorer": "a", "version": "7"}]},
    "rollback": {"promoted": "6", "replaced": "7", "announced": True},
    "retention": {"rows": {"prediction": 1_000}},
}
LOOP = ["drift", "retrain", "gate", "shadow", "promote", "confirm"]


@dataclass(frozen=True)
class Run:
    state: str
    calls: list[list[str]]
    tasks: dict[str, str]
    results: dict[str, Any]

    @property
    def commands(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    db.initdb()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    # Between two rounds `dag.test` waits a second.
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))

    def start(dag_id: str, conf: dict[str, Any] | None = None, **answers: Any) -> Run:
        calls = tmp_path / "calls.jsonl"
        calls.write_text("")
        monkeypatch.setenv("CALLS", str(calls))
        monkeypatch.setenv("ANSWERS", json.dumps(ANSWERS | answers))
        bag = BundleDagBag(dag_folder=DAGS / f"{dag_id}.py", bundle_path=DAGS, bundle_name="dags-folder")
        dag = bag.dags[dag_id]
        for task in dag.tasks:
            task.retries = 0
        result = dag.test(run_conf=conf)
        instances = result.get_task_instances()
        return Run(
            state=str(result.state),
            calls=[json.loads(line) for line in calls.read_text().splitlines()],
            tasks={instance.task_id: str(instance.state) for instance in instances},
            results={instance.task_id: instance.xcom_pull(instance.task_id) for instance in instances},
        )

    return start


def test_drift_leads_to_a_new_champion_that_every_scorer_runs(run: Any) -> None:
    done = run("drift_and_retrain", {"at": AT})
    assert done.state == "success"
    assert done.commands == LOOP
    drift, retrain, gate, shadow, promote, confirm = done.calls
    assert drift[1:] == ["--at", AT, "--window", "1d", "--cool-down", "2d", "--rows-max", "100000", "--record"]
    assert retrain[1:] == [*SPAN, "--rows-max", "200000", "--register"]
    assert gate[1:] == ["--version", "7", *SPAN]
    assert shadow[1:] == ["--challenger", "7"]
    assert promote[1:3] == ["--version", "7"]
    assert confirm[1:] == ["--version", "7", "--timeout", "120s"]
    assert done.tasks["release.roll_back"] == "skipped"
    assert done.results["retrain"] == ANSWERS["retrain"]


@pytest.mark.parametrize(
    "verdict",
    [
        {"drifted": False, "kind": "none", "cooling_down": False},
        {"drifted": True, "kind": "station", "cooling_down": False},
        {"drifted": True, "kind": "fleet", "cooling_down": True},
    ],
    ids=["no drift", "one station's fault", "too soon after the last promotion"],
)
def test_nothing_is_trained_without_a_fleets_drift(run: Any, verdict: dict[str, Any]) -> None:
    done = run("drift_and_retrain", {"at": AT}, drift=verdict | {"windows": WINDOWS})
    assert (done.state, done.commands) == ("success", ["drift"])


def test_somebody_may_ask_for_a_retraining_without_drift(run: Any) -> None:
    calm = DRIFTED | {"drifted": False, "kind": "none"}
    done = run("drift_and_retrain", {"at": AT, "retrain_anyway": True}, drift=calm)
    assert (done.state, done.commands) == ("success", LOOP)


def test_without_shadow_time_there_is_no_shadow_and_the_rest_goes_on(run: Any) -> None:
    done = run("drift_and_retrain", {"at": AT, "shadow_seconds": 0})
    assert (done.state, done.commands) == ("success", [command for command in LOOP if command != "shadow"])


def test_without_a_time_it_is_that_of_the_run(run: Any) -> None:
    done = run("drift_and_retrain", drift=DRIFTED | {"kind": "none"})
    assert done.calls[0][1] == "--at"
    assert done.calls[0][2].startswith("20")


def test_a_model_that_the_gate_refuses_is_not_promoted(run: Any) -> None:
    done = run("drift_and_retrain", {"at": AT}, gate={"passed": False, "checks": []})
    assert (done.state, done.commands) == ("success", ["drift", "retrain", "gate"])


@pytest.mark.parametrize("confirm", [{"confirmed": False, "scorers": []}, None], ids=["refuses", "fails"])
def test_a_version_that_not_every_scorer_runs_is_rolled_back_and_the_run_fails(run: Any, confirm: Any) -> None:
    done = run("drift_and_retrain", {"at": AT}, confirm=confirm)
    assert done.state == "failed"
    assert done.commands == [*LOOP, "rollback"]
    assert done.calls[-1][1:3] == ["--from", "7"]


@pytest.mark.parametrize("step", ["drift", "retrain", "gate", "shadow", "promote"])
def test_a_step_that_fails_ends_the_run(run: Any, step: str) -> None:
    done = run("drift_and_retrain", {"at": AT}, **{step: None})
    assert done.state == "failed"
    assert done.commands == LOOP[: LOOP.index(step) + 1]


def test_a_promotion_by_hand_takes_version_and_reason_as_they_are(run: Any) -> None:
    why = 'it\'s "better"; $(touch harm) `id` \\'
    done = run("promote", {"version": "7", "why": why})
    assert done.state == "success"
    assert done.commands == ["promote", "confirm"]
    assert done.calls[0] == ["promote", "--version", "7", "--why", why, "--by", "airflow"]
    assert run("promote", {"version": "7", "why": "x", "force": True}).calls[0][-1] == "--force"


def test_a_promotion_that_is_not_confirmed_is_rolled_back(run: Any) -> None:
    done = run("promote", {"version": "7", "why": "x"}, confirm={"confirmed": False, "scorers": []})
    assert (done.state, done.commands) == ("failed", ["promote", "confirm", "rollback"])


@pytest.mark.parametrize("conf", [{}, {"version": "7"}, {"version": "7; id", "why": "x"}, {"version": "7", "why": ""}])
def test_a_promotion_without_version_or_reason_is_refused(run: Any, conf: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(?i)param"):
        run("promote", conf)


def test_a_rollback_by_hand_is_confirmed_with_the_version_that_it_went_back_to(run: Any) -> None:
    done = run("rollback", {"version": "7", "why": "too many alarms"})
    assert done.state == "success"
    assert done.calls == [
        ["rollback", "--from", "7", "--why", "too many alarms", "--by", "airflow"],
        ["confirm", "--version", "6", "--timeout", "120s"],
    ]


def test_a_rollback_that_is_not_confirmed_fails(run: Any) -> None:
    done = run("rollback", {"version": "7", "why": "too many alarms"}, confirm={"confirmed": False, "scorers": []})
    assert (done.state, done.commands) == ("failed", ["rollback", "confirm"])


def test_retention_says_how_many_rows(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "12")
    done = run("retention")
    assert done.calls == [["retention", "--days", "12"]]
    assert done.results["drop_old_days"] == ANSWERS["retention"]
    assert "RETENTION_DAYS" in os.environ
