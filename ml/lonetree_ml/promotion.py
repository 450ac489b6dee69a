"""Moves the alias champion, and tells whoever must know: Kafka, the database, a scorer's model file."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import announce, atomic_file, events, registry
from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from lonetree_ml.registry import Registry, Version

log = logging.getLogger("lonetree_ml")

REPLACED = "replaced"
"""The tag that names the champion before: rollback goes back to it."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what promote and rollback have in common."""
    parser.add_argument("--why", required=True, metavar="TEXT", help="recorded, and announced to the scorers")
    parser.add_argument("--by", default="", metavar="WHO", help="who or what asks for it")
    parser.add_argument(
        "--publish",
        metavar="FILE",
        help="also write the champion's forest file here, in one step: the MODEL_FILE of a scorer without a registry",
    )
    registry.add_arguments(parser)
    announce.add_arguments(parser)
    events.add_arguments(parser)


def move(
    connected: Registry, version: Version, content: bytes, *, kind: str, replaced: str, options: Namespace
) -> dict[str, Any]:
    """Let the champion be `version`, whose forest file's bytes have been checked, and tell of it.

    The alias is what counts: scorers ask the registry now and then, whether or not they were told. Nothing after it keeps
    the rest from being done. Only a file that cannot be published fails the command, at its end; repeated, it does it again.
    """
    reason = f"{options.by}: {options.why}" if options.by else options.why
    connected.set_alias(registry.CHAMPION, version.number)
    log.info("%s: version %s is the champion, before it %s", connected.name, version.number, replaced or "none")
    detail = {"name": connected.name, "version": version.number, "sha256": version.sha256, "replaced": replaced or None}
    report = {
        "promoted": version.number,
        "replaced": replaced or None,
        "announced": _announce(connected, version, reason, options),
        "recorded": events.record_if_wanted(options, kind, {**detail, "by": options.by, "why": options.why}),
    }
    _tag(connected, version, kind, reason)
    if options.publish is not None:
        atomic_file.replace(Path(options.publish), content)
    return report


def _tag(connected: Registry, version: Version, kind: str, reason: str) -> None:
    try:
        connected.set_tag(version.number, kind, f"{datetime.now(UTC).isoformat(timespec='seconds')} {reason}")
    except ServiceError as error:
        log.warning("Not noted in the registry: %s", error)


def _announce(connected: Registry, version: Version, reason: str, options: Namespace) -> bool:
    if options.brokers is None:
        return False
    try:
        announce.announce(
            options.brokers,
            options.updates_topic,
            name=connected.name,
            version=version.number,
            alias=registry.CHAMPION,
            sha256=version.sha256,
            reason=reason,
        )
    except ServiceError as error:
        log.warning("Not announced, scorers find out when they next ask the registry: %s", error)
        return False
    return True
