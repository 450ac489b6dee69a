"""Reads rows of named features from CSV and npz. What cannot be read is named by file, line and column."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MISSING = {"", "nan", "na", "null", "none"}


class InputError(ValueError):
    """Input that cannot be used; the message says what, where and what to do."""


@dataclass(frozen=True)
class Table:
    """`rows` has shape (rows, features) and dtype float64, NaN where missing; `labels` shape (rows,) or None."""

    features: list[str]
    rows: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None


def read_table(path: Path, features: Sequence[str] | None = None, label: str | None = None) -> Table:
    """Rows of a CSV with a header, or of an npz with X and, for labels, y. `features`: which columns, in which order."""
    if not path.exists():
        raise InputError(f"{path} does not exist.")
    return _read_npz(path, features) if path.suffix == ".npz" else _read_csv(path, features, label)


def _read_npz(path: Path, features: Sequence[str] | None) -> Table:
    with np.load(path, allow_pickle=False) as arrays:
        if "X" not in arrays:
            raise InputError(f"{path} has no array X (rows × features); it has {', '.join(arrays)}.")
        rows = np.asarray(arrays["X"], dtype=np.float64)
        labels = np.asarray(arrays["y"], dtype=np.int64).ravel() if "y" in arrays else None
    names = list(features) if features is not None else [f"x{index}" for index in range(rows.shape[1])]
    if len(names) != rows.shape[1]:
        raise InputError(f"{path} has {rows.shape[1]} columns in X, but {len(names)} features are named.")
    return Table(names, rows, labels)


def _read_csv(path: Path, features: Sequence[str] | None, label: str | None) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise InputError(f"{path} is empty: its first line must name the columns.")
        names = list(features) if features is not None else [name for name in header if name != label]
        for name in [*names, *([label] if label is not None else [])]:
            if header.count(name) != 1:
                found = "no column" if name not in header else "more than one column"
                raise InputError(f"{path}, line 1: there is {found} {name!r}. The columns are {', '.join(header)}.")
        columns = [header.index(name) for name in names]
        label_column = None if label is None else header.index(label)
        rows: list[list[float]] = []
        labels: list[int] = []
        for record in reader:
            if not record:
                continue
            if len(record) != len(header):
                raise InputError(f"{path}, line {reader.line_num}: {len(record)} cells, but the header names {len(header)}.")
            rows.append([_number(path, reader.line_num, header[column], record[column]) for column in columns])
            if label_column is not None:
                labels.append(int(_number(path, reader.line_num, header[label_column], record[label_column]) != 0))
    if not rows:
        raise InputError(f"{path} has a header and no rows.")
    return Table(names, np.array(rows, dtype=np.float64), np.array(labels) if label is not None else None)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        return np.nan if text.strip().lower() in MISSING else float(text)
    except ValueError:
        raise InputError(
            f"{path}, line {line}, column {column!r}: {text[:40]!r} is not a number. "
            "Leave the cell empty where a value is missing, or name the columns to read with --features."
        ) from None
