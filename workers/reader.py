"""The supervised program ``reader-<login>``: reads the chat of a set of channels and hands it off.

``python -m workers.reader LOGIN [--copy N]``; N above 1 is a further reader of the same channel.
"""

import argparse
import selectors
import time
from collections import Counter, defaultdict
from collections.abc import Iterable

from loguru import logger

from shared.channel_list import reader_name
from shared.chat_message import ChatParser, LineRejected
from shared.errors import SpoolError
from shared.frames import FrameSocket
from shared.handoff_client import HandoffClient
from shared.irc_line import IrcLine
from shared.login_gate import Kind, LoginGate
from shared.paths import Paths
from shared.reports import LOST_NOT_STORED, LOST_OUTBOX, ChannelReport, ReaderReport
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.timing import Backoff, Deadline, Reminder
from shared.waker import Waker
from shared.worker import run_worker
from workers.handover import LAST_WORDS, Handover
from workers.join_schedule import JoinSchedule
from workers.login_token import LOOK_SECONDS, LoginToken
from workers.presence import Presence
from workers.twitch_connection import TwitchConnection, TwitchListener

# A connection that has held this long was a good one: the next failure is a new story.
GOOD_SECONDS = 60.0
# At the stop what the producer does not take goes to the spool; without a producer there is less to wait for.
STOP_HANDOFF_SECONDS = 4.0
STOP_ALONE_SECONDS = 0.5
LOG_REJECTED_EVERY_SECONDS = 10.0
_CHANNEL_NOTICES = frozenset(
    {"msg_channel_suspended", "msg_banned", "tos_ban", "msg_room_not_found", "msg_channel_blocked"}
)


