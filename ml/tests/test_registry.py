"""The registry in a local SQLite file: versions, aliases, what is refused, and that a version is complete or not there.

The same by a server, with Kafka and PostgreSQL beside it: scorer/test/registry.stack.test.ts.
"""

import hashlib
import io
import json
import pickle
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pytest
import skops.io
from conftest import Outcome
from sklearn.ensemble import IsolationForest

from lonetree_ml import announce, events, export, forest_file, training
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows
from lonetree_ml.register import check_pair
from lonetree_ml.registry import FOREST_PATH, Registry
from lonetree_ml.service import ServiceError
from lonetree_ml.table import InputError

Run = Callable[..., Outcome]
PNG = b"\x89PNG\r\n"


class Files:
    """A trained forest in both forms, and labelled rows."""

    def __init__(self, folder: Path, seed: int, *, trees: int = 20) -> None:
        rows = simulated_rows(2_000, np.random.default_rng(seed))
        labels = np.zeros(len(rows), dtype=int)
        labels[::40] = 1
        rows[labels == 1] *= 2
        model, forest, _ = training.train(
            rows[labels == 0], SIMULATED_FEATURES, trees=trees, samples=64, seed=seed, alarm_rate=0.01
        )
        self.sklearn, self.model, self.rows = (folder / f"{seed}.{kind}" for kind in ("skops", "forest", "csv"))
        skops.io.dump(model, self.sklearn)
        self.sha256 = hashlib.sha256(forest_file.write(self.model, forest)).hexdigest()
        lines = [f"{','.join(repr(float(value)) for value in row)},{label}" for row, label in zip(rows, labels, strict=True)]
        self.rows.write_text("\n".join([",".join([*SIMULATED_FEATURES, "y"]), *lines, ""]))

    @property
    def pair(self) -> list[object]:
        return ["--sklearn", self.sklearn, "--model", self.model]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Files, Files]:
    folder = tmp_path_factory.mktemp("trained")
    return Files(folder, 1), Files(folder, 2)


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, made once: that takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "empty.db"
    assert Registry(f"sqlite:///{path}", "lonetree").versions() == []
    return path


