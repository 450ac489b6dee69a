"""`confirm`: waits until every scorer of the consumer group uses a version."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from lonetree_ml import announce, database
from lonetree_ml.arguments import UsageError, duration
from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

POLL_SECONDS = 0.5
REQUEST_TIMEOUT_SECONDS = 10


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--version", required=True, metavar="V", help="that every scorer must use")
    parser.add_argument(
        "--timeout", type=duration, default=timedelta(seconds=60), metavar="LENGTH", help="to wait at most (default: 60s)"
    )
    parser.add_argument(
        "--group",
        default=os.environ.get("KAFKA_GROUP") or "scorer",
        metavar="GROUP",
        help="the scorers' consumer group (default: KAFKA_GROUP, or scorer)",
    )
    announce.add_arguments(parser)
    database.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Ask Kafka who scores and the database what with, until all use the version or the time is over.

    Either may be away meanwhile: only what holds at the end is an answer.
    """
    if options.brokers is None:
        raise UsageError("give --brokers or set KAFKA_BROKERS: Kafka knows which scorers there are")
    if options.database_url is None:
        raise UsageError("give --database-url or set DATABASE_URL: the database knows what they score with")
    deadline = time.monotonic() + options.timeout.total_seconds()
    admin = AdminClient(announce.settings(options.brokers))
    while True:
        is_last = time.monotonic() >= deadline
        try:
            members, is_stable = _members(admin, options.group)
            with database.connected(options) as connection:
                versions = _versions(connection, members)
        except KafkaException as error:
            if is_last:
                raise ServiceError(f"Kafka at {options.brokers} fails: {error}") from error
        except ServiceError:
            if is_last:
                raise
        else:
            scorers = [{"scorer": member, "version": versions.get(member)} for member in members]
            confirmed = is_stable and {one["version"] for one in scorers} == {options.version}
            if confirmed or is_last:
                return {"confirmed": confirmed, "version": options.version, "scorers": scorers}
        time.sleep(POLL_SECONDS)


def _members(admin: AdminClient, group: str) -> tuple[list[str], bool]:
    """Client ids of the group's members, and whether nobody is just coming or going."""
    described = admin.describe_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_SECONDS)
    try:
        found = described[group].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return [], False
        raise
    return sorted({member.client_id for member in found.members}), found.state == ConsumerGroupState.STABLE


def _versions(connection: database.Connection, scorers: list[str]) -> dict[str, str]:
    """Each scorer's version by its newest swap."""
    rows = connection.execute(
        "select distinct on (scorer) scorer, version from model_swap where scorer = any(%s) order by scorer, id desc",
        [scorers],
    ).fetchall()
    return dict(rows)
