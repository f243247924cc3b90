"""The producer's end of the hand-off queue: takes batches in and acknowledges them in order.

One thread: every method is called from the producer's loop, and none of them blocks.
"""

import os
import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from loguru import logger

from shared import handoff
from shared.atomic_file import replace_file
from shared.errors import AlreadyRunning, HandoffError
from shared.frames import FrameSocket
from shared.handoff import Ack, Batch, Challenge, Hello, Welcome
from shared.record import Record

FORGET_SESSION_SECONDS = 600.0
# Each acknowledgement wakes a reader up, which only wants to forget. It has room for much more than that.
ACKNOWLEDGE_SECONDS = 0.25
ACKNOWLEDGE_RECORDS = 500
# A successor finds what was not told only among the newest of the topic: see kafka_tail.
ACKNOWLEDGE_RECORDS_OF_ALL = 4_000
_BACKLOG = 512


class PendingBatch:
    """A batch of ``size`` records, of which ``remaining`` are not durable yet."""

    __slots__ = ("number", "remaining", "session", "size")

    def __init__(self, session: "Session", number: int, size: int) -> None:
        self.session = session
        self.number = number
        self.size = size
        self.remaining = size


class Session:
    """One life of one reader, over all its connections."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.taken = 0
        self.durable = 0
        self.untold = 0
        """Records that are durable without the reader's knowledge."""
        self.pending: deque[PendingBatch] = deque()
        self.peer: _Peer | None = None
        self.left_at = 0.0


class _Peer:
    """One connection; ``session`` is None until it has proved that it has the key."""

    def __init__(self, frames: FrameSocket, nonce: bytes) -> None:
        self.frames = frames
        self.nonce = nonce
        self.session: Session | None = None


TakeIn = Callable[[Record, PendingBatch], None]


