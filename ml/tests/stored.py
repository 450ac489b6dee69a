"""Puts readings and what belongs to them into the scorer's tables, as the scorer would."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from lonetree_ml.golden import SIMULATED_FEATURES

Connection = psycopg.Connection[tuple[Any, ...]]

START = datetime(2026, 7, 1, tzinfo=UTC)


def add_model(
    connection: Connection, sha256: str = "a" * 64, version: str = "", features: Sequence[str] = SIMULATED_FEATURES
) -> int:
    row = connection.execute(
        "insert into model (sha256, name, features, score_offset, version) values (%s, 'm', %s, -0.5, %s) returning id",
        [sha256, list(features), version],
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_predictions(
    connection: Connection,
    values: NDArray[np.floating],
    model_id: int,
    *,
    start: datetime = START,
    length: timedelta = timedelta(hours=1),
    stations: int = 10,
    scores: NDArray[np.floating] | None = None,
    offset: int = 0,
) -> None:
    """Readings of stations that take turns, evenly over the time, 100 a message; NaN becomes null."""
    step = length / len(values)
    columns = 'topic, partition, "offset", row, time, station, "values", score, is_anomaly, model_id'
    with connection.cursor() as cursor, cursor.copy(f"copy prediction ({columns}) from stdin") as copy:
        for index, reading in enumerate(values):
            copy.write_row(
                (
                    "readings",
                    index % 3,
                    offset + index // 100,
                    index % 100,
                    start + index * step,
                    f"station-{index % stations:03}",
                    [None if np.isnan(value) else float(value) for value in reading],
                    -0.4 if scores is None else float(scores[index]),
                    False,
                    model_id,
                )
            )


def add_event(connection: Connection, kind: str, at: datetime, detail: dict[str, Any]) -> None:
    connection.execute("insert into event (kind, at, detail) values (%s, %s, %s)", [kind, at, json.dumps(detail)])
