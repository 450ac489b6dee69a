# /// script
# requires-python = ">=3.11"
# dependencies = ["confluent-kafka==2.16.1", "protobuf==7.36.2"]
# ///
"""Send one message with two readings of a station to Kafka, as docs/SENDING_DATA.md explains."""

import math
import os
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from google.protobuf import descriptor_pb2, message_factory

# What `buf build` or `protoc --descriptor_set_out` made of lonetree.proto; generated classes do as well.
files = descriptor_pb2.FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())
SensorBatch = message_factory.GetMessages(files.file)["lonetree.v1.SensorBatch"]

station = "press-py"
batch = SensorBatch(stations=[station], base_time_ms=time.time_ns() // 1_000_000)
batch.time_deltas_ms.extend([0, 1_000])  # the second reading is one second younger
batch.columns.add(name="temperature", unit="Cel", values=[28.7, 28.6])
batch.columns.add(name="humidity", unit="%", values=[17.5, 17.6])
batch.columns.add(name="sound", unit="dB", values=[54.1, math.nan])  # NaN: no value


def on_delivery(error: KafkaError | None, _: Message) -> None:
    """End the program when the broker does not take the message."""
    if error is not None:
        sys.exit(f"not sent: {error}")


topic = os.environ.get("READINGS_TOPIC", "readings")
producer = Producer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "127.0.0.1:9094"),
        "enable.idempotence": True,  # what the client sends again by itself is in the topic once
    }
)
producer.produce(
    topic,
    key=station,  # a station's messages keep their order
    value=batch.SerializeToString(),
    headers={"content-type": "application/x-protobuf"},
    on_delivery=on_delivery,
)
if producer.flush(30) > 0:
    sys.exit("not sent within 30 s: is the broker there?")
print(f"sent 2 readings of {station} to {topic}")
