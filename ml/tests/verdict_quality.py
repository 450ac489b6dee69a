"""How the verdict does on readings it has not seen: alarm rate kept, and faults of one sensor found.

`python tests/verdict_quality.py` prints the table of docs/VERDICT.md. Every number is a mean over seeds; each seed draws or
splits the rows anew, trains on one part and measures on the other. A fault is an ordinary reading with one value wrong: six
standard deviations from the mean, or, harder to see, six from where it was, which may have been on the other side.
"""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lonetree_ml import verdict
from lonetree_ml.golden import simulated_rows

Rows = NDArray[np.float64]

DATA = Path(__file__).parents[2] / "data" / "nab"
ALARM_RATES = (0.01, 0.001)
FAULT_ROWS = 200
DISTANCE = 6
"""Standard deviations by which a fault moves a value."""


@dataclass(frozen=True)
class Split:
    training: Rows
    ordinary: Rows
    faults: dict[str, Rows]


@dataclass(frozen=True)
class Quality:
    """One line of the table. Rates are in units of the nominal alarm rate."""

    name: str
    alarm_rate: float
    plain_rate: float
    plain_found: dict[str, float]
    rate: float
    rate_error: float
    """Standard error of `rate` over the seeds."""
    rate_worst: float
    found: dict[str, float]


def faults_of(rows: Rows, training: Rows, features: list[int], what: str = "") -> dict[str, Rows]:
    """Ordinary rows with one value wrong, each feature up and down: placed far from the mean, or moved from its own."""
    mean, spread = np.nanmean(training, axis=0), np.nanstd(training, axis=0)
    placed, moved = [], []
    for feature in features:
        for distance in (DISTANCE * spread[feature], -DISTANCE * spread[feature]):
            placed.append(rows[:FAULT_ROWS].copy())
            placed[-1][:, feature] = mean[feature] + distance
            moved.append(rows[:FAULT_ROWS].copy())
            moved[-1][:, feature] += distance
    return {f"{what}at 6 sd": np.concatenate(placed), f"{what}moved by 6 sd": np.concatenate(moved)}


def simulated(seed: int) -> Split:
    generator = np.random.default_rng(seed)
    training, ordinary = simulated_rows(43_825, generator), simulated_rows(60_000, generator)
    return Split(training, ordinary, faults_of(ordinary, training, [0, 1, 2]))


def gaussian(seed: int) -> Split:
    generator = np.random.default_rng(seed)
    training, ordinary = generator.normal(size=(30_000, 16)), generator.normal(size=(30_000, 16))
    return Split(training, ordinary, faults_of(ordinary, training, list(range(16))))


def heavy(seed: int) -> Split:
    generator = np.random.default_rng(seed)
    training, ordinary = generator.standard_t(3, (30_000, 3)), generator.standard_t(3, (30_000, 3))
    return Split(training, ordinary, faults_of(ordinary, training, [0, 1, 2]))


def nab_stream(name: str) -> tuple[Rows, NDArray[np.bool_]]:
    """Values with their difference to the value before, shape (readings − 1, 2), and which lie in no labelled window."""
    with (DATA / name).open(newline="") as file:
        records = list(csv.reader(file))[1:]
    times = np.array([time for time, _ in records])
    values = np.array([float(value) for _, value in records])
    in_window = np.zeros(len(times), dtype=bool)
    for first, last in json.loads((DATA / "windows.json").read_text())[name]:
        in_window |= (times >= first[:19]) & (times <= last[:19])
    return np.c_[values[1:], np.diff(values)], ~in_window[1:]


def with_difference(training_share: float) -> Callable[[int], Split]:
    """NAB's machine temperature outside its labelled windows, split at random."""
    rows, is_ordinary = nab_stream("machine_temperature_system_failure.csv")
    ordinary = rows[is_ordinary]

    def split(seed: int) -> Split:
        shuffled = np.random.default_rng(seed).permutation(ordinary)
        count = int(training_share * len(ordinary))
        training, rest = shuffled[:count], shuffled[count:]
        # A sensor that jumps takes its difference along. A difference alone cannot happen; it is the hardest case.
        jump = DISTANCE * training[:, 0].std()
        sensor = np.concatenate([rest[:FAULT_ROWS] + step for step in (jump, -jump)])
        value, difference = (faults_of(rest, training, [i], name) for i, name in enumerate(("value ", "difference ")))
        return Split(training, rest, {"sensor moved by 6 sd": sensor, **value, **difference})

    return split


def measure(name: str, split: Callable[[int], Split], seed_count: int) -> list[Quality]:
    """Means over the seeds, at each alarm rate."""
    seen: dict[float, list[dict[str, tuple[float, float]]]] = {rate: [] for rate in ALARM_RATES}
    for seed in range(seed_count):
        parts = split(seed)
        forest = None
        for alarm_rate in ALARM_RATES:
            fitted = verdict.fit(parts.training, alarm_rate=alarm_rate, seed=seed, forest=forest)
            if forest is None:  # it depends on no alarm rate
                forest = fitted.forest
                kinds = {"": parts.ordinary, **parts.faults}
                scores = {kind: -forest.score_samples(rows) for kind, rows in kinds.items()}
            plain = _plain_threshold(fitted, parts.training)
            seen[alarm_rate].append(
                {kind: _shares(fitted, plain, rows, scores[kind]) for kind, rows in kinds.items()},
            )
    return [_mean(name, alarm_rate, seen[alarm_rate]) for alarm_rate in ALARM_RATES]


