"""From one connection to the next without a gap, after Twitch's RECONNECT."""

import time
from collections.abc import Callable

from shared.irc_line import IrcLine
from workers.twitch_connection import TwitchConnection

# For the old connection to answer.
LAST_WORDS_SECONDS = 2.0
LAST_WORDS = "last-words"
MAX_HELD = 10_000


class Handover:
    """Holds what the new connection says until the old one has told its last words.

    What Twitch sent on the old one before the new one had joined exists there only, and may be late. ``take``
    gets the held lines with the times of their receipt. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self, take: Callable[[IrcLine, int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._take = take
        self._clock = clock
        self._held: list[tuple[IrcLine, int]] = []
        self._until: float | None = None

    @property
    def goes_on(self) -> bool:
        """True while the old connection's answer is waited for."""
        return self._until is not None

    def hold(self, line: IrcLine, received_ms: int) -> None:
        """Keep a line of the new connection; what is too much goes on at once."""
        self._held.append((line, received_ms))
        if len(self._held) >= MAX_HELD:
            self._release()

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

    def _release(self) -> None:
        held, self._held = self._held, []
        for line, received_ms in held:
            self._take(line, received_ms)
