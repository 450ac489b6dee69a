"""The verdict on drift as one HTML page that needs no other file: what it means, the numbers, and a plot a feature."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from lonetree_ml import drift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lonetree_ml.drift import Reference, Window

WIDTH, HEIGHT, MARGIN = 420, 200, 34
POINTS = np.r_[0.001, np.arange(1, 100) / 100, 0.999]
"""Of each distribution these quantiles are drawn."""
COLORS = ("#6b7280", "#e69f00", "#0072b2")
"""Training, first and second window: apart for colour-blind eyes, too."""
COLUMNS = ("feature", "KS distance", "chance", "Wasserstein, σ", "effective readings", "missing", "drifted")
STATIONS_SHOWN = 50
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #111827 }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #d1d5db; text-align: right }
td:first-child, th:first-child { text-align: left } .drifted { font-weight: 700; color: #b91c1c }
.plots { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0 } figcaption { font-weight: 600 }
.key span { display: inline-block; margin-right: 1.2rem } .key i { display: inline-block; width: 1.4rem; height: .25rem;
vertical-align: middle; margin-right: .4rem } svg { background: #f9fafb } text { font-size: 11px; fill: #374151 }
"""


def page(report: dict[str, Any], reference: Reference, windows: Sequence[Window]) -> str:
    """Write the page."""
    headline = _headline(report)
    model = report["model"]
    who = f"version {escape(model['version'])}, " if model["version"] else ""
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(headline)}</title>
<style>{STYLE}</style>
<h1>{escape(headline)}</h1>
<p>{escape(_meaning(report))}</p>
<p>Compared with the {reference.rows:,} readings that the model ({who}SHA-256 {escape(model["sha256"][:12])}…)
was trained on. All times are UTC.</p>
{_tables(report)}
{_stations(report)}
<h2>Distributions</h2>
<p>Each line climbs where values are: at a height of 0.5 half of the readings are below. A window whose line lies beside the
grey one has other values than training had.</p>
<p class="key">{_key(report)}</p>
<div class="plots">{"".join(_plots(reference, windows))}</div>
<h2>How it is decided</h2>
<p>A window has drifted in a feature when the change is large (KS distance at least {drift.KS_D_MIN:g}, or Wasserstein
distance at least {drift.W1_MIN:g} standard deviations, or a share of missing values that differs by
{drift.MISSING_SHIFT_MIN:g}), when chance makes such a distance in fewer than one of a hundred windows without drift, all
comparisons together, and when there are at least {drift.EFFECTIVE_ROWS_MIN} effective readings. Readings that resemble those
just before count for less: that is the number of effective ones. Only what both windows say is drift.</p>
</html>
"""


def _headline(report: dict[str, Any]) -> str:
    if report["kind"] == "fleet":
        return f"The fleet has drifted in {', '.join(report['moved'])}"
    if report["kind"] == "station":
        count = len(report["stations"])
        return f"{count} station{'s stand' if count > 1 else ' stands'} out from the others"
    return "No drift"


def _meaning(report: dict[str, Any]) -> str:
    meanings = {
        "fleet": "Most stations measure something else than the model was trained on. A model trained anew fits better.",
        "station": "The fleet is as it was; these stations are not. Look at their sensors: a new model would be no help.",
        "none": "The readings are like those that the model was trained on, as far as these two windows can tell.",
    }
    again = " This has been told before, or the model was changed only just: no new alarm." if report["cooling_down"] else ""
    return meanings[report["kind"]] + again


def _tables(report: dict[str, Any]) -> str:
    text = ""
    for window in report["windows"]:
        text += f"<h2>{escape(window['from'])} to {escape(window['to'])}</h2>\n"
        text += f"<p>{window['rows']:,} of {window['stored_rows']:,} readings, {window['stations']:,} stations</p>\n"
        text += (
            "<table><tr><th>feature<th>KS distance<th>chance<th>Wasserstein, σ<th>effective readings<th>missing<th>drifted\n"
        )
        rows = [(one["feature"], one) for one in window["features"]]
        for name, one in [*rows, *([("score", window["score"])] if window["score"] else [])]:
            mark = ' class="drifted"' if one["drifted"] else ""
            text += (
                f"<tr{mark}><td>{escape(name)}<td>{one['ks_d']:.3f}<td>{one['ks_p']:.1e}<td>{one['w1']:.2f}"
                f"<td>{one['effective_rows']:,.0f}<td>{one['missing_share']:.1%}<td>{'yes' if one['drifted'] else 'no'}\n"
            )
        text += "</table>\n"
        if window["score"] is None:
            text += "<p>Scores were not compared: the model's file does not tell those of its training.</p>\n"
        elif window["score"]["effective_rows"] == 0:
            text += "<p>Scores were not compared: other models scored this window.</p>\n"
    return text


def _stations(report: dict[str, Any]) -> str:
    found = [(window, apart) for window in report["windows"] for apart in window["stations_apart"]]
    if not found:
        return ""
    text = "<h2>Stations that stand out</h2>\n"
    text += "<table><tr><th>station<th>feature<th>Wasserstein, σ<th>others<th>missing<th>until\n"
    for window, apart in found[:STATIONS_SHOWN]:
        text += (
            f"<tr><td>{escape(apart['station'])}<td>{escape(apart['feature'])}<td>{apart['w1']:.2f}<td>{apart['others_w1']:.2f}"
            f"<td>{apart['missing_share']:.1%}<td>{escape(window['to'])}\n"
        )
    more = f"<p>and {len(found) - STATIONS_SHOWN:,} more</p>\n" if len(found) > STATIONS_SHOWN else ""
    return f"{text}</table>\n{more}"


def _key(report: dict[str, Any]) -> str:
    names = ["training", *(f"until {window['to']}" for window in report["windows"])]
    return "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>' for color, name in zip(COLORS, names, strict=True)
    )


def _plots(reference: Reference, windows: Sequence[Window]) -> list[str]:
    plots = [
        _plot(name, reference, reference.quantiles[index], [window.values[:, index] for window in windows])
        for index, name in enumerate(reference.features)
    ]
    if reference.score_quantiles is None or all(np.isnan(window.scores).all() for window in windows):
        return plots
    return [*plots, _plot(drift.SCORE, reference, reference.score_quantiles, [window.scores for window in windows])]


def _plot(name: str, reference: Reference, quantiles: NDArray[np.float64], columns: list[NDArray[np.floating]]) -> str:
    curves = [np.asarray(np.interp(POINTS, reference.probabilities, quantiles))]
    for column in columns:
        there = column[~np.isnan(column)]
        curves.append(np.asarray(np.quantile(there, POINTS)) if len(there) > 0 else np.empty(0))
    everywhere = np.concatenate(curves)
    low, high = float(everywhere.min()), float(everywhere.max())
    if high <= low:
        low, high = low - 1, high + 1
    lines = "".join(
        f'<polyline fill="none" stroke="{color}" stroke-width="2" points="{_points(curve, low, high)}"/>'
        for color, curve in zip(COLORS, curves, strict=True)
        if len(curve) > 0
    )
    bottom = HEIGHT - MARGIN / 2
    axes = (
        f'<text x="{MARGIN}" y="{HEIGHT - 3}">{low:.5g}</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT - 3}" text-anchor="end">{high:.5g}</text>'
        f'<text x="4" y="14">1</text><text x="4" y="{(bottom + 8) / 2:.0f}">0.5</text><text x="4" y="{bottom:.0f}">0</text>'
    )
    return (
        f"<figure><figcaption>{escape(name)}</figcaption>"
        f'<svg role="img" aria-label="distribution of {escape(name, quote=True)}" width="{WIDTH}" height="{HEIGHT}">'
        f"{axes}{lines}</svg></figure>"
    )


def _points(curve: NDArray[np.float64], low: float, high: float) -> str:
    across = MARGIN + (curve - low) / (high - low) * (WIDTH - MARGIN - 4)
    bottom = HEIGHT - MARGIN / 2
    up = bottom - POINTS * (bottom - 8)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, up, strict=True))
