"""Reads a sample of the readings of a span of time out of `prediction`: the same rows every time, in bounded memory.

A row is in the sample when a hash of its place in the log (topic, partition, offset, row) and of the seed is small enough.
So the sample depends on nothing but what is stored, and the database sends no other rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql

from lonetree_ml import drift
from lonetree_ml.database import copy_rows
from lonetree_ml.judge import clean
from lonetree_ml.table import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lonetree_ml.database import Connection

STATIONS_MAX = 100_000
FEEDBACK_ROWS_MAX = 100_000
HASHES = 2**64
"""Hashes are evenly spread over all 64-bit integers."""
PLACE_HASH = sql.SQL(
    """hashint4extended(row, hashint8extended("offset", hashint4extended(partition, hashtextextended(topic, {seed}))))"""
)
MESSAGE_HASH = sql.SQL("""hashint8extended("offset", partition)""")
POSTGRES_EPOCH_US = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1e6)


@dataclass(frozen=True)
class Part:
    """A share of all messages, by a hash of their place in the log: the same ones whatever the span and the seed."""

    condition: sql.Composable
    share: float


EVERYTHING = Part(sql.SQL("true"), 1.0)
HELD_OUT = Part(sql.SQL("({} & 3) = 3").format(MESSAGE_HASH), 0.25)
"""What models are judged on: none of it is ever trained on. Whole messages, as readings of one resemble each other."""
TRAINING = Part(sql.SQL("({} & 3) <> 3").format(MESSAGE_HASH), 0.75)


@dataclass(frozen=True)
class Span:
    """From one instant to before another, both in UTC."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        """Both ends in ISO 8601."""
        return f"{iso(self.start)} to {iso(self.end)}"


@dataclass(frozen=True)
class Sample:
    """Sampled readings, each station's together and in order of time.

    `values` has shape (rows, features), NaN where missing; the others shape (rows,). `scores` are of the models asked for,
    NaN elsewhere. `stored` is how many rows the span has, `query` the SQL that gave these.
    """

    features: Sequence[str]
    values: NDArray[np.float32]
    scores: NDArray[np.float64]
    stations: NDArray[np.intp]
    names: Sequence[str]
    stored: int
    query: str

    def window(self) -> drift.Window:
        """Give what drift is measured on."""
        return drift.Window(self.values, self.scores, self.stations, self.names)


@dataclass(frozen=True)
class Stored:
    """What a span of time holds: rows, stations, and of each model that scored them its features."""

    rows: int
    names: list[str]
    hashes: NDArray[np.int64]
    """Of the names, ascending: names stand in this order."""
    models: dict[int, tuple[list[str], str]]
    """Number of a model: its features and its SHA-256. The newest model comes last."""


def iso(instant: datetime) -> str:
    """Write ISO 8601 in UTC, with Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def look(connection: Connection, span: Span) -> Stored:
    """Count what is stored; raises InputError when nothing is."""
    counts: dict[int, int] = {}
    names: dict[int, str] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """select station, hashtextextended(station, 0), model_id, count(*) from prediction
            where time >= %(start)s and time < %(end)s group by 1, 2, 3 limit %(most)s""",
            {"start": span.start, "end": span.end, "most": 10 * STATIONS_MAX},
        )
        for station, hashed, model_id, count in cursor:
            if names.setdefault(hashed, station) != station:
                raise InputError(f"The stations {station!r} and {names[hashed]!r} cannot be told apart: rename one.")
            counts[model_id] = counts.get(model_id, 0) + count
        if not counts:
            raise InputError(f"Nothing was stored from {span}.")
        if len(names) > STATIONS_MAX:
            raise InputError(f"More than {STATIONS_MAX:,} stations reported from {span}: choose a shorter time.")
        cursor.execute("select id, features, sha256 from model where id = any(%s) order by id", [list(counts)])
        models = {model_id: (list(features), sha256) for model_id, features, sha256 in cursor}
    if len(models) < len(counts):
        raise InputError("Predictions name a model that the table model does not have.")
    hashes = np.array(sorted(names), dtype=np.int64)
    return Stored(sum(counts.values()), [names[int(hashed)] for hashed in hashes], hashes, models)


