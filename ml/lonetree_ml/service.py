"""What goes wrong with a service beside this program: the registry, the database, Kafka."""

from __future__ import annotations


class ServiceError(Exception):
    """A service that is away, fails or refuses; the message says which, and what it said."""
