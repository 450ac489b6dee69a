"""`drift`: compares the two windows before an instant with what the model was trained on, and tells what it found."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import atomic_file, database, drift, drift_metrics, drift_report, events, model_source
from lonetree_ml.arguments import SEED, Integer, duration, instant
from lonetree_ml.table import InputError
from lonetree_ml.window import Span, iso, read

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

WINDOW_COUNT = 2
"""So many windows running must say the same."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--at", type=instant, metavar="TIME", help="end of the last window, ISO 8601 with zone (default: now)"
    )
    parser.add_argument(
        "--window",
        type=duration,
        default=timedelta(hours=1),
        metavar="LENGTH",
        help="of each of the two windows (default: 1h)",
    )
    model_source.add_arguments(parser)
    parser.add_argument("--report", metavar="HTML", help="also write a report with plots")
    parser.add_argument("--metrics", metavar="PROM", help="also write a textfile for Prometheus' node exporter")
    parser.add_argument("--json", metavar="JSON", help="also write the verdict here")
    parser.add_argument(
        "--cool-down",
        type=duration,
        default=timedelta(hours=6),
        metavar="LENGTH",
        help="so long after a verdict of drift, or a change of the champion, nothing is new (default: 6h)",
    )
    parser.add_argument(
        "--rows-max",
        type=Integer(1_000, 10_000_000),
        default=100_000,
        metavar="N",
        help="readings to sample from a window with more (default: 100000)",
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="same seed, same sample (default: 0)")
    parser.add_argument(
        "--record", action="store_true", help="also record it as an event: verdicts after it may then be no news"
    )
    database.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Read, measure, decide, write, and record if asked to."""
    at = options.at or datetime.now(UTC)
    model = model_source.load(options)
    try:
        reference = drift.reference_of(model.forest)
    except drift.NoReferenceError as error:
        raise InputError(f"{model.place} cannot be compared with: {error}.") from error
    spans = [
        Span(at - (WINDOW_COUNT - index) * options.window, at - (WINDOW_COUNT - 1 - index) * options.window)
        for index in range(WINDOW_COUNT)
    ]
    with database.connected(options) as connection:
        samples = []
        for span in spans:
            sample = read(
                connection,
                span,
                features=reference.features,
                sha256=model.sha256,
                rows_max=options.rows_max,
                seed=options.seed,
            )
            if len(sample.values) < drift.EFFECTIVE_ROWS_MIN:
                few = f"Only {len(sample.values)} readings were stored from {span}"
                raise InputError(f"{few}; at least {drift.EFFECTIVE_ROWS_MIN} are needed to tell anything.")
            samples.append(sample)
        measured = [drift.measure(reference, sample.window()) for sample in samples]
        verdict = drift.decide(measured)
        report = {
            "drifted": verdict.kind != "none",
            "kind": verdict.kind,
            "moved": verdict.moved,
            "stations": verdict.stations,
            "cooling_down": _is_cooling_down(connection, verdict, at, options.cool_down),
            "at": iso(at),
            "model": {"version": model.version, "sha256": model.sha256},
            "windows": [
                _window_report(span, sample.stored, one, len(reference.features))
                for span, sample, one in zip(spans, samples, measured, strict=True)
            ],
        }
        if options.record:
            detail = {**_event(report), "window": str(options.window)}
            events.add_once(connection, "drift", detail, key=("at", "sha256", "window"))
    if options.json is not None:
        _write(options.json, json.dumps(report, allow_nan=False) + "\n")
    if options.metrics is not None:
        _write(options.metrics, drift_metrics.lines(report))
    if options.report is not None:
        _write(options.report, drift_report.page(report, reference, [sample.window() for sample in samples]))
    return report


def _write(place: str, text: str) -> None:
    atomic_file.replace(Path(place), text.encode())


def _is_cooling_down(connection: database.Connection, verdict: drift.Verdict, at: datetime, within: timedelta) -> bool:
    """Whether there is nothing new to say: it was said shortly before, or the champion was only just changed."""
    told = [one for one in events.drifts_told(connection, at, within) if one["kind"] == verdict.kind]
    if verdict.kind == "fleet":
        changed = events.last_change(connection, at)
        return len(told) > 0 or (changed is not None and changed >= at - within)
    return verdict.kind == "station" and set(verdict.stations) <= {name for one in told for name in one["stations"]}


def _window_report(span: Span, stored: int, measured: drift.Measured, feature_count: int) -> dict[str, Any]:
    # The score comes last; a feature may have its name.
    changes = [
        (change.name, {key: value for key, value in asdict(change).items() if key != "name"}) for change in measured.changes
    ]
    score = changes.pop()[1] if len(changes) > feature_count else None
    return {
        "from": iso(span.start),
        "to": iso(span.end),
        "rows": measured.rows,
        "stored_rows": stored,
        "stations": measured.station_count,
        "features": [{"feature": name, **change} for name, change in changes],
        "score": score,
        "stations_apart": [asdict(apart) for apart in measured.apart],
    }


def _event(report: dict[str, Any]) -> dict[str, Any]:
    kept = ("at", "drifted", "kind", "moved", "stations", "cooling_down")
    return {**{name: report[name] for name in kept}, **report["model"]}
