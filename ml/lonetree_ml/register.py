"""`register`: makes a trained forest a version in the registry, with what is known of it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lonetree_ml import evaluate, events, export, figures, forest_file, model_card, registry, sklearn_file
from lonetree_ml.arguments import UsageError, instant
from lonetree_ml.forest_file import FILE_SIZE_MAX, ForestFileError
from lonetree_ml.judge import clean, judge
from lonetree_ml.table import InputError, Table, read_table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from sklearn.ensemble import IsolationForest

    from lonetree_ml.forest import Forest
    from lonetree_ml.registry import Registry, Version

log = logging.getLogger("lonetree_ml")

TRAINING_PARAMS = ("samples", "seed", "rows", "alarm_rate", "contamination")
"""What was chosen, and …"""
TRAINING_METRICS = ("realised_alarm_rate", "set_aside_share", "fit_rows", "calibration_rows")
"""… what came of it; both as the forest file's META has them."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--sklearn", required=True, metavar="SKOPS", help="the forest as train --save-sklearn saves it")
    parser.add_argument("--model", required=True, metavar="FOREST", help="its .forest file")
    parser.add_argument("--rows", metavar="CSV", help="the rows it was trained on, or others to measure it on")
    parser.add_argument("--label", metavar="COLUMN", help="with --rows: the column of labels; 0 is normal")
    parser.add_argument("--alias", choices=[registry.CHALLENGER], help="also let it name the version")
    parser.add_argument("--why", default="", metavar="TEXT", help="why there is this version")
    parser.add_argument("--data-from", type=instant, metavar="TIME", help="time of the first reading it was trained on")
    parser.add_argument("--data-to", type=instant, metavar="TIME", help="time before which the last one lies")
    parser.add_argument("--query", metavar="SQL", help="with --rows: the query that they come from")
    registry.add_arguments(parser)
    events.add_arguments(parser)


@dataclass(frozen=True)
class Provenance:
    """Where the rows of a model come from; empty is unknown."""

    name: str
    query: str = ""
    data_from: str = ""
    data_to: str = ""


def run(options: Namespace) -> dict[str, Any]:
    """Check the files against each other and register them."""
    if options.rows is None and (options.label is not None or options.query is not None):
        raise UsageError("--label and --query say what --rows are: give --rows too")
    model = sklearn_file.load(Path(options.sklearn))
    content = _read_content(Path(options.model))
    forest = _forest(options.model, content)
    check_pair(model, forest)
    table = None
    name = Path(options.model).name
    if options.rows is not None:
        table = read_table(Path(options.rows), list(forest.features), options.label)
        name = Path(options.rows).name
    provenance = Provenance(name, options.query or "", _iso(options.data_from), _iso(options.data_to))
    connected = registry.connect(options, may_create=True)
    version = register(connected, model, content, table=table, provenance=provenance, why=options.why)
    if options.alias is not None:
        connected.set_alias(options.alias, version.number)
    return {
        "name": connected.name,
        "version": version.number,
        "sha256": version.sha256,
        "run_id": version.run_id,
        "alias": options.alias,
        "recorded": record(connected, version, content, options),
    }


