"""The forest file: writes, reads and checks the format of docs/MODEL_FORMAT.md."""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from lonetree_ml.forest import (
    GUARD,
    HAS_HIGH,
    HAS_LOW,
    MISSING_COUNTS,
    NODE,
    Forest,
    Guards,
    Summary,
    TrainingScores,
    Tree,
    path_length_sums,
    scores_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAGIC = b"LONETREE"
VERSION = 1
HEADER = struct.Struct("<8sIIIIIIIIIIddd24x")
SECTION = struct.Struct("<4sIII")
FEATURES_MAX, TREES_MAX, SAMPLES_MAX, DEPTH_MAX = 1_024, 10_000, 32_768, 64
KNOTS_MAX = 1_024
NAME_SIZE_MAX = 255
FILE_SIZE_MAX = 256 * 2**20
TOLERANCE = 1e-9
"""How far denominator and sum threshold may be from what the other fields say; powers and logarithms differ in bits."""


class ForestFileError(ValueError):
    """A forest that the format cannot hold, or bytes that are no forest file."""


def _require(holds: object, problem: str) -> None:
    if not holds:
        raise ForestFileError(problem)


def write(path: Path, forest: Forest) -> bytes:
    """Write the file and return its bytes. The same forest gives the same bytes."""
    content = to_bytes(forest)
    path.write_bytes(content)
    return content


def to_bytes(forest: Forest) -> bytes:
    """Return the file's bytes. Raises ForestFileError when the format cannot hold the forest."""
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
    if forest.training_scores is not None:
        sections.append((b"SCOR", _scores_section(forest.training_scores)))
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


def check_names(names: list[str]) -> None:
    """Raise ForestFileError when the format cannot hold these feature names."""
    _require(len(names) <= FEATURES_MAX, f"There are {len(names)} features; a forest file holds at most {FEATURES_MAX:,}.")
    for name in names:
        size = len(name.encode())
        _require(1 <= size <= NAME_SIZE_MAX, f"The feature name {name!r} is empty or longer than {NAME_SIZE_MAX} bytes.")
        _require(min(name) >= " ", f"The feature name {name!r} has control characters.")
        _require(names.count(name) == 1, f"Two features are named {name!r}: names must differ.")


def check_units(units: Mapping[str, str], features: Sequence[str]) -> None:
    """Raise ForestFileError when a unit is of no feature, or the format cannot hold it."""
    for name, unit in units.items():
        _require(name in features, f"There is a unit of {name!r}, which is no feature; there are {', '.join(features)}.")
        _require(len(unit.encode()) <= NAME_SIZE_MAX, f"The unit of {name!r} is longer than {NAME_SIZE_MAX} bytes.")


def _check_limits(forest: Forest) -> None:
    check_names(list(forest.features))
    check_units(dict(zip(forest.features, forest.units, strict=True)), forest.features)
    for what, count, most in (
        ("trees", len(forest.trees), TREES_MAX),
        ("samples a tree", forest.max_samples, SAMPLES_MAX),
        ("edges of depth", max(tree.depth for tree in forest.trees), DEPTH_MAX),
    ):
        _require(count <= most, f"The forest has {count:,} {what}; a forest file holds at most {most:,}.")


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


def _scores_section(scores: TrainingScores) -> bytes:
    return scores.quantiles.astype("<f8").tobytes() + scores.effective_rows.astype("<f8").tobytes()


def read(path: Path) -> Forest:
    """Read and check a forest file. Raises ForestFileError, with the reason, when it is refused."""
    try:
        size = path.stat().st_size
        _require(size <= FILE_SIZE_MAX, f"it has {size:,} bytes; at most {FILE_SIZE_MAX:,} are read.")
        return from_bytes(path.read_bytes())
    except ForestFileError as error:
        raise ForestFileError(f"{path} is refused: {error} Export it again.") from error


def from_bytes(content: bytes) -> Forest:
    """Read and check a forest file's bytes: structure, numbers and self-test."""
    _require(len(content) >= HEADER.size and content[:8] == MAGIC, f"it does not begin with {MAGIC.decode()}.")
    _, version, checksum, size, section_count, feature_count, tree_count, *rest = HEADER.unpack_from(content)
    max_samples, depth, node_count, flags, denominator, offset, sum_threshold = rest
    _require(version == VERSION, f"its format has version {version}; this program reads version {VERSION}.")
    _require(size == len(content), f"it says that it has {size} bytes, but it has {len(content)}.")
    _require(zlib.crc32(content[:12] + bytes(4) + content[16:]) == checksum, "its checksum is wrong.")
    _require(not any(content[72:96]), "reserved bytes of the header are not zero.")
    for what, count, least, most in (
        ("features", feature_count, 1, FEATURES_MAX),
        ("trees", tree_count, 1, TREES_MAX),
        ("samples a tree", max_samples, 1, SAMPLES_MAX),
        ("edges of depth", depth, 0, DEPTH_MAX),
    ):
        _require(least <= count <= most, f"it has {count} {what}; allowed are {least} to {most}.")
    sections = _read_sections(content, section_count)
    _require(flags == int(b"GARD" in sections), "its flags contradict its sections.")
    features, units = _read_names(sections[b"FEAT"], feature_count)
    test_rows, test_sums = _read_test(sections[b"TEST"], feature_count)
    summary = _read_summary(sections.get(b"SUMM"), feature_count)
    forest = Forest(
        features=features,
        units=units,
        trees=_read_trees(sections, tree_count, node_count, feature_count),
        max_samples=max_samples,
        denominator=denominator,
        offset=offset,
        sum_threshold=sum_threshold,
        test_rows=test_rows,
        test_sums=test_sums,
        guards=_read_guards(sections.get(b"GARD"), feature_count),
        summary=summary,
        training_scores=_read_scores(sections.get(b"SCOR"), summary, feature_count),
        meta=_read_meta(sections.get(b"META")),
    )
    _require(max(tree.depth for tree in forest.trees) == depth, "its depth is not the header's.")
    _check_threshold(forest)
    _require(
        np.array_equal(path_length_sums(forest, test_rows).view(np.uint64), test_sums.view(np.uint64)),
        "its self-test gives other path-length sums.",
    )
    return forest


def _read_sections(content: bytes, count: int) -> dict[bytes, bytes]:
    """Sections by id; they follow one another without a gap but the padding."""
    end = HEADER.size + SECTION.size * count
    _require(end <= len(content), f"its table of {count} sections does not fit into it.")
    sections: dict[bytes, bytes] = {}
    for index in range(count):
        name, at, length, zero = SECTION.unpack_from(content, HEADER.size + SECTION.size * index)
        _require(
            zero == 0 and at == _padded(end) and at + length <= len(content) and name not in sections,
            f"section {index} is doubled, misplaced or beyond the end.",
        )
        _require(not any(content[end:at]), "bytes between its sections are not zero.")
        sections[name] = content[at : at + length]
        end = at + length
    _require(_padded(end) == len(content) and not any(content[end:]), "bytes after its sections do not fit.")
    for name in (b"FEAT", b"TREE", b"NODE", b"VALU", b"TEST"):
        _require(name in sections, f"section {name.decode()} is missing.")
    return sections


def _numbers(section: bytes, what: str, count: int, at: int = 0) -> Floats:
    _require(len(section) >= at + 8 * count, f"section {what} is too short.")
    numbers = np.frombuffer(section, "<f8", count, at)
    _require(np.isfinite(numbers).all(), f"section {what} has numbers that are not finite.")
    return numbers


def _read_names(section: bytes, feature_count: int) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    at = 0
    for _ in range(2 * feature_count):
        size = int.from_bytes(section[at : at + 2], "little")
        _require(at + 2 + size <= len(section), "section FEAT is too short.")
        try:
            texts.append(section[at + 2 : at + 2 + size].decode())
        except UnicodeDecodeError as error:
            raise ForestFileError("section FEAT is not UTF-8.") from error
        at += 2 + size
    _require(at == len(section), "section FEAT is too long.")
    check_names(texts[::2])
    return texts[::2], texts[1::2]


def _read_trees(sections: dict[bytes, bytes], tree_count: int, node_count: int, feature_count: int) -> list[Tree]:
    _require(len(sections[b"TREE"]) == 4 * (tree_count + 1), "section TREE has the wrong length.")
    _require(len(sections[b"NODE"]) == NODE.itemsize * node_count, "section NODE has the wrong length.")
    _require(len(sections[b"VALU"]) == 8 * node_count, "section VALU has the wrong length.")
    starts = np.frombuffer(sections[b"TREE"], "<u4").astype(np.int64)
    _require(starts[0] == 0 and starts[-1] == node_count and (np.diff(starts) > 0).all(), "its table of trees does not fit.")
    nodes = np.frombuffer(sections[b"NODE"], NODE)
    values = _numbers(sections[b"VALU"], "VALU", node_count)
    _require((values >= 0).all(), "it has a negative path length.")
    return [
        _read_tree(nodes[first:end], values[first:end], feature_count, f"tree {index}")
        for index, (first, end) in enumerate(itertools.pairwise(starts))
    ]


def _read_tree(nodes: NDArray[np.void], values: Floats, feature_count: int, what: str) -> Tree:
    """Check one tree: in breadth-first order the children of the next split are the next two nodes, whatever the shape."""
    tree = Tree(nodes, values, 0)
    is_leaf = tree.is_leaf
    splits = np.flatnonzero(~is_leaf)
    lefts = nodes["left"][splits].astype(np.int64)
    is_in_order = np.array_equal(lefts, 1 + 2 * np.arange(len(splits))) and (lefts > splits).all()
    _require(is_in_order and len(nodes) == 1 + 2 * len(splits), f"{what} is not in breadth-first order.")
    _require((tree.features < feature_count).all(), f"{what} tests a feature that is not there.")
    _require(np.isfinite(nodes["threshold"]).all(), f"{what} has a threshold that is not finite.")
    _require(
        (nodes["feature"][is_leaf] == 0).all() and (nodes["threshold"][is_leaf].view("<u4") == 0).all(),
        f"{what} has a leaf that tests something.",
    )
    depths = np.zeros(len(nodes), dtype=np.int64)
    for split, left in zip(splits, lefts, strict=True):
        depths[left : left + 2] = depths[split] + 1
    return Tree(nodes, values, int(depths.max()))


def _read_test(section: bytes, feature_count: int) -> tuple[NDArray[np.float32], Floats]:
    _require(len(section) >= 8, "section TEST is too short.")
    count, zero = struct.unpack_from("<II", section)
    _require(
        count >= 1 and zero == 0 and len(section) == 8 + count * (8 + 4 * feature_count),
        "section TEST has the wrong length.",
    )
    rows = np.frombuffer(section, "<f4", count * feature_count, 8 + 8 * count).reshape(count, feature_count)
    return rows, _numbers(section, "TEST", count, 8)


def _read_guards(section: bytes | None, feature_count: int) -> Guards | None:
    if section is None:
        return None
    _require(len(section) >= 16, "section GARD is too short.")
    alarm_rate, count, zero = struct.unpack_from("<dII", section)
    _require(0 < alarm_rate < 1 and 1 <= count <= KNOTS_MAX and zero == 0, "section GARD has a wrong alarm rate or knots.")
    _require(len(section) == 16 + 16 * count + GUARD.itemsize * feature_count, "section GARD has the wrong length.")
    knots = _numbers(section, "GARD", 2 * count, 16)
    scores, decades = knots[:count], knots[count:]
    _require((np.diff(scores) > 0).all() and (np.diff(decades) >= 0).all(), "its severity knots do not ascend.")
    limits = np.frombuffer(section, GUARD, -1, 16 + 16 * count)
    for name in ("high", "high_scale", "low", "low_scale"):
        _require(np.isfinite(limits[name]).all(), "it has a limit that is not finite.")
    _require(
        (limits["high_scale"] > 0).all() and (limits["low_scale"] > 0).all(), "it has a limit whose scale is not positive."
    )
    _require(
        (limits["flags"] <= (HAS_HIGH | HAS_LOW | MISSING_COUNTS)).all() and not limits["zero"].any(), "it has wrong flags."
    )
    for name, flag in (("high", HAS_HIGH), ("low", HAS_LOW)):
        _require((limits[name][(limits["flags"] & flag) == 0] == 0).all(), "it has a limit that its flags deny.")
    both = (limits["flags"] & HAS_HIGH != 0) & (limits["flags"] & HAS_LOW != 0)
    _require((limits["high"] >= limits["low"])[both].all(), "it has a high limit below the low one.")
    return Guards(alarm_rate, scores, decades, limits)


def _read_summary(section: bytes | None, feature_count: int) -> Summary | None:
    if section is None:
        return None
    _require(len(section) >= 8, "section SUMM is too short.")
    count, zero = struct.unpack_from("<II", section)
    number_count = count * (1 + feature_count) + feature_count + 1
    _require(zero == 0 and len(section) == 8 + 8 * number_count, "section SUMM has the wrong length.")
    numbers = _numbers(section, "SUMM", number_count, 8)
    probabilities = numbers[:count]
    _require(
        (np.diff(probabilities) > 0).all() and (np.abs(probabilities - 0.5) <= 0.5).all(),
        "its quantiles' probabilities do not ascend from 0 to 1.",
    )
    quantiles = numbers[count : count * (1 + feature_count)].reshape(feature_count, count)
    _require((np.diff(quantiles, axis=1) >= 0).all(), "its quantiles descend.")
    return Summary(int(numbers[-1]), probabilities, quantiles, numbers[count * (1 + feature_count) : -1])


def _read_scores(section: bytes | None, summary: Summary | None, feature_count: int) -> TrainingScores | None:
    if section is None:
        return None
    if summary is None:
        raise ForestFileError("section SCOR is there without SUMM.")
    count = len(summary.probabilities)
    _require(len(section) == 8 * (count + feature_count + 1), "section SCOR has the wrong length.")
    numbers = _numbers(section, "SCOR", count + feature_count + 1)
    quantiles, effective_rows = numbers[:count], numbers[count:]
    _require((np.diff(quantiles) >= 0).all(), "its training scores descend.")
    _require((effective_rows >= 0).all(), "it has a negative number of effective rows.")
    return TrainingScores(quantiles, effective_rows)


def _read_meta(section: bytes | None) -> dict[str, Any] | None:
    if section is None:
        return None
    try:
        meta = json.loads(section)
    except ValueError as error:
        raise ForestFileError("section META is not JSON.") from error
    if not isinstance(meta, dict):
        raise ForestFileError("section META is not an object.")
    return meta


def mean_path_length(count: int) -> float:
    """c(n), the mean path length of an unsuccessful search in a binary tree of n samples (Liu, Ting, Zhou 2008, eq. 1)."""
    if count <= 2:
        return count - 1.0
    return 2.0 * (math.log(count - 1.0) + float(np.euler_gamma)) - 2.0 * (count - 1.0) / count


def _check_threshold(forest: Forest) -> None:
    """Check that the numbers of the header say the same: denominator, offset and sum threshold."""
    denominator, offset, threshold = forest.denominator, forest.offset, forest.sum_threshold
    _require(all(map(math.isfinite, (denominator, offset, threshold))), "it has numbers that are not finite.")
    expected = len(forest.trees) * mean_path_length(forest.max_samples)
    _require(abs(denominator - expected) <= TOLERANCE * expected, "its denominator is not trees · c(max_samples).")
    largest = float(np.finfo(np.float64).max)
    if denominator == 0:
        fits = threshold == (largest if offset > -0.5 else 0.0)
    elif threshold == 0:
        fits = offset <= -1 + TOLERANCE
    elif threshold == largest:
        fits = offset >= -TOLERANCE
    else:
        fits = threshold > 0 and abs(scores_of(np.array([threshold]), denominator)[0] - offset) <= TOLERANCE
    _require(fits, "its sum threshold contradicts its offset.")
