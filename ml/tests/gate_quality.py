"""How the gate does on challengers whose worth is known: good ones pass, each kind of bad one is refused.

`python tests/gate_quality.py` prints the table of docs/DRIFT.md. Each seed trains and decides anew.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lonetree_ml import export, gate, verdict
from lonetree_ml.forest import Forest
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows

Rows = NDArray[np.float64]

TRAINING_ROWS = 43_825
DEVIATIONS = simulated_rows(100_000, np.random.default_rng(17)).std(axis=0)


def _as_they_are(rows: Rows, _: np.random.Generator) -> Rows:
    return rows


@dataclass(frozen=True)
class Case:
    """`training`, `before` and `window` change ordinary rows: what the challenger and the champion learn, and the window.

    Readings of challenger and window have moved by `shift` standard deviations since the champion.
    """

    name: str
    is_good: bool
    training: Callable[[Rows, np.random.Generator], Rows] = _as_they_are
    shift: float = 0.0
    trees: int = 100
    window: Callable[[Rows, np.random.Generator], Rows] = _as_they_are
    before: Callable[[Rows, np.random.Generator], Rows] = _as_they_are
    alarm_rate_min: float = 0.0
    """For a lower nominal rate it has too few rows."""


@dataclass(frozen=True)
class Outcome:
    case: Case
    seeds: int
    passed: int
    why: Counter[str]
    """Names of the checks that failed, and how often."""

    def line(self) -> str:
        reasons = ", ".join(f"{name} {count}" for name, count in self.why.most_common())
        wanted = "pass" if self.case.is_good else "be refused"
        return f"| {self.case.name} | {wanted} | {self.passed} of {self.seeds} | {reasons} |"


HEADER = "| challenger | should | passed | checks that failed |\n|---|---|---:|---|"


def _anomalies(share: float) -> Callable[[Rows, np.random.Generator], Rows]:
    def poisoned(rows: Rows, generator: np.random.Generator) -> Rows:
        count = int(share * len(rows))
        rows[generator.permutation(len(rows))[:count]] = gate.faults_of(rows, count)
        return rows

    return poisoned


def _one_sided(rows: Rows, generator: np.random.Generator) -> Rows:
    rows[generator.permutation(len(rows))[: len(rows) // 5], 0] += 8 * DEVIATIONS[0]
    return rows


def _swapped(rows: Rows, _: np.random.Generator) -> Rows:
    return rows[:, [1, 0, 2]]


def _fahrenheit(rows: Rows, _: np.random.Generator) -> Rows:
    return rows * [1.8, 1, 1] + [32, 0, 0]


def _stuck(share: float) -> Callable[[Rows, np.random.Generator], Rows]:
    def stuck(rows: Rows, _: np.random.Generator) -> Rows:
        rows[: int(share * len(rows)), 1] = 17.6
        return rows

    return stuck


def _silent(rows: Rows, _: np.random.Generator) -> Rows:
    rows[:, 2] = np.nan
    return rows


FAULTY = _anomalies(0.005)
"""As sensors are."""
CASES = [
    Case("same readings, another seed", is_good=True),
    Case("after a drift of 1 σ in a feature", is_good=True, shift=1.0),
    Case("2,000 rows", is_good=True, training=lambda rows, _: rows[:2_000], alarm_rate_min=0.01),
    Case("0.5 % faults, as ever", is_good=True, training=FAULTY, window=FAULTY, before=FAULTY),
    Case("20 % anomalies in training", is_good=False, training=_anomalies(0.2)),
    Case("20 % anomalies in training and window", is_good=False, training=_anomalies(0.2), window=_anomalies(0.2)),
    Case("after a drift, 20 % of one value 8 σ too high", is_good=False, training=_one_sided, shift=1.0),
    Case("two columns swapped in training", is_good=False, training=_swapped),
    Case("two columns swapped in training and window", is_good=False, training=_swapped, window=_swapped),
    Case("another unit in training", is_good=False, training=_fahrenheit),
    Case("another unit in training and window", is_good=False, training=_fahrenheit, window=_fahrenheit),
    Case("a stuck column in training", is_good=False, training=_stuck(1)),
    Case("a stuck column in training and window", is_good=False, training=_stuck(1), window=_stuck(1)),
    Case("a column stuck for half of the training", is_good=False, training=_stuck(0.5)),
    Case("a column without values in training", is_good=False, training=_silent),
    Case("64 rows", is_good=False, training=lambda rows, _: rows[:64]),
    Case("10 trees", is_good=False, trees=10),
]


def model(rows: Rows, alarm_rate: float, seed: int, trees: int = 100) -> Forest:
    fitted = verdict.fit(rows, alarm_rate=alarm_rate, seed=seed, trees=trees)
    return export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted, training=rows)


@cache
def champion(alarm_rate: float, seed: int, before: Callable[[Rows, np.random.Generator], Rows]) -> Forest:
    generator = np.random.default_rng([seed, 6])
    return model(before(simulated_rows(TRAINING_ROWS, generator), generator), alarm_rate, seed)


def measure(case: Case, seeds: int, *, alarm_rate: float = 0.01, window_rows: int = 8_000) -> Outcome:
    """Train a challenger per seed, and decide."""
    passed, why = 0, Counter[str]()
    for seed in range(seeds):
        generator = np.random.default_rng([seed, 5])
        moved = [case.shift * DEVIATIONS[0], 0, 0]
        training = case.training(simulated_rows(TRAINING_ROWS, generator) + moved, generator)
        window = case.window(simulated_rows(window_rows, generator) + moved, generator)
        checks = gate.check(
            model(training, alarm_rate, 1_000 + seed, case.trees), champion(alarm_rate, seed, case.before), window
        )
        passed += all(check.passed for check in checks)
        why.update(check.name for check in checks if not check.passed)
    return Outcome(case, seeds, passed, why)


def lines(seeds_good: int, seeds_bad: int, alarm_rate: float, window_rows: int) -> Iterator[str]:
    yield f"\nalarm rate {alarm_rate:g}, {window_rows:,} rows in the window\n\n{HEADER}"
    for case in CASES:
        if alarm_rate < case.alarm_rate_min:
            continue
        seeds = seeds_good if case.is_good else seeds_bad
        yield measure(case, seeds, alarm_rate=alarm_rate, window_rows=window_rows).line()


def main() -> None:
    """Print the table at both alarm rates."""
    for line in lines(60, 10, 0.01, 8_000):
        print(line, flush=True)
    for line in lines(60, 10, 0.001, 40_000):
        print(line, flush=True)


if __name__ == "__main__":
    main()
