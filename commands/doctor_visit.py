"""A short visit to Twitch's chat, as a reader of its own: connect, log in, join, wait for a message."""

import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.chat_message import ChatParser, LineRejected
from shared.irc_line import IrcLine
from shared.login_gate import Kind, LoginGate
from shared.paths import Paths
from shared.record import Record
from shared.settings import Settings
from shared.timing import Deadline
from shared.waker import Waker
from workers.join_schedule import JoinSchedule
from workers.login_token import LoginToken
from workers.twitch_connection import TwitchConnection, TwitchListener

# A reader waits longer, for every address that a name has.
CONNECT_SECONDS = 12.0


@dataclass(frozen=True)
class Heard:
    """A chat line. Times are Unix milliseconds."""

    channel: str
    received_ms: int
    sent_ms: int | None
    """By Twitch's clock; None when the line does not tell."""
    record: Record | None
    """What Kafka would get; None when the line could not be read."""
    rejected: str
    """Why not; empty when it could."""


class Visit(TwitchListener):
    """One connection and what has come over it. The methods that wait run the connection's loop meanwhile.

    It takes its places at the readers' gate where there is one. It never asks for another token.
    """

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self.login = ""
        """The name that Twitch gave us; empty until it took the login."""
        self.closed = ""
        """Why the connection has ended; empty while it has not."""
        self.refused = False
        """Whether it ended because Twitch did not take the login."""
        self.heard: Heard | None = None
        """The first message of somebody else."""
        self._settings = settings
        # Without it no reader of this folder has ever run, and nothing shall be left in a fresh clone.
        self._gate = LoginGate(paths.login_gate) if paths.programs.is_dir() else None
        self._token = LoginToken(settings, paths)
        self._parser = ChatParser(own_login=settings.twitch_username)
        self._schedule: JoinSchedule | None = None
        self._connection: TwitchConnection | None = None
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._watched: int | None = None

    @property
    def joined(self) -> set[str]:
        """The channels that we are in."""
        return set() if self._connection is None or self.closed else self._connection.channels

    def reserve(self, kind: Kind) -> float:
        """Take a place at the gate; its time, monotonic seconds."""
        try:
            return time.monotonic() if self._gate is None else self._gate.reserve(kind)
        except OSError:
            # Readers go on after a pause as well.
            return time.monotonic() + 1.0

    def wait_until(self, at: float) -> None:
        """Wait for that time, monotonic seconds."""
        self.run(lambda: False, at - time.monotonic())

    def connect(self) -> float | None:
        """Connect, TLS included, and begin to log in; the seconds it took, None when it has failed."""
        nick, password = self._token.login()
        address = self._settings.twitch_irc_url
        connection = TwitchConnection(address, nick, password, self, self._waker.wake)
        self._connection = connection
        began = time.monotonic()
        connection.start()
        if not self.run(lambda: bool(connection.socket), CONNECT_SECONDS):
            connection.close(f"no connection in {CONNECT_SECONDS:.0f} s")
            return None
        return time.monotonic() - began

    def log_in(self) -> bool:
        """Wait for the answer to the login; False when the connection has ended instead."""
        # The connection itself knows how long to wait.
        return self.run(lambda: bool(self.login), 60.0)

    def ask_to_join(self, channels: Iterable[str]) -> float:
        """Take the places for the JOINs; the seconds until the last one."""
        wanted = tuple(channels)
        places = deque(self.reserve("join") for _ in wanted)
        farthest = max(places, default=0.0)
        # Each is asked for once.
        self._schedule = JoinSchedule(wanted, places.popleft)
        self._join()
        return max(0.0, farthest - time.monotonic())

    def wait_joined(self, seconds: float) -> dict[str, str]:
        """Wait until every channel has let us in or not; why not, by channel.

        What is neither among these nor ``joined`` then was not asked for in time.
        """
        schedule = self._schedule
        assert schedule is not None

        def refused() -> dict[str, str]:
            out = {one: schedule.trouble(one) for one in sorted(schedule.wanted - self.joined)}
            return {one: reason for one, reason in out.items() if reason}

        self.run(lambda: schedule.wanted == self.joined | refused().keys(), seconds)
        # They are not asked for again.
        self._schedule = None
        return refused()

    def wait_message(self, seconds: float) -> bool:
        """Wait for a message; False when none came."""
        return self.run(lambda: self.heard is not None, seconds)

    def close(self) -> None:
        """Leave Twitch."""
        if self._connection is not None:
            self._connection.close("the visit is over")

    def run(self, done: Callable[[], bool], seconds: float) -> bool:
        """Run the loop until ``done`` gives True, the connection ends, or the time is over; what it gives."""
        deadline = Deadline(seconds)
        while True:
            # First: what it does may be what is waited for.
            wait = self._tend()
            if done() or self.closed or deadline.passed():
                return done()
            self._read(min(wait, deadline.left_seconds()))

    def _tend(self) -> float:
        """Do what the time asks for; the seconds until the next call."""
        connection = self._connection
        if connection is None:
            return 60.0
        wait = min(connection.tick(), self._join())
        return 0.0 if connection.has_undelivered else wait

    def _read(self, seconds: float) -> None:
        """Take what arrives within that time."""
        connection = self._connection
        self._watch()
        for key, _events in self._selector.select(seconds):
            if key.fileobj is self._waker:
                self._waker.clear()
                if connection is not None:
                    connection.on_wake()
            elif connection is not None:
                connection.on_readable()
        if connection is not None and connection.has_undelivered:
            connection.on_readable()

    def _watch(self) -> None:
        socket = None if self._connection is None else self._connection.socket
        wanted = None if socket is None else socket.fileno()
        if wanted != self._watched:
            if self._watched is not None:
                self._selector.unregister(self._watched)
            if wanted is not None:
                self._selector.register(wanted, selectors.EVENT_READ)
            self._watched = wanted

    def _join(self) -> float:
        """Send the JOINs that are due; the seconds until the next."""
        connection = self._connection
        if self._schedule is None or connection is None or not connection.online:
            return 60.0
        channels, wait = self._schedule.due(connection.channels, time.monotonic())
        for channel in channels:
            connection.join(channel)
        return wait

    def on_online(self, connection: TwitchConnection, login: str) -> None:
        """Learn our name, whose messages do not count."""
        self.login = login
        if not login.startswith("justinfan"):
            self._parser.own_login = self._settings.twitch_username or login

    def on_line(self, connection: TwitchConnection, line: IrcLine, received_ms: int) -> None:
        """Keep the first message."""
        if self.heard is not None or line.command != "PRIVMSG":
            return
        record, rejected = None, ""
        try:
            record = self._parser.read(line, received_ms)
            if record is None:
                return
        except LineRejected as error:
            rejected = error.reason
        sent = line.tags.get("tmi-sent-ts", "")
        sent_ms = int(sent) if sent.isascii() and sent.isdigit() and len(sent) < 20 else None
        channel = record.channel if record else next(iter(line.params), "").lstrip("#")
        self.heard = Heard(channel, received_ms, sent_ms, record, rejected)

    def on_notice(self, connection: TwitchConnection, channel: str, notice_id: str, text: str) -> None:
        """A channel that says something before it has let us in does not let us in."""
        if self._schedule is not None and channel in self._schedule.wanted - connection.channels:
            self._schedule.failed(channel, text, time.monotonic())

    def on_closed(self, connection: TwitchConnection, reason: str, refused: bool) -> None:
        """Remember why."""
        self.closed, self.refused = reason or "closed", refused
