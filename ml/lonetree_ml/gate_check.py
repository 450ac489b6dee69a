"""`gate`: decides whether a model may replace the champion, and writes down what it decided."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import database, events, gate, model_source, registry
from lonetree_ml.arguments import SEED, Integer, UsageError, instant
from lonetree_ml.forest_file import ForestFileError
from lonetree_ml.gate import Check
from lonetree_ml.promote import passed_against
from lonetree_ml.table import InputError, read_table
from lonetree_ml.window import HELD_OUT, Span, read, read_feedback

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from lonetree_ml.model_source import Source
    from lonetree_ml.registry import Registry, Version

log = logging.getLogger("lonetree_ml")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="V", help="the version to decide on")
    which.add_argument("--alias", metavar="ALIAS", help=f"or the one that this alias names (default: {registry.CHALLENGER})")
    which.add_argument("--challenger", metavar="FOREST", help="or a .forest file, compared with --champion")
    parser.add_argument(
        "--champion", metavar="FOREST", help="with --challenger: the .forest file it may replace (default: none)"
    )
    parser.add_argument("--from", dest="start", type=instant, metavar="TIME", help="of the first reading to judge by")
    parser.add_argument("--to", dest="end", type=instant, metavar="TIME", help="before which the last one lies")
    parser.add_argument("--rows", metavar="CSV", help="judge by these rows instead of stored readings")
    parser.add_argument("--label", metavar="COLUMN", help="with --rows: the column of labels; 0 is normal")
    parser.add_argument(
        "--rows-max",
        type=Integer(1_000, 10_000_000),
        default=100_000,
        metavar="N",
        help="readings to sample when there are more (default: 100000)",
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="same seed, same sample (default: 0)")
    registry.add_arguments(parser)
    database.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Load both models and the rows, decide, and record it. Stored readings are those that no model is trained on."""
    _check_options(options)
    connected = registry.connect(options) if options.challenger is None else None
    version = None if connected is None else _wanted(connected, options)
    champion = _champion(connected, version, options)
    try:
        challenger = _challenger(connected, version, options)
    except (InputError, ForestFileError) as error:  # whoever is refused by a reader is refused by the gate
        checks = [Check("file", passed=False, detail=str(error))]
    else:
        sound = Check("file", passed=True, detail="structure, checksum and self-test")
        checks = [sound, *_checks(challenger, champion, options)]
    failed = [check.name for check in checks if not check.passed]
    for check in checks:
        log.info("%s %s: %s", "passed" if check.passed else "FAILED", check.name, check.detail)
    report = {
        "passed": not failed,
        "version": None if version is None else version.number,
        "champion": None if champion is None else champion.version or champion.sha256,
        "checks": [asdict(check) for check in checks],
    }
    if connected is not None and version is not None:
        said = (
            passed_against(None if champion is None else champion.version) if not failed else f"failed: {', '.join(failed)}"
        )
        connected.set_tag(version.number, "gate", said)
        if failed and registry.CHALLENGER in version.aliases:
            # What is refused need not go on scoring in shadow.
            connected.remove_alias(registry.CHALLENGER)
        if options.database_url is not None:
            with database.connected(options) as connection:
                events.add(
                    connection, "gate", {"name": connected.name, "sha256": version.sha256, "failed": failed, **report}
                )
    return report


def _check_options(options: Namespace) -> None:
    is_span = options.start is not None and options.end is not None
    if is_span == (options.rows is not None):
        raise UsageError("say what to judge by: --from and --to, or --rows")
    if is_span and options.start >= options.end:
        raise UsageError("--from must lie before --to")
    if options.rows is None and options.label is not None:
        raise UsageError("--label names a column of --rows")
    if options.champion is not None and options.challenger is None:
        raise UsageError("--champion is for --challenger; a version is compared with the registry's champion")


def _wanted(connected: Registry, options: Namespace) -> Version:
    if options.version is not None:
        return connected.version(options.version)
    alias = options.alias or registry.CHALLENGER
    version = connected.by_alias(alias)
    if version is None:
        raise InputError(f"No version of {connected.name} has the alias {alias}.")
    return version


def _champion(connected: Registry | None, version: Version | None, options: Namespace) -> Source | None:
    """Find what the challenger would replace; None when it would be the first."""
    if connected is None or version is None:
        return None if options.champion is None else model_source.from_file(Path(options.champion))
    current = connected.by_alias(registry.CHAMPION)
    if current is None:
        return None
    if current.number == version.number:
        raise InputError(f"Version {version.number} of {connected.name} is the champion: there is nothing to decide.")
    return model_source.from_version(connected, current)


def _challenger(connected: Registry | None, version: Version | None, options: Namespace) -> Source:
    if connected is None or version is None:
        path = Path(options.challenger)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist or is no file.")
        return model_source.from_file(path)
    return model_source.from_version(connected, version)


def _checks(challenger: Source, champion: Source | None, options: Namespace) -> list[Check]:
    forest, old = challenger.forest, None if champion is None else champion.forest
    schema = gate.schema(forest, old)
    if not schema.passed:
        return [schema]  # rows of other features would not be found
    features = list(forest.features)
    if options.rows is not None:
        table = read_table(Path(options.rows), features, options.label)
        return gate.check(forest, old, table.rows, table.labels)
    with database.connected(options) as connection:
        span = Span(options.start, options.end)
        sample = read(connection, span, features=features, rows_max=options.rows_max, seed=options.seed, part=HELD_OUT)
        feedback = gate.Labelled(*read_feedback(connection, span, features))
    return gate.check(forest, old, sample.values, feedback=feedback if len(feedback.labels) > 0 else None)
