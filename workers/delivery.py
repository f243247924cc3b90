"""Brings records into Kafka or into the spool, in order, each once, and tells when each is durable.

A record goes straight to Kafka while Kafka takes them. When it has not taken the oldest for some seconds,
what is on its way and everything new is committed to the spool; it is sent from there, in order, once Kafka
takes messages again. Until then all new records go behind what is in the spool.
"""

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from loguru import logger

from shared.errors import SpoolError
from shared.handoff_server import PendingBatch
from shared.record import Record
from shared.reports import BUCKET_SECONDS, LOST_NO_TOPIC, LOST_REFUSED
from shared.seen_ids import KEEP_AT_LEAST, SeenIds, is_event_key, key_of_record
from shared.spool import Spool
from shared.timing import Reminder
from workers.kafka_sink import MAX_BYTES, MAX_RECORDS, Outcome
from workers.kafka_tail import Tail
from workers.merge import Merger
from workers.outage import REMIND_SECONDS, Outage
from workers.rests import take_over_rests

# A commit waits for the disk; a few a second are enough for readers, who only wait to be told.
COMMIT_EVERY_SECONDS = 0.1
REMOVE_EVERY_SECONDS = 0.2
# What was delivered from the spool and is still there comes again after a kill: see kafka_tail.
REMOVE_AT_MOST = 5_000
RETRY_SECONDS = 1.0
KEEP_TAIL_SECONDS = 5.0
_DRAIN_ROWS = 2_000
_BUCKETS_MS = tuple(round(seconds * 1000) for seconds in BUCKET_SECONDS)


class Sink(Protocol):
    """What is needed of ``kafka_sink.KafkaSink``."""

    @property
    def connected(self) -> bool: ...  # noqa: D102
    @property
    def full(self) -> bool: ...  # noqa: D102
    @property
    def has_room(self) -> bool: ...  # noqa: D102
    def together(self) -> AbstractContextManager[None]: ...  # noqa: D102
    def send(self, record: Record, token: object) -> None: ...  # noqa: D102
    def collect(self) -> list[Outcome]: ...  # noqa: D102
    def take_tail(self) -> Tail | None: ...  # noqa: D102


class _Item:
    """A record in this process: ``batches`` wait for it to be durable, ``row`` is its number in the spool."""

    __slots__ = ("batches", "key", "record", "row", "sent_at")

    def __init__(self, key: str, record: Record, batches: list[PendingBatch], row: int = 0) -> None:
        self.key = key
        self.record = record
        self.batches = batches
        self.row = row
        self.sent_at = 0.0


