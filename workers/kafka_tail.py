"""Which messages are the newest in the topic: what a predecessor may have brought there and not told."""

import time
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from loguru import logger

from shared.reports import Offsets
from shared.seen_ids import key_of
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import (
    REQUEST_SECONDS,
    count_partitions,
    describe,
    looking_options,
    open_client,
)

RECORDS_PER_PARTITION = 24_000
"""More than can have been sent without anybody having noted that it arrived: what kafka_sink has on its way,
and what the producer may have delivered without having told a reader or removed it from the spool yet."""
RECORDS_AT_MOST = 300_000
"""For topics of many partitions, which share what can be on its way."""
NO_PROGRESS_SECONDS = 10.0
# A request that the killed predecessor had sent off may still be on its way through the broker.
SETTLE_SECONDS = 0.25
SETTLE_AT_MOST_SECONDS = 5.0
_TIMEOUT_MS = int(REQUEST_SECONDS * 1000)


@dataclass(frozen=True)
class Tail:
    """The newest records of every partition."""

    keys: set[str] = field(default_factory=set)
    """As ``seen_ids.key_of``."""
    uncounted: dict[str, str] = field(default_factory=dict)
    """Those behind the offsets that a predecessor had counted up to, with their channels."""
    counted: set[str] = field(default_factory=set)
    """Those before these offsets. What is in neither, nobody knows of whether it was counted."""
    ends: Offsets = field(default_factory=dict)
    """The offsets behind the last ones."""


def read_tail(settings: Settings, counted: Offsets) -> Tail:
    """Read the newest records of all topics back.

    ``counted`` has the first offsets that were not counted yet. Blocks while there is something to read. A
    topic that may not be read is left out, with a warning. Raises what kafka-python raises.
    """
    consumer = open_client(KafkaConsumer, looking_options(settings))
    whole = Tail()
    try:
        partitions = {
            topic: [
                TopicPartition(topic, number)
                for number in range(count_partitions(consumer.partitions_for_topic(topic)))
            ]
            for topic in settings.topics
        }
        newest = min(RECORDS_PER_PARTITION, RECORDS_AT_MOST // sum(map(len, partitions.values())))
        # One after the other: what may not be read fails as a whole.
        for topic, numbered in partitions.items():
            is_events = topic == settings.kafka_topic_chat_events
            tail = _read_if_allowed(consumer, topic, numbered, newest, is_events, counted.get(topic, {}))
            whole.keys.update(tail.keys)
            whole.uncounted.update(tail.uncounted)
            whole.counted.update(tail.counted)
            whole.ends.update(tail.ends)
    finally:
        consumer.close()
    return whole


def _read_if_allowed(
    consumer: Any, topic: str, partitions: list[Any], newest: int, is_events: bool, counted: dict[int, int]
) -> Tail:
    try:
        return _read(consumer, partitions, newest, is_events, counted)
    except kafka_errors.AuthorizationError as error:
        logger.warning(
            "topic {} may not be read ({}): messages that a killed producer had just delivered may come "
            "twice, with the same id; allow READ on the topic to prevent that",
            topic,
            describe(error),
        )
        return Tail()


def _read(
    consumer: Any, partitions: list[Any], newest: int, is_events: bool, counted: dict[int, int]
) -> Tail:
    """Read the ``newest`` records of each of a topic's partitions."""
    consumer.assign(partitions)
    starts = consumer.beginning_offsets(partitions, timeout_ms=_TIMEOUT_MS)
    ends = consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
    for partition in partitions:
        consumer.seek(partition, max(starts[partition], ends[partition] - newest))
    tail = Tail()
    settling = Deadline(SETTLE_AT_MOST_SECONDS)
    while True:
        _read_up_to(consumer, ends, is_events, tail, counted)
        for partition, end in ends.items():
            tail.ends.setdefault(partition.topic, {})[partition.partition] = end
        if settling.passed():
            # Somebody else writes to the topic all the time.
            return tail
        time.sleep(SETTLE_SECONDS)
        before, ends = ends, consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
        if ends == before:
            return tail


def _read_up_to(
    consumer: Any, ends: dict[Any, int], is_events: bool, tail: Tail, counted: dict[int, int]
) -> None:
    progress = Deadline(NO_PROGRESS_SECONDS)
    while any(consumer.position(partition, timeout_ms=_TIMEOUT_MS) < end for partition, end in ends.items()):
        found = consumer.poll(timeout_ms=500)
        for partition, records in found.items():
            keys = [_key(record, is_events) for record in records]
            tail.keys.update(filter(None, keys))
            first = counted.get(partition.partition)
            if first is None:
                continue
            for key, record in zip(keys, records, strict=True):
                if key and record.offset >= first:
                    tail.uncounted[key] = record.key.decode("utf-8", "replace")
                elif key:
                    tail.counted.add(key)
        if found:
            progress = Deadline(NO_PROGRESS_SECONDS)
        elif progress.passed():
            raise kafka_errors.KafkaTimeoutError("the newest messages could not be read back")


def _key(record: Any, is_event: bool) -> str:
    """Empty for a record without id, or one that is not of this service."""
    for name, value in record.headers:
        if name == "id" and value and record.key is not None:
            channel, record_id = record.key.decode("utf-8", "replace"), value.decode("utf-8", "replace")
            return key_of(channel, record_id, is_event)
    return ""
