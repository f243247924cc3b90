"""What the fake Twitch saw, how a test waits for it, and how the server is told to misbehave."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from tests.fakes.fake_twitch_lines import login_of

if TYPE_CHECKING:
    from tests.fakes.fake_twitch_connection import Connection

WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Line:
    """A line as the client sent it, without its end. All times are of time.monotonic()."""

    raw: bytes
    at: float
    connection: int


@dataclass(frozen=True)
class Login:
    """A NICK before the login was done, whether it was taken or not."""

    nick: str
    password: str | None
    at: float
    connection: int
    accepted: bool


@dataclass(frozen=True)
class Join:
    """One channel of a JOIN, whether it was answered or not; in ``parts`` one of a PART."""

    channel: str
    at: float
    connection: int


@dataclass(frozen=True)
class Pong:
    """A PONG of the client."""

    text: str
    at: float
    connection: int


@dataclass(frozen=True)
class Violation:
    """What a client must not do: too many ``logins`` or ``joins`` in the time, a ``pong`` not asked for."""

    kind: str
    text: str
    at: float
    connection: int


@dataclass
class Behaviour:
    """What the server does otherwise than Twitch at its best; change it at any time.

    The whole numbers count down: so many from now on. True means until it is set to False.
    """

    refuse_logins: int = 0
    refusal: str = "Login authentication failed"
    refusal_closes: bool = True
    valid_tokens: set[str] | Callable[[str], bool] | None = None
    """Passwords that are taken, with or without ``oauth:``; None takes any.

    A function is asked in the server's thread, with the password without ``oauth:``.
    """
    hang_handshakes: int = 0
    """TCP connections that are accepted and then never read or answered."""
    close_after_accept: int = 0
    close_after_login: int = 0
    silent: bool = False
    """Everything is read and recorded, nothing at all is said."""
    answers_login: bool = True
    answers_ping: bool = True
    mute_channels: set[str] = field(default_factory=set)
    """Channels whose JOIN gets no answer, as those that do not exist."""
    closed_channels: dict[str, str] = field(default_factory=dict)
    """Channels whose JOIN gets a NOTICE with this msg-id: msg_channel_suspended, msg_banned, ..."""
    write_bytes: int | None = None
    """Size of each write; None writes all at once."""
    slow_reader_seconds: float | None = None
    """A client that lets what is sent wait for so long is dropped, as by Twitch; None waits for it."""
    duplicates: bool = False
    """Every chat line is sent twice."""
    enforce_limits: bool = False
    """Close a connection that goes over the limit, besides recording the violation."""
    limit: int = 20
    """Logins, and JOINs, of all connections together per ``limit_seconds``."""
    limit_seconds: float = 10.0

    def take(self, name: str) -> bool:
        """Whether a counted deviation applies now; counts it down."""
        left: int = getattr(self, name)
        if left > 0 and left is not True:
            setattr(self, name, left - 1)
        return left > 0


class Observed:
    """What the server saw, for tests to read and to wait for.

    Written by the server's thread while it holds ``changed``; lists only grow.
    """

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.changed = threading.Condition()
        self.accepted = 0
        """TCP connections so far; a connection's number is its place in this count, from 1."""
        self.connections: set[Connection] = set()
        """Those that are open now."""
        self.history: list[Connection] = []
        """All that got past the handshake, in order, with ``opened_at`` and ``closed_at``."""
        self.logins: list[Login] = []
        self.joins: list[Join] = []
        self.parts: list[Join] = []
        self.lines: list[Line] = []
        self.pongs: list[Pong] = []
        self.pings: set[str] = set()
        """Texts of the PINGs sent."""
        self.violations: list[Violation] = []

    def in_channel(self, channel: str) -> list["Connection"]:
        """The working connections in a channel, in order of their numbers; frozen ones do not count."""
        name = login_of(channel)
        found = [one for one in tuple(self.connections) if name in one.channels and one.live]
        return sorted(found, key=lambda connection: connection.number)

    def members(self, channel: str) -> int:
        """How many working connections are in the channel."""
        return len(self.in_channel(channel))

    def wait_for(self, predicate: Callable[[], bool], timeout: float = WAIT_SECONDS, what: str = "") -> None:
        """Wait for something to happen here; AssertionError when it does not.

        ``predicate`` may read everything here and must not call what sends: the server waits meanwhile.
        """
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise AssertionError(f"not within {timeout:g} s: {what or 'what was waited for'}; {self}")

    def wait_joined(self, channel: str, count: int = 1, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many working connections are in the channel."""
        self.wait_for(
            lambda: self.members(channel) >= count, timeout, f"{count} connections in #{login_of(channel)}"
        )

    def wait_left(self, channel: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait until no working connection is in the channel."""
        self.wait_for(lambda: not self.members(channel), timeout, f"nobody in #{login_of(channel)}")

    def wait_logins(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many logins were tried since the start."""
        self.wait_for(lambda: len(self.logins) >= count, timeout, f"{count} logins")

    def wait_accepted(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many TCP connections were accepted since the start."""
        self.wait_for(lambda: self.accepted >= count, timeout, f"{count} connections")

    def wait_closed(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many connections of ``history`` are gone."""
        self.wait_for(
            lambda: sum(one.closed_at is not None for one in self.history) >= count,
            timeout,
            f"{count} closed connections",
        )

    def wait_pong(self, text: str, count: int = 1, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many PONGs with this text came."""
        self.wait_for(
            lambda: sum(pong.text == text for pong in self.pongs) >= count, timeout, f"{count} PONG {text!r}"
        )

    def __str__(self) -> str:
        inside = {name for one in tuple(self.connections) if one.live for name in one.channels}
        last = [line.raw.decode("utf-8", "replace") for line in self.lines[-5:]]
        last = ["PASS ***" if line.startswith("PASS") else line for line in last]
        return (
            f"seen: {self.accepted} connections, {len(self.connections)} open; {len(self.logins)} logins, "
            f"{sum(login.accepted for login in self.logins)} accepted; {len(self.joins)} JOINs; "
            f"in channels {sorted(inside)}; violations {[one.text for one in self.violations]}; "
            f"last lines {last}"
        )

    def goes_over(self, kind: str, newest_first: Iterable[float], connection: int) -> bool:
        """Whether the newest of these times is one too many and the client must go; records it."""
        now, window = time.monotonic(), self.behaviour.limit_seconds
        recent = sum(1 for _ in takewhile(lambda at: at > now - window, newest_first))
        if recent <= self.behaviour.limit:
            return False
        self.violations.append(Violation(kind, f"{recent} {kind} within {window:g} s", now, connection))
        return self.behaviour.enforce_limits
