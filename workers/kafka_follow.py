"""Follows a topic as it grows: every record of every partition, through outages of Kafka.

The place in each partition is kept here, not by kafka-python and not in Kafka. So a connection that is
broken is thrown away, and the next one goes on where the last one was.
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from shared.errors import KafkaUnavailable
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import REQUEST_SECONDS, connection_options, open_client, or_unavailable

WAIT_SECONDS = 0.5
# kafka-python asks the broker for the topic so often, whether there are records or not.
ASK_EVERY_SECONDS = 1.0
# So many polls in a row without a record or an answer: nobody answers. Counted, because a process that was
# stopped for a while has heard nothing either.
SILENT_POLLS = 8
RECORDS_AT_A_TIME = 2000


class Record(msgspec.Struct, gc=False):
    """One record of the topic, of this service or of somebody else's; None stands for no key or no value."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class _Topic:
    """What the broker said last; ``partitions`` is empty while there is no such topic."""

    partitions: frozenset[int]
    topic_id: Any
    forbidden: bool


class KafkaFollower:
    """Reads ``topic`` without a consumer group, so it leaves no trace in Kafka.

    ``from_beginning``: from the oldest record that Kafka has, instead of what comes after the first contact.
    Each record is given once, and those of a partition in order. Partitions that are added later, and a
    topic that is made later or made anew, are read from their beginning. One thread calls the methods; a
    signal handler that raises gets through at any time.
    """

    def __init__(self, settings: Settings, topic: str, from_beginning: bool = False) -> None:
        self._settings = settings
        self._topic = topic
        self._from_beginning = from_beginning
        self._consumer: Any = None
        # The offset of the next record, by partition.
        self._next: dict[int, int] = {}
        self._has_begun = False
        self._topic_id: Any = None
        self._seen = _Topic(frozenset(), None, False)
        self._answered_at = 0.0
        self._silent_polls = 0

    @property
    def topic_exists(self) -> bool:
        """Whether Kafka had the topic when it answered last."""
        return bool(self._seen.partitions)

    def poll(self) -> list[Record]:
        """What has come since the last call, after half a second at most when there is nothing.

        It takes longer while there is no connection, some 4 s; call it all the same to have one made. Raises
        KafkaUnavailable when there is none; the next call tries again and nothing is skipped.
        """
        try:
            return or_unavailable(self._settings, self._poll)
        except KafkaUnavailable:
            self.close()
            raise

    def close(self) -> None:
        """Leave Kafka; ``poll`` would go on where it was."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _poll(self) -> list[Record]:
        if self._consumer is None:
            self._open()
        self._look()
        if self._seen.forbidden:
            raise self._forbidden()
        if self._made_anew():
            self.close()
            return []
        try:
            self._follow_partitions()
            found = self._consumer.poll(timeout_ms=int(WAIT_SECONDS * 1000))
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError):
            # What would be next is not there any more: see where the topic begins and ends now.
            self.close()
            return []
        except kafka_errors.AuthorizationError:
            raise self._forbidden() from None
        self._watch_silence(bool(found))
        return self._take(found)

    def _open(self) -> None:
        options = connection_options(self._settings) | {
            "group_id": None,
            "enable_auto_commit": False,
            # Never a place that kafka-python has chosen.
            "auto_offset_reset": "none",
            "metadata_max_age_ms": int(ASK_EVERY_SECONDS * 1000),
            "max_poll_records": RECORDS_AT_A_TIME,
            "metrics_enabled": False,
        }
        self._consumer = open_client(KafkaConsumer, options)
        # The public option of that name does not reach it: watching a topic would create it.
        self._consumer._cluster.config["allow_auto_create_topics"] = False
        # Asks for all topics, which cannot create one either.
        self._consumer.partitions_for_topic(self._topic)
        self._look()
        self._find_places()
        self._ask_for_topic()
        self._silent_polls = 0

    def _look(self) -> None:
        """See what the broker's last answer was; there is no public way to that."""
        cluster, topic = self._consumer._cluster, self._topic
        self._seen = _Topic(
            partitions=frozenset(cluster.partitions_for_topic(topic) or ()),
            topic_id=cluster.topic_id(topic),
            forbidden=topic in cluster.unauthorized_topics,
        )

    def _ask_for_topic(self) -> None:
        """Have the broker asked for the topic all the time from now on."""
        cluster = self._consumer._cluster
        asked_at = cluster._last_successful_refresh_ms
        cluster.set_topics([self._topic])
        # One that is not there may be forbidden, which only an answer about this topic tells.
        deadline = Deadline(0.0 if self._seen.partitions else REQUEST_SECONDS)
        while cluster._last_successful_refresh_ms == asked_at and not deadline.passed():
            time.sleep(0.01)

    def _find_places(self) -> None:
        """Where to begin at the first contact; later, what is still there of what would be next."""
        partitions = [TopicPartition(self._topic, number) for number in self._seen.partitions]
        timeout_ms = int(REQUEST_SECONDS * 1000)
        begins = self._consumer.beginning_offsets(partitions, timeout_ms=timeout_ms)
        ends = self._consumer.end_offsets(partitions, timeout_ms=timeout_ms)
        if self._made_anew():
            self._next.clear()
        if partitions:
            self._topic_id = self._seen.topic_id
        for partition in partitions:
            begin, end, number = begins[partition], ends[partition], partition.partition
            first = begin if self._has_begun or self._from_beginning else end
            self._next[number] = min(max(self._next.get(number, first), begin), end)
        self._has_begun = True

    def _made_anew(self) -> bool:
        """Whether this is another topic of the same name; brokers before Kafka 2.8 do not tell."""
        ids = (self._topic_id, self._seen.topic_id)
        return bool(self._seen.partitions) and None not in ids and ids[0] != ids[1]

    def _follow_partitions(self) -> None:
        """Read all of those that were added, or that came with a topic which was not there before."""
        seen = self._seen
        if seen.partitions and self._topic_id is None:
            self._topic_id = seen.topic_id
        self._next |= dict.fromkeys(seen.partitions - self._next.keys(), 0)
        # While there is no topic nothing is asked for: of one that is made anew the broker would give what
        # lies behind the place in the old one, before it tells of the new one.
        places = self._next if seen.partitions else {}
        wanted = {TopicPartition(self._topic, number): place for number, place in places.items()}
        if wanted.keys() != self._consumer.assignment():
            self._consumer.assign(list(wanted))
            for partition, place in wanted.items():
                self._consumer.seek(partition, place)

    def _watch_silence(self, found: bool) -> None:
        before, self._answered_at = self._answered_at, self._consumer._cluster._last_successful_refresh_ms
        if found or self._answered_at != before:
            self._silent_polls = 0
            return
        self._silent_polls += 1
        if self._silent_polls >= SILENT_POLLS:
            seconds = SILENT_POLLS * WAIT_SECONDS
            raise kafka_errors.KafkaTimeoutError(f"no answer for {seconds:.0f} s")

    def _take(self, found: dict[Any, list[Any]]) -> list[Record]:
        taken = []
        for partition, records in found.items():
            number = partition.partition
            taken += [Record(number, one.offset, one.key, one.value) for one in records]
            self._next[number] = records[-1].offset + 1
        return taken

    def _forbidden(self) -> KafkaUnavailable:
        is_of_events = self._topic == self._settings.kafka_topic_chat_events
        name = "KAFKA_TOPIC_CHAT_EVENTS" if is_of_events else "KAFKA_TOPIC_CHAT_MESSAGES"
        return KafkaUnavailable(
            f"this user may not read topic {self._topic}: allow READ and DESCRIBE on it, or check "
            f"KAFKA_SASL_USERNAME and {name}"
        )
