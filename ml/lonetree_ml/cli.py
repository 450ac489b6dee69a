"""The command line: one JSON line on stdout, logs on stderr. Exit 0: done, 1: bad input, 2: wrong use."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings

from lonetree_ml import commands, evaluate, golden
from lonetree_ml.forest_file import SAMPLES_MAX, TREES_MAX, ForestFileError
from lonetree_ml.table import InputError

ALARM_RATE = 0.001
SEED_MAX = 2**32 - 1
"""numpy's largest seed."""


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.5")
    return value


class _Integer:
    """An argparse type: a whole number within limits."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.__name__ = "whole number"  # argparse names the type by this

    def __call__(self, text: str) -> int:
        value = int(text)
        if not self.least <= value <= self.most:
            raise argparse.ArgumentTypeError(f"{text} is not between {self.least} and {self.most}")
        return value


_SEED = _Integer(0, SEED_MAX)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m lonetree_ml", description="Trains and exports what Lonetree scores with.")
    commands_of = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return commands_of.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")

    train = add("train", "fit a forest and its guards on a CSV and write a .forest file")
    train.add_argument("--input", required=True, metavar="CSV", help="rows with a header; an empty cell is a missing value")
    train.add_argument("--output", required=True, metavar="FOREST", help="the .forest file to write")
    train.add_argument("--features", type=_names, metavar="A,B", help="columns to learn from (default: all)")
    train.add_argument("--trees", type=_Integer(1, TREES_MAX), default=100, metavar="N", help="(default: 100)")
    train.add_argument(
        "--samples",
        type=_Integer(1, SAMPLES_MAX),
        default=256,
        metavar="N",
        help="rows each tree is grown from (default: 256)",
    )
    train.add_argument("--seed", type=_SEED, default=0, metavar="N", help="same seed, same file (default: 0)")
    threshold = train.add_mutually_exclusive_group()
    threshold.add_argument(
        "--alarm-rate",
        type=_rate,
        default=ALARM_RATE,
        metavar="RATE",
        help=f"share of ordinary readings to call abnormal, forest and guards together (default: {ALARM_RATE})",
    )
    threshold.add_argument(
        "--contamination", type=_rate, metavar="SHARE", help="scikit-learn's threshold on all rows instead, without guards"
    )
    train.add_argument("--save-sklearn", metavar="SKOPS", help="also save the scikit-learn forest here")
    train.set_defaults(run=commands.train)

    export = add("export", "write the .forest file of an IsolationForest saved with skops")
    export.add_argument("--sklearn", required=True, metavar="SKOPS", help="a fitted forest saved by skops.io.dump")
    export.add_argument("--output", required=True, metavar="FOREST", help="the .forest file to write")
    export.add_argument(
        "--features",
        type=_names,
        metavar="A,B",
        help="names of the forest's features, in its order (default: its own, or x0, x1, …)",
    )
    export.add_argument(
        "--rows", metavar="CSV", help="calibrate threshold and guards on these (default: its offset_, no guards)"
    )
    export.add_argument("--alarm-rate", type=_rate, metavar="RATE", help=f"with --rows (default: {ALARM_RATE})")
    export.add_argument("--seed", type=_SEED, metavar="N", help="with --rows: how they are split (default: 0)")
    export.set_defaults(run=commands.export_forest)

    judge = add("evaluate", "measure ROC-AUC, PR-AUC and alert rate on labelled rows")
    source = judge.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", metavar="FOREST", help="a .forest file: its scores, and its forest and guards for the alert rate"
    )
    source.add_argument("--sklearn", metavar="SKOPS", help="a forest saved with skops")
    judge.add_argument("--input", required=True, metavar="DATA", help="CSV with a header, or npz with X and y")
    judge.add_argument(
        "--features", type=_names, metavar="A,B", help="columns, in the model's order (default: the model's names)"
    )
    judge.add_argument("--label", metavar="COLUMN", help="the CSV's column of labels: 0 is normal, anything else abnormal")
    judge.set_defaults(run=evaluate.evaluate)

    gold = add("golden", "write models, rows and scikit-learn's results for the scorer's tests")
    gold.add_argument("--output", required=True, metavar="FOLDER")
    gold.add_argument(
        "--rows", type=_Integer(1, 10_000_000), default=50_000, metavar="N", help="rows a model (default: 50000)"
    )
    gold.set_defaults(run=golden.write)
    return top


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse options; ends the process with 2 when they are used wrongly."""
    top = parser()
    options = top.parse_args(arguments)
    if options.command == "export":
        if options.rows is None and (options.alarm_rate is not None or options.seed is not None):
            top.error("export: --alarm-rate and --seed say how --rows are used: give --rows too")
        options.alarm_rate = ALARM_RATE if options.alarm_rate is None else options.alarm_rate
        options.seed = 0 if options.seed is None else options.seed
    if options.command == "evaluate" and options.label is not None and options.input.endswith(".npz"):
        top.error("evaluate: --label names a CSV's column; an npz has its labels in y")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parse(arguments)
    clear_progress = "\r\033[K" if sys.stderr.isatty() else ""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{clear_progress}%(message)s")
    # Rows come as plain arrays; that a forest was fitted on named columns is dealt with by name before.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    try:
        report = options.run(options)
    except (InputError, ForestFileError, OSError) as error:
        logging.getLogger("lonetree_ml").error("%s", error)
        return 1
    print(json.dumps(report, allow_nan=False))
    return 0
