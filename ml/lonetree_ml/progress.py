"""One line on stderr that says how far a long work is; only on a terminal, and gone when the work is done."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")

INTERVAL_SECONDS = 0.2


def counted(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Pass the items on and count them on the terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    of = "" if total is None else f" of {total:,}"
    next_second = time.monotonic() + INTERVAL_SECONDS
    for count, item in enumerate(items):
        if time.monotonic() >= next_second:
            next_second = time.monotonic() + INTERVAL_SECONDS
            sys.stderr.write(f"\r\033[K{what}: {count:,}{of}")
            sys.stderr.flush()
        yield item
    sys.stderr.write("\r\033[K")
    sys.stderr.flush()
