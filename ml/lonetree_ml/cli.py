"""The command line: one JSON line on stdout, logs on stderr. Exit 0: done, 1: bad input, 2: wrong use.

Each command is a module with `add_arguments(parser)`, which declares its options, and `run(options)`, which answers with
what is printed. Only the module of the command that was given is imported: no command waits for another one's imports.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import warnings
from importlib import import_module

from lonetree_ml.arguments import UsageError

COMMANDS = {
    "train": ("train", "fit a forest and its guards on a CSV and write a .forest file"),
    "export": ("export_saved", "write the .forest file of an IsolationForest saved with skops"),
    "evaluate": ("evaluate", "measure ROC-AUC, PR-AUC and alert rate on labelled rows"),
    "register": ("register", "make a trained forest a version in the model registry"),
    "list": ("list_versions", "show what is registered"),
    "promote": ("promote", "make a version the champion, which scorers follow"),
    "rollback": ("rollback", "make the champion's predecessor the champion again"),
    "drift": ("drift_check", "compare stored readings with what the model was trained on"),
    "retrain": ("retrain", "train a new model on stored readings"),
    "gate": ("gate_check", "decide whether a model may replace the champion"),
    "shadow": ("shadow", "compare the challenger's verdicts with the champion's"),
    "confirm": ("confirm", "wait until every scorer uses a version"),
    "retention": ("retention", "drop days of verdicts that are older than wanted"),
    "golden": ("golden", "write models, rows and scikit-learn's results for the scorer's tests"),
}
"""Command: its module, and what it does."""


def parser(command: str | None) -> argparse.ArgumentParser:
    """All commands, and the options of the one that was given."""
    top = argparse.ArgumentParser(
        prog="python -m lonetree_ml", description="Trains, checks and exports what Lonetree scores with."
    )
    commands_of = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module_name, summary) in COMMANDS.items():
        options_of = commands_of.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name == command:
            module = import_module(f"lonetree_ml.{module_name}")
            module.add_arguments(options_of)
            options_of.set_defaults(run=module.run)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong use ends the process with 2."""
    given = sys.argv[1:] if arguments is None else arguments
    top = parser(given[0] if given else None)
    options = top.parse_args(given)
    clear_progress = "\r\033[K" if sys.stderr.isatty() else ""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=f"{clear_progress}%(message)s")
    # Rows come as plain arrays; that a forest was fitted on named columns is dealt with by name before.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    # The file formats' error comes with numpy, which `--help` and a mistyped command need not wait for.
    from lonetree_ml.forest_file import ForestFileError  # noqa: PLC0415
    from lonetree_ml.service import ServiceError  # noqa: PLC0415
    from lonetree_ml.table import InputError  # noqa: PLC0415

    try:
        # Libraries print to stdout too, as MLflow does its runs' addresses: the one line there is ours.
        with contextlib.redirect_stdout(sys.stderr):
            report = options.run(options)
    except UsageError as error:
        top.error(f"{options.command}: {error}")
    except (InputError, ForestFileError, ServiceError, OSError) as error:
        logging.getLogger("lonetree_ml").error("%s", error)
        return 1
    print(json.dumps(report, allow_nan=False))
    return 0
