"""Decides whether readings have drifted from what a model was trained on. Pure: values in, verdict out.

A window has drifted in a feature when the change is large (effect size), not chance (significance at the effective sample
size), and two windows running say so (persistence). Readings of one station resemble those just before, so n rows tell as
much as n / tau independent ones, tau being the integrated autocorrelation time; a test that takes them as independent fires
all the time. A station that stands out from the others is a fault of its sensor, not a drift of the fleet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import kolmogorov
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest

    Floats = NDArray[np.float64]
    Indices = NDArray[np.intp]

KS_D_MIN = 0.10
"""A smaller Kolmogorov-Smirnov distance is no drift, however significant."""
W1_MIN = 0.25
"""The same for the Wasserstein distance, in standard deviations of the training rows."""
MISSING_SHIFT_MIN = 0.10
"""The same for the share of missing values."""
P_MAX = 0.01
"""Chance of a false alarm per window, shared by all comparisons made on it."""
EFFECTIVE_ROWS_MIN = 100
"""With fewer effective rows nothing is said."""
LAGS_PER_TAU = 3
"""Autocorrelations are added up to this many times their own sum (Sokal's window)."""
LAGS_MAX = 3_000
ROWS_PER_TAU_MIN = 10
"""A station's series must be this many autocorrelation times long; else the whole series counts as one effective row."""
STATION_ROWS_MIN = 10
"""Effective rows a station needs before it is compared with the others."""
STATION_SPREADS = 5
"""A station stands out when it differs more than the others do, by so many of their spreads and of its own noise."""
STATION_MISSING_MIN = 0.25
"""A station with a smaller share of missing values is not looked at for them."""
TRIM = 0.005
"""Distances leave out this share at either end, so that a few gross values do not make them."""


class NoReferenceError(ValueError):
    """A model without what readings could be compared with."""


@dataclass(frozen=True)
class Reference:
    """What a model was trained on. `quantiles`: shape (features, probabilities); effective rows of 0 are unknown."""

    features: Sequence[str]
    rows: int
    probabilities: Floats
    quantiles: Floats
    missing_shares: Floats
    score_quantiles: Floats | None
    effective_rows: Floats
    """Per feature, then of the score: shape (features + 1,)."""


@dataclass(frozen=True)
class Window:
    """Readings of a span of time, each station's together and in order of time.

    `values` has shape (rows, features), NaN where missing; `scores` shape (rows,), NaN where another model scored;
    `stations` shape (rows,): index into `names`.
    """

    values: NDArray[np.floating]
    scores: Floats
    stations: Indices
    names: Sequence[str]


@dataclass(frozen=True)
class Change:
    """How far a feature, or the score, is from the reference. `ks_p` is the chance of such a `ks_d` without drift."""

    name: str
    ks_d: float
    ks_p: float
    w1: float
    effective_rows: float
    missing_share: float
    drifted: bool


@dataclass(frozen=True)
class Apart:
    """A station that stands out from the others in a feature: how far both are from the reference."""

    station: str
    feature: str
    w1: float
    others_w1: float
    missing_share: float


@dataclass(frozen=True)
class Measured:
    """All that one window says. `changes`: each feature, then the score unless there is nothing to compare it with."""

    rows: int
    station_count: int
    changes: list[Change]
    apart: list[Apart]


@dataclass(frozen=True)
class Verdict:
    """What all windows say. `kind` is 'none', 'fleet' or 'station'; `moved` names features, or the score."""

    kind: str
    moved: list[str]
    stations: list[str]


SCORE = "score"
"""The score's name among the changes."""


def reference_of(forest: Forest) -> Reference:
    """Take the reference out of a model; raises NoReferenceError when it has no training summary."""
    summary, scores = forest.summary, forest.training_scores
    if summary is None or summary.rows == 0:
        raise NoReferenceError("it has no training summary: train it, or export it with --rows")
    return Reference(
        features=list(forest.features),
        rows=summary.rows,
        probabilities=summary.probabilities,
        # Readings are float32: a quantile on a value that many readings share must stay equal to it.
        quantiles=summary.quantiles.astype(np.float32).astype(np.float64),
        missing_shares=summary.missing_shares,
        score_quantiles=None if scores is None else scores.quantiles,
        effective_rows=np.zeros(len(forest.features) + 1) if scores is None else scores.effective_rows,
    )


def measure(reference: Reference, window: Window) -> Measured:
    """Compare one window with the reference.

    A change counts as the fleet's only where it is there without the stations that stand out, too.
    """
    apart = _stations_apart(reference, window)
    changes = _changes(reference, window)
    if apart:
        names = {one.station for one in apart}
        faulty = [index for index, name in enumerate(window.names) if name in names]
        rest = _changes(reference, _part(window, ~np.isin(window.stations, faulty)))
        changes = [replace(one, drifted=one.drifted and other.drifted) for one, other in zip(changes, rest, strict=True)]
    return Measured(len(window.values), len(np.unique(window.stations)), changes, apart)


def decide(windows: Sequence[Measured]) -> Verdict:
    """Say what all the windows have in common; usually there are two."""
    moved = [one.name for one in windows[0].changes if all(_has_drifted(window, one.name) for window in windows)]
    faulty = sorted(set.intersection(*({apart.station for apart in window.apart} for window in windows)))
    if moved:
        return Verdict("fleet", moved, faulty)
    seen = {apart.feature for window in windows for apart in window.apart if apart.station in faulty}
    return Verdict("station", sorted(seen), faulty) if faulty else Verdict("none", [], [])


def _has_drifted(window: Measured, name: str) -> bool:
    return any(change.name == name and change.drifted for change in window.changes)


def effective_rows(values: NDArray[np.floating], stations: Indices) -> float:
    """How many independent values tell as much as these. Each station's stand together, in order of time."""
    present = ~np.isnan(values)
    return float(present.sum() / autocorrelation_time(values[present], stations[present]))


def ks_distance(probabilities: Floats, quantiles: Floats, values: NDArray[np.floating]) -> float:
    """Kolmogorov-Smirnov distance of values from a distribution that is known by its quantiles.

    At a quantile q(p) the distribution function is at least p, and just below it at most p. So this never says more than
    the distance from the distribution itself, and less by at most the step between two probabilities.
    """
    ascending = np.sort(values)
    below = np.searchsorted(ascending, quantiles, "left") / len(ascending)
    up_to = np.searchsorted(ascending, quantiles, "right") / len(ascending)
    return float(max(np.max(probabilities - up_to), np.max(below - probabilities), 0.0))


def ks_chance(distance: float, first_rows: float, second_rows: float) -> float:
    """Chance of at least this distance between samples of one distribution (Kolmogorov; Stephens 1970 for small ones)."""
    root = np.sqrt(first_rows * second_rows / (first_rows + second_rows))
    return float(kolmogorov(distance * (root + 0.12 + 0.11 / root)))


def wasserstein(probabilities: Floats, quantiles: Floats, values: NDArray[np.floating], steps: int = 400) -> float:
    """Wasserstein distance (mean distance of equal quantiles) in the reference's standard deviations, tails trimmed."""
    wanted = TRIM + (1 - 2 * TRIM) * (np.arange(steps) + 0.5) / steps
    expected = np.interp(wanted, probabilities, quantiles)
    spread = max(float(expected.std()), 1e-6 * float(np.abs(expected).max()), 1e-9)
    return float(np.mean(np.abs(np.quantile(values, wanted) - expected)) / spread)


def autocorrelation_time(values: NDArray[np.floating], stations: Indices) -> float:
    """Integrated autocorrelation time of the values' ranks, over all stations; at least 1.

    Ranks, because a few wild values would hide how alike the others are. Each station's own mean is taken off, which takes
    tau / length from every autocorrelation, on average; that is put back. Where the series are too short to know, each
    station counts as one value.
    """
    if len(values) == 0:
        return 1.0
    _, group, counts = np.unique(stations, return_inverse=True, return_counts=True)
    length = max(1.0, len(values) / len(counts))
    ranks = rankdata(values)
    deviations = ranks - (np.bincount(group, ranks) / counts)[group]
    variance = float(deviations @ deviations)
    if variance == 0:
        return 1.0
    total, before, last = 1.0, 1.0, 0
    for lag in _lags(min(LAGS_MAX, len(values) - 1)):
        is_same_station = group[lag:] == group[:-lag]
        here = float((deviations[lag:] * is_same_station) @ deviations[:-lag]) / variance
        step = lag - last
        total += 2 * (step * before + (here - before) * (step + 1) / 2)  # a straight line through the lags between
        before, last = here, lag
        if lag >= LAGS_PER_TAU * total:
            kept = 1 - (2 * lag + 1) / length
            if kept <= 0:
                return length
            raised = max(total, 1.0) / kept
            tau = max(1.0, raised / (1 + raised / length))
            return tau if length >= ROWS_PER_TAU_MIN * tau else length
    return length


def _lags(largest: int) -> Iterator[int]:
    """Every lag at first, then fewer: neighbours say the same where the sum is still growing."""
    lag = 1
    while lag <= largest:
        yield lag
        lag += max(1, lag // 16)


def _changes(reference: Reference, window: Window) -> list[Change]:
    comparison_count = 2 * len(reference.features) + 1  # values and gaps of each feature, and the score
    chance_max = P_MAX / comparison_count
    changes = [
        _feature_change(reference, index, window.values[:, index], window.stations, chance_max)
        for index in range(len(reference.features))
    ]
    if reference.score_quantiles is None:
        return changes
    return [*changes, _change(reference, len(reference.features), window.scores, window.stations, chance_max)]


def _feature_change(
    reference: Reference, index: int, values: NDArray[np.floating], stations: Indices, chance_max: float
) -> Change:
    change = _change(reference, index, values, stations, chance_max)
    gaps = np.isnan(values).astype(np.float32)
    if len(gaps) == 0:
        return change
    share, expected = float(gaps.mean()), float(reference.missing_shares[index])
    rows = effective_rows(gaps, stations)
    is_large = abs(share - expected) >= MISSING_SHIFT_MIN and rows >= EFFECTIVE_ROWS_MIN
    gaps_drifted = is_large and _share_chance(share, expected, rows) < chance_max
    return replace(change, missing_share=share, drifted=change.drifted or gaps_drifted)


def _change(reference: Reference, index: int, values: NDArray[np.floating], stations: Indices, chance_max: float) -> Change:
    """Apply the rule to the values that are there. The score comes after the last feature."""
    if index < len(reference.features):
        name, quantiles = reference.features[index], reference.quantiles[index]
        expected_count = reference.rows * (1 - float(reference.missing_shares[index]))
    else:
        name, quantiles, expected_count = SCORE, reference.score_quantiles, float(reference.rows)
    present = ~np.isnan(values)
    there = values[present]
    if len(there) == 0 or expected_count < 1 or quantiles is None:
        return Change(name, 0.0, 1.0, 0.0, float(len(there)), 0.0, drifted=False)
    tau = autocorrelation_time(there, stations[present])
    rows = len(there) / tau
    # Unknown: training rows taken to be as alike as the window's.
    reference_rows = float(reference.effective_rows[index]) or max(1.0, expected_count / tau)
    distance = ks_distance(reference.probabilities, quantiles, there)
    chance = ks_chance(distance, rows, reference_rows)
    w1 = wasserstein(reference.probabilities, quantiles, there)
    is_large = distance >= KS_D_MIN or w1 >= W1_MIN
    drifted = is_large and chance < chance_max and rows >= EFFECTIVE_ROWS_MIN
    return Change(name, distance, chance, w1, rows, 0.0, drifted=drifted)


def _share_chance(share: float, expected: float, rows: float) -> float:
    """Chance of a share so far from the expected one among so many independent rows (normal approximation, two-sided)."""
    spread = math.sqrt(max(expected * (1 - expected), 1 / rows) / rows)
    return math.erfc(abs(share - expected) / spread / math.sqrt(2))


def _part(window: Window, kept: NDArray[np.bool_]) -> Window:
    return Window(window.values[kept], window.scores[kept], window.stations[kept], window.names)


def _stations_apart(reference: Reference, window: Window) -> list[Apart]:
    """Stations that are farther from the reference than the others are from it, by more than chance."""
    present = np.unique(window.stations)
    if len(present) < 2:
        return []  # one station is the whole fleet
    starts = np.searchsorted(window.stations, present)
    ends = np.append(starts[1:], len(window.stations))
    apart = []
    for index, feature in enumerate(reference.features):
        values = window.values[:, index]
        there = ~np.isnan(values)
        tau = autocorrelation_time(values[there], window.stations[there])
        seen = [values[start:end] for start, end in zip(starts, ends, strict=True)]
        shares = np.array([np.isnan(one).mean() for one in seen])
        distances = np.array([_station_distance(reference, index, one[~np.isnan(one)], tau) for one in seen])
        rows = (ends - starts) / tau
        for one in np.flatnonzero(_stand_out(distances, rows, W1_MIN) | _stand_out(shares, rows, STATION_MISSING_MIN)):
            others = np.delete(distances, one)
            apart.append(
                Apart(
                    station=window.names[present[one]],
                    feature=feature,
                    w1=float(np.nan_to_num(distances[one])),
                    others_w1=float(np.nan_to_num(_median(others))),
                    missing_share=float(shares[one]),
                )
            )
    return apart


def _station_distance(reference: Reference, index: int, values: NDArray[np.floating], tau: float) -> float:
    """NaN where too few values are there to tell, or training had none."""
    if len(values) / tau < STATION_ROWS_MIN or reference.missing_shares[index] == 1:
        return math.nan
    return wasserstein(reference.probabilities, reference.quantiles[index], values, steps=40)


def _stand_out(effects: Floats, rows: Floats, effect_min: float) -> NDArray[np.bool_]:
    """Whether each is larger than the median of the others by several of their spreads, and of its own noise."""
    found = np.zeros(len(effects), dtype=bool)
    for index in np.flatnonzero((effects >= effect_min) & (rows >= STATION_ROWS_MIN)):
        others = np.delete(effects, index)
        center = _median(others)
        if math.isnan(center):
            continue
        spread = 1.4826 * _median(np.abs(others - center))  # of a normal distribution, its standard deviation
        found[index] = effects[index] >= center + STATION_SPREADS * max(spread, 1 / math.sqrt(rows[index]))
    return found


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) > 0 else math.nan
