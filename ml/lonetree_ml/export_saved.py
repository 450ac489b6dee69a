"""`export`: writes the forest file of a scikit-learn forest that was fitted and saved elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import export, forest_file, sklearn_file, training, verdict
from lonetree_ml.arguments import ALARM_RATE, SEED, UsageError, names, rate, units

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

log = logging.getLogger("lonetree_ml")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--sklearn", required=True, metavar="SKOPS", help="a fitted forest saved by skops.io.dump")
    parser.add_argument("--output", required=True, metavar="FOREST", help="the .forest file to write")
    parser.add_argument(
        "--features",
        type=names,
        metavar="A,B",
        help="names of the forest's features, in its order (default: its own, or x0, x1, …)",
    )
    parser.add_argument("--units", type=units, metavar="A=CEL,…", help="of features, kept in the file (default: unknown)")
    parser.add_argument(
        "--rows", metavar="CSV", help="calibrate threshold and guards on these (default: its offset_, no guards)"
    )
    parser.add_argument("--alarm-rate", type=rate, metavar="RATE", help=f"with --rows (default: {ALARM_RATE})")
    parser.add_argument("--seed", type=SEED, metavar="N", help="with --rows: how they are split (default: 0)")


def run(options: Namespace) -> dict[str, Any]:
    """Write the forest file; with `--rows` calibrated and with guards."""
    if options.rows is None and (options.alarm_rate is not None or options.seed is not None):
        raise UsageError("--alarm-rate and --seed say how --rows are used: give --rows too")
    model = sklearn_file.load(Path(options.sklearn))
    features = options.features or [str(name) for name in getattr(model, "feature_names_in_", [])]
    if not features:
        features = [f"x{index}" for index in range(model.n_features_in_)]
        log.warning(
            "The forest does not name its features: they are called %s. Name them by --features.", ", ".join(features)
        )
    export.check_features(model, features)
    known = options.units or {}
    forest_file.check_units(known, features)
    if options.rows is None:
        return training.write(Path(options.output), export.build(model, features, units=known, meta={"training": {}}), {})
    rows, _ = training.read_rows(Path(options.rows), features)
    alarm_rate = ALARM_RATE if options.alarm_rate is None else options.alarm_rate
    seed = 0 if options.seed is None else options.seed
    fitted = verdict.fit(rows, alarm_rate=alarm_rate, seed=seed, forest=model)
    report = {"rows": len(rows), "seed": seed, **training.calibration(fitted)}
    forest = export.build(model, features, units=known, verdict=fitted, training=rows, meta={"training": report})
    export.check_threshold(model, forest, rows[fitted.calibration])
    return training.write(Path(options.output), forest, report)