class Reader(TwitchListener):
    """Keeps a set of wanted channels joined over one connection, over two while it moves to a new one."""

    def __init__(self, settings: Settings, paths: Paths, program: str, wanted: Iterable[str]) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._gate = LoginGate(paths.login_gate)
        self._token = LoginToken(settings, paths)
        self._schedule = JoinSchedule(wanted, lambda: self._reserve("join"))
        self._wanted = self._schedule.wanted
        self._handoff = HandoffClient(paths.handoff_socket, paths.handoff_key, program)
        self._program = program
        self._spool_path = paths.spool
        self._status = StatusFile(paths.status, program)
        self._parser = ChatParser(own_login=settings.twitch_username)
        self._current: TwitchConnection | None = None
        self._successor: TwitchConnection | None = None
        self._handover = Handover(self._take)
        self._watched: dict[TwitchConnection, int] = {}
        self._watched_handoff: tuple[FrameSocket, int, int] | None = None
        self._backoff = Backoff(first=1.0, longest=60.0)
        self._connect_at: float | None = 0.0
        self._place_at: float | None = None
        self._online_since: float | None = None
        self._trouble = ""
        left = self._status.left(ReaderReport)
        self._totals = {
            channel: left.report.channels.get(channel, ChannelReport()) if left else ChannelReport()
            for channel in sorted(self._wanted)
        }
        self._lost = defaultdict[str, Counter[str]](
            Counter, {channel: Counter(total.lost) for channel, total in self._totals.items()}
        )
        """Besides what the hand-off counts in this life."""
        self._emotes_rejected = 0
        self._presence = Presence(self._wanted, left)
        self._rejected_reminder = Reminder(LOG_REJECTED_EVERY_SECONDS)
        self._rejected_unlogged = 0
        self._was_online = False

    def run(self, stop: Stop) -> None:
        """Read until ``stop`` is requested, then hand off what was read."""
        self._selector.register(stop, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        logger.info("starting, Twitch is {}", self._settings.twitch_irc_url)
        try:
            while not stop.requested:
                self._round()
            self._finish(stop)
            self._status.finish(self._report())
        finally:
            self._handoff.close()

    def _round(self) -> None:
        self._presence.look(self._joined)
        waits = [self._status.update(self._report), self._go_on(), self._handoff.pump()]
        if any(connection.has_undelivered for connection in self._connections()):
            waits.append(0.0)
        self._watch()
        events = self._selector.select(min(wait for wait in waits if wait is not None))
        self._dispatch(events)

    def _dispatch(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in events:
            if key.fileobj is self._waker:
                self._waker.clear()
                for connection in self._connections():
                    connection.on_wake()
            elif isinstance(key.data, TwitchConnection):
                key.data.on_readable()
            elif key.data is self._handoff:
                if mask & selectors.EVENT_WRITE:
                    self._handoff.on_writable()
                if mask & selectors.EVENT_READ:
                    self._handoff.on_readable()
        for connection in self._connections():
            if connection.has_undelivered:
                connection.on_readable()

    def _connections(self) -> list[TwitchConnection]:
        return [one for one in (self._current, self._successor) if one is not None]

    def _watch(self) -> None:
        """Make the selector watch just the sockets that there are."""
        wanted = {one: one.socket.fileno() for one in self._connections() if one.socket is not None}
        for connection, descriptor in list(self._watched.items()):
            if wanted.get(connection) != descriptor:
                self._selector.unregister(descriptor)
                del self._watched[connection]
        for connection, descriptor in wanted.items():
            if connection not in self._watched:
                self._selector.register(descriptor, selectors.EVENT_READ, connection)
                self._watched[connection] = descriptor
        self._watch_handoff()

    def _watch_handoff(self) -> None:
        peer = self._handoff.peer
        events = selectors.EVENT_READ
        if peer is not None and peer.wants_to_write:
            events |= selectors.EVENT_WRITE
        watch = None if peer is None else (peer, peer.fileno(), events)
        if watch == self._watched_handoff:
            return
        if self._watched_handoff is not None:
            self._selector.unregister(self._watched_handoff[1])
        if watch is not None:
            self._selector.register(watch[1], events, self._handoff)
        self._watched_handoff = watch

    def _go_on(self) -> float:
        """Connect, join and check what is due; give the seconds until the next call."""
        now = time.monotonic()
        waits = [60.0]
        if self._connect_at is not None:
            if self._token.waits:
                waits.append(LOOK_SECONDS)
                if self._token.renewed():
                    self._connect_at = now
            if now >= self._connect_at:
                self._connect()
            if self._connect_at is not None:
                waits.append(self._connect_at - now)
        left = self._handover.left_seconds()
        if left == 0.0:
            self._leave_old()
        elif left is not None:
            waits.append(left)
        waits += [connection.tick() for connection in self._connections()]
        joining = self._successor or self._current
        if joining is not None and joining.online:
            channels, wait = self._schedule.due(joining.channels, now)
            for channel in channels:
                joining.join(channel)
            waits.append(wait)
        if self._online_since is not None and now - self._online_since >= GOOD_SECONDS:
            self._online_since = None
            self._backoff.reset()
        return max(0.0, min(waits))

    def _connect(self) -> None:
        """Take a place at the gate, then log in when it is our turn."""
        if self._place_at is None:
            self._place_at = self._reserve("login")
            now = time.monotonic()
            if self._place_at > now + 1.0:
                self._trouble = "waiting for its turn: Twitch allows 20 logins in 10 s"
                logger.info("waiting {:.0f} s: Twitch allows 20 logins in 10 s", self._place_at - now)
        if time.monotonic() < self._place_at:
            self._connect_at = self._place_at
            return
        self._place_at = None
        self._connect_at = None
        nick, password = self._token.login()
        logger.info("connecting to {} as {}", self._settings.twitch_irc_url, nick)
        connection = TwitchConnection(self._settings.twitch_irc_url, nick, password, self, self._waker.wake)
        if self._current is None:
            self._current = connection
        else:
            self._successor = connection
        connection.start()

    def _reserve(self, kind: Kind) -> float:
        try:
            return self._gate.reserve(kind)
        except OSError as error:
            # On a full disk chat must go on; a second's pause keeps most of the gate's purpose.
            logger.warning("the login gate cannot be used: {}; is the disk full?", error.strerror)
            return time.monotonic() + 1.0

    def on_online(self, connection: TwitchConnection, login: str) -> None:
        """Learn our own name, join anew."""
        self._token.accepted()
        self._trouble = ""
        self._online_since = time.monotonic()
        if not login.startswith("justinfan"):
            self._parser.own_login = self._settings.twitch_username or login
        if self._was_online:
            for total in self._totals.values():
                total.reconnects += 1
        self._was_online = True
        self._schedule.new_connection()
        logger.info("connected as {}", login)

    def on_chat(self, connection: TwitchConnection, line: IrcLine, received_ms: int) -> None:
        """Put a message into the outbox; those of a new connection wait for the end of the old one."""
        if connection is self._successor:
            self._handover.hold(line, received_ms)
        else:
            self._take(line, received_ms)

    def _take(self, line: IrcLine, received_ms: int) -> None:
        try:
            record = self._parser.read(line, received_ms)
        except LineRejected as error:
            self.on_rejected(repr(line).encode(), error.reason)
            return
        if record is not None:
            total = self._total_of(record.channel)
            total.received += 1
            total.last_ms = received_ms
            if self._parser.emotes_rejected != self._emotes_rejected:
                total.emotes_rejected += self._parser.emotes_rejected - self._emotes_rejected
                self._emotes_rejected = self._parser.emotes_rejected
            self._handoff.put(record)

    def _total_of(self, channel: str) -> ChannelReport:
        """Where to count; for what names no channel of ours it is the first one."""
        total = self._totals.get(channel)
        return next(iter(self._totals.values())) if total is None else total

    def on_rejected(self, raw: bytes, reason: str, count: int = 1) -> None:
        """Count, and log shortened once in a while."""
        rejected = self._total_of("").rejected
        rejected[reason] = rejected.get(reason, 0) + count
        self._rejected_unlogged += count
        # A flood of such lines must not become a flood of log lines.
        if self._rejected_reminder.is_due():
            logger.warning(
                "{} lines could not be read ({}), like {!r}", self._rejected_unlogged, reason, raw[:120]
            )
            self._rejected_unlogged = 0

    def on_joined(self, connection: TwitchConnection, channel: str) -> None:
        """Ask the old connection for its end once the new one is where it was."""
        if channel not in self._wanted:
            return
        self._schedule.joined(channel)
        logger.info("joined #{}, ready", channel)
        if connection is not self._successor or self._current is None or self._handover.goes_on:
            return
        if self._wanted <= connection.channels | self._unjoined():
            self._handover.begin(self._current)

    def on_pong(self, connection: TwitchConnection, text: str) -> None:
        """The old connection has nothing more that the new one has not."""
        if connection is self._current and text == LAST_WORDS and self._handover.goes_on:
            self._leave_old()

    def _leave_old(self) -> None:
        old, self._current, self._successor = self._current, self._successor, None
        if old is not None:
            old.close("replaced by the new connection")
        self._handover.end()

    def _unjoined(self) -> frozenset[str]:
        """Wanted channels that the old connection is not in either."""
        return self._wanted - (self._current.channels if self._current is not None else set())

    def on_left(self, connection: TwitchConnection, channel: str) -> None:
        """Ask to be let in again, after a pause."""
        if channel in self._wanted and connection is (self._successor or self._current):
            reason = "Twitch put us out, is the account banned there?"
            self._schedule.failed(channel, reason, time.monotonic())

    def on_notice(self, connection: TwitchConnection, channel: str, notice_id: str, text: str) -> None:
        """Some notices mean that a channel is closed to us."""
        if channel in self._wanted and notice_id in _CHANNEL_NOTICES:
            connection.channels.discard(channel)
            self._schedule.failed(channel, text, time.monotonic())
        elif not channel:
            logger.info("Twitch says: {}", text)

    def on_reconnect(self, connection: TwitchConnection) -> None:
        """Make the new connection before Twitch ends this one."""
        if connection is self._current and self._successor is None and self._connect_at is None:
            logger.info("Twitch asks to reconnect; the new connection is made before this one is left")
            self._connect_at = time.monotonic()

    def on_closed(self, connection: TwitchConnection, reason: str, refused: bool) -> None:
        """Try again after a growing pause, with the token of that moment."""
        if connection is self._successor:
            self._successor = None
            self._handover.end()
        elif connection is not self._current:
            return
        else:
            self._current, self._successor = self._successor, None
            self._handover.end()
            self._online_since = None
            if self._current is not None or self._connect_at is not None:
                # Announced by RECONNECT: the new connection is on its way already.
                logger.info("disconnected: {}", reason)
                return
        pause = self._backoff.next_seconds()
        self._connect_at = time.monotonic() + pause
        self._trouble = f"Twitch refuses the login: {reason}" if refused else f"disconnected: {reason}"
        if refused:
            self._token.refused(reason, pause)
        else:
            logger.warning("disconnected: {}; next attempt in {:.0f} s", reason, pause)

    def _finish(self, stop: Stop) -> None:
        """Leave Twitch, hand off what was read."""
        self._selector.unregister(stop)
        self._connect_at = None
        connections = self._connections()
        for connection in connections:
            connection.on_readable()
        self._handover.end()
        self._current, self._successor = None, None
        for connection in connections:
            connection.close("stopping")
        self._watch()
        deadline = Deadline(STOP_HANDOFF_SECONDS)
        alone = Deadline(STOP_ALONE_SECONDS)
        while self._handoff.pending and not deadline.passed():
            if not self._handoff.connected and alone.passed():
                break
            wait = self._handoff.pump()
            self._watch_handoff()
            limit = min(0.1, deadline.left_seconds())
            self._dispatch(self._selector.select(limit if wait is None else min(wait, limit)))
        if self._handoff.pending:
            self._leave_rest()
        else:
            logger.info("stopped, everything handed off")

    def _leave_rest(self) -> None:
        """No producer has made durable what is still here: put it into the spool for the next one."""
        # Only here: SQLite would cost every reader memory all its life.
        from shared.spool import leave_rest

        rest = self._handoff.rest()
        try:
            leave_rest(self._spool_path, self._settings.spool_max_bytes, self._program, rest)
        except SpoolError as error:
            for channel, count in Counter(record.channel for record in rest).items():
                self._lost[channel][LOST_NOT_STORED] += count
                logger.error("{} messages of #{} are lost: {}", count, channel, error)
        else:
            logger.info("stopped, {} messages left in the spool for the next producer", len(rest))

    @property
    def _joined(self) -> set[str]:
        current = self._current
        return current.channels if current is not None and current.online else set()

    def _report(self) -> ReaderReport:
        joined = self._joined
        for channel, total in self._totals.items():
            total.joined = channel in joined
            total.trouble = "" if total.joined else self._trouble or self._schedule.trouble(channel)
            total.offline_seconds = round(self._presence.seconds_out(channel), 3)
            total.lost = dict(self._lost[channel] + Counter({LOST_OUTBOX: self._handoff.lost[channel]}))
        state = "joined" if self._wanted <= joined else "not joined"
        return ReaderReport(state, self._handoff.pending, self._totals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.reader", description="Read a channel's chat.")
    parser.add_argument("login", help="the channel's login")
    parser.add_argument("--copy", type=int, default=1, help="2 for the second reader of the channel")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    channel = arguments.login.lower().lstrip("#")
    name = reader_name(channel, arguments.copy)
    run_worker(name, lambda settings, paths, stop: Reader(settings, paths, name, [channel]).run(stop))
