"""The verdict on drift as metrics, in the text format that Prometheus' node exporter collects from files."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def lines(report: dict[str, Any]) -> str:
    """All metrics. Measures are the last window's; no station is a label, as there may be any number of them."""
    last = report["windows"][-1]
    features = last["features"]
    measures = [(one["feature"], one) for one in features]
    # A feature of that name comes first: a label stands for one thing.
    if last["score"] and "score" not in {name for name, _ in measures}:
        measures.append(("score", last["score"]))
    text = "".join(
        [
            _metric("detected", "Whether the fleet has drifted in both windows.", [("", float(report["kind"] == "fleet"))]),
            _metric(
                "faulty_stations",
                "Stations that stand out from the others in both windows.",
                [("", len(report["stations"]))],
            ),
            _metric("cooling_down", "Whether the verdict repeats one before.", [("", float(report["cooling_down"]))]),
            _metric("window_rows", "Readings that were compared, of the last window.", [("", last["rows"])]),
            _metric("window_stored_rows", "Readings that the last window has.", [("", last["stored_rows"])]),
            _metric("window_end_timestamp_seconds", "End of the last window.", [("", _seconds(report["at"]))]),
        ]
    )
    for name, field, meaning in (
        ("ks_distance", "ks_d", "Kolmogorov-Smirnov distance from the training rows, 0 to 1."),
        ("wasserstein_sigmas", "w1", "Wasserstein distance in standard deviations of the training rows."),
        ("effective_rows", "effective_rows", "Independent readings that the last window is worth."),
        ("feature_detected", "drifted", "Whether this has drifted in the last window."),
    ):
        text += _metric(name, meaning, [(_label(feature), float(one[field])) for feature, one in measures])
    missing = [(_label(one["feature"]), one["missing_share"]) for one in features]
    return text + _metric("missing_ratio", "Share of readings without a value.", missing)


def _metric(name: str, meaning: str, values: list[tuple[str, float]]) -> str:
    full = f"lonetree_drift_{name}"
    samples = "".join(f"{full}{labels} {value!r}\n" for labels, value in values)
    return f"# HELP {full} {meaning}\n# TYPE {full} gauge\n{samples}"


def _label(feature: str) -> str:
    escaped = feature.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{feature="{escaped}"}}'


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
