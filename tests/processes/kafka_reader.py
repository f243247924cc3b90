"""What is in a topic, read with kafka-python."""

import json
import time
import warnings
from collections import defaultdict
from typing import Any

with warnings.catch_warnings():
    # kafka-python reads its own protocol files in a way that Python calls old.
    warnings.simplefilter("ignore")
    from kafka import KafkaConsumer, TopicPartition
    from kafka import errors as kafka_errors


def broker_answers(address: str) -> bool:
    try:
        KafkaConsumer(bootstrap_servers=address, bootstrap_timeout_ms=1000).close()
    except kafka_errors.KafkaError:
        return False
    return True


class KafkaReader:
    """Collects the records of one topic, by channel, in the order of their offsets."""

    def __init__(self, broker: str, topic: str) -> None:
        self.topic = topic
        self.by_channel: dict[str, list[Any]] = defaultdict(list)
        self._broker = broker
        self._consumer: Any = None

    def values(self, channel: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.by_channel[channel]]

    def ids(self, channel: str) -> list[str]:
        return [dict(record.headers)["id"].decode() for record in self.by_channel[channel]]

    def poll(self) -> None:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                bootstrap_servers=self._broker,
                auto_offset_reset="earliest",
                # Partitions that are added would be seen by chance, or after five minutes.
                metadata_max_age_ms=1000,
            )
        partitions = self._consumer.partitions_for_topic(self.topic) or set()
        wanted = {TopicPartition(self.topic, number) for number in partitions}
        if not wanted:
            time.sleep(0.1)
            return
        if self._consumer.assignment() != wanted:
            self._consumer.assign(sorted(wanted))
        for records in self._consumer.poll(timeout_ms=200, max_records=20_000).values():
            for record in records:
                self.by_channel[record.key.decode()].append(record)

    def wait_for(self, channel: str, count: int, seconds: float = 60.0) -> None:
        """Read until the channel has so many records; more than that shows in the test's own comparison."""
        end = time.monotonic() + seconds
        while len(self.by_channel[channel]) < count:
            found = len(self.by_channel[channel])
            assert time.monotonic() < end, f"{found} of {count} records of {channel}"
            self.poll()

    def wait_for_ids(self, channel: str, wanted: set[str], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not wanted <= set(self.ids(channel)):
            missing = len(wanted - set(self.ids(channel)))
            assert time.monotonic() < end, f"{missing} of {len(wanted)} records of {channel} are missing"
            self.poll()

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
