"""The forest file: writes and reads the format of docs/MODEL_FORMAT.md. Scores with numpy, for `evaluate` and tests."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAGIC = b"LONETREE"
VERSION = 1
HEADER = struct.Struct("<8sIIIIIIIIIIddd24x")
SECTION = struct.Struct("<4sIII")
NODE = np.dtype([("threshold", "<f4"), ("feature", "<u2"), ("left", "<u2")])
GUARD = np.dtype(
    [
        ("high", "<f8"),
        ("high_scale", "<f8"),
        ("low", "<f8"),
        ("low_scale", "<f8"),
        ("flags", "<u4"),
        ("zero", "<u4"),
    ]
)
MISSING_GOES_RIGHT = 0x8000
HAS_HIGH, HAS_LOW, MISSING_COUNTS = 1, 2, 4
FEATURES_MAX, TREES_MAX, SAMPLES_MAX, DEPTH_MAX = 1_024, 10_000, 32_768, 64


class ForestFileError(ValueError):
    """A forest that the format cannot hold, or bytes that are no forest file."""


@dataclass(frozen=True)
class Tree:
    """One tree in breadth-first order. `nodes` has dtype NODE, `values` float64, both of shape (nodes,)."""

    nodes: NDArray[np.void]
    values: Floats
    depth: int


@dataclass(frozen=True)
class Guards:
    """Range and missing guards. `limits` has dtype GUARD and shape (features,), the knots shape (knots,)."""

    alarm_rate: float
    knot_scores: Floats
    knot_decades: Floats
    limits: NDArray[np.void]


@dataclass(frozen=True)
class Summary:
    """What the training rows looked like: `quantiles` has shape (features, probabilities)."""

    rows: int
    probabilities: Floats
    quantiles: Floats
    missing_shares: Floats


@dataclass(frozen=True)
class Forest:
    """Everything a forest file holds. `test_rows` has shape (rows, features) and dtype float32."""

    features: Sequence[str]
    units: Sequence[str]
    trees: Sequence[Tree]
    max_samples: int
    denominator: float
    offset: float
    sum_threshold: float
    test_rows: NDArray[np.float32]
    test_sums: Floats
    guards: Guards | None = None
    summary: Summary | None = None
    meta: dict[str, Any] | None = None


def write(path: Path, forest: Forest) -> bytes:
    """Writes the file and returns its bytes. The same forest gives the same bytes."""
    content = to_bytes(forest)
    path.write_bytes(content)
    return content


def to_bytes(forest: Forest) -> bytes:
    """The file's bytes. Raises ForestFileError when the format cannot hold the forest."""
    _check_limits(forest)
    starts = np.cumsum([0, *(len(tree.nodes) for tree in forest.trees)], dtype="<u4")
    sections = [
        (b"FEAT", b"".join(_text(name) + _text(unit) for name, unit in zip(forest.features, forest.units, strict=True))),
        (b"TREE", starts.tobytes()),
        (b"NODE", np.concatenate([tree.nodes for tree in forest.trees]).tobytes()),
        (b"VALU", np.concatenate([tree.values for tree in forest.trees]).astype("<f8").tobytes()),
        (b"TEST", _test_section(forest)),
    ]
    if forest.guards is not None:
        sections.append((b"GARD", _guard_section(forest.guards)))
    if forest.summary is not None:
        sections.append((b"SUMM", _summary_section(forest.summary)))
    if forest.meta is not None:
        sections.append((b"META", json.dumps(forest.meta, sort_keys=True, separators=(",", ":")).encode()))
    table = b""
    body = b""
    offset = _padded(HEADER.size + SECTION.size * len(sections))
    for name, content in sections:
        table += SECTION.pack(name, offset, len(content), 0)
        body += content + bytes(-len(content) % 8)
        offset += _padded(len(content))

    def header(checksum: int) -> bytes:
        return HEADER.pack(
            MAGIC,
            VERSION,
            checksum,
            offset,
            len(sections),
            len(forest.features),
            len(forest.trees),
            forest.max_samples,
            max(tree.depth for tree in forest.trees),
            int(starts[-1]),
            int(forest.guards is not None),
            forest.denominator,
            forest.offset,
            forest.sum_threshold,
        )

    return header(zlib.crc32(header(0) + table + body)) + table + body


def _padded(size: int) -> int:
    return size + -size % 8


def _text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<H", len(content)) + content


def _check_limits(forest: Forest) -> None:
    for what, count, most in (
        ("features", len(forest.features), FEATURES_MAX),
        ("trees", len(forest.trees), TREES_MAX),
        ("samples", forest.max_samples, SAMPLES_MAX),
        ("edges of depth", max(tree.depth for tree in forest.trees), DEPTH_MAX),
    ):
        if count > most:
            raise ForestFileError(f"The forest has {count} {what}; a forest file holds at most {most}.")
    for name in forest.features:
        if not 1 <= len(name.encode()) <= 255:
            raise ForestFileError(f"The feature name {name!r} is empty or longer than 255 bytes.")
    if len(set(forest.features)) != len(forest.features):
        raise ForestFileError(f"Two features have the same name: {', '.join(forest.features)}.")


def _test_section(forest: Forest) -> bytes:
    rows = np.ascontiguousarray(forest.test_rows, dtype="<f4")
    return struct.pack("<II", len(rows), 0) + forest.test_sums.astype("<f8").tobytes() + rows.tobytes()


def _guard_section(guards: Guards) -> bytes:
    return (
        struct.pack("<dII", guards.alarm_rate, len(guards.knot_scores), 0)
        + guards.knot_scores.astype("<f8").tobytes()
        + guards.knot_decades.astype("<f8").tobytes()
        + guards.limits.tobytes()
    )


