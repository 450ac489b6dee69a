"""What several commands' options have in common: their types, and the error that ends a command with 2."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

ALARM_RATE = 0.001
YEAR_MIN, YEAR_MAX = 2000, 2100
"""What readings may be from."""
SEED_MAX = 2**32 - 1
"""numpy's largest seed."""


class UsageError(ValueError):
    """Options that contradict each other; the command ends with 2, like after an option that does not exist."""


class Integer:
    """An argparse type: a whole number within limits."""

    def __init__(self, least: int, most: int) -> None:
        """Take both limits as allowed."""
        self.least, self.most = least, most
        self.__name__ = "whole number"  # argparse names the type by this

    def __call__(self, text: str) -> int:
        """Read the number."""
        value = int(text)
        if not self.least <= value <= self.most:
            raise argparse.ArgumentTypeError(f"{text} is not between {self.least} and {self.most}")
        return value


SEED = Integer(0, SEED_MAX)


def names(text: str) -> list[str]:
    """Split `a,b,c`."""
    return [name.strip() for name in text.split(",")]


def units(text: str) -> dict[str, str]:
    """Read `a=Cel,b=%`: the units of some features."""
    pairs = [part.split("=", 1) for part in text.split(",")]
    if not all(len(pair) == 2 and all(one.strip() for one in pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} does not say FEATURE=UNIT,FEATURE=UNIT")
    return {name.strip(): unit.strip() for name, unit in pairs}


def rate(text: str) -> float:
    """Read a share of rows below one half."""
    value = float(text)
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.5")
    return value


def instant(text: str) -> datetime:
    """Read an ISO 8601 date and time with its zone, as UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an ISO 8601 time, as 2026-07-01T00:00:00Z") from None
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone: end it with Z for UTC, or with an offset like +02:00")
    if not YEAR_MIN <= value.year <= YEAR_MAX:
        raise argparse.ArgumentTypeError(f"{text} is not between the years {YEAR_MIN} and {YEAR_MAX}")
    return value.astimezone(UTC)


DURATION_MAX = timedelta(days=3_650)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(text: str) -> timedelta:
    """Read `90s`, `15m`, `1h` or `7d`; never nothing."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a duration like 90s, 15m, 1h or 7d")
    value = timedelta(**{UNITS[match[2]]: int(match[1])})
    if value > DURATION_MAX:
        raise argparse.ArgumentTypeError(f"{text} is more than {DURATION_MAX.days} days")
    return value
