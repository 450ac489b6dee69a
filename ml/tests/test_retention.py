"""`retention` drops whole days and says how many rows; what is younger, and what scorers use now, stays."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest
from conftest import Outcome, Servers
from stored import Connection, add_event, add_predictions

from lonetree_ml import retention

NOW = "2026-07-10T12:34:56Z"
DAYS = [datetime(2026, 7, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
ROWS = np.zeros((500, 3))


@pytest.fixture
def days(database: Connection) -> Iterator[Connection]:
    """Four days of predictions, each a partition, and shadow scores of the first; a reading of May in no partition."""
    for day in DAYS:
        for table in ("prediction", "shadow_score"):
            span = f"for values from ('{day}') to ('{day + timedelta(1)}')"
            database.execute(f"create table {table}_{day:%Y%m%d} partition of {table} {span}")
        add_predictions(database, ROWS, 1, start=day, length=timedelta(days=1))
    add_predictions(database, ROWS[:7], 1, start=datetime(2026, 5, 1, tzinfo=UTC))
    database.execute(
        """insert into shadow_score select 'readings', 0, n, 0, '2026-07-01 10:00Z', 's', 1, 2, -0.5, -0.5, false, false
        from generate_series(1, 30) as n"""
    )
    yield database
    for day in DAYS:
        for table in ("prediction", "shadow_score"):
            database.execute(f"drop table if exists {table}_{day:%Y%m%d}")


def drop(run: Callable[..., Outcome], servers: Servers, days: int = 7) -> Outcome:
    return run("retention", "--days", days, "--at", NOW, "--database-url", servers.database_url)


def tables(database: Connection) -> set[str]:
    found = database.execute("select relname from pg_class where relname ~ '^(prediction|shadow_score)_202607'").fetchall()
    return {name for (name,) in found if not name.endswith("_idx")}


def test_days_that_are_older_are_dropped_and_their_rows_counted(
    run: Callable[..., Outcome], servers: Servers, days: Connection
) -> None:
    report = drop(run, servers).report
    assert report is not None
    assert report["before"] == "2026-07-03T00:00:00Z"
    assert report["dropped"] == [
        "prediction_20260701",
        "prediction_20260702",
        "shadow_score_20260701",
        "shadow_score_20260702",
    ]
    assert (report["rows"]["prediction"], report["rows"]["shadow_score"]) == (1_007, 30)
    assert days.execute("select count(*) from prediction").fetchall() == [(1_000,)]
    assert tables(days) == {f"{table}_2026070{day}" for table in ("prediction", "shadow_score") for day in (3, 4)}
    assert days.execute("select detail->'rows'->'prediction' from event where kind = 'retention'").fetchall() == [(1_007,)]


def test_repeated_it_drops_nothing(run: Callable[..., Outcome], servers: Servers, days: Connection) -> None:
    assert drop(run, servers).code == 0
    report = drop(run, servers).report
    assert report is not None
    assert sum(report["rows"].values()) == 0
    assert days.execute("select count(*) from event").fetchall() == [(1,)]


def test_a_day_that_an_interrupted_run_took_out_is_dropped_by_the_next(
    run: Callable[..., Outcome], servers: Servers, days: Connection
) -> None:
    days.execute("alter table prediction detach partition prediction_20260701")
    report = drop(run, servers).report
    assert report is not None
    assert report["rows"]["prediction"] == 1_007
    assert "prediction_20260701" not in tables(days)


def test_old_anomalies_and_verdicts_of_drift_go_but_what_became_of_models_stays(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    old, new = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 9, tzinfo=UTC)
    for at in (old, new):
        for kind in ("drift", "registration", "gate", "promotion", "rollback"):
            add_event(database, kind, at, {})
        database.execute(
            "insert into anomaly values ('i', 'readings', 0, 0, 0, %s, 's', '{}', -0.9, -0.1, 3, '{forest}', 1)", [at]
        )
    for scorer, at in (("a", old), ("a", old + timedelta(1)), ("b", new)):
        database.execute(
            """insert into model_swap (scorer, model_id, version, sha256, at, cause, requested_by, why)
            values (%s, 1, '1', '', %s, 'start', '', '')""",
            [scorer, at],
        )
    report = drop(run, servers).report
    assert report is not None
    assert report["rows"] == {"prediction": 0, "shadow_score": 0, "anomaly": 1, "event": 1}
    assert database.execute("select count(*) from model_swap").fetchall() == [(3,)]
    kinds = database.execute("select kind, count(*) from event where kind <> 'retention' group by 1 order by 1").fetchall()
    assert kinds == [("drift", 1), ("gate", 2), ("promotion", 2), ("registration", 2), ("rollback", 2)]


def test_a_scorer_that_stores_all_the_time_waits_at_most_the_lock_timeout_and_loses_nothing(
    run: Callable[..., Outcome], servers: Servers, days: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_PAUSE_SECONDS", 0.05)
    is_over = threading.Event()
    stored: list[int] = []

    def store() -> None:
        # As a scorer does, but with transactions that are longer than the time-out: some of the locks are not to be had.
        with psycopg.connect(servers.database_url, options="-c lock_timeout=2000") as connection:
            while not is_over.is_set():
                with connection.transaction():
                    add_predictions(connection, ROWS[:10], 1, start=DAYS[3])
                    is_over.wait(0.7 if len(stored) < 2 else 0.01)
                stored.append(10)

    scorer = threading.Thread(target=store)
    scorer.start()
    try:
        while not stored:
            is_over.wait(0.01)
        outcome = drop(run, servers)
    finally:
        is_over.set()
        scorer.join()
    assert outcome.code == 0
    assert days.execute("select count(*) from prediction").fetchall() == [(1_000 + sum(stored),)]


def test_a_lock_that_is_never_to_be_had_is_told_after_all_else_is_done(
    run: Callable[..., Outcome], servers: Servers, days: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retention, "LOCK_TIMEOUT_MS", 20)
    monkeypatch.setattr(retention, "LOCK_TRIES_MAX", 3)
    add_event(days, "drift", datetime(2026, 6, 1, tzinfo=UTC), {})
    with psycopg.connect(servers.database_url) as holder:
        holder.execute("select 1 from prediction limit 1")
        outcome = drop(run, servers)
    assert outcome.code == 1
    assert "prediction_20260701" in outcome.log
    assert "in 3 tries of 20 ms" in outcome.log
    assert "prediction_20260701" in tables(days)
    kept = days.execute("select kind, detail->'rows'->'event' from event").fetchall()
    assert kept == [("retention", 1)]
    assert drop(run, servers).code == 0
    assert "prediction_20260701" not in tables(days)


def test_the_lock_is_the_one_that_scorers_take_for_partitions() -> None:
    source = (Path(__file__).parents[2] / "scorer" / "src" / "store-postgres-partitions.ts").read_text()
    assert f"schemaLock = {retention.SCHEMA_LOCK:_};" in source
