"""Finds a model to compare with: a forest file, or a version of the registry by number or alias."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lonetree_ml import forest_file, registry
from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from lonetree_ml.forest import Forest
    from lonetree_ml.registry import Registry, Version


@dataclass(frozen=True)
class Source:
    """A model, and what it is known by; `version` is empty for a file."""

    forest: Forest
    sha256: str
    version: str
    place: str
    """For people: where it is from."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare which model: a file, or an alias of the registry."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="FOREST", help="a .forest file, instead of the registry")
    which.add_argument(
        "--alias",
        default=registry.CHAMPION,
        metavar="ALIAS",
        help=f"the version that it names (default: {registry.CHAMPION})",
    )
    registry.add_arguments(parser)


def load(options: Namespace) -> Source:
    """Find the model that the options name. Raises when there is none, or when it is refused."""
    if options.model is not None:
        return from_file(Path(options.model))
    connected = registry.connect(options)
    version = connected.by_alias(options.alias)
    if version is None:
        raise InputError(f"No version of {connected.name} has the alias {options.alias}: promote one, or give --model.")
    return from_version(connected, version)


def from_file(path: Path) -> Source:
    """Read a forest file."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file.")
    forest = forest_file.read(path)
    return Source(forest, hashlib.sha256(path.read_bytes()).hexdigest(), "", str(path))


def from_version(connected: Registry, version: Version) -> Source:
    """Download a version's forest file."""
    forest = forest_file.from_bytes(connected.forest_bytes(version))
    return Source(forest, version.sha256, version.number, f"version {version.number} of {connected.name}")
