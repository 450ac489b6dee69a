"""`list`: shows what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lonetree_ml import registry

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    registry.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Return all versions, the newest first."""
    connected = registry.connect(options)
    return {"name": connected.name, "versions": [registry.as_mapping(version) for version in connected.versions()]}
