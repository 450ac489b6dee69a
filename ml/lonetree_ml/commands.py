"""The commands that write forest files: train and export. Each takes parsed options and returns what is printed as JSON."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import IsolationForest

from lonetree_ml import export, forest_file, sklearn_file, verdict
from lonetree_ml.judge import clean
from lonetree_ml.table import InputError, read_table

if TYPE_CHECKING:
    from argparse import Namespace

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest

log = logging.getLogger("lonetree_ml")

CALIBRATION_ALARMS_MIN = 10
"""With fewer alarms expected among the calibration rows the realised alarm rate is left to chance."""
ROWS_MIN = 10
"""Fewer rows cannot be split into some that fit and some that calibrate."""


def train(options: Namespace) -> dict[str, Any]:
    """Fit a forest (and guards, unless the threshold is by contamination) and write the forest file."""
    rows, features = _read_rows(Path(options.input), options.features)
    report = {"trees": options.trees, "samples": options.samples, "seed": options.seed, "rows": len(rows)}
    if options.contamination is not None:
        model = IsolationForest(
            n_estimators=options.trees,
            max_samples=min(options.samples, len(rows)),
            contamination=options.contamination,
            random_state=options.seed,
        ).fit(rows)
        alarms = float(np.mean(model.predict(rows) < 0))
        report |= {"contamination": options.contamination, "realised_alarm_rate": alarms}
        forest = export.build(model, features, training=rows, meta={"training": report})
        export.check_threshold(model, forest, rows)
    else:
        fitted = verdict.fit(
            rows, alarm_rate=options.alarm_rate, seed=options.seed, trees=options.trees, samples=options.samples
        )
        model = fitted.forest
        model.offset_ = -fitted.threshold  # scikit-learn's predict then says what the forest's reason says
        report |= _calibration(fitted)
        forest = export.build(model, features, verdict=fitted, training=rows, meta={"training": report})
        export.check_threshold(model, forest, rows[fitted.calibration])
    if options.save_sklearn is not None:
        sklearn_file.save(Path(options.save_sklearn), model)
    return _write(Path(options.output), forest, report)


def export_forest(options: Namespace) -> dict[str, Any]:
    """Write the forest file of a saved scikit-learn forest; with `--rows` calibrated and with guards."""
    model = sklearn_file.load(Path(options.sklearn))
    features = options.features or [str(name) for name in getattr(model, "feature_names_in_", [])]
    if not features:
        features = [f"x{index}" for index in range(model.n_features_in_)]
        log.warning(
            "The forest does not name its features: they are called %s. Name them by --features.", ", ".join(features)
        )
    export.check_features(model, features)
    if options.rows is None:
        return _write(Path(options.output), export.build(model, features, meta={"training": {}}), {})
    rows, _ = _read_rows(Path(options.rows), features)
    fitted = verdict.fit(rows, alarm_rate=options.alarm_rate, seed=options.seed, forest=model)
    report = {"rows": len(rows), "seed": options.seed, **_calibration(fitted)}
    forest = export.build(model, features, verdict=fitted, training=rows, meta={"training": report})
    export.check_threshold(model, forest, rows[fitted.calibration])
    return _write(Path(options.output), forest, report)


def _read_rows(path: Path, features: list[str] | None) -> tuple[NDArray[np.float64], list[str]]:
    """Read the rows to learn from, shape (rows, features), NaN where missing, and the features' names."""
    if features is not None:
        forest_file.check_names(features)
    table = read_table(path, features)
    forest_file.check_names(table.features)
    rows = clean(table.rows)
    if len(rows) < ROWS_MIN:
        raise InputError(f"{path} has {len(rows)} rows; at least {ROWS_MIN} are needed, and thousands are sensible.")
    log.info("%s: %d rows of %s", path, len(rows), ", ".join(table.features))
    for name, missing in zip(table.features, np.isnan(rows).mean(axis=0), strict=True):
        if missing == 1:
            log.warning("%s has no value in any row: nothing can be learned of it.", name)
    return rows, table.features


def _calibration(fitted: verdict.Verdict) -> dict[str, Any]:
    report = {
        "alarm_rate": fitted.alarm_rate,
        "realised_alarm_rate": fitted.realised_alarm_rate,
        "set_aside_share": float(np.mean(fitted.set_aside)),
        "fit_rows": fitted.fit_rows,
        "calibration_rows": len(fitted.calibration),
    }
    expected = len(fitted.calibration) * fitted.alarm_rate
    if expected >= CALIBRATION_ALARMS_MIN:
        return report
    rows_needed = int(np.ceil(CALIBRATION_ALARMS_MIN / fitted.alarm_rate / (1 - verdict.FIT_SHARE)))
    warning = (
        f"{len(fitted.calibration)} calibration rows give {expected:.1f} alarms at the rate {fitted.alarm_rate:g}: "
        f"the realised rate will scatter. Give at least {rows_needed} rows, or a higher --alarm-rate."
    )
    log.warning("%s", warning)
    return {**report, "warning": warning}


def _write(path: Path, forest: Forest, report: dict[str, Any]) -> dict[str, Any]:
    content = forest_file.write(path, forest)
    return {
        "output": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "features": list(forest.features),
        "trees": len(forest.trees),
        "max_samples": forest.max_samples,
        "offset": forest.offset,
        "guards": forest.guards is not None,
        **report,
    }
