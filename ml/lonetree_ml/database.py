"""Connects to the scorer's PostgreSQL, and reads rows out of it by binary COPY. The only file that knows the client."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import psycopg
from psycopg import sql

from lonetree_ml.arguments import UsageError
from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from numpy.typing import NDArray

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_SECONDS = 10
COPY_HEADER_SIZE = 19
"""Signature, flags, and the length of an extension, which is 0."""
PIECE_SIZE = 1 << 20
UNDEFINED = "a scorer that uses this database makes the tables when it starts"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare how the database is found."""
    parser.add_argument(
        "--database-url",
        default=os.environ.get("DATABASE_URL") or None,
        metavar="URL",
        help="PostgreSQL of the scorers (default: DATABASE_URL)",
    )


@contextmanager
def connected(options: Namespace) -> Iterator[Connection]:
    """Connect, in autocommit and with times in UTC. What goes wrong with the database becomes a ServiceError."""
    url = options.database_url
    if url is None:
        raise UsageError("give --database-url or set DATABASE_URL")
    try:
        with psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="lonetree_ml",
            options="-c timezone=UTC -c idle_in_transaction_session_timeout=600000",
        ) as connection:
            yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise ServiceError(f"PostgreSQL at {_place(url)}: {str(error).splitlines()[0]}; {UNDEFINED}.") from error
    except psycopg.Error as error:
        raise ServiceError(f"PostgreSQL at {_place(url)} fails: {' '.join(str(error).split())}") from error


def _place(url: str) -> str:
    """Host, port and database; never the password."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "that URL"
    return place if parts.scheme in {"postgres", "postgresql"} else "that URL"


def copy_rows(connection: Connection, query: sql.Composable, columns: list[tuple[str, str]]) -> Iterator[NDArray[np.void]]:
    """Rows of a query, in pieces of at most about 1 MiB, as structured arrays.

    `columns` are names and types as numpy writes them, of fixed size and big-endian, and none of their values is null. So
    each row has the same size, and none is decoded by itself.
    """
    layout: list[tuple[str, str]] = [("column count", ">i2")]
    for name, kind in columns:
        layout += [(f"size of {name}", ">i4"), (name, kind)]
    row = np.dtype(layout)
    statement = sql.SQL("copy ({}) to stdout (format binary)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        held = bytearray()
        start = COPY_HEADER_SIZE
        for block in copy:
            held += block
            if len(held) - start >= PIECE_SIZE:
                count = (len(held) - start) // row.itemsize
                yield _checked(held, row, start, count, columns)
                del held[: start + count * row.itemsize]
                start = 0
        # The end is marked by a column count of -1.
        count, rest = divmod(len(held) - start - 2, row.itemsize)
        if rest != 0 or held[-2:] != b"\xff\xff":
            raise AssertionError("the rows of a COPY are not of the size that their columns say")
        yield _checked(held, row, start, count, columns)


def _checked(
    held: bytearray, row: np.dtype[np.void], start: int, count: int, columns: list[tuple[str, str]]
) -> NDArray[np.void]:
    rows = np.frombuffer(bytes(held[start : start + count * row.itemsize]), row)
    for name, kind in columns:
        if not (rows[f"size of {name}"] == np.dtype(kind).itemsize).all():
            raise AssertionError(f"the column {name} of a COPY has another size than {kind}")
    return rows
