"""# Promote by hand.

Makes a version the champion, and sees that every scorer runs it. If one does not, the champion before is put back and the
run fails. Give the version and why; a version that has not passed the gate is refused unless `force` is set.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param
from steps import DEFAULTS, release

with DAG(
    dag_id="promote",
    description="Makes a version of the model the champion",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=1),
    default_args=DEFAULTS,
    params={
        "version": Param(type="string", pattern="^[1-9][0-9]*$", description="the registry's version"),
        "why": Param(type="string", minLength=1, maxLength=500, description="kept with the version"),
        "force": Param(False, type="boolean", description="also without having passed the gate"),
    },
    tags=["lonetree", "model", "by hand"],
    doc_md=__doc__,
):
    release("{{ params.version }}", "{{ params.why }}", promote_options="{{ '--force' if params.force else '' }}")
