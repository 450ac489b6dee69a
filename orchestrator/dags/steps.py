"""What the DAGs are made of: calls of `python -m lonetree_ml`, and how a version is released. No DAG is defined here."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import TaskGroup, TriggerRule, task
from airflow.sdk.exceptions import AirflowFailException

DEFAULTS: dict[str, Any] = {
    "owner": "lonetree",
    "retries": 2,
    "retry_delay": timedelta(seconds=15),
    "execution_timeout": timedelta(minutes=30),
}
"""Of every task: what it calls may be away for a moment, and never hangs for ever."""
PATIENT: dict[str, Any] = {"retries": 8, "retry_exponential_backoff": True, "max_retry_delay": timedelta(minutes=10)}
"""Of tasks after a verdict of drift, which comes only once in the cool-down: half an hour is waited for."""


def lonetree(task_id: str, arguments: str, *, env: dict[str, str] | None = None, **settings: Any) -> BashOperator:
    """Make a task of one call of `lonetree_ml`; its one line of JSON is the task's result.

    Whatever comes from outside goes through `env`, where the shell takes it as it is.
    """
    python = '"${LONETREE_PYTHON:?set it to the Python of the ml environment}"'
    return BashOperator(
        task_id=task_id,
        # Logs go to stderr and appear at once; the operator takes the last line of both for the result.
        bash_command=f'answer=$({python} -m lonetree_ml {arguments}) && echo "$answer"',
        env=env,
        append_env=True,
        output_processor=json.loads,
        skip_on_exit_code=None,
        **settings,
    )


def confirm(version: str) -> BashOperator:
    """Wait until every scorer runs the version; what cannot be found out counts as no. Wrong settings (2) are no answer."""
    return lonetree(
        "confirm",
        'confirm --version "$VERSION" --timeout "${CONFIRM_TIMEOUT:-120s}"'
        ' || { [ $? -eq 1 ] && echo \'{"confirmed": false, "scorers": []}\'; }',
        env={"VERSION": version},
    )


@task(retries=0)
def tell_failure(answer: Any) -> None:
    """Fail, so that somebody looks."""
    raise AirflowFailException(f"not every scorer runs the version: {answer['scorers']}")


def release(version: str, why: str, *, promote_options: str = "") -> TaskGroup:
    """Promote a version and see that every scorer runs it; otherwise go back to the one before, and fail."""
    env = {"VERSION": version, "WHY": why}
    with TaskGroup("release") as group:
        promote = lonetree(
            "promote",
            f'promote --version "$VERSION" --why "$WHY" --by airflow {promote_options}',
            env=env,
            # A step before it may be left out.
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        confirmation = confirm(version)

        @task.branch
        def is_confirmed(answer: Any) -> str:
            """Choose how it ends."""
            return "release.released" if answer["confirmed"] else "release.roll_back"

        choice = is_confirmed(confirmation.output)
        roll_back = lonetree(
            "roll_back",
            # When this is tried again it must not go back one version more.
            'rollback --from "$VERSION" --why "not every scorer took it: $WHY" --by airflow',
            env=env,
        )
        promote >> confirmation
        choice >> roll_back >> tell_failure(confirmation.output)
        choice >> EmptyOperator(task_id="released")
    return group
