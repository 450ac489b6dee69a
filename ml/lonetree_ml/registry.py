"""The model registry. The only module that imports MLflow.

Behind it is a tracking server, or a local SQLite file with the artifacts in a folder beside it. A version is registered
last, after all that belongs to it is stored: it is complete or not there. Nothing is loaded by MLflow: what is read back are
forest files, whose bytes must have the digest that was registered.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import forest_file
from lonetree_ml.forest_file import FILE_SIZE_MAX, ForestFileError
from lonetree_ml.service import ServiceError
from lonetree_ml.sklearn_file import TRUSTED_TYPES
from lonetree_ml.table import InputError

# Read by MLflow when it is imported, or at each request. A request is tried three times, 10 s each.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # where a run's page is; stdout is for the answer
# MLflow itself may then load no model at all: it would trust whatever the model's own description names.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

import mlflow
import mlflow.artifacts
import mlflow.sklearn
import requests
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types.schema import ColSpec, DataType, Schema
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure
    from mlflow.entities.model_registry import ModelVersion
    from sklearn.ensemble import IsolationForest

    from lonetree_ml.forest import Forest

SQLITE = "sqlite:///"
CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases: the version that scorers use, and the one that may replace it."""
FOREST_FILE = "model.forest"
FOREST_PATH = f"extra_files/{FOREST_FILE}"
"""Where a version's artifacts hold the forest file."""
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
DESCRIPTION_SIZE_MAX = 5_000
"""What MLflow's tables hold."""
READY_SECONDS_MAX = 30
PAGE_SIZE = 200
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

log = logging.getLogger("lonetree_ml")
logging.getLogger("mlflow").setLevel(logging.ERROR)  # it tells of its own doings on every call
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # tries that are repeated end well, or as an error of ours


def add_arguments(parser: ArgumentParser) -> None:
    """Declare where the registry is and what the model is called."""
    parser.add_argument(
        "--tracking-uri",
        default=os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI,
        metavar="URI",
        help=f"MLflow's server, or a local file as sqlite:///FILE (default: MLFLOW_TRACKING_URI, or {DEFAULT_TRACKING_URI})",
    )
    parser.add_argument(
        "--name",
        default=os.environ.get("MODEL_NAME") or "lonetree",
        metavar="MODEL",
        help="the registered model (default: MODEL_NAME, or lonetree)",
    )


def connect(options: Namespace, *, may_create: bool = False) -> Registry:
    """Open the registry that the options name. A local one is made only for what registers: a mistyped place is an error."""
    uri: str = options.tracking_uri
    if not may_create and uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise InputError(f"There is no registry {uri}: register a model first, or say by --tracking-uri where it is.")
    return Registry(uri, options.name)


