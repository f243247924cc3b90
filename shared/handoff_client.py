"""The reader's end of the hand-off queue: an outbox that forgets a message only when it is durable.

One thread: every method is called from the reader's loop, and none of them blocks.
"""

import contextlib
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from shared import handoff
from shared.errors import HandoffError
from shared.frames import FrameSocket
from shared.handoff import Ack, Batch, Challenge, Hello, Welcome
from shared.record import Record
from shared.timing import Backoff, Reminder

MAX_OUTBOX_BYTES = 32 * 1024 * 1024
BATCH_BYTES = 256 * 1024
# Beyond that a batch gathers until one is acknowledged; but not for long: what one reader of a channel holds
# back the other one may overtake.
BATCHES_ON_THEIR_WAY = 4
HOLD_BACK_SECONDS = 0.02
MOST_BATCHES_ON_THEIR_WAY = 256
MOST_BYTES_ON_THEIR_WAY = 1024 * 1024
# Taken apart and put together anew when a producer comes back; more would take too long.
GATHER_ANEW_RECORDS = 5_000
# What a record costs besides its value, in memory and on its way.
_RECORD_OVERHEAD_BYTES = 250


class _Encoded:
    """A batch, encoded once and kept until it is durable."""

    __slots__ = ("count", "frame", "number")

    def __init__(self, number: int, count: int, frame: bytes) -> None:
        self.number = number
        self.count = count
        self.frame = frame


