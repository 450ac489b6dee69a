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
        help="only while the champion is this version: repeated, the command then does not go back another step",
    )
    promotion.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Move the alias back."""
    connected = registry.connect(options)
    champion = connected.by_alias(registry.CHAMPION)
    if champion is None:
        raise InputError(f"No version of {connected.name} is the champion, so there is nothing to go back from.")
    if options.bad is not None and champion.number != options.bad:
        return {"promoted": None, "replaced": None, "announced": False, "recorded": False, "champion": champion.number}
    before = champion.tags.get(promotion.REPLACED, "")
    if not before:
        raise InputError(f"Version {champion.number} of {connected.name} replaced no other: there is nothing to go back to.")
    version = connected.version(before)
    content = connected.forest_bytes(version)
    return promotion.move(connected, version, content, kind="rollback", replaced=champion.number, options=options)