def _summary_section(summary: Summary) -> bytes:
    return (
        struct.pack("<II", len(summary.probabilities), 0)
        + summary.probabilities.astype("<f8").tobytes()
        + summary.quantiles.astype("<f8").tobytes()
        + summary.missing_shares.astype("<f8").tobytes()
        + struct.pack("<d", summary.rows)
    )


def read(path: Path) -> Forest:
    """Reads a forest file. Raises ForestFileError when it is none; the full check is the scorer's."""
    content = path.read_bytes()
    if len(content) < HEADER.size or content[:8] != MAGIC:
        raise ForestFileError(f"{path} is not a forest file: it does not begin with {MAGIC.decode()}.")
    _, version, checksum, size, section_count, feature_count, tree_count, *rest = HEADER.unpack_from(content)
    max_samples, _, _, _, denominator, offset, sum_threshold = rest
    if version != VERSION:
        raise ForestFileError(f"{path} has format version {version}; this program reads version {VERSION}.")
    if size != len(content) or zlib.crc32(content[:12] + bytes(4) + content[16:]) != checksum:
        raise ForestFileError(f"{path} is damaged: its size or checksum does not fit. Export it again.")
    entries = (SECTION.unpack_from(content, HEADER.size + SECTION.size * index) for index in range(section_count))
    sections = {name: content[at : at + length] for name, at, length, _ in entries}
    features, units = _read_names(sections[b"FEAT"], feature_count)
    return Forest(
        features=features,
        units=units,
        trees=_read_trees(sections, tree_count),
        max_samples=max_samples,
        denominator=denominator,
        offset=offset,
        sum_threshold=sum_threshold,
        guards=_read_guards(sections.get(b"GARD")),
        summary=_read_summary(sections.get(b"SUMM"), feature_count),
        meta=json.loads(sections[b"META"]) if b"META" in sections else None,
        **_read_test(sections[b"TEST"], feature_count),
    )


def _read_names(section: bytes, feature_count: int) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    at = 0
    for _ in range(2 * feature_count):
        (length,) = struct.unpack_from("<H", section, at)
        texts.append(section[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return texts[::2], texts[1::2]


def _read_trees(sections: dict[bytes, bytes], tree_count: int) -> list[Tree]:
    starts = np.frombuffer(sections[b"TREE"], "<u4", tree_count + 1)
    nodes = np.frombuffer(sections[b"NODE"], NODE)
    values = np.frombuffer(sections[b"VALU"], "<f8")
    trees = []
    for first, end in zip(starts[:-1], starts[1:], strict=True):
        part = nodes[first:end]
        depths = np.zeros(len(part), dtype=np.int64)
        for index in np.flatnonzero(part["left"] != np.arange(len(part))):
            left = int(part["left"][index])
            depths[left : left + 2] = depths[index] + 1
        trees.append(Tree(part, values[first:end], int(depths.max())))
    return trees


def _read_test(section: bytes, feature_count: int) -> dict[str, Any]:
    (count, _) = struct.unpack_from("<II", section)
    sums = np.frombuffer(section, "<f8", count, 8)
    rows = np.frombuffer(section, "<f4", count * feature_count, 8 + 8 * count).reshape(count, feature_count)
    return {"test_rows": rows, "test_sums": sums}


def _read_guards(section: bytes | None) -> Guards | None:
    if section is None:
        return None
    alarm_rate, count, _ = struct.unpack_from("<dII", section)
    knots = np.frombuffer(section, "<f8", 2 * count, 16)
    return Guards(alarm_rate, knots[:count], knots[count:], np.frombuffer(section, GUARD, -1, 16 + 16 * count))


def _read_summary(section: bytes | None, feature_count: int) -> Summary | None:
    if section is None:
        return None
    (count, _) = struct.unpack_from("<II", section)
    numbers = np.frombuffer(section, "<f8", -1, 8)
    quantiles = numbers[count : count * (1 + feature_count)].reshape(feature_count, count)
    return Summary(int(numbers[-1]), numbers[:count], quantiles, numbers[count * (1 + feature_count) : -1])


def path_length_sums(forest: Forest, rows: NDArray[Any]) -> Floats:
    """Path-length sums of rows of shape (rows, features), scikit-learn's bits: float32 rows, values added in tree order."""
    narrow = np.asarray(rows, dtype=np.float32)
    missing = np.isnan(narrow)
    index = np.arange(len(narrow))
    sums = np.zeros(len(narrow))
    for tree in forest.trees:
        left = tree.nodes["left"].astype(np.int64)
        feature = tree.nodes["feature"].astype(np.int64) & ~MISSING_GOES_RIGHT
        missing_right = (tree.nodes["feature"] & MISSING_GOES_RIGHT) != 0
        is_leaf = left == np.arange(len(left))
        at = np.zeros(len(narrow), dtype=np.int64)
        for _ in range(tree.depth):
            tested = feature[at]
            right = np.where(missing[index, tested], missing_right[at], narrow[index, tested] > tree.nodes["threshold"][at])
            at = np.where(is_leaf[at], at, left[at] + right)
        sums += tree.values[at]
    return sums


def scores(forest: Forest, sums: Floats) -> Floats:
    """scikit-learn's score_samples of path-length sums: −2^(−sum / denominator) (Liu, Ting, Zhou 2008, eq. 2)."""
    if forest.denominator == 0:
        return np.full(len(sums), -0.5)
    return np.asarray(-(2 ** -(sums / forest.denominator)))
