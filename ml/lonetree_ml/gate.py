"""Decides whether a challenger may replace the champion. Pure: two forests and rows in, checks out.

Measured are the verdicts that the scorer would give, forest and guards together. Faults are made from ordinary readings of
the window itself, one value moved far out, so labels are welcome but not needed. As models are retrained because readings
have changed, the champion's own threshold may fit no longer: both are compared at the same share of alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import poisson
from sklearn.metrics import average_precision_score

from lonetree_ml.judge import clean, judge
from lonetree_ml.verdict import gross_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest, Summary

    Floats = NDArray[np.float64]

TREES_MIN = 50
TRAINING_ROWS_MIN = 1_000
ALERT_FACTOR = 3
"""The alert rate on ordinary readings may be this many times the nominal one, or as many times less."""
CHANCE = 0.01
"""A model at the least rate allowed has fewer alerts than are asked for in one of so many windows."""
ALERTS_MIN = 20
"""With fewer alerts expected in the window its alert rate is chance."""
FAULTS = 1_500
FAULT_DISTANCES = (4.0, 8.0)
"""How far faults lie from the median, in standard deviations (estimated by the median absolute deviation)."""
RANKING_LOSS_MAX = 0.02
"""The challenger's ROC-AUC on faults may be lower than the champion's by this."""
DETECTION_LOSS_MAX = 0.10
"""Of the faults it may find fewer by this share of all, both alarming equally often."""
OWN_DETECTION_MIN = 0.4
"""With its own threshold it finds at least this part of what it finds at the window's alarm rate."""
SHIFT_MAX = 5.0
"""Medians of the training rows may move by this many of the champion's standard deviations."""
SCALE_FACTOR_MAX = 3.0
TAIL_FACTOR_MAX = 2.0
"""Tails may become this many times longer beside the middle half: more are anomalies that were trained on."""
STUCK_SHARE = 0.2
"""A value that so many more of the rows share than in the champion's training is a sensor that was stuck."""
MISSING_RISE_MAX = 0.25
SWAP_DISTANCE_MIN = 0.5
"""Two columns are taken for swapped when each is nearer to the other one before: by half, and by so many deviations."""
LABELS_MIN = 20
LABEL_LOSS_MAX = 0.05
"""The challenger's PR-AUC on labelled rows may be lower than the champion's by this."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found, for people."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Labelled:
    """Readings (rows, features) of which people have said what they are: 1 abnormal, 0 normal."""

    rows: NDArray[np.floating]
    labels: NDArray[np.int64]


def check(
    challenger: Forest,
    champion: Forest | None,
    rows: NDArray[np.floating],
    labels: NDArray[np.int64] | None = None,
    *,
    feedback: Labelled | None = None,
) -> list[Check]:
    """All checks; the challenger passes when each does.

    `rows`: (rows, features) of the challenger. `labels`: 0 or 1, of all of them; `feedback`: of other ones.
    """
    shape = [schema(challenger, champion), _size(challenger)]
    if not shape[0].passed:
        return shape
    cleaned = clean(rows)
    is_ordinary = ~gross_rows(cleaned) & (labels == 0 if labels is not None else True)
    checks = [*shape, _training(challenger, champion), _alert_rate(challenger, cleaned[is_ordinary])]
    checks += _detection(challenger, champion, cleaned[is_ordinary])
    told = Labelled(rows, labels) if labels is not None else feedback
    if told is not None:
        checks.append(_labelled(challenger, champion, clean(told.rows), told.labels))
    return checks


def faults_of(rows: Floats, count: int = FAULTS) -> Floats:
    """Make faults: readings of the window with one value moved far from its median. The same for every model."""
    generator = np.random.default_rng(7)
    center = np.nanmedian(rows, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(rows - center), axis=0)
    spread = np.where(spread > 0, spread, np.nanstd(rows, axis=0))
    usable = np.flatnonzero(spread > 0)
    if len(usable) == 0:
        return rows[:0]
    faults = rows[generator.integers(0, len(rows), count)].copy()
    feature = usable[generator.integers(0, len(usable), count)]
    distance = generator.choice([-1.0, 1.0], count) * generator.uniform(*FAULT_DISTANCES, count)
    faults[np.arange(count), feature] = center[feature] + distance * spread[feature]
    return faults


def schema(challenger: Forest, champion: Forest | None) -> Check:
    """Check that both read the same features in the same order, and in the same units as far as both know them."""
    features = list(challenger.features)
    if champion is None or features == list(champion.features):
        units = [] if champion is None else zip(features, challenger.units, champion.units, strict=True)
        changed = [f"{name} in {new}, the champion in {old}" for name, new, old in units if new and old and new != old]
        return Check("schema", passed=not changed, detail="; ".join(changed) or f"features {', '.join(features)}")
    return Check("schema", passed=False, detail=f"features {', '.join(features)}; champion: {', '.join(champion.features)}")


def _size(challenger: Forest) -> Check:
    trees = len(challenger.trees)
    rows = 0 if challenger.summary is None else challenger.summary.rows
    found = f"{trees} trees (at least {TREES_MIN}), {rows:,} training rows (at least {TRAINING_ROWS_MIN:,})"
    return Check("size", passed=trees >= TREES_MIN and rows >= TRAINING_ROWS_MIN, detail=found)


def _training(challenger: Forest, champion: Forest | None) -> Check:
    """Whether the challenger learned from readings of the same sensors: a drift is small beside what a mistake does."""
    if champion is None or champion.summary is None or challenger.summary is None:
        missing = "champion" if challenger.summary is not None else "challenger"
        what = "no champion" if champion is None else f"the {missing} has no training summary"
        return Check("training", passed=challenger.summary is not None, detail=f"not compared: {what}")
    problems = [
        f"{feature}: {problem}"
        for index, feature in enumerate(challenger.features)
        for problem in _training_problems(challenger.summary, champion.summary, index)
    ]
    problems += _swaps(challenger.summary, champion.summary, challenger.features)
    return Check("training", passed=not problems, detail="; ".join(problems) or "like the champion's")


def _training_problems(new: Summary, old: Summary, index: int) -> list[str]:
    rise = float(new.missing_shares[index] - old.missing_shares[index])
    problems = [f"missing in {rise:.0%} more of the rows"] if rise > MISSING_RISE_MAX else []
    if new.missing_shares[index] == 1 or old.missing_shares[index] == 1:
        return problems
    share, before = _commonest_share(new, index), _commonest_share(old, index)
    if share > before + STUCK_SHARE:
        problems.append(f"one value in {share:.0%} of the rows (champion: {before:.0%}): a stuck sensor?")
    low, first, median, third, high = (_quantile(new, index, p) for p in (0.01, 0.25, 0.5, 0.75, 0.99))
    old_low, old_first, old_median, old_third, old_high = (_quantile(old, index, p) for p in (0.01, 0.25, 0.5, 0.75, 0.99))
    if old_third <= old_first:
        return problems  # it was constant: nothing to measure a change in
    shift = abs(median - old_median) / ((old_third - old_first) / 1.349)
    if shift > SHIFT_MAX:
        problems.append(f"median moved by {shift:.1f} standard deviations: another unit, or another column?")
    factor = (third - first) / (old_third - old_first)
    if not 1 / SCALE_FACTOR_MAX <= factor <= SCALE_FACTOR_MAX:
        problems.append(f"spread became {factor:.2g} times as large: another unit, or another column?")
    if third <= first:
        return problems
    for side, tail, old_tail in (
        ("high", high - median, old_high - old_median),
        ("low", median - low, old_median - old_low),
    ):
        longer = tail / (third - first) / max(old_tail / (old_third - old_first), 1e-9)
        if longer > TAIL_FACTOR_MAX:
            problems.append(f"{side} tail {longer:.1f} times as long: trained on anomalies?")
    return problems


def _swaps(new: Summary, old: Summary, features: Sequence[str]) -> list[str]:
    """Pairs of columns that look as if they had been exchanged, however near to each other they are."""
    problems = []
    for first, second in combinations(range(len(features)), 2):
        straight = _distance(new, first, old, first) + _distance(new, second, old, second)
        crossed = _distance(new, first, old, second) + _distance(new, second, old, first)
        if straight >= SWAP_DISTANCE_MIN and crossed < straight / 2:
            problems.append(f"{features[first]} and {features[second]} look like each other before: swapped columns?")
    return problems


def _distance(new: Summary, index: int, old: Summary, before: int) -> float:
    """How far the middle 98 % of a column lie from another one's, in the other's standard deviations."""
    probabilities = np.linspace(0.01, 0.99, 99)
    reference = np.interp(probabilities, old.probabilities, old.quantiles[before])
    deviation = (np.interp(0.75, probabilities, reference) - np.interp(0.25, probabilities, reference)) / 1.349
    if not deviation > 0:
        return 0.0  # constant or never there: nothing to measure by
    moved = np.interp(probabilities, new.probabilities, new.quantiles[index]) - reference
    return float(np.mean(np.abs(moved)) / deviation)


def _quantile(summary: Summary, index: int, probability: float) -> float:
    return float(np.interp(probability, summary.probabilities, summary.quantiles[index]))


def _commonest_share(summary: Summary, index: int) -> float:
    """Share of the rows that have the commonest value, as far as quantiles tell: those that are equal."""
    quantiles = summary.quantiles[index]
    first = np.searchsorted(quantiles, quantiles, "left")
    last = np.searchsorted(quantiles, quantiles, "right") - 1
    return float(np.max(summary.probabilities[last] - summary.probabilities[first]))


def _alert_rate(challenger: Forest, ordinary: Floats) -> Check:
    if challenger.guards is None:
        return Check("alert rate", passed=False, detail="it has no nominal alarm rate: train it with --alarm-rate")
    nominal = challenger.guards.alarm_rate
    needed = math.ceil(ALERTS_MIN / nominal)
    if len(ordinary) < needed:
        few = f"{len(ordinary):,} ordinary rows are too few for a nominal rate of {nominal:g}: {needed:,} are needed"
        return Check("alert rate", passed=False, detail=few)
    alerts = int(judge(challenger, ordinary).is_anomaly.sum())
    # A few alerts less than the least are chance; many more than the most never are, for a model as it should be.
    least = poisson.ppf(CHANCE, len(ordinary) * nominal / ALERT_FACTOR)
    most = len(ordinary) * nominal * ALERT_FACTOR
    found = f"{alerts:,} of {len(ordinary):,} ordinary rows; allowed at the rate {nominal:g}: {least:,.0f} to {most:,.0f}"
    return Check("alert rate", passed=least <= alerts <= most, detail=found)


@dataclass(frozen=True)
class _Detection:
    ranking: float
    """ROC-AUC of faults among ordinary readings."""
    matched: float
    """Share of the faults found when the window's alarm rate is the nominal one."""
    own: float
    """Share found by the model's own verdict."""


