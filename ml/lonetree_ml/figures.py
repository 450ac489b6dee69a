"""Draws what is kept beside a registered model: where its scores lie, and with labels how well they rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int64]

BINS = 60


def score_histogram(scores: Floats, offset: float, labels: Labels | None = None) -> Figure:
    """Scores on a logarithmic count, with the offset that parts abnormal from normal. Shapes (rows,)."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.histogram_bin_edges(np.append(scores, offset), bins=BINS).tolist()
    if labels is None:
        axes.hist(scores, bins=bins, label=f"{len(scores):,} readings")
    else:
        for value, what in ((0, "normal"), (1, "abnormal")):
            axes.hist(scores[labels == value], bins=bins, alpha=0.6, label=f"{int(np.sum(labels == value)):,} {what}")
    axes.axvline(offset, color="black", linestyle="--", label=f"offset {offset:.4f}")
    axes.set(xlabel="score (lower is more abnormal)", ylabel="readings", yscale="log")
    axes.legend()
    return figure


def precision_recall(scores: Floats, labels: Labels) -> Figure:
    """Precision over recall, for every threshold. Shapes (rows,); a label is 1 for abnormal."""
    precision, recall, _ = precision_recall_curve(labels, -scores)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    area = average_precision_score(labels, -scores)
    axes.step(recall, precision, where="post", label=f"PR-AUC {area:.4f}")
    axes.axhline(labels.mean(), color="grey", linestyle=":", label=f"by chance {labels.mean():.4f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return figure
