"""The reader's end of the hand-off queue: an outbox that forgets a message only when it is durable.

One thread: every method is called from the reader's loop, and none of them blocks.
"""

import contextlib
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from shared import handoff
from shared.errors import HandoffError
from shared.frames import FrameSocket
from shared.handoff import Ack, Challenge, Hello, Welcome
from shared.outbox import MAX_OUTBOX_BYTES, Outbox
from shared.record import Record
from shared.timing import Backoff, Reminder

# Beyond that a batch gathers until one is acknowledged.
MOST_BATCHES_ON_THEIR_WAY = 256
MOST_BYTES_ON_THEIR_WAY = 1024 * 1024


class HandoffClient:
    """Hands records to the producer and keeps them until they are acknowledged.

    ``program`` is this reader's name. ``needs_types``: records may be events, and a producer that takes all
    for chat messages gets nothing. ``clock`` gives monotonic seconds. What is in the outbox survives the
    producer's death, not the reader's; ``lost`` counts per channel what it had to drop.
    """

    def __init__(
        self,
        socket_path: Path,
        key_path: Path,
        program: str,
        max_outbox_bytes: int = MAX_OUTBOX_BYTES,
        needs_types: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = Outbox(max_outbox_bytes, clock)
        self.lost = self._outbox.lost
        self.connected = False
        self._socket_path = socket_path
        self._key_path = key_path
        self._program = program
        self._session = uuid.uuid4().hex
        self._needs_types = needs_types
        self._clock = clock
        self._peer: FrameSocket | None = None
        self._backoff = Backoff(first=0.05, longest=0.5)
        self._connect_at = float("-inf")
        self._said_away = False
        self._proved = False
        self._version_reminder = Reminder(60.0, clock)

    @property
    def pending(self) -> int:
        """Records that are not durable yet."""
        return self._outbox.pending

    def pending_by_channel(self) -> Counter[str]:
        """The same, of each channel."""
        return self._outbox.pending_by_channel()

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record that is not durable yet was read, Unix milliseconds; None when all are."""
        return self._outbox.oldest_ms

    @property
    def peer(self) -> FrameSocket | None:
        """What the loop shall watch: for reading always, for writing when it ``wants_to_write``."""
        return self._peer

    def put(self, record: Record) -> None:
        """Take a record over; ``pump`` sends it."""
        self._outbox.put(record)

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
        return self._outbox.rest()

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
        self._outbox.disconnected()
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
        elif self._needs_types and not message.types:
            raise self._older_version()
        else:
            self._outbox.connected(message.taken)
            self.connected = True
            self._said_away = False
            self._backoff.reset()
            logger.debug("hand-off: connected to the producer, {} messages pending", self.pending)

    def _older_version(self) -> HandoffError:
        error = HandoffError(
            "the producer is of an older version, restart it: supervisorctl restart producer"
        )
        # Unlike one that is away it does not come back by itself.
        if self._version_reminder.is_due():
            logger.warning("hand-off: {}; messages wait here", error)
        return error

    @property
    def _is_window_full(self) -> bool:
        return (
            self._outbox.on_their_way >= MOST_BATCHES_ON_THEIR_WAY
            or self._outbox.bytes_on_their_way >= MOST_BYTES_ON_THEIR_WAY
        )

    def _send_batches(self) -> None:
        assert self._peer is not None
        while not (self._is_window_full or self._peer.wants_to_write):
            frame = self._outbox.next_frame()
            if frame is None:
                return
            self._peer.send(frame)

    def _forget_up_to(self, number: int) -> None:
        if not self.connected:
            raise HandoffError(f"the producer acknowledges batch {number} before it is welcome")
        self._outbox.forget_up_to(number)