def _detection(challenger: Forest, champion: Forest | None, ordinary: Floats) -> list[Check]:
    faults = faults_of(ordinary) if len(ordinary) > 0 else ordinary
    if challenger.guards is None or len(faults) == 0:
        return [
            Check("detection", passed=False, detail="cannot be measured: no alarm rate, or no row with a value that varies")
        ]
    rate = challenger.guards.alarm_rate
    new = _detect(challenger, ordinary, faults, rate)
    own = Check(
        "own threshold",
        passed=new.own >= OWN_DETECTION_MIN * new.matched and new.matched > 0,
        detail=f"finds {new.own:.3f} of {len(faults):,} faults; {new.matched:.3f} at the window's alarm rate",
    )
    if champion is None:
        return [own]
    old = _detect(champion, ordinary, faults, rate)
    return [
        Check(
            "detection",
            passed=new.matched >= old.matched - DETECTION_LOSS_MAX,
            detail=f"finds {new.matched:.3f} of {len(faults):,} faults at the nominal rate, the champion {old.matched:.3f}",
        ),
        Check(
            "ranking",
            passed=new.ranking >= old.ranking - RANKING_LOSS_MAX,
            detail=f"ROC-AUC of faults {new.ranking:.4f}, the champion's {old.ranking:.4f}",
        ),
        own,
    ]


