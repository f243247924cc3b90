"""Which messages are the newest in the topic: what a predecessor may have brought there and not told."""

import time
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from loguru import logger

from shared.seen_ids import key_of
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import REQUEST_SECONDS, connection_options, count_partitions, describe

RECORDS_PER_PARTITION = 26_000
"""More than can have been sent without the sender having noted that it arrived: what kafka_sink has on its
way, and what the producer may have delivered from the spool and not removed there yet."""
RECORDS_AT_MOST = 300_000
"""For topics of many partitions, which share what can be on its way."""
NO_PROGRESS_SECONDS = 10.0
# A request that the killed predecessor had sent off may still be on its way through the broker.
SETTLE_SECONDS = 0.25
SETTLE_AT_MOST_SECONDS = 5.0
_TIMEOUT_MS = int(REQUEST_SECONDS * 1000)


def read_tail(settings: Settings) -> set[str]:
    """The keys (as ``seen_ids.key_of``) of the newest records of every partition.

    Blocks while there is something to read. Empty, with a warning, when the topic may not be read. Raises
    what kafka-python raises.
    """
    topic = settings.kafka_topic_chat_messages
    consumer = KafkaConsumer(
        **connection_options(settings),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5000,
        metrics_enabled=False,
    )
    try:
        count = count_partitions(consumer.partitions_for_topic(topic))
        return _read(consumer, [TopicPartition(topic, number) for number in range(count)])
    except kafka_errors.AuthorizationError as error:
        logger.warning(
            "topic {} may not be read ({}): messages that a killed producer had just delivered may come "
            "twice, with the same id; allow READ on the topic to prevent that",
            topic,
            describe(error),
        )
        return set()
    finally:
        consumer.close()


def _read(consumer: Any, partitions: list[Any]) -> set[str]:
    consumer.assign(partitions)
    starts = consumer.beginning_offsets(partitions, timeout_ms=_TIMEOUT_MS)
    ends = consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
    newest = min(RECORDS_PER_PARTITION, RECORDS_AT_MOST // len(partitions))
    for partition in partitions:
        consumer.seek(partition, max(starts[partition], ends[partition] - newest))
    keys: set[str] = set()
    settling = Deadline(SETTLE_AT_MOST_SECONDS)
    while True:
        _read_up_to(consumer, ends, keys)
        if settling.passed():
            # Somebody else writes to the topic all the time.
            return keys
        time.sleep(SETTLE_SECONDS)
        before, ends = ends, consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
        if ends == before:
            return keys


def _read_up_to(consumer: Any, ends: dict[Any, int], keys: set[str]) -> None:
    progress = Deadline(NO_PROGRESS_SECONDS)
    while any(consumer.position(partition, timeout_ms=_TIMEOUT_MS) < end for partition, end in ends.items()):
        found = consumer.poll(timeout_ms=500)
        for records in found.values():
            keys.update(key for key in map(_key, records) if key)
        if found:
            progress = Deadline(NO_PROGRESS_SECONDS)
        elif progress.passed():
            raise kafka_errors.KafkaTimeoutError("the newest messages could not be read back")


def _key(record: Any) -> str:
    """Empty for a record without id, or one that is not of this service."""
    for name, value in record.headers:
        if name == "id" and value and record.key:
            return key_of(record.key.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
    return ""
