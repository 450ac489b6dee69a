"""Records in PostgreSQL what happened to models: the table `event`, which the scorer's migration makes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import psycopg

from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Mapping

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
    """Insert one event. Raises ServiceError when that fails."""
    options = f"-c statement_timeout={STATEMENT_MS}"
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_SECONDS, options=options) as connection:
            connection.execute("insert into event (kind, detail) values (%s, %s)", (kind, json.dumps(detail)))
    except psycopg.Error as error:
        raise ServiceError(f"PostgreSQL fails to record the {kind}: {error}".rstrip()) from error
