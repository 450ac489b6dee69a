"""How the drift rule does on streams whose truth is known: false alarms without drift, and shifts found.

`python tests/drift_quality.py` prints the tables of docs/DRIFT.md. Readings have the simulator's distributions, and a
station's follow one another with an autocorrelation (AR) of 0, 0.9 or 0.99. Each verdict is on two windows running, as in
the command. Beside it stands what is usually done: a Kolmogorov-Smirnov test a feature, drift when any p is below 0.05.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from lonetree_ml import drift, export, verdict
from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows

Rows = NDArray[np.float64]

USUAL_P = 0.05
GRID = np.linspace(-5, 5, 2_001)
_DRAWN = np.sort(simulated_rows(400_000, np.random.default_rng(17)), axis=0)
_LEVELS = np.array([NormalDist().cdf(x) for x in GRID])
CURVES = [np.quantile(_DRAWN[:, feature], _LEVELS) for feature in range(3)]
"""Per feature the simulated value at each point of GRID, a normal distribution's values."""
DEVIATIONS = _DRAWN.std(axis=0)


@dataclass(frozen=True)
class Case:
    name: str
    memory: float
    """The autocorrelation from one reading of a station to its next."""
    stations: int
    each: int
    """Readings of a station in a window."""
    training_each: int
    windows: int
    shift: float = 0.0
    """Standard deviations that one feature moves by, in every station or only in `moved_stations` of them."""
    moved_stations: int | None = None
    references: int = 10
    """Models the windows are shared by: chance in the training rows is half of the matter."""


@dataclass(frozen=True)
class Outcome:
    """Of so many verdicts, how many said drift of the fleet, how many a station's fault, and what the usual test said."""

    case: Case
    verdicts: int
    fleet: int
    station: int
    named_wrongly: int
    usual: int
    effective_rows: float
    """Median over windows of the moved feature's."""

    def line(self) -> str:
        """One line of a table in Markdown."""
        case, count = self.case, self.verdicts
        rates = " | ".join(f"{hits / count * 100:.1f} %" for hits in (self.fleet, self.station, self.usual))
        size = f"{case.stations} × {case.each:,} | {self.effective_rows:,.0f}"
        return f"| {case.name} | {size} | {count:,} | {rates} |"


HEADER = (
    "| readings | stations × readings in a window | effective | verdicts | fleet | station | usual: any p < 0.05 |\n"
    "|---|---:|---:|---:|---:|---:|---:|"
)

INDEPENDENT = Case("independent", 0.0, 20, 500, 2_192, 1_000)
AR_9 = Case("AR 0.9", 0.9, 20, 500, 2_192, 1_000)
AR_99 = Case("AR 0.99", 0.99, 20, 2_500, 2_192, 1_000)
STATIONARY = [
    INDEPENDENT,
    replace(INDEPENDENT, name="independent, one station", stations=1, each=2_000, training_each=43_825),
    AR_9,
    AR_99,
    replace(AR_99, name="AR 0.99, long training", training_each=20_000),
    replace(AR_99, name="AR 0.99, too short to tell", each=500),
]
SHIFTED = [
    replace(INDEPENDENT, name="independent, 0.1 σ: too small to matter", shift=0.1, windows=400),
    replace(INDEPENDENT, name="independent, 0.5 σ", shift=0.5, windows=400),
    replace(AR_9, name="AR 0.9, 0.5 σ", shift=0.5, windows=400),
    replace(AR_99, name="AR 0.99, 0.5 σ", shift=0.5, windows=400),
    replace(AR_99, name="AR 0.99, 0.5 σ, long training", shift=0.5, training_each=20_000, windows=400),
    replace(
        AR_99, name="AR 0.99, 0.5 σ, long training and windows", shift=0.5, each=5_000, training_each=20_000, windows=400
    ),
    replace(AR_99, name="AR 0.99, 1 σ", shift=1.0, windows=400),
    replace(AR_99, name="AR 0.99, 1 σ, too short to tell", shift=1.0, each=500, windows=400),
    replace(AR_9, name="AR 0.9, one station of 20 by 3 σ", shift=3.0, moved_stations=1, windows=400),
    replace(AR_9, name="AR 0.9, one station of 20 by 12 σ", shift=12.0, moved_stations=1, windows=400),
    replace(AR_9, name="AR 0.9, 4 stations of 20 by 3 σ", shift=3.0, moved_stations=4, windows=400),
    replace(AR_9, name="AR 0.9, 16 stations of 20 by 3 σ", shift=3.0, moved_stations=16, windows=400),
]


