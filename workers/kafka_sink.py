"""Sends records to their topics, through every kind of trouble.

Records go out in the order in which they came, per channel: kafka-python retries what is on its way without
end and idempotently; what it gives up all the same is sent again here, before anything newer. What it gave
up may be in the topic nevertheless, and so may what a killed predecessor had on its way: a connection
therefore begins with reading the newest records back.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from kafka import errors as kafka_errors
from loguru import logger

from shared.record import Record
from shared.reports import Offsets
from shared.seen_ids import key_of_record
from shared.settings import Settings
from workers.kafka_client import describe
from workers.kafka_connection import KafkaConnection
from workers.kafka_tail import Tail

MAX_RECORDS = 10_000
MAX_BYTES = 32 * 1024 * 1024
_RECORD_OVERHEAD_BYTES = 500
# A broker knows what it gets again by what it knows of the producer, and after its start it knows only
# producers whose newest record has a timestamp of the last day (producer.id.expiration.ms).
OLD_MS = 20 * 3600 * 1000
# No broker is back before that.
SILENT_SECONDS = 2.5
# Kafka refuses these for what they are; sending them again cannot help.
_REFUSED_FOR_GOOD = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.InvalidRecordError,
)


class Outcome:
    """One record that is done: ``refused`` says why Kafka will never take it, None that Kafka has it."""

    __slots__ = ("record", "refused", "token")

    def __init__(self, record: Record, token: Any, refused: str | None) -> None:
        self.record = record
        self.token = token
        self.refused = refused


class _Entry:
    __slots__ = (
        "alone",
        "future",
        "index",
        "is_old",
        "is_watched",
        "reached_kafka",
        "record",
        "size",
        "token",
    )

    def __init__(self, index: int, record: Record, token: Any) -> None:
        self.index = index
        self.is_old = False
        # kafka-python's, while it is on its way, and whether its end wakes the loop.
        self.future: Any = None
        self.is_watched = False
        self.record = record
        self.token = token
        self.size = len(record.value) + _RECORD_OVERHEAD_BYTES
        # Whether it must travel by itself: a batch is refused as a whole for one bad record.
        self.alone = False
        self.reached_kafka = False


class KafkaSink:
    """Sends chat messages to their topic and events to theirs, and tells what became of each.

    Without a topic of events it must not be given any.

    One thread calls the methods, and none of them blocks for long; ``wake`` is called from other threads
    when ``collect`` has something to give. ``clock`` gives monotonic seconds. ``connection`` None is one
    made of the settings. ``counted`` is where a predecessor's ended. ``wall_clock`` gives Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        connection: KafkaConnection | None = None,
        counted: Offsets | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.counted: Offsets = {topic: dict(offsets) for topic, offsets in (counted or {}).items()}
        """The offsets behind the last records that ``collect`` or ``take_tail`` have told of."""
        self._connection = connection or KafkaConnection(settings, wake, clock, counted=counted)
        self._chat_topic = settings.kafka_topic_chat_messages
        self._events_topic = settings.kafka_topic_chat_events or ""
        self._wake = wake
        self._clock = clock
        self._wall_clock = wall_clock
        self._tail: Tail | None = None
        self._keys: dict[str, bytes] = {}
        # By topic and partition, in which Kafka takes records one after the other.
        self._flying: defaultdict[tuple[str, int], deque[_Entry]] = defaultdict(deque)
        # What kafka-python did not even take.
        self._not_taken: list[tuple[_Entry, BaseException]] = []
        self._old_before_ms = 0.0
        self._next_index = 0
        self._on_their_way = 0
        self._old_on_their_way = 0
        self._alone_on_its_way = False
        self._failed: list[_Entry] = []
        self._held: deque[_Entry] = deque()
        self._records = 0
        self._bytes = 0
        self._quiet_since = 0.0

    @property
    def connected(self) -> bool:
        """True while there is a connection; whether the broker answers shows in ``silent_seconds``."""
        return self._connection.producer is not None

    @property
    def accepts(self) -> bool:
        """True while the broker answers over the connection, also when there is nothing to send."""
        return self._connection.answers

    @property
    def trouble(self) -> str:
        """Why there is no connection and what to do; empty while there is one or the first is being made."""
        return self._connection.trouble

    @property
    def pending(self) -> int:
        """Records that were sent and are not done."""
        return self._records

    @property
    def full(self) -> bool:
        """True while no more should be sent: kafka-python itself has no bound."""
        return self._records >= MAX_RECORDS or self._bytes >= MAX_BYTES

    @property
    def has_room(self) -> bool:
        """True while it is half empty: from ``full`` until then nothing should be sent."""
        return self._records <= MAX_RECORDS // 2 and self._bytes <= MAX_BYTES // 2

    def silent_seconds(self) -> float:
        """For how long Kafka has acknowledged nothing although records wait; 0.0 when none wait."""
        return self._clock() - self._quiet_since if self._records else 0.0

    def take_tail(self) -> Tail | None:
        """What a new connection has read back; None when nothing new."""
        tail, self._tail = self._tail, None
        return tail

    def together(self) -> AbstractContextManager[None]:
        """What is sent meanwhile goes out at the end at the latest, in few requests."""
        return self._connection.together()

    def send(self, record: Record, token: Any) -> None:
        """Take a record over; ``collect`` gives ``token`` back with the outcome."""
        entry = _Entry(self._next_index, record, token)
        self._next_index += 1
        if not self._records:
            self._quiet_since = self._clock()
        self._records += 1
        self._bytes += entry.size
        if self._held or self._failed or self._alone_on_its_way or not self.connected:
            self._held.append(entry)
        else:
            self._transmit(entry)

    def collect(self) -> list[Outcome]:
        """What is done since the last call; also connects, and sends again what failed."""
        outcomes = self._connect() if not self.connected else []
        self._old_before_ms = self._wall_clock() * 1000 - OLD_MS
        not_taken, self._not_taken = self._not_taken, []
        for entry, error in not_taken:
            self._came_back(entry, error, outcomes)
        for flying in self._flying.values():
            self._land(flying, outcomes)
        if self._failed and not self._on_their_way:
            self._hold_failed()
        if self._held and not self._failed and self.connected:
            self._send_held()
        return outcomes

    def due_seconds(self) -> float | None:
        """Seconds until ``collect`` has something to do without being woken; None for no such time."""
        return self._connection.due_seconds()

    def look_after(self) -> None:
        """Follow the topics' partitions, and find out about a silence; call it once a second."""
        silent = self.silent_seconds()
        if self._old_on_their_way and silent > SILENT_SECONDS and not self.accepts and self.connected:
            # Nothing of it is left to kafka-python's retries: what fails by this is read back first.
            self._connection.abandon()
        self._connection.watch(silent)

    def close(self, timeout_seconds: float) -> None:
        """Leave Kafka. What is still on its way is not waited for: flush by ``collect`` first."""
        self._connection.close(timeout_seconds)

    def _connect(self) -> list[Outcome]:
        """Go on connecting; what waited here and turns out to be in the topic is done."""
        if self._on_their_way:
            # The connection that was abandoned has not ended yet: what it still sends could not be read back.
            return []
        tail = self._connection.advance()
        if tail is None:
            return []
        self._quiet_since = self._clock()
        self._tail = tail
        for topic, ends in tail.ends.items():
            self.counted.setdefault(topic, {}).update(ends)
        outcomes = []
        held, self._held = self._held, deque()
        for entry in held:
            if entry.record.id and key_of_record(entry.record) in tail.keys:
                outcomes.append(self._done(entry, None))
            else:
                self._held.append(entry)
        return outcomes

    def _transmit(self, entry: _Entry) -> None:
        record = entry.record
        topic = self._events_topic if record.type else self._chat_topic
        channel = record.channel
        key = self._keys.get(channel)
        if key is None:
            key = self._keys[channel] = channel.encode()
        entry.is_old = record.timestamp_ms < self._old_before_ms
        self._on_their_way += 1
        self._old_on_their_way += entry.is_old
        self._alone_on_its_way = entry.alone
        try:
            producer = self._connection.producer
            if producer is None:
                raise kafka_errors.KafkaConnectionError("not connected")
            partition = self._connection.partition_of(topic, key)
            entry.future = producer.send(
                topic,
                value=record.value,
                key=key,
                headers=_headers(record),
                partition=partition,
                timestamp_ms=record.timestamp_ms,
            )
        except (kafka_errors.KafkaError, ValueError, AssertionError) as error:
            # It never left, so a refusal is its own, and it cannot be in the topic.
            entry.reached_kafka = False
            entry.alone = isinstance(error, _REFUSED_FOR_GOOD)
            self._not_taken.append((entry, error))
            self._wake()
            return
        entry.reached_kafka = True
        entry.is_watched = False
        self._flying[topic, partition].append(entry)

    def _land(self, flying: deque[_Entry], outcomes: list[Outcome]) -> None:
        """Take out what is done, from the oldest; the rest shall wake the loop when it is."""
        place = None
        while flying and flying[0].future.is_done:
            entry = flying.popleft()
            future = entry.future
            if future.exception is None:
                place = future.value
                self._on_their_way -= 1
                self._old_on_their_way -= entry.is_old
                if entry.alone:
                    self._alone_on_its_way = False
                outcomes.append(self._done(entry, None))
            else:
                self._came_back(entry, future.exception, outcomes)
        if place is not None:
            offsets = self.counted.setdefault(place.topic, {})
            offsets[place.partition] = max(offsets.get(place.partition, 0), place.offset + 1)
            self._quiet_since = self._clock()
            if not self._failed:
                self._connection.works()
        # A callback for each of them would cost a tenth of what sending costs. When the newest is done all
        # are, but for failures: then the oldest may be the last.
        for entry in (flying[0], flying[-1]) if flying else ():
            if not entry.is_watched:
                entry.is_watched = True
                entry.future.add_both(self._on_done)

    def _on_done(self, _end: Any) -> None:
        """In kafka-python's thread."""
        self._wake()

    def _came_back(self, entry: _Entry, error: BaseException, outcomes: list[Outcome]) -> None:
        """Kafka has not taken it."""
        self._on_their_way -= 1
        self._old_on_their_way -= entry.is_old
        if entry.alone:
            self._alone_on_its_way = False
        if not (isinstance(error, _REFUSED_FOR_GOOD) and entry.alone):
            self._fail(entry, error)
            return
        outcomes.append(self._done(entry, describe(error)))
        self._quiet_since = self._clock()
        if entry.reached_kafka:
            # An idempotent producer of kafka-python that was refused a batch fails everything from then on
            # with the same error.
            self._connection.abandon()

    def _done(self, entry: _Entry, refused: str | None) -> Outcome:
        self._records -= 1
        self._bytes -= entry.size
        return Outcome(entry.record, entry.token, refused)

    def _fail(self, entry: _Entry, error: BaseException) -> None:
        refused = isinstance(error, _REFUSED_FOR_GOOD)
        if not self._failed:
            logger.log(
                "DEBUG" if refused else "WARNING",
                "kafka: {}; what it did not take is sent again in order",
                describe(error),
            )
        entry.alone = refused
        # A refused batch is not in the topic; of any other failure nobody knows.
        self._connection.must_read_back |= entry.reached_kafka and not refused
        self._failed.append(entry)

    def _hold_failed(self) -> None:
        """Put the failed before the held, in the order in which they came, now that nothing is on its way."""
        failed, self._failed = self._failed, []
        failed.sort(key=lambda entry: entry.index)
        self._held.extendleft(reversed(failed))
        only_refused = all(entry.alone for entry in failed)
        if not only_refused or any(entry.reached_kafka for entry in failed):
            # A producer that gave records up may be in a state from which it never recovers.
            self._connection.abandon(pause=not only_refused)

    def _send_held(self) -> None:
        while self._held and not self._alone_on_its_way:
            if self._held[0].alone and self._on_their_way:
                return
            self._transmit(self._held.popleft())


def _headers(record: Record) -> list[tuple[str, bytes]]:
    headers = [("id", record.id.encode())] if record.id else []
    if not (record.type or record.source_room_id or record.source_id):
        return headers
    if record.type:
        headers.append(("type", record.type.encode()))
    if record.source_id:
        headers.append(("source-id", record.source_id.encode()))
    if record.source_room_id:
        headers.append(("source-room-id", record.source_room_id.encode()))
    return headers