class Delivery:
    """Owns every record between the hand-off and Kafka.

    ``is_durable`` is called once for each record that was taken in, with its batch. ``copies`` is how many
    readers a channel has. ``after_kill``: a predecessor may not have told readers of all that it counted.
    ``takes_events`` says whether there is a topic for events. ``clock`` gives
    monotonic seconds, ``wall_clock_ms`` the time that readers stamp records with. One thread calls the
    methods; none of them blocks but for a commit to the disk.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        is_durable: Callable[[PendingBatch], None],
        copies: int = 1,
        takes_events: bool = False,
        after_kill: bool = True,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Per channel: delivered, duplicate; events_delivered, events_duplicate."""
        self.lost: Counter[tuple[str, str]] = Counter()
        """Per channel and reason, besides ``spool.lost``."""
        self.delivery_buckets = [0] * (len(_BUCKETS_MS) + 1)
        """Messages by how long they took from the socket to Kafka's acknowledgement."""
        self.delivery_ms = 0
        """The sum of these times."""
        self._sink = sink
        self._spool = spool
        self._is_durable = is_durable
        self._clock = clock
        self._wall_clock_ms = wall_clock_ms
        # With events every message has two.
        self._keep_ids = KEEP_AT_LEAST * (2 if takes_events else 1)
        self._seen = SeenIds(at_least=self._keep_ids)
        # Read back from the topic: what is older here than that may be there already.
        self._in_topic: set[str] = set()
        self._in_topic_until = 0.0
        # Read back and counted, here or by a predecessor: its reader, that was not told, may send it again.
        self._counted: set[str] = set()
        self._in_flight: dict[str, _Item] = {}
        self._in_flight_unspooled = 0
        # Rows of what was on its way when it was spooled: the spool may give them, they are not sent again.
        self._sent_rows: set[int] = set()
        self._buffer: dict[str, _Item] = {}
        self._buffer_bytes = 0
        self._commit_at = 0.0
        self._delivered_rows: list[tuple[int, str]] = []
        self._remove_at = 0.0
        self._outage = Outage(clock)
        self._spool_retry_at = float("-inf")
        self._spool_fails = False
        self._spool_reminder = Reminder(REMIND_SECONDS, clock)
        self._takes_events = takes_events
        self._after_kill = after_kill
        self._no_topic_reminder = Reminder(REMIND_SECONDS, clock)
        # Whether a new record goes straight to Kafka; it cannot change between two rounds of `work`.
        self._is_direct = False
        self._nameless = 0
        self._merger = Merger[_Item](clock, wall_clock_ms) if copies > 1 else None

    def open(self) -> None:
        """Learn what is in the spool. Without a usable one chat goes on as long as Kafka takes it."""
        try:
            for key in self._spool.newest_keys(self._keep_ids):
                self._seen.add(key)
            self._take_over_rests()
        except SpoolError as error:
            logger.error("{}", error)
        if self._spool.messages:
            logger.info("{} messages in the spool wait for Kafka", self._spool.messages)

    @property
    def spooling(self) -> bool:
        """True while Kafka does not take messages, and they go to the spool."""
        return self._outage.goes_on

    @property
    def pending(self) -> int:
        """Records that are not durable yet."""
        return self._in_flight_unspooled + len(self._buffer) + self._merging

    @property
    def must_pause(self) -> bool:
        """True while nothing should be taken in."""
        if self._is_direct:
            return self._sink.full or len(self._in_flight) + self._merging >= MAX_RECORDS
        return len(self._buffer) + self._merging >= MAX_RECORDS or self._buffer_bytes >= MAX_BYTES

    @property
    def may_resume(self) -> bool:
        """True when there is room again after ``must_pause``."""
        if self._is_direct:
            return self._sink.has_room and len(self._in_flight) + self._merging <= MAX_RECORDS // 2
        return len(self._buffer) + self._merging <= MAX_RECORDS // 2 and self._buffer_bytes <= MAX_BYTES // 2

    def take_in(self, record: Record, batch: PendingBatch) -> None:
        """Take a record over, or leave it out when it was there before."""
        if record.type and not self._takes_events:
            self._give_up(record)
            self._is_durable(batch)
            return
        if record.id:
            key = key_of_record(record)
            known = self._in_flight.get(key) or self._buffer.get(key)
            if known is None and self._merger is not None:
                known = self._merger.get(key)
            is_new = known is None and self._seen.add(key)
        else:
            self._nameless += 1
            key = f"\0{self._nameless}"
            known, is_new = None, True
        item = _Item(key, record, [batch]) if is_new else None
        if self._merger is not None:
            self._merger.note(record.channel, batch.session, key, record.received_ms, item)
        elif item is not None:
            self._forward(item)
        if item is None:
            self._leave_out(key, record, batch, known)

    def work(self) -> float | None:
        """Go on. Gives the seconds until it wants to be called again in any case; None for no such time."""
        now = self._clock()
        if self._merger is not None:
            self._forward_all(self._merger.finished())
        self._settle(self._sink.collect())
        tail = self._sink.take_tail()
        if tail is not None:
            self._on_tail(tail)
        oldest = next(iter(self._in_flight.values()), None)
        self._outage.look(
            self._sink.connected, None if oldest is None else oldest.sent_at, self._spool.messages
        )
        try:
            if now >= self._spool_retry_at:
                self._use_spool(now)
                self._spool_fails = False
        except SpoolError as error:
            self._spool_fails = True
            self._spool_retry_at = now + RETRY_SECONDS
            if self._spool_reminder.is_due():
                logger.error("{}; messages wait in the readers", error)
        if self._buffer and self._can_send and not self._spool.unsent:
            self._send_buffer()
        if now >= self._in_topic_until and not self._buffer and not self._spool.unsent:
            self._in_topic.clear()
            self._counted.clear()
        self._is_direct = self._can_send and not self._buffer and not self._spool.unsent
        return self._due_seconds(now)

    def finish(self, wait: Callable[[], None], may_wait: Callable[[], bool]) -> int:
        """Make durable what is here: in Kafka while that goes on, else in the spool.

        ``wait`` waits a moment for the sink while ``may_wait`` says so. Gives how many are not durable.
        """
        if self._merger is not None:
            self._forward_all(self._merger.everything())
        while self.pending and may_wait() and not self.spooling and self._sink.connected:
            wait()
            self.work()
        self._settle(self._sink.collect())
        try:
            self._spool_in_flight()
            while self._buffer:
                self._spool_buffer()
            self._remove_delivered()
        except SpoolError as error:
            logger.error("{}; the readers still have {} messages", error, self.pending)
        return self.pending

    @property
    def _can_send(self) -> bool:
        # What cannot be removed, on a full disk, must not hold up the rest.
        may_forget = len(self._delivered_rows) < REMOVE_AT_MOST or self._spool_fails
        return self._sink.connected and not self.spooling and may_forget

    @property
    def _may_drain(self) -> bool:
        return self._can_send and self._spool.unsent > 0 and self._sink.has_room

    @property
    def _must_spool_buffer(self) -> bool:
        return bool(self._buffer) and (self.spooling or self._spool.unsent > 0)

    @property
    def _merging(self) -> int:
        return 0 if self._merger is None else len(self._merger)

    def _forward_all(self, items: Iterable[_Item]) -> None:
        with self._sink.together():
            for item in items:
                self._forward(item)

    def _forward(self, item: _Item) -> None:
        if self._is_direct:
            self._send_unless_there(item)
        else:
            self._buffer[item.key] = item
            self._buffer_bytes += len(item.record.value)

    def _leave_out(self, key: str, record: Record, batch: PendingBatch, known: _Item | None) -> None:
        if known is None and key in self._counted:
            self._counted.discard(key)
        else:
            # While the first copy still waits here it is that one which was counted.
            self.counts[record.channel][_named("duplicate", record)] += 1
        if known is not None and known.batches:
            # It is durable when the first copy is: until then its reader keeps this one.
            known.batches.append(batch)
        else:
            self._is_durable(batch)

    def _send_unless_there(self, item: _Item) -> None:
        if item.key in self._in_topic:
            if item.key not in self._counted:
                self.counts[item.record.channel][_named("delivered", item.record)] += 1
            self._counted.discard(item.key)
            self._durable(item)
        else:
            self._send(item)

    def _send(self, item: _Item) -> None:
        self._in_flight[item.key] = item
        if not item.row:
            self._in_flight_unspooled += 1
        item.sent_at = self._clock()
        self._sink.send(item.record, item)

    def _settle(self, outcomes: Iterable[Outcome]) -> None:
        now_ms = self._wall_clock_ms()
        for outcome in outcomes:
            item: _Item = outcome.token
            record = item.record
            del self._in_flight[item.key]
            if outcome.refused is None:
                if record.type:
                    self.counts[record.channel]["events_delivered"] += 1
                else:
                    self.counts[record.channel]["delivered"] += 1
                    self._time(now_ms - record.received_ms)
            else:
                self.lost[record.channel, LOST_REFUSED] += 1
                _log_refused(record, outcome.refused)
            self._done(item)

    def _time(self, took_ms: int) -> None:
        # Readers stamp with the wall clock, which may have been set back since.
        took_ms = max(0, took_ms)
        self.delivery_buckets[bisect_left(_BUCKETS_MS, took_ms)] += 1
        self.delivery_ms += took_ms

    def _give_up(self, record: Record) -> None:
        """An event that was read before the topic of events was switched off."""
        self.lost[record.channel, LOST_NO_TOPIC] += 1
        if self._no_topic_reminder.is_due():
            logger.warning(
                "events that were waiting are left out, as KAFKA_TOPIC_CHAT_EVENTS is empty; {} so far",
                sum(count for (_channel, reason), count in self.lost.items() if reason == LOST_NO_TOPIC),
            )

    def _done(self, item: _Item) -> None:
        """Kafka has it, or will never take it."""
        if item.row:
            self._delivered_rows.append((item.row, item.record.channel))
        else:
            self._in_flight_unspooled -= 1
            self._durable(item)

    def _durable(self, item: _Item) -> None:
        batches, item.batches = item.batches, []
        for batch in batches:
            self._is_durable(batch)

    def _on_tail(self, tail: Tail) -> None:
        """Learn what is newest in the topic: a predecessor's, or what a broken connection brought there."""
        for key in tail.keys:
            self._seen.add(key)
        for key, channel in tail.uncounted.items():
            self.counts[channel]["events_delivered" if is_event_key(key) else "delivered"] += 1
        self._counted = set(tail.uncounted)
        if self._after_kill:
            self._counted |= tail.counted
        if self._spool.unsent or self._buffer or self._merging:
            self._in_topic |= tail.keys
        # Longer than anything is held to be merged, and than readers need to come back.
        self._in_topic_until = self._clock() + KEEP_TAIL_SECONDS

    def _use_spool(self, now: float) -> None:
        # On a full disk the first of these may still work, and makes room for the last.
        if self.spooling:
            self._spool_in_flight()
        if self._may_drain:
            self._drain()
        if self._delivered_rows and now >= self._remove_at:
            self._remove_at = now + REMOVE_EVERY_SECONDS
            self._remove_delivered()
        if self._must_spool_buffer and now >= self._commit_at:
            self._commit_at = now + COMMIT_EVERY_SECONDS
            self._spool_buffer()

    def _spool_in_flight(self) -> None:
        """Commit what is on its way, before anything newer: it may never arrive."""
        if not self._in_flight_unspooled:
            return
        items = [item for item in self._in_flight.values() if not item.row]
        while items:
            numbers = self._spool.append([item.record for item in items], sent=True)
            for item, number in zip(items, numbers, strict=False):
                item.row = number
                self._sent_rows.add(number)
                self._in_flight_unspooled -= 1
                self._durable(item)
            items = items[len(numbers) :]

    def _spool_buffer(self) -> None:
        items = list(self._buffer.values())
        while items:
            numbers = self._spool.append([item.record for item in items])
            for item in items[: len(numbers)]:
                self._unbuffer(item)
                self._durable(item)
            items = items[len(numbers) :]

    def _drain(self) -> None:
        """Send from the spool what there is room for."""
        rows = self._spool.read_on(_DRAIN_ROWS)
        with self._sink.together():
            self._send_rows(rows)

    def _send_rows(self, rows: Iterable[tuple[int, Record]]) -> None:
        for row, record in rows:
            if row in self._sent_rows:
                continue
            if record.type and not self._takes_events:
                self._give_up(record)
                self._delivered_rows.append((row, record.channel))
                continue
            key = key_of_record(record) if record.id else f"\0row {row}"
            if key in self._in_topic or key in self._in_flight:
                self._delivered_rows.append((row, record.channel))
            else:
                self._send(_Item(key, record, [], row))

    def _send_buffer(self) -> None:
        with self._sink.together():
            for item in list(self._buffer.values()):
                if self._sink.full:
                    return
                self._unbuffer(item)
                self._send_unless_there(item)

    def _unbuffer(self, item: _Item) -> None:
        del self._buffer[item.key]
        self._buffer_bytes -= len(item.record.value)

    def _remove_delivered(self) -> None:
        if self._delivered_rows:
            self._spool.remove(self._delivered_rows)
            self._sent_rows.difference_update(row for row, _channel in self._delivered_rows)
            self._delivered_rows = []
            if not self._spool.messages:
                logger.info("everything in the spool was delivered")

    def look_after(self) -> None:
        """Find rests of readers, and remind of an outage; call it once in a while."""
        try:
            self._take_over_rests()
        except SpoolError as error:
            if self._spool_reminder.is_due():
                logger.error("{}", error)
        self._outage.remind(self._spool.messages)

    def _take_over_rests(self) -> None:
        """Take in what readers left that had to stop without a producer."""
        if not self._spool.changed_by_others():
            return
        for duplicate in take_over_rests(self._spool, self._seen):
            self.counts[duplicate.channel][_named("duplicate", duplicate)] += 1

    def _due_seconds(self, now: float) -> float | None:
        waits = []
        if self._merger is not None and (left := self._merger.left_seconds()) is not None:
            waits.append(left)
        if self._must_spool_buffer:
            waits.append(self._commit_at - now)
        if self._delivered_rows:
            waits.append(self._remove_at - now)
        if self._may_drain:
            waits.append(0.0)
        if not self.spooling and (left := self._outage.left_seconds()) is not None:
            waits.append(left)
        return max(0.0, min(waits), self._spool_retry_at - now) if waits else None


def _named(count: str, record: Record) -> str:
    return f"events_{count}" if record.type else count


def _log_refused(record: Record, reason: str) -> None:
    logger.error(
        "Kafka refuses a message of {} for good, it is left out: id {}, {} bytes, {}",
        record.channel,
        record.id or "none",
        len(record.value),
        reason,
    )
