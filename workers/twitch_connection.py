"""The edge to Twitch, and the only importer of irc: one connection from the name look-up to its end.

The irc library logs in, sends, answers PING and dispatches what Twitch says besides chat. Chat lines are
taken before it: its dispatch costs five times what reading them costs, and it alters their text. Nothing
here blocks but the start, which has a thread of its own.
"""

import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

import irc.client
from loguru import logger

from shared.irc_line import IrcLine, LineSplitter, concerns_connection, parse_line
from shared.settings import IrcAddress

CONNECT_SECONDS = 10.0
LOGIN_SECONDS = 10.0
IDLE_SECONDS = 5.0
ANSWER_SECONDS = 5.0
# No round of the loop takes so long: the process was stopped, or the machine slept.
ASLEEP_MS = 8_000
_AWAKE = "awake"
_CAPABILITIES = b"CAP REQ :twitch.tv/tags twitch.tv/commands\r\n"
_READ_BYTES = 64 * 1024
# A flood must not keep the loop from handing off.
_BYTES_A_ROUND = 4 * _READ_BYTES
# TLS gives one record at a time, which may hold a single line; each counts as so much.
_BYTES_A_READ = 2 * 1024
# What the library's dispatch is good for here; anything else would only cost.
_FOR_THE_LIBRARY = frozenset({"PING", "001", "JOIN", "PART", "NOTICE", "ROOMSTATE", "366", "RECONNECT"})
_LOGIN_REFUSALS = (
    "login authentication failed",
    "login unsuccessful",
    "improperly formatted auth",
    "invalid nick",
)


class TwitchListener:
    """What a connection tells."""

    def on_online(self, connection: "TwitchConnection", login: str) -> None:
        """Twitch took the login; ``login`` is the name it gave us."""

    def on_line(self, connection: "TwitchConnection", line: IrcLine, received_ms: int) -> None:
        """A line was read at that time, Unix milliseconds, that does not concern the connection alone."""

    def on_pong(self, connection: "TwitchConnection", text: str) -> None:
        """Twitch answers a PING with that text: all that it had sent before has been read."""

    def on_rejected(self, raw: bytes, reason: str, count: int = 1) -> None:
        """``count`` lines that could not be read, one of them ``raw``."""

    def on_joined(self, connection: "TwitchConnection", channel: str) -> None:
        """We are in the channel."""

    def on_left(self, connection: "TwitchConnection", channel: str) -> None:
        """Twitch put us out of the channel."""

    def on_notice(self, connection: "TwitchConnection", channel: str, notice_id: str, text: str) -> None:
        """Twitch says something; ``channel`` is empty when it concerns the connection."""

    def on_reconnect(self, connection: "TwitchConnection") -> None:
        """Twitch will close the connection soon."""

    def on_closed(self, connection: "TwitchConnection", reason: str, refused: bool) -> None:
        """The end, once; ``refused`` when Twitch did not take the login."""


class _IrcConnection(irc.client.ServerConnection):  # type: ignore[misc]
    """The library's connection over a non-blocking socket, with the chat taken out before its dispatch."""

    def __init__(self, reactor: irc.client.Reactor) -> None:
        super().__init__(reactor)
        self.splitter = LineSplitter()
        self.received_ms = 0
        self.take_line: Callable[[bytes, int], bool] = lambda _line, _received_ms: True

    def user(self, username: str, realname: str) -> None:
        """Twitch knows no USER; the library would send it at the login."""

    def send_raw(self, string: str) -> None:
        """Send a line. On a connection that is broken it is dropped: the library has told of its end."""
        if self.connected:
            super().send_raw(string)

    def process_data(self) -> None:
        """Read what has arrived, without blocking."""
        left = _BYTES_A_ROUND
        while left > 0:
            try:
                data = self.socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self.disconnect(f"connection broke: {error.strerror or error}")
                return
            if not data:
                self.disconnect("closed by Twitch")
                return
            left -= max(len(data), _BYTES_A_READ)
            self.received_ms = received_ms = _now_ms()
            for line in self.splitter.feed(data):
                if not self.take_line(line, received_ms):
                    self._let_library_take(line)
                if not self.connected:
                    return
            if len(data) < _READ_BYTES and not isinstance(self.socket, ssl.SSLSocket):
                # There is no more; TLS gives one record at a time.
                return

    def _let_library_take(self, line: bytes) -> None:
        try:
            self._process_line(line.decode("utf-8", "replace"))
        except (ValueError, IndexError, AttributeError, KeyError) as error:
            # The library's parser has no guard of its own; a line never ends the connection.
            logger.debug("irc could not read {!r}: {}", line[:200], error)


