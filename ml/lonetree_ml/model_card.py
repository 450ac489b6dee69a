"""Writes a model card: what a registered version is, what it learned from, how it judges, and what it is not for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lonetree_ml.forest import HAS_HIGH, HAS_LOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lonetree_ml.forest import Forest
    from lonetree_ml.registry import DataSnapshot

FEATURES_MAX = 24
"""A registry's description is short; the rest stands in the forest file."""


def write(
    forest: Forest,
    *,
    sha256: str,
    why: str,
    training: Mapping[str, Any],
    measured: Mapping[str, Any],
    data: DataSnapshot | None,
) -> str:
    """Return the card as Markdown."""
    parts = [
        f"An Isolation Forest of {len(forest.trees)} trees × {forest.max_samples} samples over {len(forest.features)} "
        f"features{'' if forest.guards is None else ', with range and missing guards'}. Forest file: SHA-256 `{sha256}`.",
        *([f"**Why:** {why}"] if why else []),
        _features(forest),
        _threshold(forest),
        *_numbers("Training", training),
        *_numbers("Measured when it was registered", measured),
        *([_data(data)] if data is not None else []),
        "**For:** readings of the features above, in the units of the training data, from stations like those of the "
        "training data. **Not for:** other units or sensors, nor as the only safeguard of a machine. Rows that resemble "
        "each other over time alarm more often than the nominal rate says.",
    ]
    return "\n\n".join(parts) + "\n"


def _features(forest: Forest) -> str:
    lines = ["| feature | unit | least | median | most | low limit | high limit |", "|---|---|---|---|---|---|---|"]
    for index, name in enumerate(forest.features[:FEATURES_MAX]):
        summary = forest.summary
        seen = ["–"] * 3
        if summary is not None:
            seen = [f"{np.interp(at, summary.probabilities, summary.quantiles[index]):.6g}" for at in (0, 0.5, 1)]
        named = [text.replace("|", "\\|") for text in (name, forest.units[index] or "unknown")]
        lines.append(f"| {' | '.join([*named, *seen, *_limits(forest, index)])} |")
    if len(forest.features) > FEATURES_MAX:
        lines.append(f"\nand {len(forest.features) - FEATURES_MAX} more.")
    return "\n".join(lines)


def _limits(forest: Forest, index: int) -> list[str]:
    if forest.guards is None:
        return ["–", "–"]
    limit = forest.guards.limits[index]
    return [f"{limit[side]:.6g}" if limit["flags"] & flag else "–" for side, flag in (("low", HAS_LOW), ("high", HAS_HIGH))]


def _threshold(forest: Forest) -> str:
    rule = f"A reading is abnormal when its score is below {forest.offset:.6f}"
    if forest.guards is None:
        return f"{rule}."
    return (
        f"{rule}, or beyond a limit; forest and guards together were set to an alarm rate of {forest.guards.alarm_rate:g}."
    )


def _numbers(title: str, numbers: Mapping[str, Any]) -> list[str]:
    told = [f"{key.replace('_', ' ')} {value:.6g}" for key, value in numbers.items() if isinstance(value, int | float)]
    return [f"**{title}:** {', '.join(told)}."] if told else []


def _data(data: DataSnapshot) -> str:
    span = (
        f", from {data.data_from or 'the first'} to {data.data_to or 'the last'}" if data.data_from or data.data_to else ""
    )
    query = f" by `{data.query}`" if data.query else ""
    return f"**Data:** {data.row_count:,} rows of {data.name}{span}{query}; digest `{data.digest}`."
