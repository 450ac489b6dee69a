"""`confirm` believes Kafka about who scores, and the database about what with."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from conftest import Outcome, Servers
from stored import Connection

from lonetree_ml import database as database_module

DEADLINE_SECONDS = 60


def swap(database: Connection, scorer: str, version: str) -> None:
    database.execute(
        """insert into model_swap (scorer, model_id, version, sha256, cause, requested_by, why)
        values (%s, 1, %s, '', 'poll', '', '')""",
        [scorer, version],
    )


@contextmanager
def members(servers: Servers, group: str, names: list[str]) -> Iterator[None]:
    """Real members of a consumer group, as scorers are."""
    admin = AdminClient({"bootstrap.servers": servers.brokers})
    for future in admin.create_topics([NewTopic(group, 2)]).values():
        future.result()
    settings = {"bootstrap.servers": servers.brokers, "group.id": group}
    consumers = [Consumer({**settings, "client.id": name}) for name in names]
    try:
        for consumer in consumers:
            consumer.subscribe([group])
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not all(consumer.assignment() for consumer in consumers):
            assert time.monotonic() < deadline, "the members were given no partition"
            for consumer in consumers:
                consumer.poll(0.1)
        yield
    finally:
        for consumer in consumers:
            consumer.close()


def confirm(run: Callable[..., Outcome], servers: Servers, group: str, timeout: str = "1s") -> Outcome:
    where = ("--brokers", servers.brokers, "--database-url", servers.database_url)
    return run("confirm", "--version", "2", "--group", group, "--timeout", timeout, *where)


def test_it_is_confirmed_when_every_member_last_swapped_to_the_version(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    with members(servers, "confirm-two", ["a", "b"]):
        swap(database, "a", "1")
        swap(database, "a", "2")
        swap(database, "b", "2")
        swap(database, "b", "1")
        swap(database, "gone", "1")
        assert confirm(run, servers, "confirm-two").report == {
            "confirmed": False,
            "version": "2",
            "scorers": [{"scorer": "a", "version": "2"}, {"scorer": "b", "version": "1"}],
        }
        swap(database, "b", "2")
        report = confirm(run, servers, "confirm-two", "30s").report
        assert report is not None
        assert report["confirmed"]


def test_a_member_that_never_swapped_is_not_confirmed(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    swap(database, "other", "2")
    with members(servers, "confirm-one", ["a"]):
        report = confirm(run, servers, "confirm-one").report
    assert report == {"confirmed": False, "version": "2", "scorers": [{"scorer": "a", "version": None}]}


def test_a_group_without_members_is_not_confirmed(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    swap(database, "a", "2")
    assert confirm(run, servers, "confirm-nobody", "5s").report == {"confirmed": False, "version": "2", "scorers": []}


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    run: Callable[..., Outcome], servers: Servers, database: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    connected = database_module.connected

    @contextmanager
    def sometimes(options: Namespace) -> Iterator[Connection]:
        looks.append(len(looks))
        with connected(options) as connection:
            if len(looks) < 3:
                connection.close()  # as when the server ends it
            yield connection

    monkeypatch.setattr(database_module, "connected", sometimes)
    with members(servers, "confirm-away", ["a"]):
        swap(database, "a", "2")
        report = confirm(run, servers, "confirm-away", "30s").report
    assert report is not None
    assert report["confirmed"]
    assert len(looks) >= 3


def test_a_database_that_stays_away_is_told(run: Callable[..., Outcome], servers: Servers) -> None:
    outcome = run(
        *("confirm", "--version", "2", "--group", "nobody", "--brokers", servers.brokers, "--timeout", "1s"),
        *("--database-url", "postgres://127.0.0.1:9/x"),
    )
    assert outcome.code == 1
    assert "PostgreSQL at 127.0.0.1:9/x fails" in outcome.log


def test_a_broker_that_is_away_is_told(
    run: Callable[..., Outcome], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lonetree_ml.confirm.REQUEST_TIMEOUT_SECONDS", 2)
    outcome = run(
        "confirm", "--version", "2", "--brokers", "127.0.0.1:9", "--database-url", servers.database_url, "--timeout", "1s"
    )
    assert outcome.code == 1
    assert "Kafka at 127.0.0.1:9 fails" in outcome.log


def test_without_brokers_it_is_wrong_use(
    run: Callable[..., Outcome], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_BROKERS", raising=False)
    assert run("confirm", "--version", "2", "--database-url", servers.database_url).code == 2