class HandoffClient:
    """Hands records to the producer and keeps them until they are acknowledged.

    ``program`` is this reader's name. ``clock`` gives monotonic seconds. What is in the outbox survives the
    producer's death, not the reader's. When the outbox is full its oldest batch is dropped, counted in
    ``lost`` per channel, and logged once a minute.
    """

    def __init__(
        self,
        socket_path: Path,
        key_path: Path,
        program: str,
        max_outbox_bytes: int = MAX_OUTBOX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost: Counter[str] = Counter()
        self.connected = False
        self._socket_path = socket_path
        self._key_path = key_path
        self._program = program
        self._session = uuid.uuid4().hex
        self._max_outbox_bytes = max_outbox_bytes
        self._clock = clock
        self._peer: FrameSocket | None = None
        self._backoff = Backoff(first=0.05, longest=0.5)
        self._connect_at = float("-inf")
        self._said_away = False
        self._gathered: list[Record] = []
        self._gathered_bytes = 0
        self._batches: deque[_Encoded] = deque()
        self._batches_bytes = 0
        # How many of `_batches`, from the left, this connection has sent or the producer has already.
        self._on_their_way = 0
        self._bytes_on_their_way = 0
        self._sent_at = 0.0
        self._newest_number = 0
        self._newest_sent = 0
        self._proved = False
        self._losses_reminder = Reminder(60.0, clock)
        self._pending = 0

    @property
    def pending(self) -> int:
        """Records that are not durable yet."""
        return self._pending

    @property
    def peer(self) -> FrameSocket | None:
        """What the loop shall watch: for reading always, for writing when it ``wants_to_write``."""
        return self._peer

    def put(self, record: Record) -> None:
        """Take a record over; ``pump`` sends it."""
        self._gathered.append(record)
        self._pending += 1
        self._gathered_bytes += len(record.value) + _RECORD_OVERHEAD_BYTES
        if self._gathered_bytes >= BATCH_BYTES:
            self._encode_gathered()
            self._bound()

    def pump(self) -> float | None:
        """Connect and send what can be sent now.

        Gives the seconds after which it wants to be called again in any case; None when only the peer can
        bring it on.
        """
        try:
            if self._peer is None:
                if self._clock() < self._connect_at:
                    return self._connect_at - self._clock()
                self._connect()
            if self.connected:
                self._send_batches()
                return self._held_back_seconds()
        except HandoffError as error:
            self._disconnect(error)
            return max(0.0, self._connect_at - self._clock())
        return None

    def on_readable(self) -> None:
        """Take in what the producer says."""
        if self._peer is None:
            return
        try:
            for frame in self._peer.receive():
                self._on_message(handoff.decode_from_producer(frame))
        except HandoffError as error:
            self._disconnect(error)

    def on_writable(self) -> None:
        """Go on with a frame that the producer could not take at once."""
        if self._peer is None:
            return
        try:
            self._peer.flush()
        except HandoffError as error:
            self._disconnect(error)

    def close(self) -> None:
        """Leave. What is pending is gone with this object; the caller counts and logs it."""
        if self._peer is not None:
            self._peer.close()
            self._peer = None
        self.connected = False
        self._proved = False

    def rest(self) -> list[Record]:
        """The records that are not durable yet, in order."""
        return [record for batch in self._batches for record in _records_of(batch)] + self._gathered

    def _connect(self) -> None:
        peer = socket.socket(socket.AF_UNIX)
        # Before connect(): with many readers and a stopped producer the queue of the listener may be full.
        peer.setblocking(False)
        try:
            peer.connect(str(self._socket_path))
        except OSError as error:
            peer.close()
            raise HandoffError(f"the producer cannot be reached: {error.strerror}") from None
        self._peer = FrameSocket(peer)

    def _disconnect(self, error: HandoffError) -> None:
        if self.connected or not self._said_away:
            # At a start all workers start together: the producer may need a moment more.
            logger.log("WARNING" if self.connected else "DEBUG", "hand-off: {}; messages wait here", error)
            self._said_away = True
        self._hear_last_words()
        self.close()
        self._on_their_way = self._bytes_on_their_way = 0
        self._connect_at = self._clock() + self._backoff.next_seconds()

    def _hear_last_words(self) -> None:
        """A producer that has gone may have acknowledged more than was read: the less comes twice."""
        if self._peer is None:
            return
        with contextlib.suppress(HandoffError):
            # One read takes thousands of acknowledgements; whoever sends on and on has not gone.
            for frame in self._peer.receive():
                message = handoff.decode_from_producer(frame)
                if isinstance(message, Ack):
                    self._forget_up_to(message.number)

    def _on_message(self, message: Challenge | Welcome | Ack) -> None:
        if isinstance(message, Ack):
            self._forget_up_to(message.number)
        elif isinstance(message, Challenge) and not self._proved:
            proof = handoff.prove(handoff.read_key(self._key_path), message.nonce)
            assert self._peer is not None
            self._peer.send(handoff.encode(Hello(proof, self._program, self._session)))
            self._proved = True
        elif isinstance(message, Challenge) or self.connected or not self._proved:
            raise HandoffError("the producer speaks out of turn")
        elif message.taken > self._newest_sent:
            raise HandoffError(f"the producer says that it has batch {message.taken}, which was never sent")
        else:
            self.connected = True
            self._said_away = False
            self._backoff.reset()
            taken = [len(batch.frame) for batch in self._batches if batch.number <= message.taken]
            self._on_their_way, self._bytes_on_their_way = len(taken), sum(taken)
            if not self._on_their_way:
                self._gather_anew()
            logger.debug("hand-off: connected to the producer, {} messages pending", self.pending)

    def _gather_anew(self) -> None:
        """Make few large batches of many small ones: a new producer shall see at once what is waiting."""
        if sum(batch.count for batch in self._batches) > GATHER_ANEW_RECORDS:
            return
        records = self.rest()
        self._batches.clear()
        self._batches_bytes = 0
        self._gathered, self._gathered_bytes = [], 0
        self._pending -= len(records)
        for record in records:
            self.put(record)

    def _encode_gathered(self) -> None:
        records, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        self._newest_number += 1
        frame = handoff.encode(Batch(self._newest_number, records))
        self._batches.append(_Encoded(self._newest_number, len(records), frame))
        self._batches_bytes += len(frame)

    def _held_back_seconds(self) -> float | None:
        waits = self._gathered or self._on_their_way < len(self._batches)
        if not waits or self._is_window_full or (self._peer is not None and self._peer.wants_to_write):
            return None
        return max(0.0, self._sent_at + HOLD_BACK_SECONDS - self._clock())

    @property
    def _is_window_full(self) -> bool:
        return (
            self._on_their_way >= MOST_BATCHES_ON_THEIR_WAY
            or self._bytes_on_their_way >= MOST_BYTES_ON_THEIR_WAY
        )

    def _may_send(self) -> bool:
        if self._on_their_way < BATCHES_ON_THEIR_WAY:
            return True
        return not self._is_window_full and self._clock() - self._sent_at >= HOLD_BACK_SECONDS

    def _send_batches(self) -> None:
        assert self._peer is not None
        while self._may_send() and not self._peer.wants_to_write:
            if self._on_their_way == len(self._batches):
                if not self._gathered:
                    return
                self._encode_gathered()
            batch = self._batches[self._on_their_way]
            self._newest_sent = max(self._newest_sent, batch.number)
            self._peer.send(batch.frame)
            self._sent_at = self._clock()
            self._on_their_way += 1
            self._bytes_on_their_way += len(batch.frame)

    def _forget_up_to(self, number: int) -> None:
        if not self.connected or number > self._newest_sent:
            raise HandoffError(f"the producer acknowledges batch {number}, which it did not get")
        while self._batches and self._batches[0].number <= number:
            batch = self._batches.popleft()
            self._batches_bytes -= len(batch.frame)
            self._pending -= batch.count
            if self._on_their_way:
                self._on_their_way -= 1
                self._bytes_on_their_way -= len(batch.frame)

    def _bound(self) -> None:
        while self._batches_bytes > self._max_outbox_bytes and len(self._batches) > self._on_their_way:
            # What is on its way may be in Kafka already, so the oldest of the others goes.
            batch = self._batches[self._on_their_way]
            del self._batches[self._on_their_way]
            self._batches_bytes -= len(batch.frame)
            self._pending -= batch.count
            self.lost.update(record.channel for record in _records_of(batch))
            if self._losses_reminder.is_due():
                logger.error(
                    "outbox full: the oldest messages are dropped, {} lost so far; is the producer running?",
                    self.lost.total(),
                )


def _records_of(batch: _Encoded) -> list[Record]:
    message = handoff.decode_from_reader(batch.frame)
    assert isinstance(message, Batch)
    return message.records
