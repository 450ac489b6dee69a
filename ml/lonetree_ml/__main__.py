"""The command line: one JSON line on stdout, logs on stderr. Exit 0: done, 1: bad input, 2: wrong use."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from lonetree_ml import commands, golden
from lonetree_ml.forest_file import ForestFileError
from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

Command = "Callable[[argparse.Namespace], dict[str, Any]]"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.5")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="python -m lonetree_ml", description="Trains and exports what Lonetree scores with.")
    add = top.add_subparsers(dest="command", required=True).add_parser

    train = add("train", help="fit a forest and its guards on a CSV and write a .forest file")
    train.add_argument("--input", required=True, help="CSV with a header; an empty cell is a missing value")
    train.add_argument("--output", required=True, help="the .forest file to write")
    train.add_argument("--features", type=_names, help="columns to learn from, comma-separated (default: all)")
    train.add_argument("--trees", type=_count, default=100)
    train.add_argument("--samples", type=_count, default=256, help="readings that each tree is grown from")
    train.add_argument("--seed", type=int, default=0)
    threshold = train.add_mutually_exclusive_group()
    threshold.add_argument(
        "--alarm-rate", type=_rate, default=0.001, help="share of ordinary readings to call abnormal (default: 0.001)"
    )
    threshold.add_argument("--contamination", type=_rate, help="scikit-learn's threshold on all rows instead; no guards")
    train.add_argument("--save-sklearn", help="also save the scikit-learn forest here (.skops)")
    train.set_defaults(run=commands.train)

    export = add("export", help="write the .forest file of a forest saved with skops")
    export.add_argument("--sklearn", required=True, help="a fitted IsolationForest saved with skops")
    export.add_argument("--output", required=True)
    export.add_argument("--features", type=_names, help="names of the forest's features, in its order")
    export.add_argument("--rows", help="CSV to calibrate threshold and guards on (default: offset_, no guards)")
    export.add_argument("--alarm-rate", type=_rate, default=0.001, help="with --rows")
    export.add_argument("--seed", type=int, default=0, help="with --rows: how they are split")
    export.set_defaults(run=commands.export_forest)

    evaluate = add("evaluate", help="ROC-AUC, PR-AUC and alert rate on labelled data")
    evaluate.add_argument("--model", help="a .forest file")
    evaluate.add_argument("--sklearn", help="a .skops file")
    evaluate.add_argument("--input", required=True, help="CSV, or npz with X and y")
    evaluate.add_argument("--features", type=_names)
    evaluate.add_argument("--label", help="the CSV's column of labels: 0 is normal")
    evaluate.set_defaults(run=commands.evaluate)

    gold = add("golden", help="write models, rows and scikit-learn's results for the tests of the scorer")
    gold.add_argument("--output", required=True, help="a folder")
    gold.add_argument("--rows", type=_count, default=50_000, help="rows a model (default: 50,000)")
    gold.set_defaults(run=golden.write)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    try:
        report = options.run(options)
    except (InputError, ForestFileError, OSError) as error:
        logging.getLogger("lonetree_ml").error("%s", error)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
