"""Brings records into Kafka or into the spool, in order, each once, and tells when each is durable.

A record goes straight to Kafka while Kafka takes them. When it has not taken the oldest for some seconds,
what is on its way and everything new is committed to the spool; it is sent from there, in order, once Kafka
takes messages again. Until then all new records go behind what is in the spool.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from loguru import logger

from shared.chat_message import ChatRecord
from shared.errors import SpoolError
from shared.handoff_server import PendingBatch, Session
from shared.seen_ids import KEEP_AT_LEAST, SeenIds, key_of
from shared.spool import Spool
from workers.kafka_sink import MAX_BYTES, MAX_RECORDS, Outcome
from workers.merge import merge_copies

SPOOL_AFTER_SECONDS = 3.0
# A commit waits for the disk; a few a second are enough for readers, who only wait to be told.
COMMIT_EVERY_SECONDS = 0.1
REMOVE_EVERY_SECONDS = 0.2
# What was delivered from the spool and is still there comes again after a kill: see kafka_tail.
REMOVE_AT_MOST = 5_000
RETRY_SECONDS = 1.0
# Readers try to come back to a new producer every second at most.
GATHER_AT_START_SECONDS = 1.5
# A record that was read so long ago was kept by a reader that could not hand off.
LATE_MS = 1_000
GATHER_SECONDS = 0.3
GATHER_AT_MOST_SECONDS = 2.0
REMIND_SECONDS = 60.0
SAY_EVERY_SECONDS = 30.0
_DRAIN_ROWS = 2_000
_REFUSED = "refused_by_kafka"


class Sink(Protocol):
    """What is needed of ``kafka_sink.KafkaSink``."""

    @property
    def connected(self) -> bool: ...  # noqa: D102
    @property
    def full(self) -> bool: ...  # noqa: D102
    @property
    def has_room(self) -> bool: ...  # noqa: D102
    def send(self, record: ChatRecord, token: object) -> None: ...  # noqa: D102
    def collect(self) -> list[Outcome]: ...  # noqa: D102
    def take_tail(self) -> set[str] | None: ...  # noqa: D102


class _Item:
    """A record in this process: ``batches`` wait for it to be durable, ``row`` is its number in the spool."""

    __slots__ = ("batches", "key", "record", "row", "sent_at")

    def __init__(self, key: str, record: ChatRecord, batches: list[PendingBatch], row: int = 0) -> None:
        self.key = key
        self.record = record
        self.batches = batches
        self.row = row
        self.sent_at = 0.0


class Delivery:
    """Owns every record between the hand-off and Kafka.

    ``is_durable`` is called once for each record that was taken in, with its batch. ``copies`` is how many
    readers a channel has. ``clock`` gives monotonic seconds, ``wall_clock_ms`` the time that readers stamp
    records with. One thread calls the methods; none of them blocks but for a commit to the disk.
    """

    def __init__(
        self,
        sink: Sink,
        spool: Spool,
        is_durable: Callable[[PendingBatch], None],
        copies: int = 1,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Per channel: delivered, duplicate."""
        self.lost: Counter[tuple[str, str]] = Counter()
        """Per channel and reason, besides ``spool.lost``."""
        self.spooling = False
        """True while Kafka does not take messages, and they go to the spool."""
        self._sink = sink
        self._spool = spool
        self._is_durable = is_durable
        self._clock = clock
        self._seen = SeenIds()
        # Read back from the topic: what is older here than that may be there already.
        self._in_topic: set[str] = set()
        self._in_flight: dict[str, _Item] = {}
        self._in_flight_unspooled = 0
        # Rows of what was on its way when it was spooled: the spool may give them, they are not sent again.
        self._sent_rows: set[int] = set()
        self._buffer: dict[str, _Item] = {}
        self._buffer_bytes = 0
        self._commit_at = 0.0
        self._delivered_rows: list[tuple[int, str]] = []
        self._remove_at = 0.0
        # When the oldest that is on its way was sent; without a connection, since when there is none.
        self._waiting_since: float | None = clock()
        self._spool_retry_at = float("-inf")
        self._said_at: dict[str, float] = {}
        self._nameless = 0
        self._copies = copies
        self._wall_clock_ms = wall_clock_ms
        self._late_before_ms = 0
        # What each reader brought, in its order, until the copies are merged; None when they are not.
        self._gathered: defaultdict[Session, list[str]] | None = None
        self._gather_until = self._gather_at_most = 0.0

    def open(self) -> None:
        """Learn what is in the spool, and wait a moment for all readers to come back.

        Without a usable spool chat goes on as long as Kafka takes it.
        """
        try:
            for record in self._spool.newest(KEEP_AT_LEAST):
                if record.id:
                    self._seen.add(key_of(record.channel, record.id))
            self._take_over_rests()
        except SpoolError as error:
            logger.error("{}", error)
        if self._spool.messages:
            logger.info("{} messages in the spool wait for Kafka", self._spool.messages)
        if self._copies > 1:
            self._gathered = defaultdict(list)
            self._gather_until = self._gather_at_most = self._clock() + GATHER_AT_START_SECONDS

    @property
    def pending(self) -> int:
        """Records that are not durable yet."""
        return self._in_flight_unspooled + len(self._buffer)

    @property
    def must_pause(self) -> bool:
        """True while nothing should be taken in."""
        if self._is_direct:
            return self._sink.full
        return len(self._buffer) >= MAX_RECORDS or self._buffer_bytes >= MAX_BYTES

    @property
    def may_resume(self) -> bool:
        """True when there is room again after ``must_pause``."""
        if self._is_direct:
            return self._sink.has_room
        return len(self._buffer) <= MAX_RECORDS // 2 and self._buffer_bytes <= MAX_BYTES // 2

    def take_in(self, record: ChatRecord, batch: PendingBatch) -> None:
        """Take a record over, or leave it out when it was there before."""
        if record.id:
            key = key_of(record.channel, record.id)
            if self._copies > 1:
                self._gather(key, record, batch)
            known = self._in_flight.get(key) or self._buffer.get(key)
            if known is not None or not self._seen.add(key):
                self._leave_out(record, batch, known)
                return
        else:
            self._nameless += 1
            key = f"\0{self._nameless}"
        item = _Item(key, record, [batch])
        if self._is_direct:
            self._send(item)
        else:
            self._buffer[key] = item
            self._buffer_bytes += len(record.value)

    def work(self) -> float | None:
        """Go on. Gives the seconds until it wants to be called again in any case; None for no such time."""
        now = self._clock()
        self._late_before_ms = self._wall_clock_ms() - LATE_MS
        if self._gathered is not None and now >= self._gather_until:
            self._merge_gathered()
        self._settle(self._sink.collect())
        tail = self._sink.take_tail()
        if tail is not None:
            self._on_tail(tail)
        self._watch(now)
        try:
            if now >= self._spool_retry_at:
                self._use_spool(now)
        except SpoolError as error:
            self._spool_retry_at = now + RETRY_SECONDS
            if self._is_time_to_say("spool"):
                logger.error("{}; messages wait in the readers", error)
        if self._can_send and not self._spool.unsent and self._buffer and self._gathered is None:
            self._send_buffer()
        return self._due_seconds(now)

    def finish(self, wait: Callable[[], None], may_wait: Callable[[], bool]) -> int:
        """Make durable what is here: in Kafka while that goes on, else in the spool.

        ``wait`` waits a moment for the sink while ``may_wait`` says so. Gives how many are not durable.
        """
        while self.pending and may_wait() and not self.spooling and self._sink.connected:
            wait()
            self.work()
        self._settle(self._sink.collect())
        self._merge_gathered()
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
        return self._sink.connected and not self.spooling and len(self._delivered_rows) < REMOVE_AT_MOST

    @property
    def _may_drain(self) -> bool:
        return self._can_send and self._spool.unsent > 0 and self._sink.has_room

    @property
    def _is_direct(self) -> bool:
        return self._can_send and not self._buffer and not self._spool.unsent and self._gathered is None

    @property
    def _must_spool_buffer(self) -> bool:
        waits_behind_spool = self.spooling or self._spool.unsent > 0
        return bool(self._buffer) and waits_behind_spool and self._gathered is None

    def _gather(self, key: str, record: ChatRecord, batch: PendingBatch) -> None:
        """Note the order in which each reader brings what it has kept while it could not hand off.

        Readers of the same channel bring theirs one after the other; what one of them lacks stands in the
        middle of what the other has.
        """
        if record.received_ms < self._late_before_ms:
            now = self._clock()
            if self._gathered is None:
                self._gathered = defaultdict(list)
                self._gather_until = now
                self._gather_at_most = now + GATHER_AT_MOST_SECONDS
            until = min(now + GATHER_SECONDS, self._gather_at_most)
            self._gather_until = max(self._gather_until, until)
        if self._gathered is not None:
            self._gathered[batch.session].append(key)

    def _merge_gathered(self) -> None:
        if self._gathered is None:
            return
        gathered, self._gathered = self._gathered, None
        buffer = self._buffer
        merged = [key for key in merge_copies(gathered.values()) if key in buffer]
        self._buffer = {key: buffer.pop(key) for key in merged}
        # Without an id, or here before the gathering began.
        self._buffer = buffer | self._buffer

    def _leave_out(self, record: ChatRecord, batch: PendingBatch, known: _Item | None) -> None:
        self.counts[record.channel]["duplicate"] += 1
        if known is not None and known.batches:
            # It is durable when the first copy is: until then its reader keeps this one.
            known.batches.append(batch)
        else:
            self._is_durable(batch)

    def _send(self, item: _Item) -> None:
        self._in_flight[item.key] = item
        if not item.row:
            self._in_flight_unspooled += 1
        item.sent_at = self._clock()
        self._sink.send(item.record, item)

    def _settle(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            item: _Item = outcome.token
            del self._in_flight[item.key]
            if outcome.refused is None:
                self.counts[item.record.channel]["delivered"] += 1
            else:
                self.lost[item.record.channel, _REFUSED] += 1
                _log_refused(item.record, outcome.refused)
            self._done(item)

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

    def _on_tail(self, tail: set[str]) -> None:
        """Learn what is newest in the topic: a predecessor's, or what a broken connection brought there."""
        for key in tail:
            self._seen.add(key)
        if self._spool.unsent or self._buffer:
            self._in_topic |= tail

    def _watch(self, now: float) -> None:
        """Decide whether Kafka takes messages."""
        if self._sink.connected:
            oldest = next(iter(self._in_flight.values()), None)
            self._waiting_since = oldest.sent_at if oldest is not None else None
        elif self._waiting_since is None:
            self._waiting_since = now
        stuck = self._waiting_since is not None and now - self._waiting_since >= SPOOL_AFTER_SECONDS
        if stuck == self.spooling:
            return
        self.spooling = stuck
        # A slow Kafka changes between both all the time.
        quietly = not self._is_time_to_say("stuck" if stuck else "works", SAY_EVERY_SECONDS)
        self._said_at["still stuck"] = now
        if stuck:
            logger.log(
                "DEBUG" if quietly else "WARNING",
                "Kafka has taken nothing for {:.0f} s; messages go to the spool",
                SPOOL_AFTER_SECONDS,
            )
        else:
            logger.log(
                "DEBUG" if quietly else "INFO",
                "Kafka takes messages; {} from the spool are sent first",
                self._spool.messages,
            )

    def _use_spool(self, now: float) -> None:
        if self.spooling:
            self._spool_in_flight()
        if self._must_spool_buffer and now >= self._commit_at:
            self._commit_at = now + COMMIT_EVERY_SECONDS
            self._spool_buffer()
        if self._may_drain:
            self._drain()
        if self._delivered_rows and now >= self._remove_at:
            self._remove_at = now + REMOVE_EVERY_SECONDS
            self._remove_delivered()

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
        for row, record in self._spool.read_on(_DRAIN_ROWS):
            if row in self._sent_rows:
                continue
            key = key_of(record.channel, record.id) if record.id else f"\0row {row}"
            if key in self._in_topic or key in self._in_flight:
                self._delivered_rows.append((row, record.channel))
            else:
                self._send(_Item(key, record, [], row))
        if not self._spool.unsent and not self._buffer:
            self._in_topic.clear()

    def _send_buffer(self) -> None:
        for item in list(self._buffer.values()):
            if self._sink.full:
                return
            self._unbuffer(item)
            if item.key in self._in_topic:
                self.counts[item.record.channel]["delivered"] += 1
                self._durable(item)
            else:
                self._send(item)
        self._in_topic.clear()

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
            if self._is_time_to_say("spool"):
                logger.error("{}", error)
        if self.spooling and self._is_time_to_say("still stuck"):
            logger.warning("Kafka still takes no messages; {} wait in the spool", self._spool.messages)

    def _take_over_rests(self) -> None:
        """Take in what readers left that had to stop without a producer."""
        if not self._spool.changed_by_others():
            return
        while rests := self._spool.rests(2_000):
            new: dict[str, ChatRecord] = {}
            for number, record in rests:
                key = key_of(record.channel, record.id) if record.id else f"\0rest {number}"
                if key in self._seen or key in new:
                    self.counts[record.channel]["duplicate"] += 1
                else:
                    new[key] = record
            self._spool.take_over(rests[-1][0], list(new.values()))
            for key, record in new.items():
                if record.id:
                    self._seen.add(key)
            logger.info("{} messages taken over that readers had left in the spool", len(new))

    def _is_time_to_say(self, what: str, every_seconds: float = REMIND_SECONDS) -> bool:
        now = self._clock()
        if now - self._said_at.get(what, float("-inf")) < every_seconds:
            return False
        self._said_at[what] = now
        return True

    def _due_seconds(self, now: float) -> float | None:
        waits = []
        if self._gathered is not None:
            waits.append(self._gather_until - now)
        if self._must_spool_buffer:
            waits.append(self._commit_at - now)
        if self._delivered_rows:
            waits.append(self._remove_at - now)
        if self._may_drain:
            waits.append(0.0)
        if not self.spooling and self._waiting_since is not None:
            waits.append(self._waiting_since + SPOOL_AFTER_SECONDS - now)
        return max(0.0, min(waits), self._spool_retry_at - now) if waits else None


def _log_refused(record: ChatRecord, reason: str) -> None:
    logger.error(
        "Kafka refuses a message of {} for good, it is left out: id {}, {} bytes, {}",
        record.channel,
        record.id or "none",
        len(record.value),
        reason,
    )
