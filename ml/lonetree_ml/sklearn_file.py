"""Saves and loads scikit-learn's forests with skops. Nothing is ever unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from sklearn.ensemble import IsolationForest

# skops and scikit-learn take seconds to import, and who only asks the registry needs neither.

TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
"""All that a saved IsolationForest holds beside numbers and what skops trusts by itself, scikit-learn's public classes."""


def save(path: Path, model: IsolationForest) -> None:
    """Save a forest for `export` and for scikit-learn."""
    import skops.io  # noqa: PLC0415

    skops.io.dump(model, path)


def load(path: Path) -> IsolationForest:
    """Load a fitted forest; only types that are trusted are built."""
    import skops.io  # noqa: PLC0415
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415

    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file.")
    try:
        model = skops.io.load(path, trusted=TRUSTED_TYPES)
    except Exception as error:  # skops passes on whatever its many readers raise
        problem = f"is not a forest saved by skops.io.dump, or holds types that are not trusted: {error}"
        raise InputError(f"{path} {problem}") from error
    if not isinstance(model, IsolationForest) or not hasattr(model, "estimators_"):
        raise InputError(f"{path} holds {type(model).__name__}, not a fitted IsolationForest.")
    return model
