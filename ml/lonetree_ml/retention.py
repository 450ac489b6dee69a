"""`retention`: drops days of verdicts that are older than wanted, without keeping scorers from storing new ones.

A day is first taken out of its table, which needs a lock for a moment: as long as that is waited for, scorers' blocks wait
too, so it is given up after a short time and tried again. The day is counted and dropped afterwards, when nobody uses it.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from lonetree_ml import database, events
from lonetree_ml.arguments import Integer, instant
from lonetree_ml.table import InputError
from lonetree_ml.window import iso

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from lonetree_ml.database import Connection

log = logging.getLogger("lonetree_ml")

PARTITIONED = ("prediction", "shadow_score")
LOCK_TIMEOUT_MS = 500
"""Scorers' blocks that come while a lock is waited for wait at most this long; they themselves give up after seconds."""
LOCK_TRIES_MAX = 30
LOCK_PAUSE_SECONDS = 1.0
DELETED_ROWS_MAX = 20_000
"""Rows deleted in one transaction, so that none takes long."""
SCHEMA_LOCK = 7_305_114
"""Whoever makes or drops partitions holds this advisory lock; the scorer's store has the same number."""
PASSING = "kind in ('drift', 'retention')"
"""Events that tell of readings. What became of models is kept: registrations, gates, promotions, rollbacks, and swaps."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--days", type=Integer(1, 36_500), required=True, metavar="N", help="days of verdicts to keep, today not counted"
    )
    parser.add_argument("--at", type=instant, metavar="TIME", help="what counts as now, ISO 8601 with zone (default: now)")
    database.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Drop and delete, and say how many rows that were."""
    now = options.at or datetime.now(UTC)
    cutoff = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=options.days)
    with database.connected(options) as connection:
        rows: dict[str, int] = {}
        dropped: list[str] = []
        locked: list[str] = []
        for table in PARTITIONED:
            rows[table] = 0
            for name in _old_days(connection, table, cutoff.date()):
                count = _drop(connection, table, name)
                if count is None:
                    locked.append(name)
                    continue
                rows[table] += count
                dropped.append(name)
            rows[table] += _delete(connection, f"{table}_default", "time < %s", cutoff)
        rows["anomaly"] = _delete(connection, "anomaly", "time < %s", cutoff)
        rows["event"] = _delete(connection, "event", f"at < %s and {PASSING}", cutoff)
        report = {"before": iso(cutoff), "rows": rows, "dropped": dropped}
        if sum(rows.values()) > 0 or dropped:
            events.add(connection, "retention", report)
    log.info(
        "dropped what was older than %s: %s", iso(cutoff), ", ".join(f"{count:,} {name}" for name, count in rows.items())
    )
    if locked:
        # What could be done is done and recorded; the next run, or this one repeated, does the rest.
        raise InputError(
            f"{', '.join(locked)} could not be taken out in {LOCK_TRIES_MAX} tries of {LOCK_TIMEOUT_MS} ms, "
            "as something else uses the table: try again later."
        )
    return report


def _old_days(connection: Connection, table: str, cutoff: date) -> list[str]:
    """Tables of days before the cutoff: parts of the partitioned one, or taken out of it by a run that did not end."""
    day_of = re.compile(rf"{table}_(\d{{8}})")
    names = connection.execute(
        """select relname from pg_class
        where relkind = 'r' and relnamespace = current_schema::regnamespace and starts_with(relname, %s)""",
        [f"{table}_"],
    ).fetchall()
    days = []
    for (name,) in names:
        match = day_of.fullmatch(name)
        if match is not None and datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC).date() < cutoff:
            days.append(name)
    return sorted(days)


def _drop(connection: Connection, table: str, name: str) -> int | None:
    """Take the day out, count its rows, and drop it. None: something else used the table all the time."""
    for tries in range(1, LOCK_TRIES_MAX + 1):
        try:
            _detach(connection, table, name)
            break
        except psycopg.errors.LockNotAvailable:
            if tries == LOCK_TRIES_MAX:
                return None
            time.sleep(LOCK_PAUSE_SECONDS)
    counted = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(name))).fetchone()
    connection.execute(sql.SQL("drop table {}").format(sql.Identifier(name)))
    return 0 if counted is None else int(counted[0])


def _detach(connection: Connection, table: str, name: str) -> None:
    with connection.transaction():
        connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.execute("select pg_advisory_xact_lock(%s)", [SCHEMA_LOCK])
        attached = connection.execute(
            "select from pg_inherits where inhparent = %s::regclass and inhrelid = %s::regclass", [table, name]
        ).fetchone()
        if attached is None:
            return
        connection.execute(sql.SQL("alter table {} detach partition {}").format(sql.Identifier(table), sql.Identifier(name)))


def _delete(connection: Connection, table: str, condition: str, cutoff: datetime) -> int:
    """Delete rows that meet the condition piece by piece, each a transaction of its own."""
    statement = sql.SQL(
        "delete from {table} where ctid = any(array(select ctid from only {table} where {condition} limit {most}))"
    )
    query = statement.format(table=sql.Identifier(table), condition=sql.SQL(condition), most=sql.Literal(DELETED_ROWS_MAX))
    deleted = 0
    while True:
        count = connection.execute(query, [cutoff]).rowcount
        deleted += count
        if count < DELETED_ROWS_MAX:
            return deleted
