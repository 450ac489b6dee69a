"""Records in PostgreSQL what happened to models, and looks it up: the table `event`, which the scorer's migration makes."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping
    from datetime import timedelta

    from lonetree_ml.database import Connection

log = logging.getLogger("lonetree_ml")

CONNECT_SECONDS = 10
STATEMENT_MS = 10_000


def add_arguments(parser: ArgumentParser) -> None:
    """Declare where events are recorded."""
    parser.add_argument(
        "--database-url",
        default=os.environ.get("DATABASE_URL") or None,
        metavar="URL",
        help="record the event in this PostgreSQL (default: DATABASE_URL, or not at all)",
    )


def record(database_url: str, kind: str, detail: Mapping[str, Any]) -> None:
    """Insert one event, unless the very same was within the hour: a repeated command. Raises ServiceError if that fails."""
    options = f"-c statement_timeout={STATEMENT_MS}"
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS, options=options) as connection:
            connection.execute(
                """insert into event (kind, detail) select %(kind)s, %(detail)s::jsonb where not exists (select from event
                where kind = %(kind)s and detail = %(detail)s::jsonb and at > now() - interval '1 hour')""",
                {"kind": kind, "detail": json.dumps(detail)},
            )
    except psycopg.Error as error:
        raise ServiceError(f"PostgreSQL fails to record the {kind}: {error}".rstrip()) from error


def record_if_wanted(options: Namespace, kind: str, detail: Mapping[str, Any]) -> bool:
    """Record what is done and stays done: a database that fails is told of in the log. Answers whether it is recorded."""
    if options.database_url is None:
        return False
    try:
        record(options.database_url, kind, detail)
    except ServiceError as error:
        log.warning("Not recorded in the database: %s", error)
        return False
    return True


def add(connection: Connection, kind: str, detail: Mapping[str, Any]) -> None:
    """Insert one event into a database that is open."""
    connection.execute("insert into event (kind, detail) values (%s, %s)", [kind, json.dumps(detail, allow_nan=False)])


def add_once(connection: Connection, kind: str, detail: Mapping[str, Any], *, key: tuple[str, ...]) -> None:
    """Insert an event unless there is one with the same values under these names: a repeated command adds nothing."""
    connection.execute(
        """insert into event (kind, detail) select %(kind)s, %(detail)s::jsonb
        where not exists (select from event where kind = %(kind)s and detail @> %(key)s::jsonb)""",
        {
            "kind": kind,
            "detail": json.dumps(detail, allow_nan=False),
            "key": json.dumps({name: detail[name] for name in key}),
        },
    )


def drifts_told(connection: Connection, before: datetime, within: timedelta) -> list[dict[str, Any]]:
    """Verdicts of drift on windows that ended in the time before, and that repeated none themselves."""
    rows = connection.execute(
        """select detail from event where kind = 'drift'
        and (detail->>'drifted')::boolean and not (detail->>'cooling_down')::boolean
        and (detail->>'at')::timestamptz >= %(from)s and (detail->>'at')::timestamptz < %(to)s order by id""",
        {"from": before - within, "to": before},
    ).fetchall()
    return [detail for (detail,) in rows]


def last_change(connection: Connection, before: datetime) -> datetime | None:
    """When the champion was changed last, by promotion or rollback."""
    row = connection.execute(
        "select max(at) from event where kind in ('promotion', 'rollback') and at < %s", [before]
    ).fetchone()
    return None if row is None or row[0] is None else row[0].astimezone(UTC)
