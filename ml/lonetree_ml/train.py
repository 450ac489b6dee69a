"""`train`: fits a forest and its guards on a CSV and writes a forest file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml.absent import absent
from lonetree_ml.arguments import ALARM_RATE, SEED, Integer, names, rate, units
from lonetree_ml.forest_file import SAMPLES_MAX, TREES_MAX, check_units

# scikit-learn imports pandas where it is there, and needs it for data sets only: a quarter of the time a start takes.
with absent("pandas"):
    from lonetree_ml import training

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--input", required=True, metavar="CSV", help="rows with a header; an empty cell is a missing value")
    parser.add_argument("--output", required=True, metavar="FOREST", help="the .forest file to write")
    parser.add_argument("--features", type=names, metavar="A,B", help="columns to learn from (default: all)")
    parser.add_argument("--units", type=units, metavar="A=CEL,…", help="of features, kept in the file (default: unknown)")
    parser.add_argument("--trees", type=Integer(1, TREES_MAX), default=100, metavar="N", help="(default: 100)")
    parser.add_argument(
        "--samples",
        type=Integer(1, SAMPLES_MAX),
        default=256,
        metavar="N",
        help="rows each tree is grown from (default: 256)",
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="same seed, same file (default: 0)")
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument(
        "--alarm-rate",
        type=rate,
        default=ALARM_RATE,
        metavar="RATE",
        help=f"share of ordinary readings to call abnormal, forest and guards together (default: {ALARM_RATE})",
    )
    threshold.add_argument(
        "--contamination", type=rate, metavar="SHARE", help="scikit-learn's threshold on all rows instead, without guards"
    )
    parser.add_argument("--save-sklearn", metavar="SKOPS", help="also save the scikit-learn forest here")


def run(options: Namespace) -> dict[str, Any]:
    """Fit on the rows and write the forest file."""
    rows, features = training.read_rows(Path(options.input), options.features)
    known = options.units or {}
    check_units(known, features)
    model, forest, report = training.train(
        rows,
        features,
        trees=options.trees,
        samples=options.samples,
        seed=options.seed,
        alarm_rate=options.alarm_rate,
        contamination=options.contamination,
        units=known,
    )
    if options.save_sklearn is not None:
        from lonetree_ml import sklearn_file  # noqa: PLC0415 skops takes a second to import, and few ask for this

        sklearn_file.save(Path(options.save_sklearn), model)
    return training.write(Path(options.output), forest, report)
