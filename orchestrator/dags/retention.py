"""# Retention.

Drops, every night, the days of verdicts that are older than `RETENTION_DAYS` (30), and says how many rows that were: in the
task's log, in its result, and as an event in the database. Dropping a day that is gone already does nothing, so it can be
repeated at will.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from steps import DEFAULTS, lonetree

with DAG(
    dag_id="retention",
    description="Drops days of verdicts that are older than RETENTION_DAYS",
    schedule=CronTriggerTimetable("30 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    default_args=DEFAULTS,
    tags=["lonetree", "data"],
    doc_md=__doc__,
):
    lonetree("drop_old_days", 'retention --days "${RETENTION_DAYS:-30}"', doc_md="Says how many rows it dropped.")