@dataclass(frozen=True)
class Version:
    """One registered version."""

    number: str
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The digest of its forest file, in hexadecimal."""
        return self.tags.get("sha256", "")


@dataclass(frozen=True)
class DataSnapshot:
    """Which rows a model was trained or measured on: the digest tells whether the same query gives the same rows again."""

    name: str
    digest: str
    row_count: int
    query: str
    data_from: str
    data_to: str


@dataclass(frozen=True)
class Submission:
    """All that becomes one version."""

    model: IsolationForest
    content: bytes
    forest: Forest
    card: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    data: DataSnapshot | None = None


class Registry:
    """The versions of one registered model."""

    def __init__(self, tracking_uri: str, name: str) -> None:
        """Connect; nothing is asked yet."""
        if NAME.fullmatch(name) is None:
            raise InputError(f"{name!r} cannot name a model: use letters, digits, dots, hyphens and underscores.")
        if not tracking_uri.startswith(("http://", "https://", SQLITE)):
            raise InputError(f"{tracking_uri} is no registry: give a server's http:// address, or sqlite:///FILE.")
        self.name = name
        self._uri = tracking_uri
        self._place = re.sub(r"//[^/@]*@", "//", tracking_uri)  # what is shown: never the password
        mlflow.set_tracking_uri(tracking_uri)
        with self._asking():
            self._client = mlflow.MlflowClient(tracking_uri, tracking_uri)

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with self._asking():
            aliases = self._aliases()
            found: list[Version] = []
            token = None
            while True:
                page = self._client.search_model_versions(f"name = '{self.name}'", max_results=PAGE_SIZE, page_token=token)
                found += [_version(entry, aliases) for entry in page]
                token = page.token
                if not token:
                    return sorted(found, key=lambda version: int(version.number), reverse=True)

    def version(self, number: str) -> Version:
        """One version. Raises InputError when there is none of this number."""
        if not number.isdecimal():
            raise InputError(f"{number!r} is not a version: versions are numbers, as `list` shows them.")
        try:
            with self._asking():
                return _version(self._client.get_model_version(self.name, number), self._aliases())
        except _AbsentError:
            raise InputError(f"{self.name} has no version {number} in {self._place}.") from None

    def by_alias(self, alias: str) -> Version | None:
        """Find the version that an alias names, if it names one."""
        with self._asking():
            number = self._aliases().get(alias)
        return None if number is None else self.version(number)

    def register(self, submission: Submission) -> Version:
        """Store everything, and then make a version of it."""
        with self._asking():
            run_id = self._client.create_run(self._experiment(), run_name=f"{self.name} {_now()}").info.run_id
            try:
                self._log_run(run_id, submission)
                model_id = self._log_model(run_id, submission)
                self._client.set_terminated(run_id, "FINISHED")
                version = self._create_version(run_id, model_id, submission)
            except BaseException:
                self._mark_failed(run_id)
                raise
        return self.version(str(version.version))

    def _mark_failed(self, run_id: str) -> None:
        """Say so in the run, if that can be said: why it failed is what counts."""
        try:
            self._client.set_terminated(run_id, "FAILED")
        except (MlflowException, requests.RequestException, SQLAlchemyError) as error:
            log.warning("Run %s is not marked as failed: %s", run_id, error)

    def set_alias(self, alias: str, number: str) -> None:
        """Let an alias name this version, and no other any more."""
        with self._asking():
            self._client.set_registered_model_alias(self.name, alias, number)

    def remove_alias(self, alias: str) -> None:
        """Let an alias name nothing."""
        with self._asking():
            self._client.delete_registered_model_alias(self.name, alias)

    def set_tag(self, number: str, key: str, value: str) -> None:
        """Set one of a version's tags."""
        with self._asking():
            self._client.set_model_version_tag(self.name, number, key, value)

    def forest_bytes(self, version: Version) -> bytes:
        """Download a version's forest file. Raises when it is not what was registered, or no forest file."""
        what = f"Version {version.number} of {self.name}"
        with tempfile.TemporaryDirectory(prefix="lonetree-") as folder:
            uri = f"models:/{self.name}/{version.number}/{FOREST_PATH}"
            try:
                with self._asking():
                    path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
            except (_AbsentError, OSError) as error:
                raise ServiceError(f"{what} has no {FOREST_PATH} that can be read: {error}") from error
            size = path.stat().st_size
            if size > FILE_SIZE_MAX:
                raise InputError(
                    f"{what} is refused: its forest file has {size:,} bytes; at most {FILE_SIZE_MAX:,} are read."
                )
            content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != version.sha256:
            registered = version.sha256 or "none"
            raise InputError(f"{what} is refused: its forest file's SHA-256 is {digest}, registered was {registered}.")
        try:
            forest_file.from_bytes(content)
        except ForestFileError as error:
            raise InputError(f"{what} is refused: {error}") from error
        return content

    def _aliases(self) -> dict[str, str]:
        """Alias: version. Empty when nothing was registered yet."""
        try:
            aliases = self._client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return {}
            raise
        return {alias: str(number) for alias, number in aliases.items()}

    def _experiment(self) -> str:
        """Find the experiment of this model's runs; make it when it is not there."""
        experiment = self._client.get_experiment_by_name(self.name)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(self.name, artifact_location=self._artifact_folder()))
        except MlflowException as error:  # somebody else was faster
            experiment = self._client.get_experiment_by_name(self.name)
            if experiment is None:
                raise error from None
            return str(experiment.experiment_id)

    def _artifact_folder(self) -> str | None:
        """Beside a local file, wherever the command is run; where a server keeps artifacts is the server's business."""
        if not self._uri.startswith("sqlite:///"):
            return None
        file = Path(self._uri.removeprefix("sqlite:///").split("?")[0]).absolute()
        return (file.parent / f"{file.stem}-artifacts" / self.name).as_uri()

    def _log_run(self, run_id: str, submission: Submission) -> None:
        now = int(datetime.now(UTC).timestamp() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, value, now, 0) for key, value in submission.metrics.items()],
            params=[Param(key, value) for key, value in submission.params.items()],
        )
        if submission.data is not None:
            dataset = _dataset(submission.data, submission.forest.features)
            self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        with tempfile.TemporaryDirectory(prefix="lonetree-") as folder:
            for name, figure in submission.figures.items():
                figure.savefig(Path(folder) / f"{name}.png", dpi=120)
            (Path(folder) / "model-card.md").write_text(submission.card)
            self._client.log_artifacts(run_id, folder)

    def _log_model(self, run_id: str, submission: Submission) -> str:
        """Store the scikit-learn model with the forest file beside it; answers with the logged model's id."""
        logged = self._client.create_logged_model(
            self._client.get_run(run_id).info.experiment_id,
            name=self.name,
            source_run_id=run_id,
            model_type="IsolationForest",
        )
        with tempfile.TemporaryDirectory(prefix="lonetree-") as folder:
            forest_path = Path(folder) / FOREST_FILE
            forest_path.write_bytes(submission.content)
            model_folder = Path(folder) / "model"
            mlflow.sklearn.save_model(
                submission.model,
                str(model_folder),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=run_id,
                    model_uuid=logged.model_id,
                    model_id=logged.model_id,
                ),
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
                skops_trusted_types=TRUSTED_TYPES,
                signature=_signature(submission.forest.features),
                # Given, because MLflow finds them out by loading the model in a process of its own.
                pip_requirements=mlflow.sklearn.get_default_pip_requirements(include_skops=True),
                extra_files=[str(forest_path)],
            )
            self._client.log_model_artifacts(logged.model_id, str(model_folder))
        self._client.finalize_logged_model(logged.model_id, "READY")
        return str(logged.model_id)

    def _create_version(self, run_id: str, model_id: str, submission: Submission) -> ModelVersion:
        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        return self._client.create_model_version(
            self.name,
            f"models:/{model_id}",
            run_id=run_id,
            tags=dict(submission.tags),
            description=submission.card[:DESCRIPTION_SIZE_MAX],
            await_creation_for=READY_SECONDS_MAX,
            model_id=model_id,
        )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tell what MLflow raises as what it means to us."""
        try:
            yield
        except (MlflowException, requests.RequestException, SQLAlchemyError) as error:
            said = str(error).replace(self._uri, self._place)
            if getattr(error, "error_code", None) == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise _AbsentError(said) from error
            if any(name in said for name in UNREACHABLE):  # MLflow passes its client's error on as text only
                said = "nothing answers there; start MLflow, or say by --tracking-uri where it is."
            raise ServiceError(f"The registry {self._place} fails: {said}") from error


class _AbsentError(ServiceError):
    """The registry answers, and does not have it."""


def _version(entry: ModelVersion, aliases: Mapping[str, str]) -> Version:
    number = str(entry.version)
    return Version(
        number=number,
        run_id=entry.run_id or "",
        created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        aliases=tuple(sorted(alias for alias, named in aliases.items() if named == number)),
        tags=dict(entry.tags),
    )


def _dataset(data: DataSnapshot, features: Sequence[str]) -> Dataset:
    source = {"query": data.query, "from": data.data_from, "to": data.data_to}
    columns = [{"type": "double", "name": name, "required": False} for name in features]
    return Dataset(
        name=data.name,
        digest=data.digest,
        source_type="sql" if data.query else "local",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": data.row_count}),
    )


def _signature(features: Sequence[str]) -> ModelSignature:
    """float32 in, missing values as NaN; out comes scikit-learn's predict: −1 is abnormal."""
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.float, name) for name in features]), outputs=Schema([ColSpec(DataType.long)])
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def as_mapping(version: Version) -> dict[str, Any]:
    """How `list` shows a version."""
    return {
        "version": version.number,
        "aliases": list(version.aliases),
        "sha256": version.sha256,
        "created_at": version.created_at.isoformat(),
        "alarm_rate": float(version.tags["alarm_rate"]) if version.tags.get("alarm_rate") else None,
        "gate": version.tags.get("gate"),
        "why": version.tags.get("why", ""),
    }
