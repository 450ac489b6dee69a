"""Versions are pinned once: what `uv run` resolves is what the lock files hash."""

import re
import tomllib
from pathlib import Path

ML = Path(__file__).parents[1]


def pins_of(lock: str) -> set[str]:
    lines = re.findall(r"^([a-z0-9-]+==[^\\\n]+?) *\\?$", (ML / lock).read_text(), flags=re.MULTILINE)
    # Which platform needs it is the requirement's business; only Python's version chooses between two pins.
    return {line if "python_full_version" in line else line.split(" ; ")[0] for line in lines}


def test_direct_and_constrained_versions_are_those_of_the_lock() -> None:
    project = tomllib.loads((ML / "pyproject.toml").read_text())
    named = {*project["project"]["dependencies"], *project["dependency-groups"]["dev"]}
    direct = {re.sub(r"\[.*?\]", "", line) for line in named}  # a lock names what an extra brings on lines of its own
    constraints = set(project["tool"]["uv"]["constraint-dependencies"])
    assert direct | constraints == pins_of("requirements-dev.lock")
    assert direct.isdisjoint(constraints)


def test_the_lock_for_use_is_a_part_of_the_lock_for_development() -> None:
    assert pins_of("requirements.lock") < pins_of("requirements-dev.lock")


def test_every_pin_has_hashes_and_no_lock_names_a_registry() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock", "uv-requirements.lock"):
        content = (ML / lock).read_text()
        assert "://" not in content
        entries = re.split(r"\n(?=[a-z])", content.strip())
        assert all("--hash=sha256:" in entry for entry in entries)
