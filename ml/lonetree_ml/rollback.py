"""`rollback`: makes the champion's predecessor the champion again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lonetree_ml import promotion, registry
from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--from",
        dest="bad",
        metavar="V",
        help="the bad version: repeated, the command then does not go back another step (default: the champion)",
    )
    promotion.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Move the alias back."""
    connected = registry.connect(options)
    champion = connected.by_alias(registry.CHAMPION)
    if champion is None:
        raise InputError(f"No version of {connected.name} is the champion, so there is nothing to go back from.")
    bad = champion if options.bad is None else connected.version(options.bad)
    before = bad.tags.get(promotion.REPLACED, "")
    if champion.number not in {bad.number, before}:
        return {"promoted": None, "replaced": None, "announced": False, "recorded": False, "champion": champion.number}
    if not before:
        raise InputError(f"Version {bad.number} of {connected.name} replaced no other: there is nothing to go back to.")
    version = connected.version(before)
    content = connected.forest_bytes(version)
    # Where the alias has moved already, an interrupted command is finished.
    return promotion.move(connected, version, content, kind="rollback", replaced=bad.number, options=options)
