"""The whole topic as the numbers of its messages, in the order of their offsets."""

import warnings
from array import array
from collections import defaultdict
from typing import Any

with warnings.catch_warnings():
    # kafka-python reads its own protocol files in a way that Python calls old.
    warnings.simplefilter("ignore")
    from kafka import KafkaConsumer, TopicPartition
    from kafka import errors as kafka_errors

SHOWN_STRANGERS = 20


def message_id(channel: str, number: int) -> str:
    """The id of the channel's message with this number."""
    return f"{channel}-{number}"


class TopicNumbers:
    """Reads a topic from its beginning; keeps of each record only the number in its id."""

    def __init__(self, broker: str, topic: str) -> None:
        self.numbers: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        self.strangers: list[str] = []
        """The first records that nobody sent, as key and id."""
        self._broker = broker
        self._topic = topic
        self._consumer: Any = None

    def poll(self) -> int:
        """Read on for a moment; how many records came. 0 also when the broker is not there yet."""
        try:
            consumer = self._connected()
            if consumer is None:
                return 0
            batches = consumer.poll(timeout_ms=500, max_records=20_000)
        except kafka_errors.KafkaError:
            return 0
        for records in batches.values():
            for record in records:
                self._take(record)
        return sum(len(records) for records in batches.values())

    def close(self) -> None:
        """Leave the broker."""
        if self._consumer is not None:
            self._consumer.close()

    def _connected(self) -> Any:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                bootstrap_servers=self._broker, auto_offset_reset="earliest", bootstrap_timeout_ms=1000
            )
        partitions = self._consumer.partitions_for_topic(self._topic) or set()
        wanted = {TopicPartition(self._topic, number) for number in partitions}
        if wanted and self._consumer.assignment() != wanted:
            self._consumer.assign(sorted(wanted))
        return self._consumer if wanted else None

    def _take(self, record: Any) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        found = dict(record.headers).get("id", b"").decode("utf-8", "replace")
        channel, _, number = found.rpartition("-")
        if channel == key and number.isdecimal():
            self.numbers[channel].append(int(number))
        elif len(self.strangers) < SHOWN_STRANGERS:
            self.strangers.append(f"key {key!r}, id {found!r}")
