"""The DAGs can be read, have what running them takes, and decide nothing themselves."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.dag_processing.dagbag import BundleDagBag

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAGS = Path(__file__).parents[1] / "dags"
FILES = sorted(DAGS.glob("*.py"))
IDS = {"drift_and_retrain", "promote", "retention", "rollback"}
IMPORTS = {"__future__", "airflow", "datetime", "json", "os", "steps", "typing"}
"""What a DAG file may import: Airflow, and nothing that could compute."""
STATEMENTS_MAX = 2
LOGIC = (
    *(ast.For, ast.While, ast.If, ast.Try, ast.Match, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
"""A task may choose between two values; loops, branches and what computes are `lonetree_ml`'s."""


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    bag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name="dags-folder")
    assert bag.import_errors == {}
    return dict(bag.dags)


def test_there_are_these_dags_and_all_can_be_read(dags: dict[str, DAG]) -> None:
    assert set(dags) == IDS


@pytest.mark.parametrize("name", sorted(IDS))
def test_a_dag_runs_alone_never_catches_up_ends_some_time_and_says_what_it_is_for(dags: dict[str, DAG], name: str) -> None:
    dag = dags[name]
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.dagrun_timeout is not None
    assert dag.description
    assert dag.doc_md is not None
    assert len(dag.doc_md) > 100
    assert "lonetree" in dag.tags


@pytest.mark.parametrize("name", sorted(IDS))
def test_every_task_has_an_owner_retries_and_a_timeout(dags: dict[str, DAG], name: str) -> None:
    for task in dags[name].tasks:
        assert task.owner == "lonetree", task.task_id
        assert task.execution_timeout is not None
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=1), task.task_id
        assert (task.retries == 0) == task.task_id.endswith("tell_failure"), task.task_id


def test_only_what_is_not_by_hand_has_a_schedule(dags: dict[str, DAG]) -> None:
    scheduled = {name for name, dag in dags.items() if dag.schedule is not None}
    assert scheduled == {"drift_and_retrain", "retention"}
    assert {name for name, dag in dags.items() if "by hand" in dag.tags} == IDS - scheduled


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_dag_file_imports_nothing_that_could_compute(file: Path) -> None:
    tree = ast.parse(file.read_text())
    roots = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {name.name.split(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            roots.add(str(node.module).split(".")[0])
    assert roots <= IMPORTS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_dag_file_holds_no_logic(file: Path) -> None:
    tree = ast.parse(file.read_text())
    found = [f"line {node.lineno}: {type(node).__name__}" for node in ast.walk(tree) if isinstance(node, LOGIC)]
    assert found == []
    # Tasks are put in order by >>; nothing is calculated.
    operators = [node.op for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    assert all(isinstance(operator, ast.RShift | ast.BitOr) for operator in operators)
    # What runs when Airflow runs a task, and not when it reads the file.
    tasks = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.decorator_list]
    for task in tasks:
        assert len(task.body) - 1 <= STATEMENTS_MAX, f"{task.name}: a docstring and at most {STATEMENTS_MAX} statements"
        assert ast.get_docstring(task), task.name


@pytest.mark.parametrize("code", ["for row in rows: total = row", "if a: b()", "[a for a in b]", "try: a()\nexcept B: pass"])
def test_the_rule_against_logic_sees_logic(code: str) -> None:
    assert any(isinstance(node, LOGIC) for node in ast.walk(ast.parse(code)))
