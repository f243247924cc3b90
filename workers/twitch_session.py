"""A set of channels kept joined, over one connection after the other, and over two while it moves."""

import selectors
import time
from collections.abc import Callable, Iterable

from loguru import logger

from shared.irc_line import IrcLine
from shared.login_gate import Kind, LoginGate
from shared.paths import Paths
from shared.settings import Settings
from shared.timing import Backoff
from workers.handover import LAST_WORDS, Handover
from workers.join_schedule import JoinSchedule
from workers.login_token import LOOK_SECONDS, LoginToken
from workers.twitch_connection import TwitchConnection, TwitchListener

# A connection that has held this long was a good one: the next failure is a new story.
GOOD_SECONDS = 60.0
# Where every reader asks for what it missed, one after the other: a burst of 20 would leave the last no time.
# Twitch lets in no more than 20 in 10 s anyway.
JOINS_APART_SECONDS = 0.5
_CHANNEL_NOTICES = frozenset(
    {"msg_channel_suspended", "msg_banned", "tos_ban", "msg_room_not_found", "msg_channel_blocked"}
)


class SessionListener:
    """What a session tells."""

    def on_login(self, login: str) -> None:
        """Twitch took the login, for the first time or again; ``login`` is empty for an anonymous one."""

    def on_in(self, channel: str) -> None:
        """A wanted channel was joined that no connection was in."""

    def on_out(self, channel: str, heard_ms: int) -> None:
        """No connection is in the channel any more; all was read up to that time, Unix milliseconds."""

    def on_rejected(self, raw: bytes, reason: str, count: int = 1) -> None:
        """``count`` lines that could not be read, one of them ``raw``."""


