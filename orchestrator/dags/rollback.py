"""# Roll back by hand.

Makes the champion of before the champion again, and tells the scorers, which still hold it in memory. Give the reason.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task
from steps import DEFAULTS, confirm, lonetree, tell_failure

with DAG(
    dag_id="rollback",
    description="Makes the champion of before the champion again",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULTS,
    params={"why": Param(type="string", minLength=1, maxLength=500, description="kept with the version")},
    tags=["lonetree", "model", "by hand"],
    doc_md=__doc__,
):
    # A second try would go back one version more.
    roll_back = lonetree("roll_back", 'rollback --why "$WHY" --by airflow', env={"WHY": "{{ params.why }}"}, retries=0)
    confirmation = confirm("{{ ti.xcom_pull('roll_back')['promoted'] }}")
    roll_back >> confirmation

    @task.short_circuit
    def is_unconfirmed(answer: Any) -> bool:
        """Go on only where there is something to tell."""
        return not answer["confirmed"]

    is_unconfirmed(confirmation.output) >> tell_failure(confirmation.output)
