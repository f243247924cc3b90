"""Several incomplete copies of one stream made into one again."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

# Readers try to come back to a new producer every half second at least.
AT_START_SECONDS = 2.0
# A record that was read so long ago was kept by a reader that could not hand off.
LATE_MS = 1_000
QUIET_SECONDS = 0.3
AT_MOST_SECONDS = 2.0

_Value = TypeVar("_Value")


class Copies:
    """What each reader of each channel has, in its order."""

    def __init__(self) -> None:
        self._keys: defaultdict[str, defaultdict[Hashable, list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def add(self, channel: str, reader: Hashable, key: str) -> None:
        """The next that the reader has."""
        self._keys[channel][reader].append(key)

    def merged(self) -> list[str]:
        """Every key once, channel by channel."""
        return [key for copies in self._keys.values() for key in merge_copies(copies.values())]


class Gathering:
    """Notes what the readers of a channel bring that they have kept, for their orders to be merged.

    They bring it one after the other, and what one of them lacks stands in the middle of what the other has.
    A gathering begins at the start and with every record that was kept, and ends when no more of these come.
    ``clock`` gives monotonic seconds, ``wall_clock_ms`` the time that readers stamp records with.
    """

    def __init__(self, clock: Callable[[], float], wall_clock_ms: Callable[[], int]) -> None:
        self._clock = clock
        self._wall_clock_ms = wall_clock_ms
        self._late_before_ms = 0
        # None while nothing is gathered.
        self._brought: Copies | None = Copies()
        self._until = self._at_most = clock() + AT_START_SECONDS

    @property
    def goes_on(self) -> bool:
        """True while what is taken in has to wait."""
        return self._brought is not None

    def note(self, channel: str, reader: Hashable, key: str, received_ms: int) -> None:
        """A reader brings a record of the channel that it has read at that time, Unix milliseconds."""
        if received_ms < self._late_before_ms:
            now = self._clock()
            if self._brought is None:
                self._brought = Copies()
                self._until = now
                self._at_most = now + AT_MOST_SECONDS
            self._until = max(self._until, min(now + QUIET_SECONDS, self._at_most))
        if self._brought is not None:
            self._brought.add(channel, reader, key)

    def left_seconds(self) -> float:
        """Seconds until the gathering is over; call it once a round."""
        self._late_before_ms = self._wall_clock_ms() - LATE_MS
        return max(0.0, self._until - self._clock())

    def end(self, waiting: dict[str, _Value]) -> dict[str, _Value]:
        """``waiting`` by key, in the merged order; what was not gathered comes first."""
        brought, self._brought = self._brought or Copies(), None
        in_order = {key: waiting.pop(key) for key in brought.merged() if key in waiting}
        return waiting | in_order


def merge_copies(copies: Iterable[Sequence[str]]) -> list[str]:
    """All keys of ``copies``, each once, in an order that no copy contradicts.

    What only one copy has stands right behind its predecessor there, or before the first that another copy
    has too. Copies without anything in common follow each other. Where copies contradict each other the
    earlier one counts.
    """
    order: list[str] = []
    for copy in copies:
        order = _merge(order, copy) if order else list(dict.fromkeys(copy))
    return order


def _merge(order: list[str], copy: Sequence[str]) -> list[str]:
    known = set(order)
    behind: dict[str | None, list[str]] = {}
    anchor: str | None = None
    first_anchor = next((key for key in copy if key in known), None)
    for key in dict.fromkeys(copy):
        if key in known:
            anchor = key
        else:
            behind.setdefault(anchor, []).append(key)
    merged: list[str] = []
    for key in order:
        if key == first_anchor:
            merged += behind.pop(None, [])
        merged.append(key)
        merged += behind.pop(key, [])
    return merged + behind.pop(None, [])