class HandoffServer:
    """Serves all readers over one Unix socket.

    ``selector`` is the loop's: every registered key carries a callable as its data. ``take_in`` gets every
    record of every new batch, in order, and sees to it that ``record_is_durable`` is called for each.
    """

    def __init__(
        self,
        socket_path: Path,
        key_path: Path,
        selector: selectors.BaseSelector,
        take_in: TakeIn,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket_path = socket_path
        self._key_path = key_path
        self._selector = selector
        self._take_in = take_in
        self._clock = clock
        self._listener: socket.socket | None = None
        self._key = b""
        self._peers: set[_Peer] = set()
        self._sessions: dict[str, Session] = {}
        self._paused = False
        self._untold: set[Session] = set()
        self._tell_at = float("-inf")

    def open(self) -> None:
        """Make the key and listen. Raises AlreadyRunning when another producer serves this folder."""
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.settimeout(1.0)
            probe.connect(str(self._socket_path))
        except OSError:
            # Nobody listens: a socket file that is there was left by a producer that was killed.
            self._socket_path.unlink(missing_ok=True)
        else:
            raise AlreadyRunning(
                f"another producer already serves {self._socket_path}: stop it first "
                "(supervisorctl stop producer)"
            )
        finally:
            probe.close()
        self._key = secrets.token_bytes(32)
        replace_file(self._key_path, self._key, mode=0o600)
        listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)
        listener.bind(str(self._socket_path))
        os.chmod(self._socket_path, 0o600)  # noqa: PTH101 - a socket, not a file of ours to open
        listener.listen(_BACKLOG)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop listening and leave all readers; they keep what was not acknowledged."""
        for peer in list(self._peers):
            self._drop(peer)
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self._socket_path.unlink(missing_ok=True)

    @property
    def readers(self) -> int:
        """Readers that are connected now."""
        return sum(peer.session is not None for peer in self._peers)

    def pause(self) -> None:
        """Take nothing in until ``resume``; readers keep their messages meanwhile."""
        if not self._paused:
            self._paused = True
            for peer in self._peers:
                self._watch(peer)

    def resume(self) -> None:
        """Take in again."""
        if self._paused:
            self._paused = False
            for peer in self._peers:
                self._watch(peer)

    def record_is_durable(self, batch: PendingBatch) -> None:
        """One more record of ``batch`` needs nobody's care any more. ``acknowledge`` tells the readers."""
        batch.remaining -= 1
        if batch.remaining == 0:
            self._look_at(batch.session)

    def acknowledge(self) -> float | None:
        """Tell readers up to which batch all is durable, when it is much or was long ago.

        Gives the seconds after which this wants to be called again; None when there is nothing to tell.
        """
        if not self._untold:
            return None
        now = self._clock()
        untold = sum(session.untold for session in self._untold)
        if now >= self._tell_at or untold >= ACKNOWLEDGE_RECORDS_OF_ALL:
            self.acknowledge_all()
            self._tell_at = now + ACKNOWLEDGE_SECONDS
            return None
        for session in [one for one in self._untold if one.untold >= ACKNOWLEDGE_RECORDS]:
            self._tell(session)
        return self._tell_at - now

    def acknowledge_all(self) -> None:
        """Tell each reader up to which batch all is durable."""
        for session in list(self._untold):
            self._tell(session)

    def _look_at(self, session: Session) -> None:
        """Find out up to where all is durable now."""
        pending = session.pending
        while pending and pending[0].remaining == 0:
            batch = pending.popleft()
            session.durable = batch.number
            session.untold += batch.size
            self._untold.add(session)

    def _tell(self, session: Session) -> None:
        self._untold.discard(session)
        session.untold = 0
        if session.peer is not None:
            self._send(session.peer, handoff.encode(Ack(session.durable)))

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        peer = _Peer(FrameSocket(connection), handoff.new_nonce())
        self._peers.add(peer)
        self._selector.register(peer.frames, selectors.EVENT_READ, lambda: self._on_event(peer))
        self._watch(peer)
        self._send(peer, handoff.encode(Challenge(peer.nonce)))

    def _on_event(self, peer: _Peer) -> None:
        if peer not in self._peers:
            # Dropped by an event of the same round.
            return
        try:
            if peer.frames.wants_to_write:
                peer.frames.flush()
                self._watch(peer)
            for frame in peer.frames.receive():
                self._on_message(peer, handoff.decode_from_reader(frame))
        except HandoffError as error:
            if peer.session is None:
                logger.warning("hand-off: a connection was dropped: {}", error)
            else:
                logger.debug("hand-off: {} left: {}", peer.session.program, error)
            self._drop(peer)

    def _on_message(self, peer: _Peer, message: Hello | Batch) -> None:
        if isinstance(message, Hello):
            self._on_hello(peer, message)
            return
        session = peer.session
        if session is None:
            raise HandoffError("a batch came before the key was proved")
        if message.number <= session.taken:
            raise HandoffError(f"batch {message.number} came again, {session.taken} was taken in already")
        session.taken = message.number
        batch = PendingBatch(session, message.number, len(message.records))
        session.pending.append(batch)
        if not message.records:
            self._look_at(session)
        for record in message.records:
            self._take_in(record, batch)

    def _on_hello(self, peer: _Peer, hello: Hello) -> None:
        if peer.session is not None or not handoff.proof_is_right(self._key, peer.nonce, hello.proof):
            raise HandoffError("it has not the key of this folder")
        self._forget_old_sessions()
        session = self._sessions.setdefault(hello.session, Session(hello.program))
        if session.peer is not None:
            # The reader gave the old connection up before we noticed.
            self._drop(session.peer)
        session.peer = peer
        peer.session = session
        logger.debug("hand-off: {} is here", session.program)
        self._send(peer, handoff.encode(Welcome(session.taken, types=True)))
        if session.durable:
            # It may have missed an acknowledgement while it was away.
            self._send(peer, handoff.encode(Ack(session.durable)))
        self._watch(peer)

    def _send(self, peer: _Peer, payload: bytes) -> None:
        try:
            peer.frames.send(payload)
        except HandoffError:
            self._drop(peer)
        else:
            if peer.frames.wants_to_write:
                self._watch(peer)

    def _watch(self, peer: _Peer) -> None:
        if peer not in self._peers:
            return
        events = selectors.EVENT_WRITE if peer.frames.wants_to_write else 0
        # A reader that has not proved anything yet is heard also while nothing is taken in.
        if not self._paused or peer.session is None:
            events |= selectors.EVENT_READ
        known = self._selector.get_map().get(peer.frames)
        if known is not None and not events:
            self._selector.unregister(peer.frames)
        elif known is None and events:
            self._selector.register(peer.frames, events, lambda: self._on_event(peer))
        elif known is not None and known.events != events:
            self._selector.modify(peer.frames, events, known.data)

    def _drop(self, peer: _Peer) -> None:
        if peer not in self._peers:
            return
        self._peers.discard(peer)
        if peer.frames.fileno() >= 0 and self._selector.get_map().get(peer.frames) is not None:
            self._selector.unregister(peer.frames)
        peer.frames.close()
        if peer.session is not None:
            peer.session.peer = None
            peer.session.left_at = self._clock()

    def _forget_old_sessions(self) -> None:
        now = self._clock()
        for name, session in list(self._sessions.items()):
            if (
                session.peer is None
                and not session.pending
                and now - session.left_at > FORGET_SESSION_SECONDS
            ):
                del self._sessions[name]