def _detect(forest: Forest, ordinary: Floats, faults: Floats, rate: float) -> _Detection:
    normal, faulty = judge(forest, ordinary), judge(forest, faults)
    # Severity ranks what forest and guards say together; without guards there is the score alone.
    ranked = (normal.severity, faulty.severity) if forest.guards is not None else (-normal.scores, -faulty.scores)
    ascending = np.sort(ranked[0])
    limit = ascending[-max(1, math.ceil(rate * len(ascending)))]
    below = np.searchsorted(ascending, ranked[1], "left") + np.searchsorted(ascending, ranked[1], "right")
    return _Detection(
        ranking=float(below.mean() / (2 * len(ascending))),
        matched=float(np.mean(ranked[1] > limit)),
        own=float(faulty.is_anomaly.mean()),
    )


def _labelled(challenger: Forest, champion: Forest | None, rows: Floats, labels: NDArray[np.int64]) -> Check:
    anomalies, normal = int(labels.sum()), int((labels == 0).sum())
    if min(anomalies, normal) < LABELS_MIN:
        few = f"not compared: {anomalies} abnormal and {normal} normal labels; at least {LABELS_MIN} of each are needed"
        return Check("labels", passed=True, detail=few)
    new = _precision(challenger, rows, labels)
    found = f"PR-AUC {new:.4f} on {anomalies} labelled anomalies"
    if champion is None:
        return Check("labels", passed=True, detail=found)
    old = _precision(champion, rows, labels)
    return Check("labels", passed=new >= old - LABEL_LOSS_MAX, detail=f"{found}, the champion's {old:.4f}")


def _precision(forest: Forest, rows: Floats, labels: NDArray[np.int64]) -> float:
    judged = judge(forest, rows)
    return float(average_precision_score(labels, judged.severity if forest.guards is not None else -judged.scores))
