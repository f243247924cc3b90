"""What a reader has read and nobody else has made durable yet, in batches. Without a socket."""

import time
from collections import Counter, deque
from collections.abc import Callable

from loguru import logger

from shared import handoff
from shared.errors import HandoffError
from shared.frames import MAX_FRAME_BYTES
from shared.handoff import Batch
from shared.record import Record
from shared.timing import Reminder

MAX_OUTBOX_BYTES = 32 * 1024 * 1024
BATCH_BYTES = 256 * 1024
# Taken apart and put together anew when a producer comes back; more would take too long.
GATHER_ANEW_RECORDS = 5_000
# What a record costs besides its value, in memory and on its way.
_RECORD_OVERHEAD_BYTES = 250


class _Encoded:
    """A batch, encoded once and kept until it is durable."""

    __slots__ = ("channels", "frame", "number", "oldest_ms")

    def __init__(self, number: int, records: list[Record], frame: bytes) -> None:
        self.number = number
        self.channels = [record.channel for record in records]
        self.oldest_ms = records[0].received_ms
        self.frame = frame


class Outbox:
    """Gathers records to batches, gives each once a connection, and keeps it until it is durable.

    When ``max_bytes`` are reached the oldest batch is dropped, counted in ``lost`` per channel, and logged
    once a minute; ``clock`` gives monotonic seconds for that. A record that is too large for a frame is
    dropped, counted and logged at once.
    """

    def __init__(
        self, max_bytes: int = MAX_OUTBOX_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lost: Counter[str] = Counter()
        self.pending = 0
        """Records that are not durable yet."""
        self.on_their_way = 0
        """How many batches, from the oldest, this connection has sent or the producer has already."""
        self.bytes_on_their_way = 0
        self._max_bytes = max_bytes
        self._gathered: list[Record] = []
        self._gathered_bytes = 0
        self._batches: deque[_Encoded] = deque()
        self._batches_bytes = 0
        self._newest_number = 0
        self._newest_sent = 0
        self._losses_reminder = Reminder(60.0, clock)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record that is not durable yet was read, Unix milliseconds; None when all are."""
        if self._batches:
            return self._batches[0].oldest_ms
        return self._gathered[0].received_ms if self._gathered else None

    def pending_by_channel(self) -> Counter[str]:
        """How many of each channel are not durable yet."""
        counts = Counter(record.channel for record in self._gathered)
        for batch in self._batches:
            counts.update(batch.channels)
        return counts

    def put(self, record: Record) -> None:
        """Take a record over."""
        self._gathered.append(record)
        self.pending += 1
        self._gathered_bytes += len(record.value) + _RECORD_OVERHEAD_BYTES
        if self._gathered_bytes >= BATCH_BYTES:
            self._encode_gathered()
            self._bound()

    def next_frame(self) -> bytes | None:
        """The oldest batch that is not on its way, which it is from here on; None when all are."""
        if self.on_their_way == len(self._batches):
            self._encode_gathered()
            if self.on_their_way == len(self._batches):
                return None
        batch = self._batches[self.on_their_way]
        self._newest_sent = max(self._newest_sent, batch.number)
        self.on_their_way += 1
        self.bytes_on_their_way += len(batch.frame)
        return batch.frame

    def forget_up_to(self, number: int) -> None:
        """Every batch up to this number is durable. Raises HandoffError for one that was never sent."""
        if number > self._newest_sent:
            raise HandoffError(f"the producer acknowledges batch {number}, which it did not get")
        while self._batches and self._batches[0].number <= number:
            batch = self._batches.popleft()
            self._batches_bytes -= len(batch.frame)
            self.pending -= len(batch.channels)
            if self.on_their_way:
                self.on_their_way -= 1
                self.bytes_on_their_way -= len(batch.frame)

    def connected(self, taken: int) -> None:
        """A producer is there that has every batch up to ``taken`` already.

        Raises HandoffError for a number that was never sent.
        """
        if taken > self._newest_sent:
            raise HandoffError(f"the producer says that it has batch {taken}, which was never sent")
        sizes = [len(batch.frame) for batch in self._batches if batch.number <= taken]
        self.on_their_way, self.bytes_on_their_way = len(sizes), sum(sizes)
        if not sizes:
            self._gather_anew()

    def disconnected(self) -> None:
        """Nothing is on its way any more."""
        self.on_their_way = self.bytes_on_their_way = 0

    def rest(self) -> list[Record]:
        """The records that are not durable yet, in order."""
        return [record for batch in self._batches for record in _records_of(batch)] + self._gathered

    def _gather_anew(self) -> None:
        """Make few large batches of many small ones: a new producer shall see at once what is waiting."""
        if sum(len(batch.channels) for batch in self._batches) > GATHER_ANEW_RECORDS:
            return
        records = self.rest()
        self._batches.clear()
        self._batches_bytes = 0
        self._gathered, self._gathered_bytes = [], 0
        self.pending -= len(records)
        for record in records:
            self.put(record)

    def _encode_gathered(self) -> None:
        records, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        if records:
            self._encode(records)

    def _encode(self, records: list[Record]) -> None:
        frame = handoff.encode(Batch(self._newest_number + 1, records))
        if len(frame) <= MAX_FRAME_BYTES:
            self._newest_number += 1
            self._batches.append(_Encoded(self._newest_number, records, frame))
            self._batches_bytes += len(frame)
        elif len(records) > 1:
            half = len(records) // 2
            self._encode(records[:half])
            self._encode(records[half:])
        else:
            # The producer would drop the connection, and get it again and again.
            self._drop(records[0], len(frame))

    def _drop(self, record: Record, size_bytes: int) -> None:
        self.pending -= 1
        self.lost[record.channel] += 1
        logger.error(
            "a message of #{} is too large for the hand-off and is lost: {} bytes", record.channel, size_bytes
        )

    def _bound(self) -> None:
        while self._batches_bytes > self._max_bytes and len(self._batches) > self.on_their_way:
            # What is on its way may be in Kafka already, so the oldest of the others goes.
            batch = self._batches[self.on_their_way]
            del self._batches[self.on_their_way]
            self._batches_bytes -= len(batch.frame)
            self.pending -= len(batch.channels)
            self.lost.update(batch.channels)
            if self._losses_reminder.is_due():
                logger.error(
                    "outbox full: the oldest messages are dropped, {} lost so far; is the producer running?",
                    self.lost.total(),
                )


def _records_of(batch: _Encoded) -> list[Record]:
    message = handoff.decode_from_reader(batch.frame)
    assert isinstance(message, Batch)
    return message.records
