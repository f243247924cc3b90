"""From one connection to the next without a gap, after Twitch's RECONNECT."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

from shared.irc_line import IrcLine
from workers.twitch_connection import TwitchConnection

# For the old connection to answer.
LAST_WORDS_SECONDS = 2.0
LAST_WORDS = "last-words"
MAX_HELD = 10_000
# The loop may read the old connection a moment before it learns that the new one has joined.
COPY_AHEAD_MS = 1_000
# To a JOIN: each connection has its own.
_ANSWERS = frozenset({"ROOMSTATE", "USERSTATE"})

_Content = tuple[str, str, tuple[str, ...], frozenset[tuple[str, str]]]


class Handover:
    """Holds what the new connection says until the old one has told its last words.

    What Twitch sent on the old one before the new one had joined exists there only, and may be late. What it
    sent on both counts once: by its id or its time for whoever gets it, by being left out here where it has
    neither. ``take`` gets the held lines with the times of their receipt. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self, take: Callable[[IrcLine, int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._clock = clock
        self._held: list[tuple[IrcLine, int]] = []
        self._until: float | None = None
        # What the old connection has said without an id and a time, and when it was received.
        self._said: defaultdict[_Content, deque[int]] = defaultdict(deque)
        self._noted = 0
        # When each channel was heard first on the new connection.
        self._joined_ms: dict[str, int] = {}
        self._answered: set[tuple[str, str]] = set()

    @property
    def goes_on(self) -> bool:
        """True while the old connection's answer is waited for."""
        return self._until is not None

    def hold(self, line: IrcLine, received_ms: int) -> None:
        """Keep a line of the new connection; what is too much goes on at once."""
        self._held.append((line, received_ms))
        if len(self._held) >= MAX_HELD:
            self._release()

    def note(self, line: IrcLine, received_ms: int) -> None:
        """The old connection says a line while there is a new one, which may say it too."""
        if not _can_be_told_apart(line) and self._noted < MAX_HELD:
            self._noted += 1
            self._said[_content(line)].append(received_ms)

    def begin(self, old: TwitchConnection) -> None:
        """The new connection is where the old one is: ask the old one for its end."""
        self._until = self._clock() + LAST_WORDS_SECONDS
        old.ping(LAST_WORDS)

    def left_seconds(self) -> float | None:
        """Seconds until the old connection is waited for no more; None when it is not waited for."""
        return None if self._until is None else max(0.0, self._until - self._clock())

    def end(self) -> None:
        """The old connection is gone, or the new one is."""
        self._until = None
        self._release()
        self._said.clear()
        self._noted = 0
        self._joined_ms.clear()
        self._answered.clear()

    def _release(self) -> None:
        held, self._held = self._held, []
        for line, received_ms in held:
            if not self._is_copy(line, received_ms):
                self._take(line, received_ms)

    def _is_copy(self, line: IrcLine, received_ms: int) -> bool:
        """Whether the old connection has said it too; each of its lines has one copy."""
        channel = line.params[0] if line.params else ""
        joined_ms = self._joined_ms.setdefault(channel, received_ms)
        if _can_be_told_apart(line):
            return False
        answer = line.command, channel
        if line.command in _ANSWERS and answer not in self._answered:
            self._answered.add(answer)
            return False
        times = self._said.get(_content(line), deque())
        while times and times[0] < joined_ms - COPY_AHEAD_MS:
            times.popleft()
        if not times:
            return False
        times.popleft()
        return True


def _can_be_told_apart(line: IrcLine) -> bool:
    return bool(line.tags.get("id") or line.tags.get("tmi-sent-ts"))


def _content(line: IrcLine) -> _Content:
    return line.command, line.prefix, tuple(line.params), frozenset(line.tags.items())
