"""What several test files use: data sets that are hard for the fit, and a way to run the command line."""

import json
import os
import subprocess

# scikit-learn's threads gain nothing on these sizes and get in each other's way; set before it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# MLflow looks when it is imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from lonetree_ml.cli import main
from lonetree_ml.golden import simulated_rows

Rows = NDArray[np.float64]


@dataclass
class Outcome:
    code: int
    report: dict[str, Any] | None
    log: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[..., Outcome]:
    """Runs `python -m lonetree_ml` with these arguments, in this process."""

    def run_command(*arguments: object) -> Outcome:
        caplog.clear()
        with caplog.at_level("INFO"):
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as exit_:
                code = int(str(exit_.code))
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert len(lines) == (1 if code == 0 else 0), "one JSON line on stdout, and only when it went well"
        return Outcome(code, json.loads(lines[0]) if lines else None, caplog.text + err)

    return run_command


def hard_data_sets() -> dict[str, Rows]:
    """Rows by name: what has been found to break limits, thresholds and knots."""
    generator = np.random.default_rng(3)
    simulated = simulated_rows(12_000, generator)
    missing = simulated.copy()
    missing[generator.random(missing.shape) < [0.03, 0.00001, 0.4]] = np.nan
    constant = simulated.copy()
    constant[:, 1] = 7.25
    gross = simulated.copy()
    gross[::500, 0] = 1e6
    gross[7] = [np.inf, -np.inf, 1e300]
    many_gross = simulated.copy()
    many_gross[::50, 2] = -1e5
    valueless = simulated[:3_000].copy()
    valueless[:, 0] = np.nan
    rarely_there = simulated[:3_000].copy()
    rarely_there[99:, 1] = np.nan
    return {
        "simulated": simulated,
        "missing values": missing,
        "a constant feature": constant,
        "gross rows, set aside": gross,
        "gross rows, too many to set aside": many_gross,
        "heavy tails": generator.standard_t(2, (8_000, 4)),
        "quantized values": np.round(generator.normal(size=(5_000, 3)), 1),
        "skewed and bounded": np.c_[generator.exponential(size=4_000), generator.random(4_000), generator.poisson(2, 4_000)],
        "one feature": generator.normal(size=(2_500, 1)),
        "too few values for a limit": generator.normal(size=(90, 2)),
        "a feature without values": valueless,
        "a feature with 99 values": rarely_there,
        "all constant": np.ones((1_000, 2)),
    }


@dataclass(frozen=True)
class Servers:
    database_url: str
    brokers: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A real PostgreSQL, with the tables that the scorer itself makes, and a real Kafka; both end with the tests."""
    project = Path(__file__).parents[2]
    bun, program = project / "node_modules" / ".bin" / "bun", project / "scorer" / "test" / "servers-main.ts"
    with subprocess.Popen([bun, program, "kafka"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("{"), "the servers did not start: see above; `bun install` must have run"
            started = json.loads(line)
            yield Servers(started["databaseUrl"], started["brokers"])
        finally:
            process.stdin.close()
            process.wait(60)


@pytest.fixture
def database(servers: Servers) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """The scorer's tables, without a row and without the partitions of other tests."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("truncate prediction, anomaly, model, model_swap, shadow_score, event, feedback restart identity")
        yield connection
