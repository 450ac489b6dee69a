"""Reads rows of named features from CSV and npz. What cannot be read is named by file, line and column."""

from __future__ import annotations

import csv
import zipfile
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lonetree_ml.progress import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MISSING = {"", "nan", "na", "null", "none"}
REPAIR = "Leave the cell empty where a value is missing, or name the columns to read with --features."


class InputError(ValueError):
    """Input that cannot be used; the message says what, where and what to do."""


@dataclass(frozen=True)
class Table:
    """`rows` has shape (rows, features) and dtype float64, NaN where missing; `labels` shape (rows,), 0 or 1, or None."""

    features: list[str]
    rows: NDArray[np.float64]
    labels: NDArray[np.int64] | None = None


def read_table(path: Path, features: Sequence[str] | None = None, label: str | None = None) -> Table:
    """Read a CSV with a header, or an npz with X and, for labels, y. `features`: which columns, in which order."""
    if not path.is_file():
        raise InputError(f"{path} does not exist or is no file.")
    return _read_npz(path, features) if path.suffix == ".npz" else _read_csv(path, features, label)


def _read_npz(path: Path, features: Sequence[str] | None) -> Table:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "X" not in arrays:
                raise InputError(f"{path} has no array X (rows × features); it has {', '.join(arrays) or 'none'}.")
            rows = np.asarray(arrays["X"], dtype=np.float64)
            labels = np.asarray(arrays["y"]).ravel() if "y" in arrays else None
    except (zipfile.BadZipFile, EOFError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not an npz file of numbers: {error}") from error
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(f"{path}: X has shape {rows.shape}; it must have rows and columns.")
    if labels is not None and len(labels) != len(rows):
        raise InputError(f"{path}: X has {len(rows)} rows, but y has {len(labels)} labels.")
    names = list(features) if features is not None else [f"x{index}" for index in range(rows.shape[1])]
    if len(names) != rows.shape[1]:
        raise InputError(f"{path}: X has {rows.shape[1]} columns, but {len(names)} features are named: {', '.join(names)}.")
    return Table(names, rows, None if labels is None else (labels != 0).astype(np.int64))


def _read_csv(path: Path, features: Sequence[str] | None, label: str | None) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        # A strict reader says where a quote is not closed, instead of swallowing the rest of the file.
        reader = csv.reader(file, strict=True)
        try:
            return _read_records(path, reader, features, label)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, after line {reader.line_num}: not UTF-8 ({error.reason}). Save it as UTF-8."
            ) from error
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}.") from error


def _read_records(path: Path, reader: _Reader, features: Sequence[str] | None, label: str | None) -> Table:
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise InputError(f"{path}, line 1: the first line must name the columns, and it is empty.")
    names = list(features) if features is not None else [name for name in header if name != label]
    wanted = names if label is None else [*names, label]
    for name in wanted:
        if header.count(name) != 1:
            found = "no column is" if name not in header else "more than one column is"
            raise InputError(f"{path}, line 1: {found} named {name!r}. The columns are {', '.join(header)}.")
    columns = [header.index(name) for name in wanted]
    cells = array("d")
    for line in counted(reader, f"reading {path}, rows"):
        if not line and len(header) > 1:
            continue
        record = line or [""]  # a blank line of an only column: its value is missing
        if len(record) != len(header):
            raise InputError(f"{path}, line {reader.line_num}: {len(record)} cells, but the header names {len(header)}.")
        for column in columns:
            text = record[column].strip()
            try:
                cells.append(_number(text))
            except ValueError:
                problem = f"{text[:40]!r} is not a number"
                raise InputError(f"{path}, line {reader.line_num}, column {header[column]!r}: {problem}. {REPAIR}") from None
    if not cells:
        raise InputError(f"{path} has a header and no rows.")
    table = np.frombuffer(cells, dtype=np.float64).reshape(-1, len(wanted))
    if label is None:
        return Table(names, table)
    return Table(names, table[:, :-1].copy(), _labels(path, label, table[:, -1]))


def _labels(path: Path, column: str, values: NDArray[np.float64]) -> NDArray[np.int64]:
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) > 0:
        raise InputError(f"{path}, row {missing[0] + 1}, column {column!r}: a label is missing. Give every row one, 0 or 1.")
    return np.asarray(values != 0, dtype=np.int64)


def _number(text: str) -> float:
    if text.lower() in MISSING:
        return np.nan
    if "_" in text:  # Python reads 1_000 as a number; nobody who writes CSV means one
        raise ValueError(text)
    return float(text)


if TYPE_CHECKING:
    from typing import Protocol

    class _Reader(Protocol):
        line_num: int

        def __iter__(self) -> Iterator[list[str]]: ...
        def __next__(self) -> list[str]: ...
