"""Writes any records into a topic, with kafka-python."""

import json
import warnings
from typing import Any

from tests.processes.service import wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient, KafkaProducer


def message(channel: str, text: str) -> dict[str, Any]:
    """The value of a record, as the service writes it."""
    return {
        "channel_id": channel,
        "user_id": "48215771",
        "username": "onche",
        "message": text,
        "timestamp": 1568505600501,
        "emotes": [],
    }


def as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class KafkaWriter:
    """Puts records into one topic; every method returns when Kafka has them."""

    def __init__(self, broker: str, topic: str, **options: Any) -> None:
        self.topic = topic
        self.broker = broker
        self._producer = KafkaProducer(bootstrap_servers=broker, metadata_max_age_ms=500, **options)

    def make_topic(self, partitions: int = 3) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.broker)
        # Old timestamps are kept.
        plan = {"num_partitions": partitions, "configs": {"retention.ms": "-1"}}
        admin.create_topics({self.topic: plan}, wait_for_metadata=True)
        admin.close()

    def remove_topic(self) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.broker)
        admin.delete_topics([self.topic])
        wait_until(lambda: self.topic not in admin.list_topics(), "the topic is gone")
        admin.close()

    def add_partitions(self, count: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.broker)
        admin.create_partitions({self.topic: count})
        admin.close()
        wait_until(
            lambda: len(self._producer.partitions_for(self.topic)) == count, "the partitions are there"
        )

    def write(self, value: bytes | None, key: bytes | None = None, partition: int | None = None) -> None:
        self._producer.send(self.topic, value, key, partition=partition).get(30)

    def say(self, channel: str, *texts: str) -> None:
        sent = [
            self._producer.send(self.topic, as_json(message(channel, text)), channel.encode())
            for text in texts
        ]
        for one in sent:
            one.get(30)

    def close(self) -> None:
        self._producer.close(1)