def register(
    connected: Registry, model: IsolationForest, content: bytes, *, table: Table | None, provenance: Provenance, why: str
) -> Version:
    """Register a scikit-learn forest and its forest file's bytes as one version, measured on `table` if there is one."""
    forest = forest_file.from_bytes(content)
    check_pair(model, forest)
    training = (forest.meta or {}).get("training", {})
    metrics = {key: float(value) for key, value in training.items() if key in TRAINING_METRICS}
    measured: dict[str, Any] = {}
    drawn = {}
    data = None
    if table is not None:
        judged = judge(forest, table.rows)
        measured = evaluate.measure(provenance.name, judged.is_anomaly, judged.hits[:, 0], judged.scores, table.labels)
        metrics |= {f"measured_{key}": float(value) for key, value in measured.items()}
        drawn["scores"] = figures.score_histogram(judged.scores, forest.offset, table.labels)
        if table.labels is not None:
            drawn["precision-recall"] = figures.precision_recall(judged.scores, table.labels)
        data = registry.DataSnapshot(
            name=provenance.name,
            digest=_digest(table),
            row_count=len(table.rows),
            query=provenance.query,
            data_from=provenance.data_from,
            data_to=provenance.data_to,
        )
    sha256 = hashlib.sha256(content).hexdigest()
    alarm_rate = training.get("contamination") if forest.guards is None else forest.guards.alarm_rate
    version = connected.register(
        registry.Submission(
            model=model,
            content=content,
            forest=forest,
            card=model_card.write(forest, sha256=sha256, why=why, training=training, measured=measured, data=data),
            tags={
                "sha256": sha256,
                "features": json.dumps(list(forest.features), ensure_ascii=False),
                "trained_from": provenance.data_from,
                "trained_to": provenance.data_to,
                "alarm_rate": "" if alarm_rate is None else repr(float(alarm_rate)),
                "why": why,
            },
            params={
                "features": str(len(forest.features)),
                "guards": str(forest.guards is not None).lower(),
                "offset": repr(forest.offset),
                "trees": str(len(forest.trees)),
                "max_samples": str(forest.max_samples),
                **{key: str(value) for key, value in training.items() if key in TRAINING_PARAMS},
            },
            metrics=metrics,
            figures=drawn,
            data=data,
        )
    )
    log.info("%s version %s: %s", connected.name, version.number, sha256)
    return version


def record(connected: Registry, version: Version, content: bytes, options: Namespace) -> bool:
    """Tell the database of a version, as the event `registration`: which it is, of what rows, and where its run is."""
    forest = forest_file.from_bytes(content)
    training = (forest.meta or {}).get("training", {})
    detail = {
        "name": connected.name,
        "version": version.number,
        "sha256": version.sha256,
        "run_id": version.run_id,
        "features": list(forest.features),
        "trees": len(forest.trees),
        "max_samples": forest.max_samples,
        **{key: training.get(key) for key in ("rows", "alarm_rate", "realised_alarm_rate")},
        **{key: version.tags.get(key) or None for key in ("trained_from", "trained_to")},
        "why": version.tags.get("why", ""),
    }
    return events.record_if_wanted(options, "registration", detail)


def check_pair(model: IsolationForest, forest: Forest) -> None:
    """Raise InputError unless the forest file is this forest's export: the same sums on all of its self-test rows."""
    problem = None
    if model.n_features_in_ != len(forest.features):
        problem = f"one has {model.n_features_in_} features, the other {len(forest.features)}"
    elif len(model.estimators_) != len(forest.trees) or model._max_samples != forest.max_samples:
        sizes = f"{len(model.estimators_)} trees × {model._max_samples} samples"
        problem = f"one has {sizes}, the other {len(forest.trees)} × {forest.max_samples}"
    elif list(getattr(model, "feature_names_in_", forest.features)) != list(forest.features):
        problem = f"one was fitted on {', '.join(model.feature_names_in_)}, the other names {', '.join(forest.features)}"
    else:
        sums = export.path_length_sums(model, forest.test_rows)
        wrong = int(np.sum(sums.view(np.uint64) != np.ascontiguousarray(forest.test_sums, dtype="<f8").view(np.uint64)))
        if wrong > 0:
            problem = f"on {wrong} of {len(sums)} self-test rows they have different path-length sums"
    if problem is not None:
        raise InputError(f"The forest file is not the export of the scikit-learn model: {problem}.")


def _read_content(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file.")
    size = path.stat().st_size
    if size > FILE_SIZE_MAX:
        raise InputError(f"{path} is refused: it has {size:,} bytes; at most {FILE_SIZE_MAX:,} are read.")
    return path.read_bytes()


def _forest(path: str, content: bytes) -> Forest:
    try:
        return forest_file.from_bytes(content)
    except ForestFileError as error:
        raise InputError(f"{path} is refused: {error} Export it again.") from error


def _digest(table: Table) -> str:
    """128 bits of the SHA-256 of names, values and labels, in order: what MLflow has room for."""
    labels = b"" if table.labels is None else table.labels.astype("<i8").tobytes()
    content = json.dumps(table.features).encode() + clean(table.rows).astype("<f8").tobytes() + labels
    return hashlib.sha256(content).hexdigest()[:32]


def _iso(time: Any) -> str:
    return "" if time is None else str(time.isoformat())
