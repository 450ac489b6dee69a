"""What the command line does: train, export, evaluate. Each takes parsed options and returns what is printed as JSON."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import skops.io
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from lonetree_ml import export, forest_file, verdict
from lonetree_ml.table import InputError, read_table

if TYPE_CHECKING:
    from argparse import Namespace

log = logging.getLogger("lonetree_ml")

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""All that a saved IsolationForest holds beside numbers and scikit-learn's public classes."""
CALIBRATION_ALARMS_MIN = 10


def train(options: Namespace) -> dict[str, Any]:
    """Fits a forest (and guards, unless the threshold is by contamination) and writes the forest file."""
    table = read_table(Path(options.input), options.features)
    rows = verdict.clean(table.rows)
    log.info("%d rows of %s", len(rows), ", ".join(table.features))
    asked = {"trees": options.trees, "samples": options.samples, "seed": options.seed}
    if options.contamination is not None:
        model = IsolationForest(
            n_estimators=options.trees,
            max_samples=min(options.samples, len(rows)),
            contamination=options.contamination,
            random_state=options.seed,
        ).fit(rows)
        fitted = None
        alarms = float(np.mean(model.predict(rows) < 0))
        report = {"contamination": options.contamination, "realised_alarm_rate": alarms}
    else:
        fitted = verdict.fit(
            rows, alarm_rate=options.alarm_rate, seed=options.seed, trees=options.trees, samples=options.samples
        )
        model = fitted.forest
        model.offset_ = -fitted.threshold  # scikit-learn's predict then says what the forest's reason says
        report = _calibration(fitted)
    if options.save_sklearn is not None:
        skops.io.dump(model, options.save_sklearn)
    return _write(options, model, table.features, fitted, rows, {**asked, "rows": len(rows), **report})


def export_forest(options: Namespace) -> dict[str, Any]:
    """Writes the forest file of a saved scikit-learn forest; with `--rows` calibrated and with guards."""
    model = load_sklearn(Path(options.sklearn))
    features = options.features or [str(name) for name in getattr(model, "feature_names_in_", [])]
    features = features or [f"x{index}" for index in range(model.n_features_in_)]
    if options.rows is None:
        return _write(options, model, features, None, None, {})
    rows = verdict.clean(read_table(Path(options.rows), features).rows)
    fitted = verdict.fit(rows, alarm_rate=options.alarm_rate, seed=options.seed, forest=model)
    report = {"rows": len(rows), "seed": options.seed, **_calibration(fitted)}
    return _write(options, model, features, fitted, rows, report)


def evaluate(options: Namespace) -> dict[str, Any]:
    """ROC-AUC and PR-AUC of the scores against labels, and the share of rows that the forest calls abnormal."""
    if (options.model is None) == (options.sklearn is None):
        raise InputError("Give either --model (a .forest file) or --sklearn (a .skops file).")
    if options.model is not None:
        forest = forest_file.read(Path(options.model))
        by_name = None if options.input.endswith(".npz") else list(forest.features)
        table = read_table(Path(options.input), options.features or by_name, options.label)
        sums = forest_file.path_length_sums(forest, verdict.clean(table.rows))
        scores = forest_file.scores(forest, sums)
        abnormal = sums < forest.sum_threshold
    else:
        model = load_sklearn(Path(options.sklearn))
        table = read_table(Path(options.input), options.features, options.label)
        scores = model.score_samples(verdict.clean(table.rows))
        abnormal = scores < model.offset_
    report = {"rows": len(table.rows), "forest_alert_rate": float(np.mean(abnormal))}
    if table.labels is None:
        return report
    return {
        **report,
        "anomalies": int(table.labels.sum()),
        "roc_auc": float(roc_auc_score(table.labels, -scores)),
        "pr_auc": float(average_precision_score(table.labels, -scores)),
    }


def load_sklearn(path: Path) -> IsolationForest:
    """A forest saved by skops. Nothing is unpickled: only scikit-learn's own types are built."""
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    try:
        model = skops.io.load(path, trusted=TRUSTED_TYPES)
    except Exception as error:
        raise InputError(f"{path} is not a forest saved by skops, or holds types that are not trusted: {error}") from error
    if not isinstance(model, IsolationForest) or not hasattr(model, "estimators_"):
        raise InputError(f"{path} holds {type(model).__name__}, not a fitted IsolationForest.")
    return model


def _calibration(fitted: verdict.Verdict) -> dict[str, Any]:
    expected = fitted.calibration_rows * fitted.alarm_rate
    if expected < CALIBRATION_ALARMS_MIN:
        log.warning(
            "%d calibration rows give %.1f alarms at the rate %g: the realised rate will scatter. "
            "Give at least %d rows, or a higher --alarm-rate.",
            fitted.calibration_rows,
            expected,
            fitted.alarm_rate,
            int(np.ceil(CALIBRATION_ALARMS_MIN / fitted.alarm_rate / (1 - verdict.FIT_SHARE))),
        )
    return {
        "alarm_rate": fitted.alarm_rate,
        "realised_alarm_rate": fitted.realised_alarm_rate,
        "set_aside_share": float(np.mean(fitted.set_aside)),
        "fit_rows": fitted.fit_rows,
        "calibration_rows": fitted.calibration_rows,
    }


def _write(
    options: Namespace,
    model: IsolationForest,
    features: list[str],
    fitted: verdict.Verdict | None,
    training: Any,
    report: dict[str, Any],
) -> dict[str, Any]:
    forest = export.build(model, features, verdict=fitted, training=training, meta={"training": report})
    content = forest_file.write(Path(options.output), forest)
    return {
        "output": options.output,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "features": features,
        "trees": len(forest.trees),
        "max_samples": forest.max_samples,
        "offset": forest.offset,
        "guards": forest.guards is not None,
        **report,
    }
