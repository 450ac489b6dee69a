"""Announces on Kafka that an alias moved. What connects to Kafka takes its settings from here."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from lonetree_ml.service import ServiceError

if TYPE_CHECKING:
    from argparse import ArgumentParser

TIMEOUT_SECONDS = 15
"""An announcement that is not acknowledged by then has failed; scorers find out by asking the registry now and then."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare where to announce."""
    parser.add_argument(
        "--brokers",
        default=os.environ.get("KAFKA_BROKERS") or None,
        metavar="HOST:PORT,…",
        help="announce to the scorers by these (default: KAFKA_BROKERS, or not at all)",
    )
    parser.add_argument(
        "--updates-topic",
        default=os.environ.get("MODEL_UPDATES_TOPIC") or "model-updates",
        metavar="TOPIC",
        help="(default: MODEL_UPDATES_TOPIC, or model-updates)",
    )


def announce(brokers: str, topic: str, *, name: str, version: str, alias: str, sha256: str, reason: str) -> None:
    """Send a lonetree.v1.ModelUpdate as JSON; returns when all replicas in step have it, raises ServiceError otherwise."""
    update = {
        "name": name,
        "version": version,
        "alias": alias,
        "sha256": sha256,
        "reason": reason,
        "timeMs": str(time.time_ns() // 1_000_000),
    }
    outcome: list[KafkaError | None] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        outcome.append(error)

    try:
        producer = Producer(settings(brokers))
        producer.produce(
            topic,
            key=name,
            value=json.dumps(update, ensure_ascii=False).encode(),
            headers=[("content-type", b"application/json")],
            on_delivery=on_delivery,
        )
        producer.flush(TIMEOUT_SECONDS)
    except (KafkaException, BufferError, ValueError) as error:
        raise ServiceError(f"Kafka at {brokers} fails: {error}") from error
    if not outcome:
        raise ServiceError(f"Kafka at {brokers} has not taken the announcement in {TIMEOUT_SECONDS} s.")
    if outcome[0] is not None:
        raise ServiceError(f"Kafka at {brokers} refuses the announcement on {topic}: {outcome[0].str()}")


def settings(brokers: str) -> dict[str, Any]:
    """Return librdkafka's settings, with the scorer's environment variables for TLS and SASL."""
    settings: dict[str, Any] = {
        "bootstrap.servers": brokers,
        "client.id": "lonetree-ml",
        "acks": "all",
        "enable.idempotence": True,
        "delivery.timeout.ms": (TIMEOUT_SECONDS - 3) * 1000,  # so that the reason is known before we stop waiting
        "request.timeout.ms": 5_000,
        "log_level": 2,  # what goes wrong is in the error that is raised
    }
    is_tls = os.environ.get("KAFKA_SSL") == "true"
    mechanism = os.environ.get("KAFKA_SASL_MECHANISM")
    if is_tls and os.environ.get("KAFKA_SSL_CA_FILE"):
        settings["ssl.ca.location"] = os.environ["KAFKA_SSL_CA_FILE"]
    if mechanism:
        settings |= {
            "sasl.mechanism": mechanism.upper(),
            "sasl.username": os.environ.get("KAFKA_SASL_USERNAME", ""),
            "sasl.password": os.environ.get("KAFKA_SASL_PASSWORD", ""),
        }
    settings["security.protocol"] = f"{'sasl_' if mechanism else ''}{'ssl' if is_tls else 'plaintext'}"
    return settings
