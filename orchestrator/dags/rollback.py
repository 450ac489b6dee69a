"""# Roll back by hand.

Makes the champion of before the champion again, and tells the scorers, which still hold it in memory. Give the bad version,
so that a repeated run does not go back another step, and the reason.
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
    params={
        "version": Param(type="string", pattern="^[1-9][0-9]*$", description="the bad version, which is the champion"),
        "why": Param(type="string", minLength=1, maxLength=500, description="kept with the version"),
    },
    tags=["lonetree", "model", "by hand"],
    doc_md=__doc__,
):
    roll_back = lonetree(
        "roll_back",
        'rollback --from "$VERSION" --why "$WHY" --by airflow',
        env={"VERSION": "{{ params.version }}", "WHY": "{{ params.why }}"},
    )
    confirmation = confirm("{{ ti.xcom_pull('roll_back')['promoted'] }}")
    roll_back >> confirmation

    @task.short_circuit
    def is_unconfirmed(answer: Any) -> bool:
        """Go on only where there is something to tell."""
        return not answer["confirmed"]

    is_unconfirmed(confirmation.output) >> tell_failure(confirmation.output)
