"""# Drift and retraining.

Looks every hour whether the fleet's readings still are what the champion was trained on. Where they are not, a new model is
trained on the readings in which the drift was found, and replaces the champion if the gate finds it about as good or better
on readings of the same time that were held out:

`drift` → `retrain` → `gate` → shadow time → `promote` → `confirm` that every scorer runs it, else `roll_back`.

It ends early, and successfully, when there is no drift, when it is one station's sensor, when the last promotion is too
recent, or when the gate refuses the new model, which then is no challenger any more. It fails when a step fails, when no
scorer has scored with the challenger in the shadow time, or when it had to roll back.

**From outside.** An event of the asset `retraining-wanted`, or a run with `{"retrain_anyway": true}`, retrains without
drift; the gate is passed all the same. A run with `{"at": "2026-05-01T12:00:00Z"}` looks at the windows before that time.
Without `at` it is the time after which the run may start, so a run that is cleared and repeated looks at the same readings.

**Settings**, by environment: `DRIFT_SCHEDULE` (cron, `0 * * * *`), `DRIFT_WINDOW` (`1d`), `DRIFT_COOL_DOWN` (`2d`: two
windows, so that nothing from before the last promotion is looked at), `DRIFT_ROWS_MAX` (`100000`), `RETRAIN_ROWS_MAX`
(`200000`), `SHADOW_SECONDS` (`3600`), `CONFIRM_TIMEOUT` (`120s`), `DRIFT_REPORTS` (a folder for report and metrics; none).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain, task
from steps import DEFAULTS, PATIENT, lonetree, release

RETRAINING_WANTED = Asset(name="retraining-wanted", uri="lonetree://retraining-wanted", group="lonetree")

SPAN = {
    "FROM": "{{ ti.xcom_pull('drift')['windows'][0]['from'] }}",
    "TO": "{{ ti.xcom_pull('drift')['windows'][-1]['to'] }}",
}
"""The windows that were looked at: what has drifted is what the new model is trained and judged on."""
VERSION = "{{ ti.xcom_pull('retrain')['version'] }}"

with DAG(
    dag_id="drift_and_retrain",
    description="Retrains, checks and replaces the model when the fleet's readings have drifted",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable(os.environ.get("DRIFT_SCHEDULE", "0 * * * *"), timezone="UTC"),
        assets=[RETRAINING_WANTED],
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # The longest shadow, and what comes before and after it.
    dagrun_timeout=timedelta(hours=36),
    default_args=DEFAULTS,
    params={
        "at": Param(None, type=["null", "string"], format="date-time", description="look at the windows before this time"),
        "retrain_anyway": Param(False, type="boolean", description="retrain without drift"),
        "shadow_seconds": Param(
            int(os.environ.get("SHADOW_SECONDS", "3600")),
            type="integer",
            minimum=0,
            maximum=86_400,
            description="how long the challenger scores beside the champion; 0: not at all",
        ),
    },
    tags=["lonetree", "model"],
    doc_md=__doc__,
):
    drift = lonetree(
        "drift",
        'drift --at "$AT" --window "${DRIFT_WINDOW:-1d}" --cool-down "${DRIFT_COOL_DOWN:-2d}"'
        ' --rows-max "${DRIFT_ROWS_MAX:-100000}" --record'
        ' ${DRIFT_REPORTS:+--report "$DRIFT_REPORTS/drift.html" --metrics "$DRIFT_REPORTS/drift.prom"}',
        env={"AT": "{{ params.at or dag_run.run_after.isoformat() }}"},
        doc_md="Compares the two windows before `at` with the champion's training summary.",
    )

    @task.short_circuit
    def is_retraining_wanted(verdict: Any, dag_run: Any = None, params: Any = None) -> bool:
        """Go on for a fleet's drift after the cool-down, or because somebody asked for it."""
        is_asked_for = params["retrain_anyway"] or dag_run.run_type == "asset_triggered"
        return is_asked_for or (verdict["kind"] == "fleet" and not verdict["cooling_down"])

    retrain = lonetree(
        "retrain",
        'retrain --from "$FROM" --to "$TO" --rows-max "${RETRAIN_ROWS_MAX:-200000}" --register',
        env=SPAN,
        doc_md="Trains on what the windows hold, but for what is held out, and registers the model as challenger.",
        **PATIENT,
    )
    gate = lonetree(
        "gate",
        'gate --version "$VERSION" --from "$FROM" --to "$TO"',
        env={**SPAN, "VERSION": VERSION},
        doc_md="Decides, on what is held out, whether the challenger may become champion.",
        **PATIENT,
    )

    @task.short_circuit
    def is_gate_passed(verdict: Any) -> bool:
        """Go on only with a model that passed."""
        return bool(verdict["passed"])

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def is_shadow_wanted(params: Any = None) -> bool:
        """Skip the shadow, and only that, where there is no time for it."""
        return bool(params["shadow_seconds"] > 0)

    shadow_time = DateTimeSensorAsync(
        task_id="shadow_time",
        target_time="{{ (ti.start_date + macros.timedelta(seconds=params.shadow_seconds)).isoformat() }}",
        doc_md="Lets the challenger score beside the champion, without occupying a worker.",
    )
    shadow = lonetree(
        "shadow",
        'shadow --challenger "$VERSION"',
        env={"VERSION": VERSION},
        doc_md="Says how champion and challenger differed on the same readings.",
    )
    chain(
        is_retraining_wanted(drift.output),
        retrain,
        gate,
        is_gate_passed(gate.output),
        is_shadow_wanted(),
        shadow_time,
        shadow,
        release(VERSION, "retrained by {{ dag_run.run_id }}"),
    )