class Stream:
    """Readings that go on from window to window. Shape of each: (stations · each, 3), a station's together."""

    def __init__(self, case: Case, generator: np.random.Generator) -> None:
        self.case, self.generator = case, generator
        self.last = generator.standard_normal((case.stations, 3))

    def take(self, each: int) -> NDArray[np.float32]:
        stations, memory = self.case.stations, self.case.memory
        normal = self.generator.standard_normal((each, stations, 3))
        if memory > 0:
            normal *= np.sqrt(1 - memory**2)
            for one in normal:
                self.last = one[:] = memory * self.last + one
        flat = normal.swapaxes(0, 1).reshape(-1, 3)
        return np.column_stack([np.interp(flat[:, j], GRID, CURVES[j]) for j in range(3)]).astype(np.float32)


def measure(case: Case, seed: int = 0) -> Outcome:
    """Draw references and windows, and count what the rule and the usual test say."""
    generator = np.random.default_rng([seed, int(case.memory * 100), case.stations, case.each, case.training_each])
    per_reference = case.windows // case.references
    counts = {"fleet": 0, "station": 0, "none": 0}
    usual = wrong = 0
    rows: list[float] = []
    for _ in range(case.references):
        stream = Stream(case, generator)
        training = stream.take(case.training_each).astype(np.float64)
        stations = np.repeat(np.arange(case.stations), case.training_each)
        reference, forest = _reference(training, stations)
        windows = _windows(case, stream, forest, per_reference + 1)
        before = None
        for window in windows:
            now = drift.measure(reference, window)
            if before is not None:
                said = drift.decide([before, now])
                counts[said.kind] += 1
                wrong += said.kind == "station" and said.stations != list(window.names[: case.moved_stations or 0])
                usual += _usual(training, window.values)
                rows.append(now.changes[0].effective_rows)
            before = now
    verdicts = per_reference * case.references
    return Outcome(case, verdicts, counts["fleet"], counts["station"], wrong, usual, float(np.median(rows)))


def _reference(training: Rows, stations: NDArray[np.intp]) -> tuple[drift.Reference, IsolationForest]:
    # Ten trees: their scores drift as a hundred trees' do, and are ten times as quick to find.
    fitted = verdict.fit(training, alarm_rate=0.001, trees=10)
    model = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted, training=training, stations=stations)
    return drift.reference_of(model), fitted.forest


def _windows(case: Case, stream: Stream, forest: IsolationForest, count: int) -> Iterator[drift.Window]:
    names = [f"station-{index:03}" for index in range(case.stations)]
    stations = np.repeat(np.arange(case.stations), case.each)
    is_moved = stations < (case.stations if case.moved_stations is None else case.moved_stations)
    for _ in range(count):
        values = stream.take(case.each)
        values[is_moved, 0] += np.float32(case.shift * DEVIATIONS[0])
        yield drift.Window(values, forest.score_samples(values), stations, names)


def _usual(training: Rows, values: NDArray[np.float32]) -> bool:
    """Whether a two-sample test on any feature has p < 0.05, rows taken to be independent."""
    count = len(training)
    levels = (np.arange(count) + 0.5) / count
    return any(
        drift.ks_chance(drift.ks_distance(levels, np.sort(training[:, j]), values[:, j]), count, len(values)) < USUAL_P
        for j in range(training.shape[1])
    )


def main() -> None:
    """Print both tables."""
    for title, cases in (("without drift", STATIONARY), ("with drift", SHIFTED)):
        print(f"{title}\n\n{HEADER}")
        for case in cases:
            print(measure(case).line(), flush=True)
        print()


if __name__ == "__main__":
    main()