class TwitchConnection:
    """Connects, logs in, reads, notices a dead line. Used once; a new attempt is a new object.

    ``nick`` and ``password`` log in; ``password`` None means anonymously. ``loop_wake`` is called from the
    connecting thread when ``on_wake`` has something to do. ``clock`` gives monotonic seconds. ``tap`` gets
    every line as it came, before anything else, with the time of its receipt.
    """

    def __init__(
        self,
        address: IrcAddress,
        nick: str,
        password: str | None,
        listener: TwitchListener,
        loop_wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        tap: Callable[[bytes, int], None] | None = None,
    ) -> None:
        self.channels: set[str] = set()
        """Channels that we are in."""
        # Twitch has not confirmed yet that we are out.
        self._leaving: set[str] = set()
        self.online = False
        self.socket: socket.socket | None = None
        self._address = address
        self._nick = nick
        self._password = password
        self._listener = listener
        self._loop_wake = loop_wake
        self._clock = clock
        self._opened: queue.SimpleQueue[socket.socket | str] = queue.SimpleQueue()
        self._closed = False
        self._deadline = clock() + CONNECT_SECONDS * 3
        self._heard_at = clock()
        self._asked_at: float | None = None
        self._oversized = 0
        self._looked_ms = _now_ms()
        self._asleep_since_ms = 0
        self._reactor = irc.client.Reactor(on_disconnect=lambda _socket: None)
        self._reactor.connection_class = _IrcConnection
        self._irc: _IrcConnection = self._reactor.server()
        self._irc.take_line = self._take_line if tap is None else functools.partial(self._tapped, tap)
        for event, handler in (
            ("welcome", self._on_welcome),
            ("join", self._on_join),
            ("roomstate", self._on_in_channel),
            ("endofnames", self._on_in_channel),
            ("part", self._on_part),
            ("pubnotice", self._on_notice),
            ("privnotice", self._on_notice),
            ("reconnect", lambda _irc, _event: listener.on_reconnect(self)),
            ("disconnect", lambda _irc, event: self.close(event.arguments[0])),
        ):
            self._reactor.add_global_handler(event, handler)

    def start(self) -> None:
        """Begin to connect, in a thread: name look-up and TLS cannot be had without blocking."""
        threading.Thread(target=self._open_in_thread, name="connect", daemon=True).start()

    def on_wake(self) -> None:
        """Take over what the connecting thread has made."""
        try:
            opened = self._opened.get_nowait()
        except queue.Empty:
            return
        if isinstance(opened, str):
            self.close(opened)
        elif self._closed:
            opened.close()
        else:
            self.socket = opened
            self._deadline = self._clock() + LOGIN_SECONDS
            self._heard_at = self._clock()
            self._irc.connect(
                self._address.host,
                self._address.port,
                self._nick,
                password=self._password,
                connect_factory=lambda _address: opened,
            )

    def on_readable(self) -> None:
        """Read what has arrived."""
        if self.socket is None:
            return
        self._notice_sleep()
        if self.socket is None:
            # It was broken, and the question of whether Twitch is there has shown it.
            return
        self._heard_at = self._clock()
        self._asked_at = None
        self._irc.process_data()
        skipped = self._irc.splitter.oversized - self._oversized
        if skipped:
            self._oversized += skipped
            self._listener.on_rejected(b"", "oversized", skipped)

    @property
    def heard_ms(self) -> int:
        """Up to when all that Twitch said was read, Unix milliseconds; 0 when nothing was.

        What lay here while the process slept says nothing of how much more there was, until Twitch answers.
        """
        return self._asleep_since_ms or self._irc.received_ms

    @property
    def has_undelivered(self) -> bool:
        """True when TLS holds data that no selector can see."""
        return isinstance(self.socket, ssl.SSLSocket) and not self._closed and self.socket.pending() > 0

    def tick(self) -> float:
        """Do what the time asks for; give the seconds until the next call."""
        self._notice_sleep()
        now = self._clock()
        if not self.online:
            if now >= self._deadline:
                self.close("no answer to the login" if self.socket else "no connection in time")
            return max(0.0, self._deadline - now)
        if self._asked_at is not None:
            if now - self._asked_at >= ANSWER_SECONDS:
                self.close(f"silent, no answer to PING in {ANSWER_SECONDS:.0f} s")
                return 0.0
            return self._asked_at + ANSWER_SECONDS - now
        if now - self._heard_at >= IDLE_SECONDS:
            self._asked_at = now
            self._irc.ping("tmi.twitch.tv")
            return ANSWER_SECONDS
        return self._heard_at + IDLE_SECONDS - now

    def join(self, channel: str) -> None:
        """Ask to be let into the channel; ``on_joined`` tells that we are."""
        self._irc.join(f"#{channel}")

    def part(self, channel: str) -> None:
        """Leave the channel: what is said there is told no more, and ``on_left`` neither."""
        if not self.online:
            return
        if channel in self.channels:
            self.channels.remove(channel)
            self._leaving.add(channel)
        self._irc.part(f"#{channel}")

    def ping(self, text: str) -> None:
        """Ask for a PONG; ``on_pong`` tells of it."""
        self._irc.ping(text)

    def close(self, reason: str) -> None:
        """End the connection; only the first call counts."""
        if self._closed:
            return
        self._closed = True
        self.online = False
        self._listener.on_closed(self, reason, refused=False)
        self._hang_up()

    def _refuse(self, text: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._listener.on_closed(self, text, refused=True)
        self._hang_up()

    def _hang_up(self) -> None:
        self.socket = None
        if self._irc.connected:
            self._irc.disconnect("")

    def _take_line(self, raw: bytes, received_ms: int) -> bool:
        """True when the line needs nothing of the library."""
        line = parse_line(raw)
        if line is None:
            self._listener.on_rejected(raw, "malformed")
            return True
        command = line.command
        if self._leaving and line.params and _login_of(line.params[0]) in self._leaving:
            return command not in ("JOIN", "PART")
        if command == "PRIVMSG":
            self._listener.on_line(self, line, received_ms)
            return True
        if command == "PONG" and line.params:
            if line.params[-1] == _AWAKE:
                self._asleep_since_ms = 0
            self._listener.on_pong(self, line.params[-1])
            return True
        if self.online and not concerns_connection(command):
            self._listener.on_line(self, line, received_ms)
        # Without its parameters the library raises on most commands; RECONNECT has none.
        return command not in _FOR_THE_LIBRARY or not (line.params or command == "RECONNECT")

    def _notice_sleep(self) -> None:
        now_ms = _now_ms()
        if now_ms - self._looked_ms > ASLEEP_MS and self.online:
            self._asleep_since_ms = self._asleep_since_ms or self._irc.received_ms
            self._irc.ping(_AWAKE)
        self._looked_ms = now_ms

    def _tapped(self, tap: Callable[[bytes, int], None], raw: bytes, received_ms: int) -> bool:
        tap(raw, received_ms)
        return self._take_line(raw, received_ms)

    def _on_welcome(self, _irc: Any, event: Any) -> None:
        if self.online:
            return
        self.online = True
        self._listener.on_online(self, str(event.target or self._nick).lower())

    def _on_join(self, _irc: Any, event: Any) -> None:
        if str(event.source).partition("!")[0].lower() == self._irc.get_nickname().lower():
            self._enter(event.target)

    def _on_in_channel(self, _irc: Any, event: Any) -> None:
        # ROOMSTATE names the channel first, 366 names us and then the channel.
        names = [event.target, *event.arguments]
        self._enter(next((name for name in names if str(name).startswith("#")), ""))

    def _enter(self, target: str) -> None:
        channel = _login_of(target)
        # Asked for again meanwhile.
        self._leaving.discard(channel)
        if channel and channel not in self.channels:
            self.channels.add(channel)
            self._listener.on_joined(self, channel)

    def _on_part(self, _irc: Any, event: Any) -> None:
        channel = _login_of(str(event.target))
        if str(event.source).partition("!")[0].lower() != self._irc.get_nickname().lower():
            return
        if channel in self._leaving:
            self._leaving.discard(channel)
        elif channel in self.channels:
            self.channels.discard(channel)
            self._listener.on_left(self, channel)

    def _on_notice(self, _irc: Any, event: Any) -> None:
        text = " ".join(event.arguments)
        if not self.online and text.lower().startswith(_LOGIN_REFUSALS):
            self._refuse(text)
            return
        tags = {tag["key"]: tag["value"] or "" for tag in event.tags}
        channel = event.target.lstrip("#").lower() if str(event.target).startswith("#") else ""
        self._listener.on_notice(self, channel, tags.get("msg-id", ""), text)

    def _open_in_thread(self) -> None:
        try:
            self._opened.put(open_socket(self._address))
        except OSError as error:
            self._opened.put(describe_failure(error))
        self._loop_wake()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _login_of(target: str) -> str:
    return target.lstrip("#").lower()


def open_socket(address: IrcAddress) -> socket.socket:
    """A connected non-blocking socket on which the capabilities were asked for, which must come first.

    IPv4 is tried before IPv6: a machine with a half-configured IPv6 is the more common one. Every attempt
    has ten seconds, TLS included. Raises OSError.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{address.host} has no address")
    for family, kind, protocol, _name, target in sorted(found, key=lambda one: one[0] != socket.AF_INET):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(CONNECT_SECONDS)
            connection.connect(target)
            if address.tls:
                connection = _tls_context().wrap_socket(connection, server_hostname=address.host)
            connection.sendall(_CAPABILITIES)
            connection.setblocking(False)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def describe_failure(error: OSError) -> str:
    """A failed connection in words, with what to look at."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused ({error.verify_message})"
    if isinstance(error, socket.gaierror):
        return f"the name cannot be resolved ({error.strerror}); check the network and TWITCH_IRC_URL"
    if isinstance(error, TimeoutError):
        return f"no answer in {CONNECT_SECONDS:.0f} s; check the network and firewall"
    return f"cannot connect ({error.strerror or error})"


_context: ssl.SSLContext | None = None


def _tls_context() -> ssl.SSLContext:
    """Made once: it holds every certificate authority of the system."""
    global _context
    if _context is None:
        _context = ssl.create_default_context()
    return _context
