"""The usual design, as many write it: one JSON message, one pandas frame, one prediction, one INSERT and commit at a time.

Reads a topic from its beginning, counts for the given seconds once it is warm, and prints one JSON line.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd
import psycopg
from kafka import KafkaConsumer
from sklearn.ensemble import IsolationForest

FEATURES = ["temperature", "humidity", "sound"]
WARM_UP_MESSAGES = 50
IDLE_LIMIT_MS = 10_000


def train() -> IsolationForest:
    """A forest of the same size as the shipped one; what it has learned does not change how long it takes."""
    rows = np.random.default_rng(0).normal([28.7, 17.5, 54.3], [2.5, 10.0, 2.8], size=(10_000, 3))
    frame = pd.DataFrame(rows, columns=FEATURES)
    return IsolationForest(n_estimators=100, max_samples=256, random_state=0).fit(frame)


def main() -> None:
    """Consume, predict, insert, commit."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()

    model = train()
    connection = psycopg.connect(arguments.database)
    connection.execute(
        "create table usual_prediction (id bigint generated always as identity primary key, station text, time timestamptz,"
        " temperature double precision, humidity double precision, sound double precision,"
        " decision double precision, is_anomaly boolean)"
    )
    connection.commit()
    consumer = KafkaConsumer(
        arguments.topic,
        bootstrap_servers=arguments.brokers.split(","),
        group_id="usual",
        auto_offset_reset="earliest",
        consumer_timeout_ms=IDLE_LIMIT_MS,
    )

    seen = 0
    started = last = 0.0
    for message in consumer:
        reading = json.loads(message.value)
        frame = pd.DataFrame([reading["values"]], columns=FEATURES)
        # What `predict` compares with 0; one pass through the forest gives both.
        decision = float(model.decision_function(frame)[0])
        connection.execute(
            "insert into usual_prediction (station, time, temperature, humidity, sound, decision, is_anomaly)"
            " values (%s, to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s)",
            (
                reading["station"],
                reading["timeMs"],
                *(reading["values"][name] for name in FEATURES),
                decision,
                decision < 0,
            ),
        )
        connection.commit()
        seen += 1
        last = time.perf_counter()
        if seen == WARM_UP_MESSAGES:
            started = last
        if seen > WARM_UP_MESSAGES and last - started >= arguments.seconds:
            break
    consumer.close()
    if seen <= WARM_UP_MESSAGES:
        raise SystemExit(f"only {seen} messages came from topic {arguments.topic}")
    measured = seen - WARM_UP_MESSAGES
    print(json.dumps({"messages": measured, "rowsPerSecond": measured / (last - started)}))


if __name__ == "__main__":
    main()
