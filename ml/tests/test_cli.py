"""The command line: what it prints, what it refuses, and that the same seed gives the same bytes."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from conftest import Outcome
from sklearn.ensemble import IsolationForest
from sklearn.svm import OneClassSVM

from lonetree_ml import forest_file
from lonetree_ml.golden import simulated_rows
from lonetree_ml.judge import judge
from lonetree_ml.table import read_table

Run = Callable[..., Outcome]


def write_csv(path: Path, rows: Any, header: str) -> Path:
    lines = [",".join("" if np.isnan(value) else repr(float(value)) for value in row) for row in rows]
    path.write_text("\n".join([header, *lines, ""]))
    return path


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    rows = simulated_rows(4_000, np.random.default_rng(0))
    rows[::10, 1] = np.nan
    return write_csv(tmp_path / "rows.csv", rows, "temperature,humidity,sound")


def test_train_writes_a_forest_with_guards_and_reports_its_calibration(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.forest"
    outcome = run("train", "--input", rows_csv, "--output", output, "--alarm-rate", 0.01, "--seed", 7)
    assert outcome.code == 0
    assert outcome.report is not None
    forest = forest_file.read(output)
    expected = {
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
        "features": ["temperature", "humidity", "sound"],
        "trees": 100,
        "max_samples": 256,
        "rows": 4_000,
        "fit_rows": 2_800,
        "calibration_rows": 1_200,
        "set_aside_share": 0.0,
        "alarm_rate": 0.01,
        "guards": True,
        "offset": forest.offset,
    }
    assert {key: outcome.report[key] for key in expected} == expected
    assert 0 < outcome.report["realised_alarm_rate"] < 0.02
    assert "warning" not in outcome.report
    assert forest.meta is not None
    training = forest.meta["training"]
    assert training == {key: outcome.report[key] for key in training}
    assert set(forest.meta["versions"]) == {"lonetree_ml", "numpy", "scikit-learn"}


def test_the_alarm_rate_is_one_in_a_thousand_unless_said_otherwise_and_few_rows_are_warned_of(
    run: Run, rows_csv: Path, tmp_path: Path
) -> None:
    outcome = run("train", "--input", rows_csv, "--output", tmp_path / "m.forest")
    assert outcome.report is not None
    assert outcome.report["alarm_rate"] == 0.001
    assert "1200 calibration rows give 1.2 alarms" in outcome.report["warning"]
    assert outcome.report["warning"] in outcome.log
    meta = forest_file.read(tmp_path / "m.forest").meta
    assert meta is not None
    assert meta["training"]["warning"] == outcome.report["warning"]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.forest" for index in range(3)]
    for path, seed in zip(paths, (3, 3, 4), strict=True):
        assert run("train", "--input", rows_csv, "--output", path, "--alarm-rate", 0.01, "--seed", seed).code == 0
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


def test_units_are_kept_in_the_file_of_a_trained_and_of_an_exported_forest(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    output, saved = tmp_path / "m.forest", tmp_path / "m.skops"
    units = ("--units", "sound=dB, temperature=Cel")
    assert run("train", "--input", rows_csv, "--output", output, "--save-sklearn", saved, *units).code == 0
    assert forest_file.read(output).units == ["Cel", "", "dB"]
    names = ("--features", "temperature,humidity,sound")
    assert run("export", "--sklearn", saved, "--output", output, *names, "--units", "humidity=%").code == 0
    assert forest_file.read(output).units == ["", "%", ""]


def test_contamination_is_scikit_learns_rule_on_all_rows_without_guards(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.forest"
    arguments = ("--trees", 50, "--samples", 128, "--contamination", 0.02, "--seed", 5)
    outcome = run("train", "--input", rows_csv, "--output", output, *arguments)
    rows = read_table(rows_csv).rows
    model = IsolationForest(n_estimators=50, max_samples=128, contamination=0.02, random_state=5).fit(rows)
    forest = forest_file.read(output)
    assert forest.offset == model.offset_
    assert forest.guards is None
    np.testing.assert_array_equal(judge(forest, rows).is_anomaly, model.predict(rows) < 0)
    assert outcome.report is not None
    assert outcome.report["guards"] is False
    assert outcome.report["realised_alarm_rate"] == np.mean(model.predict(rows) < 0)


def test_a_saved_forest_says_what_the_forest_reason_says_and_exports_to_the_same_trees(
    run: Run, rows_csv: Path, tmp_path: Path
) -> None:
    trained, saved, exported = (tmp_path / name for name in ("m.forest", "m.skops", "again.forest"))
    arguments = ("--alarm-rate", 0.01, "--features", "sound,temperature")
    assert run("train", "--input", rows_csv, "--output", trained, "--save-sklearn", saved, *arguments).code == 0
    model = skops.io.load(saved, trusted=["sklearn.tree._tree.Tree"])
    forest = forest_file.read(trained)
    rows = read_table(rows_csv, ["sound", "temperature"]).rows
    np.testing.assert_array_equal(judge(forest, rows).hits[:, 0], model.predict(rows) < 0)
    assert run("export", "--sklearn", saved, "--output", exported, "--features", "sound,temperature").code == 0
    again = forest_file.read(exported)
    assert (again.offset, again.sum_threshold, again.guards) == (forest.offset, forest.sum_threshold, None)
    assert again.features == ["sound", "temperature"]
    for tree, other in zip(forest.trees, again.trees, strict=True):
        assert tree.nodes.tobytes() == other.nodes.tobytes()
        assert tree.values.tobytes() == other.values.tobytes()


def test_export_takes_names_from_the_option_else_from_the_forest_else_numbers_them(run: Run, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 2))
    model = IsolationForest(n_estimators=3, random_state=0).fit(rows)
    skops.io.dump(model, tmp_path / "m.skops")
    model.feature_names_in_ = np.array(["speed", "load"], dtype=object)
    skops.io.dump(model, tmp_path / "named.skops")
    for saved, options, names in (
        ("m.skops", (), ["x0", "x1"]),
        ("named.skops", (), ["speed", "load"]),
        ("named.skops", ("--features", "u, v"), ["u", "v"]),
    ):
        output = tmp_path / "m.forest"
        assert run("export", "--sklearn", tmp_path / saved, "--output", output, *options).code == 0
        assert forest_file.read(output).features == names


def test_export_with_rows_calibrates_and_adds_guards(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    model = IsolationForest(n_estimators=30, max_features=0.7, bootstrap=True, random_state=0).fit(read_table(rows_csv).rows)
    skops.io.dump(model, tmp_path / "m.skops")
    outcome = run(
        *("export", "--sklearn", tmp_path / "m.skops", "--output", tmp_path / "m.forest", "--rows", rows_csv),
        *("--features", "temperature,humidity,sound", "--alarm-rate", 0.02),
    )
    assert outcome.code == 0
    assert outcome.report is not None
    assert outcome.report["alarm_rate"] == 0.02
    assert 0.005 < outcome.report["realised_alarm_rate"] < 0.03
    forest = forest_file.read(tmp_path / "m.forest")
    assert forest.guards is not None
    assert forest.offset != -0.5


@pytest.mark.parametrize("source", ["--model", "--sklearn"])
def test_evaluate_gives_the_same_ranking_for_the_forest_file_and_for_scikit_learn(
    run: Run, tmp_path: Path, source: str
) -> None:
    data = Path(__file__).parents[2] / "data" / "adbench" / "6_cardio.npz"
    table = read_table(data)
    model = IsolationForest(random_state=0).fit(table.rows)
    skops.io.dump(model, tmp_path / "m.skops")
    assert run("export", "--sklearn", tmp_path / "m.skops", "--output", tmp_path / "m.forest").code == 0
    path = tmp_path / ("m.forest" if source == "--model" else "m.skops")
    by_npz = run("evaluate", source, path, "--input", data).report
    assert table.labels is not None
    labelled = write_csv(
        tmp_path / "d.csv", np.c_[table.labels, table.rows], ",".join(["label", *(f"x{i}" for i in range(21))])
    )
    assert run("evaluate", source, path, "--input", labelled, "--label", "label").report == by_npz
    assert by_npz is not None
    assert by_npz["rows"] == 1_831
    assert by_npz["anomalies"] == 176
    assert by_npz["roc_auc"] == pytest.approx(0.932, abs=0.02)
    assert 0 < by_npz["pr_auc"] < 1
    assert by_npz["alert_rate"] == by_npz["forest_alert_rate"] == np.mean(model.predict(table.rows) < 0)


def test_evaluate_counts_the_guards_alarms_too(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    assert run("train", "--input", rows_csv, "--output", tmp_path / "m.forest", "--alarm-rate", 0.01).code == 0
    rows = simulated_rows(2_000, np.random.default_rng(1))
    rows[:1_000, 0] += 1_000
    outcome = run(
        "evaluate",
        "--model",
        tmp_path / "m.forest",
        "--input",
        write_csv(tmp_path / "d.csv", rows, "temperature,humidity,sound"),
    )
    assert outcome.report is not None
    assert outcome.report["alert_rate"] >= 0.5
    assert outcome.report["forest_alert_rate"] < outcome.report["alert_rate"]
    assert set(outcome.report) == {"rows", "alert_rate", "forest_alert_rate"}


BAD_CSV = {
    "a,b\n1,2\n3,x\n": r"rows\.csv, line 3, column 'b': 'x' is not a number",
    "a,b\n1,2\n3,4,5\n": r"rows\.csv, line 3: 3 cells, but the header names 2",
    "a,b\n1,1_000\n": r"line 2, column 'b': '1_000' is not a number",
    "": r"rows\.csv, line 1: the first line must name the columns",
    "a,b\n": r"rows\.csv has a header and no rows",
    "a,a\n1,2\n": r"line 1: more than one column is named 'a'",
    'a,b\n1,"2\n3,4\n': r"rows\.csv, line \d: unexpected end of data",
    "a,\n1,2\n": r"The feature name '' is empty",
    "a,b\n" + "1,2\n" * 9: r"rows\.csv has 9 rows; at least 10 are needed",
}


@pytest.mark.parametrize("content", BAD_CSV)
def test_bad_input_ends_with_1_and_says_where(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.csv").write_text(content)
    outcome = run("train", "--input", tmp_path / "rows.csv", "--output", tmp_path / "m.forest")
    assert outcome.code == 1
    assert re.search(BAD_CSV[content], outcome.log)
    assert not (tmp_path / "m.forest").exists()


def test_other_bad_input_ends_with_1_and_says_what_to_do(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "m.forest")
    (tmp_path / "latin.csv").write_bytes(b"a\n1\n\xff\n")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    (tmp_path / "bad.skops").write_bytes(b"nothing")
    np.savez(tmp_path / "nox.npz", y=np.zeros(3))
    np.savez(tmp_path / "flat.npz", X=np.zeros(3))
    np.savez(tmp_path / "short.npz", X=np.zeros((3, 3)), y=np.zeros(2))
    np.savez(tmp_path / "normal.npz", X=np.zeros((3, 3)), y=np.zeros(3))
    np.savez(tmp_path / "objects.npz", X=np.array([[object()]]))
    skops.io.dump(OneClassSVM(), tmp_path / "svm.skops")
    skops.io.dump(IsolationForest(), tmp_path / "unfitted.skops")
    model = tmp_path / "model.forest"
    assert run("train", "--input", rows_csv, "--output", model).code == 0
    unlabelled = write_csv(tmp_path / "u.csv", np.array([[1, 2, 3, 0], [1, 2, 3, np.nan]]), "temperature,humidity,sound,y")
    evaluate = ("evaluate", "--model", model, "--input")
    for arguments, problem in (
        (("train", "--input", tmp_path / "none.csv", *output), "none.csv does not exist"),
        (("train", "--input", tmp_path, *output), "does not exist or is no file"),
        (("train", "--input", tmp_path / "latin.csv", *output), "latin.csv, after line"),
        (("train", "--input", rows_csv, *output, "--features", "a"), "no column is named 'a'. The columns are temperature"),
        (("train", "--input", rows_csv, *output, "--features", "sound,sound"), "Two features are named 'sound'"),
        (("train", "--input", rows_csv, *output, "--units", "pressure=bar"), "a unit of 'pressure', which is no feature"),
        (("train", "--input", rows_csv, "--output", tmp_path / "no" / "m.forest"), "No such file"),
        (("export", "--sklearn", tmp_path / "none.skops", *output), "none.skops does not exist"),
        (("export", "--sklearn", tmp_path / "bad.skops", *output), "not a forest saved by skops"),
        (("export", "--sklearn", tmp_path / "svm.skops", *output), "holds OneClassSVM, not a fitted IsolationForest"),
        (("export", "--sklearn", tmp_path / "unfitted.skops", *output), "not a fitted IsolationForest"),
        ((*evaluate, tmp_path / "bad.npz"), "bad.npz is not an npz file"),
        ((*evaluate, tmp_path / "nox.npz"), "has no array X"),
        ((*evaluate, tmp_path / "flat.npz"), "it must have rows and columns"),
        ((*evaluate, tmp_path / "short.npz"), "y has 2 labels"),
        ((*evaluate, tmp_path / "normal.npz"), "all labels are the same"),
        ((*evaluate, tmp_path / "objects.npz"), "not an npz file of numbers"),
        ((*evaluate, rows_csv, "--label", "y"), "no column is named 'y'"),
        ((*evaluate, unlabelled, "--label", "y"), "row 2, column 'y': a label is missing"),
        ((*evaluate, rows_csv, "--features", "sound"), "has 3 features, but 1 columns"),
        (("evaluate", "--model", rows_csv, "--input", rows_csv), "does not begin with LONETREE"),
    ):
        outcome = run(*arguments)
        assert outcome.code == 1, arguments
        assert problem in outcome.log, arguments
    assert not (tmp_path / "m.forest").exists()


def test_a_saved_forest_that_holds_a_foreign_type_is_not_built(run: Run, tmp_path: Path) -> None:
    model = IsolationForest(n_estimators=2).fit(np.random.default_rng(0).normal(size=(50, 2)))
    model.extra_ = subprocess.Popen
    skops.io.dump(model, tmp_path / "m.skops")
    outcome = run("export", "--sklearn", tmp_path / "m.skops", "--output", tmp_path / "m.forest")
    assert outcome.code == 1
    assert "subprocess.Popen" in outcome.log


def test_a_forest_with_another_number_of_features_than_the_rows_is_refused(run: Run, rows_csv: Path, tmp_path: Path) -> None:
    skops.io.dump(IsolationForest(n_estimators=2).fit(np.eye(20)[:, :2]), tmp_path / "m.skops")
    arguments = ("export", "--sklearn", tmp_path / "m.skops", "--output", tmp_path / "m.forest", "--rows", rows_csv)
    outcome = run(*arguments, "--features", "temperature,humidity,sound")
    assert outcome.code == 1
    assert "fitted on 2 features, but 3 are named" in outcome.log


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["train"],
        ["train", "--input", "a", "--output", "b", "--alarm-rate", "0"],
        ["train", "--input", "a", "--output", "b", "--alarm-rate", "0.5"],
        ["train", "--input", "a", "--output", "b", "--alarm-rate", "nan"],
        ["train", "--input", "a", "--output", "b", "--alarm-rate", "0.1", "--contamination", "0.1"],
        ["train", "--input", "a", "--output", "b", "--trees", "0"],
        ["train", "--input", "a", "--output", "b", "--trees", "10001"],
        ["train", "--input", "a", "--output", "b", "--samples", "32769"],
        ["train", "--input", "a", "--output", "b", "--seed", "-1"],
        ["train", "--input", "a", "--output", "b", "--seed", "4294967296"],
        ["train", "--input", "a", "--output", "b", "--trees", "many"],
        ["train", "--input", "a", "--output", "b", "--units", "Cel"],
        ["train", "--input", "a", "--output", "b", "--units", "temperature="],
        ["export", "--sklearn", "a", "--output", "b", "--alarm-rate", "0.1"],
        ["evaluate", "--input", "a"],
        ["evaluate", "--input", "a", "--model", "b", "--sklearn", "c"],
        ["evaluate", "--input", "a.npz", "--model", "b", "--label", "c"],
    ],
)
def test_wrong_use_ends_with_2_and_says_how_to_use_it(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "usage: python -m lonetree_ml" in outcome.log


def test_a_process_prints_one_json_line_on_stdout_and_logs_on_stderr(rows_csv: Path, tmp_path: Path) -> None:
    arguments = ["train", "--input", str(rows_csv), "--output", str(tmp_path / "m.forest")]
    command = [sys.executable, "-m", "lonetree_ml", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S603
    assert json.loads(done.stdout)["rows"] == 4_000
    assert done.stdout.count("\n") == 1
    assert "4000 rows of temperature, humidity, sound" in done.stderr
    assert "\r" not in done.stderr


def test_train_waits_for_no_import_that_it_does_not_need(rows_csv: Path, tmp_path: Path) -> None:
    program = "import sys; from lonetree_ml.cli import main; main(sys.argv[1:]); print(*sorted(sys.modules))"
    arguments = ["train", "--input", str(rows_csv), "--output", str(tmp_path / "m.forest"), "--trees", "2"]
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    imported = set(done.stdout.splitlines()[1].split())
    assert "sklearn.ensemble" in imported
    assert imported.isdisjoint({"pandas", "mlflow", "matplotlib", "skops", "confluent_kafka", "psycopg"})
