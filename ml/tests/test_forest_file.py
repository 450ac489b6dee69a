"""What is written is read again, and what is damaged is refused with a reason or proves harmless."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from lonetree_ml import export, forest_file, verdict
from lonetree_ml.forest import Forest
from lonetree_ml.forest_file import ForestFileError, from_bytes, to_bytes


@pytest.fixture(scope="module")
def forest() -> Forest:
    rows = np.random.default_rng(0).normal(size=(600, 2))
    rows[::40, 1] = np.nan
    fitted = verdict.fit(rows, alarm_rate=0.05, trees=3, samples=16)
    return export.build(fitted.forest, ["a", "größe"], verdict=fitted, training=rows, meta={"training": {"seed": 0}})


def sealed(content: bytearray) -> bytes:
    """The bytes with the checksum that fits them: only the other checks can tell then."""
    content[12:16] = bytes(4)
    content[12:16] = struct.pack("<I", zlib.crc32(content))
    return bytes(content)


def place_of(content: bytes | bytearray, section: bytes) -> int:
    (count,) = struct.unpack_from("<I", content, 20)
    table = (struct.unpack_from("<4sII", content, 96 + 16 * index) for index in range(count))
    return int(next(at for name, at, _ in table if name == section))


def test_what_is_read_writes_the_same_bytes(forest: Forest) -> None:
    content = to_bytes(forest)
    again = from_bytes(content)
    assert to_bytes(again) == content
    assert again.features == ["a", "größe"]
    assert again.meta == forest.meta


def test_the_header_is_the_documented_one(forest: Forest) -> None:
    content = to_bytes(forest)
    assert content[:8] == b"LONETREE"
    assert struct.unpack_from("<III", content, 8) == (1, zlib.crc32(content[:12] + bytes(4) + content[16:]), len(content))
    node_count = sum(len(tree.nodes) for tree in forest.trees)
    depth = max(tree.depth for tree in forest.trees)
    assert struct.unpack_from("<IIIIIII", content, 20) == (9, 2, 3, 16, depth, node_count, 1)
    assert struct.unpack_from("<ddd", content, 48) == (forest.denominator, forest.offset, forest.sum_threshold)
    assert len(content) % 8 == 0


def test_a_change_of_any_single_byte_is_refused(forest: Forest) -> None:
    content = to_bytes(forest)
    generator = np.random.default_rng(1)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= int(generator.integers(1, 256))
        with pytest.raises(ForestFileError):
            from_bytes(bytes(damaged))


def test_every_truncation_is_refused(forest: Forest) -> None:
    content = to_bytes(forest)
    for size in range(0, len(content), 7):
        with pytest.raises(ForestFileError):
            from_bytes(content[:size])


def test_random_changes_under_a_fitting_checksum_are_refused_or_read_into_a_forest_that_scores(forest: Forest) -> None:
    content = to_bytes(forest)
    generator = np.random.default_rng(2)
    refused = 0
    for _ in range(4_000):
        damaged = bytearray(content)
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            damaged[place] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, damaged[place] ^ (1 << generator.integers(8))])
        try:
            read = from_bytes(sealed(damaged))
        except ForestFileError:
            refused += 1
        else:
            assert np.isfinite(read.test_sums).all()
            assert to_bytes(read)[:8] == b"LONETREE"
    assert 1_000 < refused < 4_000


@pytest.mark.parametrize(
    ("section", "offset", "content", "problem"),
    [
        (b"", 8, struct.pack("<I", 2), "format has version 2"),
        (b"", 24, struct.pack("<I", 0), "0 features"),
        (b"", 28, struct.pack("<I", 10_001), "10001 trees"),
        (b"", 32, struct.pack("<I", 0), "0 samples"),
        (b"", 36, struct.pack("<I", 65), "65 edges of depth"),
        (b"", 44, struct.pack("<I", 0), "flags contradict"),
        (b"", 48, struct.pack("<d", 1.0), "denominator is not"),
        (b"", 56, struct.pack("<d", float("nan")), "not finite"),
        (b"", 64, struct.pack("<d", 1.0), "contradicts its offset"),
        (b"", 80, b"\1", "reserved bytes"),
        (b"", 96, b"TREE", "doubled, misplaced"),
        (b"", 96, b"FEAX", "FEAT is missing"),
        (b"FEAT", 2, b"\n", "control characters"),
        (b"FEAT", 2, b"\xff", "not UTF-8"),
        (b"TREE", 0, struct.pack("<I", 1), "table of trees"),
        (b"NODE", 6, struct.pack("<H", 3), "breadth-first"),
        (b"NODE", 6, struct.pack("<H", 0), "breadth-first"),
        (b"NODE", 4, struct.pack("<H", 2), "feature that is not there"),
        (b"NODE", 0, struct.pack("<f", float("inf")), "threshold that is not finite"),
        (b"VALU", 0, struct.pack("<d", float("nan")), "not finite"),
        (b"VALU", 0, struct.pack("<d", -1.0), "negative path length"),
        (b"TEST", 0, struct.pack("<I", 0), "TEST has the wrong length"),
        (b"TEST", 8, struct.pack("<d", 1.0), "self-test"),
        (b"GARD", 0, struct.pack("<d", 1.0), "alarm rate"),
        (b"GARD", 8, struct.pack("<I", 1_025), "alarm rate or knots"),
        (b"GARD", 16, struct.pack("<d", 9.0), "knots do not ascend"),
        (b"SUMM", 8, struct.pack("<d", 0.5), "probabilities do not ascend"),
        (b"SCOR", 0, struct.pack("<d", 0.0), "training scores descend"),
        (b"SCOR", 8 * 103, struct.pack("<d", -1.0), "negative number of effective rows"),
        (b"META", 0, b"[", "META is not"),
    ],
)
def test_a_wrong_field_is_refused_with_its_reason(
    forest: Forest, section: bytes, offset: int, content: bytes, problem: str
) -> None:
    damaged = bytearray(to_bytes(forest))
    place = offset + (place_of(damaged, section) if section else 0)
    damaged[place : place + len(content)] = content
    with pytest.raises(ForestFileError, match=problem):
        from_bytes(sealed(damaged))


def test_limits_that_contradict_each_other_are_refused(forest: Forest) -> None:
    assert forest.guards is not None
    size = len(forest.guards.knot_scores)
    for field, value, problem in (
        (0, -1e6, "high limit below the low"),
        (8, 0.0, "scale is not positive"),
        (16, np.inf, "not finite"),
    ):
        damaged = bytearray(to_bytes(forest))
        struct.pack_into("<d", damaged, place_of(damaged, b"GARD") + 16 + 16 * size + field, value)
        with pytest.raises(ForestFileError, match=problem):
            from_bytes(sealed(damaged))


def test_an_unknown_section_is_skipped(forest: Forest) -> None:
    damaged = bytearray(to_bytes(forest))
    damaged[damaged.index(b"META") : damaged.index(b"META") + 4] = b"NEWS"
    assert from_bytes(sealed(damaged)).meta is None


def test_a_file_of_before_training_scores_is_read_without_them(forest: Forest) -> None:
    older = bytearray(to_bytes(forest))
    older[older.index(b"SCOR") : older.index(b"SCOR") + 4] = b"NEWS"
    assert from_bytes(sealed(older)).training_scores is None


def test_training_scores_without_a_summary_are_refused(forest: Forest) -> None:
    damaged = bytearray(to_bytes(forest))
    damaged[damaged.index(b"SUMM") : damaged.index(b"SUMM") + 4] = b"NEWS"
    with pytest.raises(ForestFileError, match="SCOR is there without SUMM"):
        from_bytes(sealed(damaged))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.forest"
    path.write_bytes(b"no forest")
    with pytest.raises(ForestFileError, match=r"x\.forest is refused: it does not begin with LONETREE"):
        forest_file.read(path)
