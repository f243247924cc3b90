"""Which of many records are in the topics already, wherever they stand there, for `make replay`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from shared.errors import KafkaUnavailable
from shared.record import Record
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import (
    REQUEST_SECONDS,
    connection_options,
    count_partitions,
    looking_options,
    open_client,
    or_unavailable,
)

# The time of a line that does not tell when it was sent is that of its receipt, on which two readers of a
# channel differ.
MARGIN_MS = 60_000
NO_PROGRESS_SECONDS = 15.0
SETTLE_SECONDS = 0.25
# While the service writes, the end of a topic is never reached: so often is it looked for anew.
_ROUNDS = 3
_TIMEOUT_MS = int(REQUEST_SECONDS * 1000)


@dataclass
class Wanted:
    """Records of one topic, by ``identity_of``; ``earliest_ms`` is the earliest of their timestamps."""

    identities: set[bytes] = field(default_factory=set)
    earliest_ms: int = 2**63 - 1


def identity_of(record: Record) -> bytes:
    """What a record is known by within its topic: its channel and id, or its value where it has no id."""
    return _identity(record.channel.encode(), record.id.encode(), record.value)


def remove_present(settings: Settings, wanted: Mapping[str, Wanted], goes_on: Callable[[int], bool]) -> None:
    """Remove from ``wanted``, which is by topic, all that is in the topics.

    ``goes_on`` is called again and again with the number of records that were looked at; False ends it.
    Blocks while there is something to read. Raises KafkaUnavailable.
    """
    or_unavailable(settings, lambda: _remove_present(settings, wanted, goes_on))


def retentions_ms(settings: Settings) -> dict[str, int]:
    """How long the topics keep a record, -1 for ever, where this user may see it. Raises KafkaUnavailable."""

    def ask() -> dict[str, int]:
        admin = open_client(KafkaAdminClient, connection_options(settings))
        try:
            resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in settings.topics]
            found = admin.describe_configs(resources, config_filter="all").get("topic", {})
        except kafka_errors.AuthorizationError:
            return {}
        finally:
            admin.close()
        texts = {topic: configs.get("retention.ms", {}).get("value") for topic, configs in found.items()}
        return {topic: int(text) for topic, text in texts.items() if text is not None}

    return or_unavailable(settings, ask)


def _remove_present(settings: Settings, wanted: Mapping[str, Wanted], goes_on: Callable[[int], bool]) -> None:
    consumer = open_client(KafkaConsumer, looking_options(settings))
    try:
        starts: dict[Any, int] = {}
        for topic, one in wanted.items():
            if one.identities:
                count = count_partitions(consumer.partitions_for_topic(topic))
                since = max(0, one.earliest_ms - MARGIN_MS)
                starts |= {TopicPartition(topic, number): since for number in range(count)}
        if starts:
            _look_through(consumer, starts, wanted, goes_on)
    except kafka_errors.AuthorizationError:
        raise KafkaUnavailable(
            f"this user may not read {' and '.join(wanted)}, and what is there already would come twice: "
            "allow READ and DESCRIBE on the topics"
        ) from None
    finally:
        consumer.close()


def _look_through(
    consumer: Any, starts: dict[Any, int], wanted: Mapping[str, Wanted], goes_on: Callable[[int], bool]
) -> None:
    partitions = list(starts)
    consumer.assign(partitions)
    places = consumer.offsets_for_times(dict(starts), timeout_ms=_TIMEOUT_MS)
    ends = consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
    for partition in partitions:
        place = places.get(partition)
        consumer.seek(partition, ends[partition] if place is None else place.offset)
    looked_at = 0
    for _ in range(_ROUNDS):
        progress = Deadline(NO_PROGRESS_SECONDS)
        while any(consumer.position(one, timeout_ms=_TIMEOUT_MS) < end for one, end in ends.items()):
            found = consumer.poll(timeout_ms=500)
            for partition, records in found.items():
                identities = wanted[partition.topic].identities
                for record in records:
                    identities.discard(_identity_in_topic(record))
                looked_at += len(records)
            if not goes_on(looked_at) or not any(one.identities for one in wanted.values()):
                return
            if found:
                progress = Deadline(NO_PROGRESS_SECONDS)
            elif progress.passed():
                raise kafka_errors.KafkaTimeoutError("the topic could not be read to its end")
        # What an earlier replay had sent off when it was killed may still be on its way through the broker.
        time.sleep(SETTLE_SECONDS)
        before, ends = ends, consumer.end_offsets(partitions, timeout_ms=_TIMEOUT_MS)
        if ends == before:
            return


def _identity_in_topic(record: Any) -> bytes:
    record_id = next((value for name, value in record.headers if name == "id"), None)
    return _identity(record.key or b"", record_id or b"", record.value or b"")


def _identity(channel: bytes, record_id: bytes, value: bytes) -> bytes:
    kind = b"id" if record_id else b"value"
    return blake2b(b"%b %d %b%b" % (kind, len(channel), channel, record_id or value), digest_size=16).digest()