def _shares(fitted: verdict.Verdict, plain_threshold: float, rows: Rows, scores: Rows) -> tuple[float, float]:
    """Share of the rows that the plain forest calls abnormal, and that forest or guard do."""
    guarded = verdict.beyond_limits(fitted.limits, rows).any(axis=1)
    return float(np.mean(scores > plain_threshold)), float(np.mean((scores > fitted.threshold) | guarded))


def _plain_threshold(fitted: verdict.Verdict, training: Rows) -> float:
    """The split-conformal threshold of the forest alone, on the same calibration rows."""
    scores = np.sort(-fitted.forest.score_samples(training[fitted.calibration]))
    rank = int(np.ceil((len(scores) + 1) * (1 - fitted.alarm_rate)))
    return float(scores[min(rank, len(scores)) - 1])


def _mean(name: str, alarm_rate: float, seen: list[dict[str, tuple[float, float]]]) -> Quality:
    shares = {kind: np.array([one[kind] for one in seen]) for kind in seen[0]}
    realised = shares.pop("") / alarm_rate
    return Quality(
        name=name,
        alarm_rate=alarm_rate,
        plain_rate=float(realised[:, 0].mean()),
        plain_found={kind: float(share[:, 0].mean()) for kind, share in shares.items()},
        rate=float(realised[:, 1].mean()),
        rate_error=float(realised[:, 1].std(ddof=1) / np.sqrt(len(realised))),
        rate_worst=float(realised[:, 1].max()),
        found={kind: float(share[:, 1].mean()) for kind, share in shares.items()},
    )


def in_time_order(name: str, alarm_rate: float, seed_count: int = 4) -> float:
    """Realised rate over nominal on the ordinary readings of a stream's later half, after training on its first half."""
    rows, is_ordinary = nab_stream(name)
    half = len(rows) // 2
    training, later = rows[:half][is_ordinary[:half]], rows[half:][is_ordinary[half:]]
    shares = []
    for seed in range(seed_count):
        fitted = verdict.fit(training, alarm_rate=alarm_rate, seed=seed)
        by_forest = -fitted.forest.score_samples(later) > fitted.threshold
        shares.append(np.mean(by_forest | verdict.beyond_limits(fitted.limits, later).any(axis=1)))
    return float(np.mean(shares)) / alarm_rate


def lines(qualities: list[Quality]) -> Iterator[str]:
    """Two tables in Markdown: alarm rates, and faults found."""
    yield "| data | nominal | plain forest | forest or guard | worst seed |"
    yield "|---|---:|---:|---:|---:|"
    for one in qualities:
        rates = f"{one.plain_rate:.2f}× | {one.rate:.2f}× ± {one.rate_error:.2f} | {one.rate_worst:.1f}×"
        yield f"| {one.name} | {one.alarm_rate * 100:g} % | {rates} |"
    yield ""
    yield "| data | fault | plain forest, 1 % and 0.1 % | forest or guard, 1 % and 0.1 % |"
    yield "|---|---|---:|---:|"
    for often, rarely in zip(qualities[::2], qualities[1::2], strict=True):
        for kind in often.found:
            plain = f"{often.plain_found[kind]:.3f}, {rarely.plain_found[kind]:.3f}"
            yield f"| {often.name} | {kind} | {plain} | {often.found[kind]:.3f}, {rarely.found[kind]:.3f} |"


def _limit_distances() -> str:
    training = simulated(0).training
    limits = verdict.fit(training, alarm_rate=0.001).limits
    mean, spread = training.mean(axis=0), training.std(axis=0)
    sides = zip((limits.low - mean) / spread, (limits.high - mean) / spread, strict=True)
    ranges = ", ".join(f"{low:.1f} to {high:.1f}" for low, high in sides)
    return f"limits of the simulator's features at 0.1 %, in standard deviations from the mean: {ranges}"


def _wide_differences() -> str:
    rows, is_ordinary = nab_stream("machine_temperature_system_failure.csv")
    differences = rows[is_ordinary][:, 1]
    wide = np.abs(differences - differences.mean()) > DISTANCE * differences.std()
    return f"ordinary differences of the machine beyond 6 standard deviations: {wide.sum()} of {len(wide)}"


CASES: dict[str, tuple[Callable[[int], Split], int]] = {
    "simulator, 43,825 rows": (simulated, 16),
    "machine temperature + difference, 80 % to train": (with_difference(0.8), 60),
    "machine temperature + difference, 60 % to train": (with_difference(0.6), 60),
    "16 Gaussians, 30,000 rows": (gaussian, 8),
    "heavy tails (t, 3 degrees), 30,000 rows": (heavy, 8),
}


def main() -> None:
    """Print all that docs/VERDICT.md states."""
    print("\n".join(lines([one for name, case in CASES.items() for one in measure(name, *case)])))
    print(f"\n{_limit_distances()}\n{_wide_differences()}")
    for name in ("machine_temperature_system_failure.csv", "ambient_temperature_system_failure.csv"):
        rates = ", ".join(f"{in_time_order(name, rate):.1f}× at {rate * 100:g} %" for rate in ALARM_RATES)
        print(f"trained on the first half, realised on the second: {name}: {rates}")


if __name__ == "__main__":
    main()
