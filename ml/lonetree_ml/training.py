"""From rows to a forest file: what the commands that make one have in common."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import IsolationForest

from lonetree_ml import export, forest_file, verdict
from lonetree_ml.judge import clean
from lonetree_ml.table import InputError, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest

log = logging.getLogger("lonetree_ml")

CALIBRATION_ALARMS_MIN = 10
"""With fewer alarms expected among the calibration rows the realised alarm rate is left to chance."""
ROWS_MIN = 10
"""Fewer rows cannot be split into some that fit and some that calibrate."""


def train(
    rows: NDArray[np.float64],
    features: list[str],
    *,
    trees: int,
    samples: int,
    seed: int,
    alarm_rate: float,
    contamination: float | None = None,
    units: Mapping[str, str] | None = None,
    stations: NDArray[np.intp] | None = None,
    origin: dict[str, Any] | None = None,
) -> tuple[IsolationForest, Forest, dict[str, Any]]:
    """Fit a forest (and guards, unless the threshold is by contamination); answers with both forms of it and a report.

    `units` and `stations` as in `export.build`; `origin` says where the rows came from and is kept in the file.
    """
    report: dict[str, Any] = {"trees": trees, "samples": samples, "seed": seed, "rows": len(rows), **(origin or {})}
    if contamination is not None:
        model = IsolationForest(
            n_estimators=trees, max_samples=min(samples, len(rows)), contamination=contamination, random_state=seed
        ).fit(rows)
        alarms = float(np.mean(model.predict(rows) < 0))
        report |= {"contamination": contamination, "realised_alarm_rate": alarms}
        forest = export.build(model, features, units=units, training=rows, stations=stations, meta={"training": report})
        export.check_threshold(model, forest, rows)
    else:
        fitted = verdict.fit(rows, alarm_rate=alarm_rate, seed=seed, trees=trees, samples=samples)
        model = fitted.forest
        model.offset_ = -fitted.threshold  # scikit-learn's predict then says what the forest's reason says
        report |= calibration(fitted)
        meta = {"training": report}
        forest = export.build(model, features, units=units, verdict=fitted, training=rows, stations=stations, meta=meta)
        export.check_threshold(model, forest, rows[fitted.calibration])
    return model, forest, report


def read_rows(path: Path, features: list[str] | None) -> tuple[NDArray[np.float64], list[str]]:
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


def calibration(fitted: verdict.Verdict) -> dict[str, Any]:
    """Report how the threshold was set, with a warning when there were too few rows for the alarm rate."""
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


def write(path: Path, forest: Forest, report: dict[str, Any]) -> dict[str, Any]:
    """Write the forest file; the answer is `report` and what the file is."""
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