def read(
    connection: Connection,
    span: Span,
    *,
    features: Sequence[str] | None = None,
    sha256: str | None = None,
    rows_max: int,
    seed: int = 0,
    part: Part = EVERYTHING,
) -> Sample:
    """Sample at most `rows_max` readings. `features`: the newest model's unless given; `sha256`: whose scores."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read read only")
        stored = look(connection, span)
        wanted = list(features) if features is not None else next(reversed(stored.models.values()))[0]
        usable = {number: names for number, (names, _) in stored.models.items() if set(wanted) <= set(names)}
        if not usable:
            raise InputError(f"No model that scored from {span} has the features {', '.join(wanted)}.")
        own = [number for number, (_, digest) in stored.models.items() if digest == sha256]
        below = _hash_limit(round(stored.rows * part.share), rows_max)
        query = _query(wanted, usable, own=own, span=span, seed=seed, below=below, part=part)
        pieces = copy_rows(connection, query, _columns(len(wanted)))
        rows = np.concatenate([_keep(piece, stored.hashes, len(wanted)) for piece in pieces])
    # Chance brings a few more than wanted; those with the largest hashes go.
    rows = rows[np.argsort(rows["place"], kind="stable")][:rows_max]
    rows = rows[np.lexsort((rows["place"], rows["time"], rows["station"]))]
    return Sample(
        features=wanted,
        values=clean(rows["values"]).astype(np.float32),
        scores=rows["score"].copy(),
        stations=rows["station"].astype(np.intp),
        names=stored.names,
        stored=stored.rows,
        query=f"{query.as_string(connection)} order by 1 limit {rows_max}",
    )


def read_feedback(
    connection: Connection, span: Span, features: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read what people have told about: values (rows, features), the newest first, and 1 where abnormal."""
    models = connection.execute(
        "select id, features from model where features @> %s::text[] order by id", [list(features)]
    ).fetchall()
    usable = {number: list(names) for number, names in models}
    if not usable:
        return np.empty((0, len(features))), np.empty(0, dtype=np.int64)
    query = sql.SQL(
        """select said::int, {values}
        from (select prediction.*, feedback.is_anomaly as said from feedback join prediction
          using (topic, partition, "offset", row)) as told
        where time >= {start} and time < {end} and model_id = any({usable}) order by time desc limit {most}"""
    ).format(
        values=sql.SQL(", ").join(_values(features, usable)),
        start=sql.Literal(span.start),
        end=sql.Literal(span.end),
        usable=sql.SQL("{}::int[]").format(sql.Literal(list(usable))),
        most=sql.Literal(FEEDBACK_ROWS_MAX),
    )
    columns = [("said", ">i4"), *((f"value {index}", ">f4") for index in range(len(features)))]
    rows = np.concatenate(list(copy_rows(connection, query, columns)))
    values = np.stack([rows[f"value {index}"] for index in range(len(features))], axis=1).astype(np.float64)
    return values, rows["said"].astype(np.int64)


def _hash_limit(stored: int, rows_max: int) -> int:
    """Hashes below this are taken: all, or so many that the sample hardly ever exceeds its size."""
    if stored <= rows_max:
        return HASHES // 2 - 1
    share = min(1.0, (rows_max + 4 * math.sqrt(rows_max)) / stored)
    return min(HASHES // 2 - 1, int(share * HASHES) - HASHES // 2)


def _query(
    features: list[str],
    models: dict[int, list[str]],
    *,
    own: list[int],
    span: Span,
    seed: int,
    below: int,
    part: Part,
) -> sql.Composed:
    return sql.SQL(
        """select {place}, hashtextextended(station, 0), time,
        case when model_id = any({own}) then score else 'NaN' end::float8, {values}
        from prediction where time >= {start} and time < {end} and model_id = any({usable})
        and {place} <= {below} and {part}"""
    ).format(
        place=PLACE_HASH.format(seed=sql.Literal(seed)),
        values=sql.SQL(", ").join(_values(features, models)),
        own=sql.SQL("{}::int[]").format(sql.Literal(own)),
        start=sql.Literal(span.start),
        end=sql.Literal(span.end),
        usable=sql.SQL("{}::int[]").format(sql.Literal(list(models))),
        below=sql.Literal(below),
        part=part.condition,
    )


def _values(features: Sequence[str], models: dict[int, list[str]]) -> list[sql.Composed]:
    """Models may have the same features in another order; each value is found by its model."""
    return [
        sql.SQL("""coalesce("values"[case model_id {} end], 'NaN')::real""").format(
            sql.SQL(" ").join(
                sql.SQL("when {} then {}").format(sql.Literal(number), sql.Literal(names.index(feature) + 1))
                for number, names in models.items()
            )
        )
        for feature in features
    ]


def _columns(feature_count: int) -> list[tuple[str, str]]:
    values = [(f"value {index}", ">f4") for index in range(feature_count)]
    return [("place", ">i8"), ("station", ">i8"), ("time", ">i8"), ("score", ">f8"), *values]


def _kept(feature_count: int) -> np.dtype[np.void]:
    return np.dtype(
        [("place", "i8"), ("station", "i4"), ("time", "i8"), ("score", "f8"), ("values", "f4", (feature_count,))]
    )


def _keep(rows: NDArray[np.void], hashes: NDArray[np.int64], feature_count: int) -> NDArray[np.void]:
    kept = np.empty(len(rows), dtype=_kept(feature_count))
    for name in ("place", "time", "score"):
        kept[name] = rows[name]
    kept["station"] = np.searchsorted(hashes, rows["station"])
    for index in range(feature_count):
        kept["values"][:, index] = rows[f"value {index}"]
    return kept
