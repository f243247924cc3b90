"""The connection to Kafka: made in a thread beside the loop, watched, and made anew when it is broken."""

import functools
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2
from loguru import logger

from shared.errors import KafkaUnavailable
from shared.reports import Offsets
from shared.settings import Settings
from shared.timing import Backoff
from workers.kafka_client import (
    connection_options,
    count_partitions,
    ensure_topics,
    in_thread,
    or_unavailable,
)
from workers.kafka_tail import Tail, read_tail
from workers.kafka_wakeups import GatheringClient

PARTITIONS_CHECK_SECONDS = 5.0
# kafka-python asks the broker for the topic so often, whether there is something to send or not.
ASK_EVERY_SECONDS = 1.0
# Its answer is missing for so long, and so are acknowledgements: nobody answers.
SILENT_SECONDS = 2.5
# Kafka has acknowledged nothing for so long: look whether it and the topic are there.
PROBE_AFTER_SECONDS = 5.0
PROBE_EVERY_SECONDS = 10.0
# It has been there all the time, so the connection is to blame.
REPLACE_AFTER_SECONDS = 60.0
# About 24 days: an outage ends by Kafka's return, never by a time-out that would forget messages.
NO_DELIVERY_TIMEOUT_MS = 2**31 - 1


@dataclass(frozen=True)
class _Opened:
    producer: KafkaProducer
    client: GatheringClient
    partition_counts: dict[str, int]
    tail: Tail | None


