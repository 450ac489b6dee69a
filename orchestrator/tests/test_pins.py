"""Every package that is installed is pinned and hashed."""

import re
import tomllib
from pathlib import Path

ORCHESTRATOR = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins_of(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==[^ ;\\\n]+)", (ORCHESTRATOR / lock).read_text(), flags=re.MULTILINE))


def test_the_locks_hold_what_the_project_names() -> None:
    project = tomllib.loads((ORCHESTRATOR / "pyproject.toml").read_text())
    direct = {re.sub(r"\[.*\]", "", name) for name in project["project"]["dependencies"]}
    assert direct <= pins_of("requirements.lock")
    assert {*direct, *project["dependency-groups"]["dev"]} <= pins_of("requirements-dev.lock")
    assert pins_of("requirements.lock") < pins_of("requirements-dev.lock")


def test_every_pin_has_hashes_and_no_lock_names_a_registry() -> None:
    for lock in LOCKS:
        content = (ORCHESTRATOR / lock).read_text()
        assert "://" not in content
        assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z])", content.strip()))
