"""`promote`: makes a version the champion, which scorers follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lonetree_ml import promotion, registry
from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from lonetree_ml.registry import Registry, Version


def passed_against(champion: str | None) -> str:
    """Write what the gate's tag says of a version that may replace this champion."""
    return "passed" if champion is None else f"passed against {champion}"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--version", metavar="V", help="the version to promote")
    which.add_argument("--alias", metavar="ALIAS", help="or the one that this alias names, as challenger")
    parser.add_argument(
        "--force", action="store_true", help="whatever the gate says, for example for the first model of all"
    )
    promotion.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Check the version and move the alias. Repeated after an interruption it finishes what was begun."""
    connected = registry.connect(options)
    version = _wanted(connected, options)
    champion = connected.by_alias(registry.CHAMPION)
    is_champion = champion is not None and champion.number == version.number
    if not options.force and not is_champion:
        _check_gate(version, None if champion is None else champion.number)
    content = connected.forest_bytes(version)
    if is_champion:
        replaced = version.tags.get(promotion.REPLACED, "")
    else:
        replaced = "" if champion is None else champion.number
        # Before the alias moves: a champion always says what it replaced.
        connected.set_tag(version.number, promotion.REPLACED, replaced)
    report = promotion.move(connected, version, content, kind="promotion", replaced=replaced, options=options)
    if registry.CHALLENGER in version.aliases:
        connected.remove_alias(registry.CHALLENGER)
    return report


def _check_gate(version: Version, champion: str | None) -> None:
    gate = version.tags.get("gate")
    if gate == passed_against(champion):
        return
    said = "it has not been through the gate" if gate is None else f"the gate says: {gate}"
    if gate is not None and gate.startswith("passed"):
        said += f"; now {'no version' if champion is None else f'version {champion}'} is the champion: let it through again"
    raise InputError(f"Version {version.number} is not promoted: {said}. --force promotes it anyway.")


def _wanted(connected: Registry, options: Namespace) -> Version:
    if options.version is not None:
        return connected.version(options.version)
    version = connected.by_alias(options.alias)
    if version is None:
        raise InputError(f"No version of {connected.name} has the alias {options.alias}.")
    return version