@pytest.fixture
def uri(empty_registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("MLFLOW_TRACKING_URI", "MODEL_NAME", "KAFKA_BROKERS", "DATABASE_URL", "MODEL_UPDATES_TOPIC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(empty_registry, tmp_path / "registry.db")
    return f"sqlite:///{tmp_path}/registry.db"


def succeed(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.log
    assert outcome.report is not None
    return outcome.report


def aliases(run: Run, uri: str) -> dict[str, str]:
    versions = succeed(run("list", "--tracking-uri", uri))["versions"]
    return {alias: version["version"] for version in versions for alias in version["aliases"]}


def artifact(uri: str, number: str, path: str = FOREST_PATH) -> Path:
    """Where a version's artifact lies."""
    client = mlflow.MlflowClient(uri, uri)
    location = client.get_model_version_download_uri("lonetree", number)
    return Path(location.removeprefix("file://")) / path


def dataset_of(kept: mlflow.entities.Run) -> mlflow.entities.Dataset:
    assert kept.inputs is not None
    (entry,) = kept.inputs.dataset_inputs
    return entry.dataset


def test_versions_are_registered_listed_promoted_and_rolled_back(
    run: Run, uri: str, trained: tuple[Files, Files], tmp_path: Path
) -> None:
    at = ["--tracking-uri", uri]
    published = tmp_path / "served.forest"
    for number, files in enumerate(trained, 1):
        report = succeed(run("register", *files.pair, "--alias", "challenger", "--why", f"seed {number}", *at))
        assert {**report, "run_id": ""} == {
            "name": "lonetree",
            "version": str(number),
            "sha256": files.sha256,
            "run_id": "",
            "alias": "challenger",
            "recorded": False,
        }
    listed = succeed(run("list", *at))
    assert listed["name"] == "lonetree"
    assert [{**version, "created_at": None} for version in listed["versions"]] == [
        {
            "version": number,
            "aliases": wearing,
            "sha256": trained[int(number) - 1].sha256,
            "created_at": None,
            "alarm_rate": 0.01,
            "gate": None,
            "why": f"seed {number}",
        }
        for number, wearing in (("2", ["challenger"]), ("1", []))
    ]
    assert succeed(run("promote", "--version", "1", "--why", "the first", "--force", *at)) == {
        "promoted": "1",
        "replaced": None,
        "announced": False,
        "recorded": False,
    }
    assert aliases(run, uri) == {"champion": "1", "challenger": "2"}
    Registry(uri, "lonetree").set_tag("2", "gate", "passed against 1")
    promote = ["promote", "--alias", "challenger", "--why", "better", "--by", "me", "--publish", published, *at]
    assert succeed(run(*promote))["replaced"] == "1"
    assert aliases(run, uri) == {"champion": "2"}
    assert published.read_bytes() == trained[1].model.read_bytes()
    assert Registry(uri, "lonetree").version("2").tags["promotion"].endswith(" me: better")
    back = succeed(run("rollback", "--why", "worse", "--from", "2", "--publish", published, *at))
    assert (back["promoted"], back["replaced"]) == ("1", "2")
    assert aliases(run, uri) == {"champion": "1"}
    assert published.read_bytes() == trained[0].model.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".served")] == []
    again = succeed(run("rollback", "--why", "worse", "--from", "2", *at))
    assert (again["promoted"], again["replaced"]) == ("1", "2")  # told again, and no step further
    assert aliases(run, uri) == {"champion": "1"}


def test_a_promotion_that_was_interrupted_is_finished_by_repeating_it(
    run: Run, uri: str, trained: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--tracking-uri", uri]
    succeed(run("register", *trained[0].pair, *at))
    succeed(run("register", *trained[1].pair, "--alias", "challenger", *at))
    succeed(run("promote", "--version", "1", "--why", "first", "--force", *at))
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise ServiceError("the registry went away")

        broken.setattr(Registry, "remove_alias", fail)
        assert run("promote", "--alias", "challenger", "--why", "better", "--force", *at).code == 1
    assert aliases(run, uri) == {"champion": "2", "challenger": "2"}
    assert succeed(run("promote", "--alias", "challenger", "--why", "better", "--force", *at))["replaced"] == "1"
    assert aliases(run, uri) == {"champion": "2"}
    assert succeed(run("rollback", "--why", "worse", *at))["promoted"] == "1"


def test_a_version_holds_what_is_known_of_its_training(run: Run, uri: str, trained: tuple[Files, Files]) -> None:
    files = trained[0]
    span = [
        "--data-from",
        "2026-07-01T02:00:00+02:00",
        "--data-to",
        "2026-07-02T00:00:00Z",
        "--query",
        "select … from prediction",
    ]
    rows = ["--rows", files.rows, "--label", "y"]
    report = succeed(run("register", *files.pair, *rows, *span, "--why", "heat", "--tracking-uri", uri))
    client = mlflow.MlflowClient(uri, uri)
    version = client.get_model_version("lonetree", report["version"])
    assert version.tags == {
        "sha256": files.sha256,
        "features": json.dumps(SIMULATED_FEATURES),
        "trained_from": "2026-07-01T00:00:00+00:00",
        "trained_to": "2026-07-02T00:00:00+00:00",
        "alarm_rate": "0.01",
        "why": "heat",
    }
    for told in (
        "20 trees × 64 samples",
        "**Why:** heat",
        "| temperature |",
        "pr auc",
        "2,000 rows",
        "select … from prediction",
    ):
        assert told in (version.description or "")
    kept = client.get_run(report["run_id"])
    assert kept.info.status == "FINISHED"
    assert {key: kept.data.params[key] for key in ("trees", "max_samples", "seed", "alarm_rate", "rows")} == {
        "trees": "20",
        "max_samples": "64",
        "seed": "1",
        "alarm_rate": "0.01",
        "rows": "1950",
    }
    assert kept.data.metrics["measured_rows"] == 2_000
    assert 0.9 < kept.data.metrics["measured_pr_auc"] <= 1
    dataset = dataset_of(kept)
    assert json.loads(dataset.source) == {
        "query": "select … from prediction",
        "from": "2026-07-01T00:00:00+00:00",
        "to": "2026-07-02T00:00:00+00:00",
    }
    assert (dataset.name, len(dataset.digest), json.loads(dataset.profile or "")) == ("1.csv", 32, {"num_rows": 2_000})
    folder = Path(kept.info.artifact_uri.removeprefix("file://"))
    for figure in ("scores.png", "precision-recall.png"):
        assert (folder / figure).read_bytes().startswith(PNG)
    described = mlflow.models.Model.load(str(artifact(uri, "1", "MLmodel")))
    assert described.signature.inputs.input_names() == SIMULATED_FEATURES
    assert described.flavors["sklearn"]["serialization_format"] == "skops"
    assert artifact(uri, "1").read_bytes() == files.model.read_bytes()


def test_the_digest_is_that_of_the_rows_and_no_others(
    run: Run, uri: str, trained: tuple[Files, Files], tmp_path: Path
) -> None:
    files = trained[0]
    other = tmp_path / "other.csv"
    lines = files.rows.read_text().splitlines()
    other.write_text("\n".join([lines[0], *lines[:0:-1], ""]))
    client = mlflow.MlflowClient(uri, uri)
    digests = []
    for rows in (files.rows, files.rows, other):
        report = succeed(run("register", *files.pair, "--rows", rows, "--tracking-uri", uri))
        kept = client.get_run(report["run_id"])
        digests.append(dataset_of(kept).digest)
        artifacts = {entry.path for entry in client.list_artifacts(report["run_id"])}
        assert artifacts == {"scores.png", "model-card.md"}  # no labels, no curve
    assert digests[0] == digests[1] != digests[2]


STEPS = ("create_run", "log_batch", "log_artifacts", "create_logged_model", "log_model_artifacts", "finalize_logged_model")


@pytest.mark.parametrize("step", [*STEPS, "create_registered_model", "create_model_version"])
def test_a_version_is_not_there_when_registering_ends_in_the_middle(
    run: Run, uri: str, trained: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    arguments = ["register", *trained[0].pair, "--alias", "challenger", "--tracking-uri", uri]
    with monkeypatch.context() as broken:

        def end(*_: object, **__: object) -> None:
            raise mlflow.exceptions.MlflowException("the connection is gone")

        broken.setattr(mlflow.MlflowClient, step, end)
        outcome = run(*arguments)
    assert outcome.code == 1
    assert "the connection is gone" in outcome.log
    assert succeed(run("list", "--tracking-uri", uri))["versions"] == []
    runs = mlflow.MlflowClient(uri, uri).search_runs(["1"])
    assert [entry.info.status for entry in runs] == ([] if step == "create_run" else ["FAILED"])
    assert succeed(run(*arguments))["version"] == "1"


def swapped(files: Files, folder: Path) -> list[object]:
    """The same forest, with another's name for each feature: its trees test the wrong columns."""
    model = skops.io.load(files.sklearn, trusted=["sklearn.tree._tree.Tree"])
    model.feature_names_in_ = np.array(SIMULATED_FEATURES[::-1], dtype=object)
    skops.io.dump(model, folder / "swapped.skops")
    return ["--sklearn", folder / "swapped.skops", "--model", files.model]


def fewer_features(files: Files, folder: Path) -> list[object]:
    model = IsolationForest(n_estimators=20, max_samples=64, random_state=0).fit(
        np.random.default_rng(0).normal(size=(500, 2))
    )
    skops.io.dump(model, folder / "narrow.skops")
    return ["--sklearn", folder / "narrow.skops", "--model", files.model]


def fewer_trees(files: Files, folder: Path) -> list[object]:
    return ["--sklearn", Files(folder, 3, trees=10).sklearn, "--model", files.model]


def damaged(files: Files, folder: Path) -> list[object]:
    content = bytearray(files.model.read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "damaged.forest").write_bytes(content)
    return ["--sklearn", files.sklearn, "--model", folder / "damaged.forest"]


def test_files_that_do_not_belong_together_or_are_no_models_are_refused(
    run: Run, uri: str, trained: tuple[Files, Files], tmp_path: Path
) -> None:
    first, second = trained
    nothing = tmp_path / "nothing"
    for pair, reason in (
        (["--sklearn", second.sklearn, "--model", first.model], "self-test rows they have different path-length sums"),
        (swapped(first, tmp_path), "one was fitted on sound, humidity, temperature"),
        (fewer_features(first, tmp_path), "one has 2 features, the other 3"),
        (fewer_trees(first, tmp_path), "one has 10 trees"),
        (damaged(first, tmp_path), "its checksum is wrong"),
        (["--sklearn", first.sklearn, "--model", nothing], "nothing does not exist"),
        (["--sklearn", nothing, "--model", first.model], "nothing does not exist"),
        (["--sklearn", first.model, "--model", first.model], "is not a forest saved by skops.io.dump"),
        (["--sklearn", first.sklearn, "--model", first.sklearn], "does not begin with LONETREE"),
        ([*first.pair, "--rows", nothing], "nothing does not exist"),
        ([*first.pair, "--rows", first.rows, "--label", "z"], "no column is named 'z'"),
    ):
        outcome = run("register", *pair, "--tracking-uri", uri)
        assert outcome.code == 1
        assert reason in outcome.log
    assert succeed(run("list", "--tracking-uri", uri))["versions"] == []


def test_what_is_not_there_is_refused_and_moves_no_alias(run: Run, uri: str, trained: tuple[Files, Files]) -> None:
    at = ["--why", "x", "--tracking-uri", uri]
    assert "lonetree has no version 1" in refused(run("promote", "--version", "1", *at))
    assert "No version of lonetree has the alias challenger" in refused(run("promote", "--alias", "challenger", *at))
    assert "No version of lonetree is the champion" in refused(run("rollback", *at))
    succeed(run("register", *trained[0].pair, "--tracking-uri", uri))
    assert "lonetree has no version 7" in refused(run("promote", "--version", "7", *at))
    assert "'one' is not a version" in refused(run("promote", "--version", "one", *at))
    assert "it has not been through the gate" in refused(run("promote", "--version", "1", *at))
    connected = Registry(uri, "lonetree")
    connected.set_tag("1", "gate", "failed: alert rate")
    assert "the gate says: failed: alert rate" in refused(run("promote", "--version", "1", *at))
    assert connected.by_alias("champion") is None
    succeed(run("promote", "--version", "1", "--force", *at))
    assert "replaced no other" in refused(run("rollback", *at))
    assert aliases(run, uri) == {"champion": "1"}
    assert "cannot name a model" in refused(run("list", "--name", "a' or 'b", "--tracking-uri", uri))
    assert "is no registry" in refused(run("list", "--tracking-uri", "ftp://x"))


def test_a_local_registry_that_is_not_there_is_an_error_and_is_not_made(run: Run, tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path / 'mistyped' / 'mlflow.db'}"
    assert f"There is no registry {place}" in refused(run("list", "--tracking-uri", place))
    assert list(tmp_path.iterdir()) == []


def refused(outcome: Outcome) -> str:
    assert outcome.code == 1
    return outcome.log


def test_a_rollback_that_was_interrupted_is_finished_and_goes_no_further_back(
    run: Run, uri: str, trained: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--why", "x", "--tracking-uri", uri]
    for number, files in (("1", trained[0]), ("2", trained[1]), ("3", trained[0])):
        succeed(run("register", *files.pair, "--tracking-uri", uri))
        succeed(run("promote", "--version", number, "--force", *at))

    def fail(*_: object) -> None:
        raise ServiceError("away")

    with monkeypatch.context() as patched:
        # Nothing after the alias keeps the command from telling that it has moved.
        patched.setattr(Registry, "set_tag", fail)
        back = run("rollback", "--from", "3", *at)
    assert succeed(back)["promoted"] == "2"
    assert "Not noted in the registry: away" in back.log
    again = succeed(run("rollback", "--from", "3", *at))
    assert (again["promoted"], again["replaced"]) == ("2", "3")
    assert aliases(run, uri) == {"champion": "2"}
    succeed(run("promote", "--version", "1", "--force", *at))
    assert succeed(run("rollback", "--from", "3", *at)) == {
        "promoted": None,
        "replaced": None,
        "announced": False,
        "recorded": False,
        "champion": "1",
    }


def test_an_artifact_that_was_changed_or_lost_is_neither_promoted_nor_rolled_back_to(
    run: Run, uri: str, trained: tuple[Files, Files]
) -> None:
    at = ["--why", "x", "--force", "--tracking-uri", uri]
    succeed(run("register", *trained[0].pair, "--tracking-uri", uri))
    succeed(run("register", *trained[1].pair, "--tracking-uri", uri))
    succeed(run("promote", "--version", "1", *at))
    original = artifact(uri, "2").read_bytes()
    artifact(uri, "2").write_bytes(trained[0].model.read_bytes())  # a sound forest, and not the registered one
    assert f"its forest file's SHA-256 is {trained[0].sha256}" in refused(run("promote", "--version", "2", *at))
    artifact(uri, "2").unlink()
    assert "has no extra_files/model.forest that can be read" in refused(run("promote", "--version", "2", *at))
    assert aliases(run, uri) == {"champion": "1"}
    artifact(uri, "2").write_bytes(original)
    succeed(run("promote", "--version", "2", *at))
    artifact(uri, "1").write_bytes(original)
    assert "version 1" in refused(run("rollback", "--why", "x", "--tracking-uri", uri)).lower()
    assert aliases(run, uri) == {"champion": "2"}


def test_a_registered_digest_of_a_file_that_is_no_forest_does_not_make_it_one(
    run: Run, uri: str, trained: tuple[Files, Files]
) -> None:
    succeed(run("register", *trained[0].pair, "--tracking-uri", uri))
    artifact(uri, "1").write_bytes(b"something else")
    Registry(uri, "lonetree").set_tag("1", "sha256", hashlib.sha256(b"something else").hexdigest())
    log = refused(run("promote", "--version", "1", "--why", "x", "--force", "--tracking-uri", uri))
    assert "does not begin with LONETREE" in log


class Failing(BaseHTTPRequestHandler):
    """Answers 500 to everything."""

    requests: int = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def failing_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    Failing.requests = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_registry_that_fails_is_asked_three_times_and_then_named(run: Run, failing_server: str) -> None:
    assert f"The registry {failing_server} fails" in refused(run("list", "--tracking-uri", failing_server))
    assert Failing.requests == 3


def test_a_password_in_the_registrys_address_is_not_shown(run: Run, failing_server: str) -> None:
    log = refused(run("list", "--tracking-uri", failing_server.replace("//", "//ann:s3cret@")))
    assert f"The registry {failing_server} fails" in log
    assert "s3cret" not in log


def test_a_registry_that_is_away_or_never_answers_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        assert f"The registry {url} fails" in refused(run("list", "--tracking-uri", url))
    log = refused(run("list", "--tracking-uri", url))
    assert f"The registry {url} fails: nothing answers there; start MLflow, or say by --tracking-uri" in log
    assert "urllib3" not in log
    assert "Max retries" not in log


def test_brokers_and_a_database_that_are_away_neither_hold_up_nor_undo_what_is_done(
    run: Run, uri: str, trained: tuple[Files, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "TIMEOUT_SECONDS", 4)
    monkeypatch.setattr(events, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        brokers = f"127.0.0.1:{silent.getsockname()[1]}"
        database = ["--database-url", f"postgres://nobody@{brokers}/x"]
        registered = run("register", *trained[0].pair, "--tracking-uri", uri, *database)
        assert succeed(registered)["recorded"] is False
        assert "Not recorded" in registered.log
        arguments = ["--version", "1", "--why", "x", "--force", "--brokers", brokers, "--tracking-uri", uri]
        outcome = run("promote", *arguments, *database)
    report = succeed(outcome)
    assert (report["promoted"], report["announced"], report["recorded"]) == ("1", False, False)
    assert "Not announced" in outcome.log
    assert "Not recorded" in outcome.log
    assert aliases(run, uri) == {"champion": "1"}


class Payload:
    """What unpickling must never reach."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


class Unpickling:
    """Notes every class or function that is looked up to unpickle something, by Python's audit events."""

    found: list[object]
    is_watched = False

    def __init__(self) -> None:
        self.found = []
        sys.addaudithook(self.note)  # hooks cannot be taken away

    def note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_watched and event == "pickle.find_class":
            self.found.append(arguments)


@pytest.fixture
def unpickling() -> Iterator[Unpickling]:
    watch = Unpickling()
    watch.is_watched = True
    yield watch
    watch.is_watched = False


def test_nothing_is_ever_unpickled(
    run: Run, uri: str, trained: tuple[Files, Files], tmp_path: Path, unpickling: Unpickling
) -> None:
    marker = tmp_path / "unpickled"
    poison = pickle.dumps(Payload(marker))
    first = trained[0]
    pickled = tmp_path / "poison.pkl"
    pickled.write_bytes(poison)
    arrays = tmp_path / "arrays.skops"  # a skops file whose arrays are pickles
    with zipfile.ZipFile(first.sklearn) as source, zipfile.ZipFile(arrays, "w") as target:
        for name in source.namelist():
            target.writestr(name, array_of_objects(poison) if name.endswith(".npy") else source.read(name))
    untrusted = tmp_path / "untrusted.skops"
    skops.io.dump(Payload(marker), untrusted)
    for path in (pickled, arrays, untrusted):
        assert "is not a forest" in refused(
            run("register", "--sklearn", path, "--model", first.model, "--tracking-uri", uri)
        )
    succeed(run("register", *first.pair, "--rows", first.rows, "--tracking-uri", uri))
    # Whoever can write artifacts can say that the model is a pickle; nobody here asks, and MLflow may not.
    artifact(uri, "1", "model.skops").write_bytes(poison)
    description = artifact(uri, "1", "MLmodel")
    description.write_text(description.read_text().replace("serialization_format: skops", "serialization_format: pickle"))
    succeed(run("promote", "--version", "1", "--why", "x", "--force", "--tracking-uri", uri))
    with pytest.raises(mlflow.exceptions.MlflowException, match="disallowed"):
        mlflow.sklearn.load_model(str(description.parent))
    assert unpickling.found == []
    assert not marker.exists()
    pickle.loads(poison)  # noqa: S301 what the watch would have seen
    assert len(unpickling.found) > 0
    assert marker.exists()


def array_of_objects(content: bytes) -> bytes:
    """An npy file that says it holds Python objects: numpy reads them with pickle, if it is let."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return file.getvalue() + content


def test_a_check_of_the_pair_compares_every_bit(trained: tuple[Files, Files]) -> None:
    model = skops.io.load(trained[0].sklearn, trusted=["sklearn.tree._tree.Tree"])
    forest = export.build(model, SIMULATED_FEATURES)
    check_pair(model, forest)
    forest.test_sums[5] = np.nextafter(forest.test_sums[5], np.inf)
    with pytest.raises(InputError, match="on 1 of 96 self-test rows"):
        check_pair(model, forest)