class TwitchSession(TwitchListener):
    """Keeps the ``wanted`` channels joined through whatever ends a connection.

    ``take`` gets what was said, in order, with the time of its receipt: every line but those that concern
    only the connection. ``wake`` is called from a connecting thread when ``on_wake`` has something to do.
    ``tap`` gets every line as it came, with the time of its receipt. One thread calls the methods; none of
    them blocks.
    """

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        wanted: Iterable[str],
        listener: SessionListener,
        take: Callable[[IrcLine, int], None],
        wake: Callable[[], None],
        tap: Callable[[bytes, int], None] | None = None,
    ) -> None:
        self.trouble = ""
        """Why there is no connection; empty when there is one, or nothing is known."""
        self.logins = 0
        """How often Twitch has taken the login."""
        self.has_changed = True
        """Whether ``go_on`` and ``watch`` have something to do before their time; the caller resets it."""
        self._settings = settings
        self._listener = listener
        self._take = take
        self._wake = wake
        self._tap = tap
        self._gate = LoginGate(paths.login_gate)
        self._token = LoginToken(settings, paths)
        self._schedule = JoinSchedule(wanted, lambda: self._reserve("join"))
        self._wanted = self._schedule.wanted
        self._current: TwitchConnection | None = None
        self._successor: TwitchConnection | None = None
        self._handover = Handover(take)
        self._watched: dict[TwitchConnection, int] = {}
        self._present: set[str] = set()
        self._backoff = Backoff(first=1.0, longest=60.0)
        self._connect_at: float | None = 0.0
        self._place_at: float | None = None
        self._online_since: float | None = None
        # When the new connection was in all channels.
        self._moved_ms = 0

    def want(self, wanted: Iterable[str]) -> None:
        """Have these channels joined from here on, and leave others. What stays is not touched."""
        self.has_changed = True
        before = self._wanted
        self._schedule.want(wanted)
        self._wanted = self._schedule.wanted
        left = before - self._wanted
        connections = self._connections()
        for connection in connections:
            for channel in sorted(left):
                # Also one that was asked for and has not answered yet.
                connection.part(channel)
        self._look(connections)
        # Only for what is wanted no more the old one may have been kept.
        self._hand_over()

    @property
    def joined(self) -> set[str]:
        """The channels that we are in."""
        current = self._current
        return current.channels if current is not None and current.online else set()

    @property
    def is_moving(self) -> bool:
        """True while there are two connections, or what is said on the new one is held."""
        return self._successor is not None

    def heard_ms(self, channel: str) -> int:
        """Up to when all that was said in a channel was read, Unix milliseconds; 0 when we are not in it."""
        # What a new connection has heard is held until the old one has told all.
        return min((one.heard_ms for one in self._connections() if channel in one.channels), default=0)

    @property
    def has_undelivered(self) -> bool:
        """True when there is data that no selector can see."""
        return any(connection.has_undelivered for connection in self._connections())

    def trouble_of(self, channel: str) -> str:
        """Why a channel is not joined; empty when it is, or nothing is known."""
        return self.trouble or self._schedule.trouble(channel)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Make the selector watch just the sockets that there are; their data is the connection."""
        wanted = {one: one.socket.fileno() for one in self._connections() if one.socket is not None}
        for connection, descriptor in list(self._watched.items()):
            if wanted.get(connection) != descriptor:
                selector.unregister(descriptor)
                del self._watched[connection]
        for connection, descriptor in wanted.items():
            if connection not in self._watched:
                selector.register(descriptor, selectors.EVENT_READ, connection)
                self._watched[connection] = descriptor

    def on_wake(self) -> None:
        """Take over what a connecting thread has made."""
        self.has_changed = True
        for connection in self._connections():
            connection.on_wake()

    def read_undelivered(self) -> None:
        """Read what no selector can see."""
        for connection in self._connections():
            if connection.has_undelivered:
                connection.on_readable()

    def go_on(self) -> float:
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
            self._leave_silent_old()
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

    def close(self) -> None:
        """Read what has arrived, then leave Twitch."""
        self._connect_at = None
        connections = self._connections()
        for connection in connections:
            connection.on_readable()
        self._handover.end()
        self._current, self._successor = None, None
        self._look(connections)
        for connection in connections:
            connection.close("stopping")

    def _connections(self) -> list[TwitchConnection]:
        return [one for one in (self._current, self._successor) if one is not None]

    def _look(self, closed: Iterable[TwitchConnection] = ()) -> None:
        """Tell which channels we have come into, and which were left with the connections ``closed``."""
        present = {channel for one in self._connections() for channel in one.channels} & self._wanted
        before, self._present = self._present, present
        for channel in sorted(before - present):
            self._listener.on_out(channel, max((one.heard_ms for one in closed), default=_now_ms()))
        for channel in sorted(present - before):
            self._listener.on_in(channel)

    def _connect(self) -> None:
        """Take a place at the gate, then log in when it is our turn."""
        if self._place_at is None:
            self._place_at = self._reserve("login")
            now = time.monotonic()
            if self._place_at > now + 1.0:
                self.trouble = "waiting for its turn: Twitch allows 20 logins in 10 s"
                logger.info("waiting {:.0f} s: Twitch allows 20 logins in 10 s", self._place_at - now)
        if time.monotonic() < self._place_at:
            self._connect_at = self._place_at
            return
        self._place_at = None
        self._connect_at = None
        nick, password = self._token.login()
        logger.info("connecting to {} as {}", self._settings.twitch_irc_url, nick)
        connection = TwitchConnection(
            self._settings.twitch_irc_url, nick, password, self, self._wake, tap=self._tap
        )
        if self._current is None:
            self._current = connection
        else:
            self._successor = connection
        connection.start()

    def _reserve(self, kind: Kind) -> float:
        spread = kind == "join" and self._settings.backfill_url is not None
        try:
            return self._gate.reserve(kind, JOINS_APART_SECONDS if spread else 0.0)
        except OSError as error:
            # On a full disk chat must go on; a second's pause keeps most of the gate's purpose.
            logger.warning("the login gate cannot be used: {}; is the disk full?", error.strerror)
            return time.monotonic() + 1.0

    def on_online(self, connection: TwitchConnection, login: str) -> None:
        """Learn our own name, join anew."""
        self.has_changed = True
        self._token.accepted()
        self.trouble = ""
        self.logins += 1
        self._online_since = time.monotonic()
        self._listener.on_login("" if login.startswith("justinfan") else login)
        self._schedule.new_connection()
        logger.info("connected as {}", login)

    def on_line(self, connection: TwitchConnection, line: IrcLine, received_ms: int) -> None:
        """Pass a line on; those of a new connection wait for the end of the old one."""
        if connection is self._successor:
            self._handover.hold(line, received_ms)
            return
        if self._successor is not None:
            self._handover.note(line, received_ms)
        self._take(line, received_ms)

    def on_rejected(self, raw: bytes, reason: str, count: int = 1) -> None:
        """Pass it on."""
        self._listener.on_rejected(raw, reason, count)

    def on_joined(self, connection: TwitchConnection, channel: str) -> None:
        """Ask the old connection for its end once the new one is where it was."""
        self.has_changed = True
        if channel not in self._wanted:
            # It was asked for before it was wanted no more.
            connection.part(channel)
            return
        self._schedule.joined(channel)
        logger.info("joined #{}, ready", channel)
        self._look()
        self._hand_over()

    def _hand_over(self) -> None:
        """Ask the old connection for its end when the new one is in all channels that the old one is in."""
        old, new = self._current, self._successor
        if old is None or new is None or not new.online or self._handover.goes_on:
            return
        if self._wanted <= new.channels | self._unjoined():
            self._moved_ms = _now_ms()
            self._handover.begin(old)

    def on_pong(self, connection: TwitchConnection, text: str) -> None:
        """The old connection has nothing more that the new one has not."""
        self.has_changed = True
        if connection is self._current and text == LAST_WORDS and self._handover.goes_on:
            self._leave_old()

    def _leave_silent_old(self) -> None:
        """Leave an old connection that does not answer: the new one has not what was said before its join."""
        old, new = self._current, self._successor
        if old is not None and new is not None and old.heard_ms < self._moved_ms:
            for channel in sorted(self._present & old.channels & new.channels):
                self._listener.on_out(channel, old.heard_ms)
                self._listener.on_in(channel)
        self._leave_old()

    def _leave_old(self) -> None:
        old, self._current, self._successor = self._current, self._successor, None
        if old is not None:
            old.close("replaced by the new connection")
        self._handover.end()
        self._look([old] if old is not None else [])

    def _unjoined(self) -> frozenset[str]:
        """Wanted channels that the old connection is not in either."""
        return self._wanted - (self._current.channels if self._current is not None else set())

    def on_left(self, connection: TwitchConnection, channel: str) -> None:
        """Ask to be let in again, after a pause."""
        self.has_changed = True
        if channel in self._wanted and connection is (self._successor or self._current):
            reason = "Twitch put us out, is the account banned there?"
            self._schedule.failed(channel, reason, time.monotonic())
        self._look([connection])

    def on_notice(self, connection: TwitchConnection, channel: str, notice_id: str, text: str) -> None:
        """Some notices mean that a channel is closed to us."""
        self.has_changed = True
        if channel in self._wanted and notice_id in _CHANNEL_NOTICES:
            connection.channels.discard(channel)
            self._schedule.failed(channel, text, time.monotonic())
            self._look([connection])
        elif not channel:
            logger.info("Twitch says: {}", text)

    def on_reconnect(self, connection: TwitchConnection) -> None:
        """Make the new connection before Twitch ends this one."""
        self.has_changed = True
        if connection is self._current and self._successor is None and self._connect_at is None:
            logger.info("Twitch asks to reconnect; the new connection is made before this one is left")
            self._connect_at = time.monotonic()

    def on_closed(self, connection: TwitchConnection, reason: str, refused: bool) -> None:
        """Try again after a growing pause, with the token of that moment."""
        self.has_changed = True
        if connection is self._successor:
            self._successor = None
            self._handover.end()
            self._look([connection])
        elif connection is not self._current:
            return
        else:
            self._current, self._successor = self._successor, None
            self._handover.end()
            self._look([connection])
            self._online_since = None
            if self._current is not None or self._connect_at is not None:
                # Announced by RECONNECT: the new connection is on its way already.
                logger.info("disconnected: {}", reason)
                return
        pause = self._backoff.next_seconds()
        self._connect_at = time.monotonic() + pause
        self.trouble = f"Twitch refuses the login: {reason}" if refused else f"disconnected: {reason}"
        if refused:
            self._token.refused(reason, pause)
        else:
            logger.warning("disconnected: {}; next attempt in {:.0f} s", reason, pause)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