class KafkaConnection:
    """A kafka-python producer for our topics, replaced by a new one whenever it was abandoned.

    ``wake`` is called from other threads when ``advance`` has something to do. ``clock`` gives monotonic
    seconds. ``producer_options`` are kafka-python's, instead of ours. ``counted`` is up to where a
    predecessor had counted, for the first connection. No method blocks for long.
    """

    def __init__(
        self,
        settings: Settings,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        replace_after_seconds: float = REPLACE_AFTER_SECONDS,
        producer_options: Mapping[str, Any] | None = None,
        counted: Offsets | None = None,
    ) -> None:
        self.producer: KafkaProducer | None = None
        """None while there is no connection; kafka-python sees to broken sockets by itself."""
        self.trouble = ""
        """Why there is none and what to do; empty while there is one, or the first is being made."""
        self.must_read_back = True
        """Whether the next connection begins with reading the newest records back."""
        self._client: GatheringClient | None = None
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._counted = dict(counted or {})
        self._more_options = dict(producer_options or {})
        self._replace_after_seconds = replace_after_seconds
        self._closed = False
        self._opening: Future[_Opened] | None = None
        self._open_at = clock()
        self._backoff = Backoff(first=0.2, longest=5.0)
        self._probing: Future[None] | None = None
        self._probe_at = 0.0
        self._reachable_since: float | None = None
        self._partition_counts: dict[str, int] = {}
        self._partitions: dict[tuple[str, bytes], int] = {}
        self._partitions_checked_at = 0.0
        self._heard_at = float("-inf")

    @property
    def answers(self) -> bool:
        """True while the broker answers over the connection, whether there is something to send or not."""
        return self.producer is not None and self._clock() - self._heard_at < SILENT_SECONDS

    def advance(self) -> Tail | None:
        """Begin or end an attempt to connect while there is no connection.

        Gives the newest of the topic once, when it was read back; else None.
        """
        if self.producer is not None:
            return None
        if self._opening is None:
            if self._clock() >= self._open_at:
                read_back = self.must_read_back
                self._opening = in_thread(lambda: self._open(read_back), self._wake)
            return None
        if not self._opening.done():
            return None
        opening, self._opening = self._opening, None
        try:
            opened = opening.result()
        except KafkaUnavailable as error:
            self.trouble = str(error)
            self._open_at = self._clock() + self._backoff.next_seconds()
            return None
        self.trouble = ""
        self.producer = opened.producer
        self._client = opened.client
        self._heard_at = self._clock()
        self._partition_counts = opened.partition_counts
        self._partitions.clear()
        self._reachable_since = None
        if opened.tail is not None:
            self.must_read_back = False
            self._counted = {}
        return opened.tail

    def together(self) -> AbstractContextManager[None]:
        """What is sent meanwhile goes out at the end at the latest, mostly in one request for each broker."""
        return nullcontext() if self._client is None else self._client.together()

    def due_seconds(self) -> float | None:
        """Seconds until there is something to do or to tell without being woken; None for no such time."""
        if self.producer is None and self._opening is None:
            return max(0.0, self._open_at - self._clock())
        if self.answers:
            # Whoever reports that it does has to look again then.
            return max(0.0, self._heard_at + SILENT_SECONDS - self._clock())
        return None

    def partition_of(self, topic: str, key: bytes) -> int:
        """The partition of the topic that Java's default partitioner gives the key."""
        partition = self._partitions.get((topic, key))
        if partition is None:
            partition = (murmur2(key) & 0x7FFFFFFF) % self._partition_counts[topic]
            self._partitions[topic, key] = partition
        return partition

    def works(self) -> None:
        """Kafka has taken something: the next failure is a new story."""
        self._backoff.reset()
        self._heard_at = self._clock()

    def watch(self, silent_seconds: float) -> None:
        """Follow the topics' partitions; find out why Kafka has acknowledged nothing for so long."""
        if self.producer is None:
            return
        if silent_seconds < PROBE_AFTER_SECONDS:
            self._reachable_since = None
            self._follow_partitions(self.producer)
            return
        self._probe()
        since = self._reachable_since
        if since is not None and self._clock() - since >= self._replace_after_seconds:
            logger.warning("Kafka answers, but takes nothing over this connection: it is made anew")
            self.abandon()

    def abandon(self, pause: bool = False) -> None:
        """Give the connection up, and with it what is on its way: its futures fail.

        ``pause``: not before a growing pause is a new one made.
        """
        self._open_at = self._clock() + (self._backoff.next_seconds() if pause else 0.0)
        producer, self.producer = self.producer, None
        if producer is not None:
            _close(producer, 0)

    def close(self, timeout_seconds: float) -> None:
        """Leave Kafka for good."""
        self._closed = True
        producer, self.producer = self.producer, None
        if producer is not None:
            _close(producer, timeout_seconds)

    def _open(self, read_back: bool) -> _Opened:
        """Find a broker and the topics, which are made when missing. Blocks; in a thread of its own."""

        def work() -> _Opened:
            ensure_topics(self._settings)
            tail = read_tail(self._settings, self._counted) if read_back else None
            clients: list[GatheringClient] = []

            def client(**options: Any) -> GatheringClient:
                clients.append(GatheringClient(**options))
                return clients[-1]

            producer = KafkaProducer(**self._producer_options(), kafka_client=client)
            try:
                counts = {
                    topic: count_partitions(producer.partitions_for(topic)) for topic in self._settings.topics
                }
            except BaseException:
                _close(producer, 0)
                raise
            # There is no public way to hear of the broker's answers while nothing is sent.
            producer._metadata.add_listener(self._on_answer)
            if self._closed:
                _close(producer, 0)
            return _Opened(producer, clients[0], counts, tail)

        return or_unavailable(self._settings, work)

    def _on_answer(self, _metadata: object) -> None:
        """In kafka-python's thread."""
        was_silent = not self.answers
        self._heard_at = self._clock()
        if was_silent:
            self._wake()

    def _probe(self) -> None:
        """Look whether a broker answers and has the topics, which may have been deleted."""
        now = self._clock()
        if self._probing is not None:
            if self._probing.done():
                failed = self._probing.exception() is not None
                self._reachable_since = None if failed else self._reachable_since or now
                self._probing = None
        elif now >= self._probe_at:
            self._probe_at = now + PROBE_EVERY_SECONDS
            work = functools.partial(ensure_topics, self._settings)
            self._probing = in_thread(lambda: or_unavailable(self._settings, work), self._wake)

    def _follow_partitions(self, producer: KafkaProducer) -> None:
        """Notice partitions that were added: Java's partitioner gives keys anew from then on."""
        now = self._clock()
        if now - self._partitions_checked_at < PARTITIONS_CHECK_SECONDS:
            return
        self._partitions_checked_at = now
        for topic, before in self._partition_counts.items():
            try:
                count = count_partitions(producer.partitions_for(topic))
            except kafka_errors.KafkaError:
                continue
            if count != before:
                logger.warning(
                    "topic {} has {} partitions now, {} before: channels may change their partition",
                    topic,
                    count,
                    before,
                )
                self._partition_counts[topic] = count
                self._partitions.clear()

    def _producer_options(self) -> dict[str, Any]:
        compression = self._settings.kafka_compression
        return connection_options(self._settings) | {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if compression == "none" else compression,
            "delivery_timeout_ms": NO_DELIVERY_TIMEOUT_MS,
            "max_block_ms": 1000,
            "batch_size": 128 * 1024,
            "linger_ms": 0,
            "metadata_max_age_ms": int(ASK_EVERY_SECONDS * 1000),
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
            **self._more_options,
        }


def _close(producer: KafkaProducer, timeout_seconds: float) -> None:
    try:
        producer.close(timeout=timeout_seconds)
    except kafka_errors.KafkaError as error:
        logger.debug("kafka: close: {}", error)
        # It raises while records are on their way, and its thread would go on delivering them beside their
        # successors. There is no public way to end it.
        producer._sender.force_close()
