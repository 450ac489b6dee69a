"""`evaluate`: how well a forest's scores rank labelled rows, and how often it alarms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from lonetree_ml import forest_file, sklearn_file
from lonetree_ml.arguments import UsageError, names
from lonetree_ml.judge import clean, judge
from lonetree_ml.table import InputError, Table, read_table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from numpy.typing import NDArray


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", metavar="FOREST", help="a .forest file: its scores, and its forest and guards for the alert rate"
    )
    source.add_argument("--sklearn", metavar="SKOPS", help="a forest saved with skops")
    parser.add_argument("--input", required=True, metavar="DATA", help="CSV with a header, or npz with X and y")
    parser.add_argument(
        "--features", type=names, metavar="A,B", help="columns, in the model's order (default: the model's names)"
    )
    parser.add_argument("--label", metavar="COLUMN", help="the CSV's column of labels: 0 is normal, anything else abnormal")


def run(options: Namespace) -> dict[str, Any]:
    """Report the share of rows that forest, and forest or guards, call abnormal; with labels ROC-AUC and PR-AUC too."""
    if options.label is not None and options.input.endswith(".npz"):
        raise UsageError("--label names a CSV's column; an npz has its labels in y")
    path = Path(options.input)
    if options.model is not None:
        forest = forest_file.read(Path(options.model))
        # An npz names no columns: its columns are the forest's, in the forest's order.
        table = read_table(path, options.features or list(forest.features), options.label)
        _check_width(table, len(forest.features), options.model)
        judged = judge(forest, table.rows)
        scores, by_forest, abnormal = judged.scores, judged.hits[:, 0], judged.is_anomaly
    else:
        model = sklearn_file.load(Path(options.sklearn))
        named = [str(name) for name in getattr(model, "feature_names_in_", [])] or None
        table = read_table(path, options.features or named, options.label)
        _check_width(table, model.n_features_in_, options.sklearn)
        scores = model.score_samples(clean(table.rows))
        by_forest = abnormal = scores < model.offset_
    return measure(str(path), abnormal, by_forest, scores, table.labels)


def measure(
    what: str,
    abnormal: NDArray[np.bool_],
    by_forest: NDArray[np.bool_],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Report on judged rows, all of shape (rows,); `what` names them where they cannot be ranked."""
    report = {
        "rows": len(scores),
        "alert_rate": float(np.mean(abnormal)),
        "forest_alert_rate": float(np.mean(by_forest)),
    }
    return report if labels is None else {**report, **_ranking(what, labels, scores)}


def _check_width(table: Table, feature_count: int, model: str) -> None:
    if len(table.features) != feature_count:
        columns = f"{len(table.features)} columns ({', '.join(table.features)})"
        raise InputError(
            f"{model} has {feature_count} features, but {columns} were read: name its features with --features."
        )


def _ranking(what: str, labels: NDArray[np.int64], scores: NDArray[np.float64]) -> dict[str, Any]:
    if labels.min() == labels.max():
        raise InputError(
            f"{what}: all labels are the same, so there is nothing to rank. 0 is normal, anything else abnormal."
        )
    return {
        "anomalies": int(labels.sum()),
        "roc_auc": float(roc_auc_score(labels, -scores)),
        "pr_auc": float(average_precision_score(labels, -scores)),
    }
