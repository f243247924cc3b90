"""Several incomplete copies of one stream made into one again."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

# Readers try to come back to a new producer every half second at least.
AT_START_SECONDS = 2.0
# For the copies of the other readers of the channel, which mostly come some milliseconds later.
COPY_SECONDS = 0.1
# A reader that has brought nothing of the channel for so long is not waited for.
LIVE_SECONDS = 1.0
# A record that was read so long ago was kept by a reader that could not hand off; so may others have been.
LATE_MS = 1_000
LATE_SECONDS = 0.3
AT_MOST_SECONDS = 2.0

_Item = TypeVar("_Item")


class _Channel(Generic[_Item]):
    def __init__(self) -> None:
        self.items: dict[str, _Item] = {}
        # What each reader has brought since the first of the items came.
        self.brought: defaultdict[Hashable, list[str]] = defaultdict(list)
        self.until = self.at_most = 0.0
        self.last: dict[Hashable, tuple[str, float]] = {}

    def is_in_step(self, now: float) -> bool:
        """Whether all readers that are alive have brought the same last."""
        self.last = {reader: last for reader, last in self.last.items() if now - last[1] < LIVE_SECONDS}
        return len({key for key, _at in self.last.values()}) <= 1

    def take(self) -> list[_Item]:
        merged = [self.items[key] for key in merge_copies(self.brought.values()) if key in self.items]
        self.items = {}
        self.brought = defaultdict(list)
        return merged


class Merger(Generic[_Item]):
    """Holds what one reader of a channel brings until the others have brought as much, and merges it.

    What one reader lacks, as Twitch left it out there, or it was just started, stands in its place then. A
    reader that falls behind is waited for only so long, and longer when readers bring what they had to keep.
    ``clock`` gives monotonic seconds, ``wall_clock_ms`` the time that readers stamp records with.
    """

    def __init__(self, clock: Callable[[], float], wall_clock_ms: Callable[[], int]) -> None:
        self._clock = clock
        self._wall_clock_ms = wall_clock_ms
        self._late_before_ms = 0
        self._start_until = clock() + AT_START_SECONDS
        self._channels: defaultdict[str, _Channel[_Item]] = defaultdict(_Channel)
        # Those where something waits.
        self._open: dict[str, _Channel[_Item]] = {}
        self._waiting: dict[str, _Item] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, key: str) -> _Item | None:
        """The item that waits here under this key."""
        return self._waiting.get(key)

    def note(self, channel: str, reader: Hashable, key: str, received_ms: int, item: _Item | None) -> None:
        """A reader brings a record that it has read at that time, Unix milliseconds.

        ``item`` None when it is a copy of one that has come before.
        """
        now = self._clock()
        one = self._channels[channel]
        one.last[reader] = (key, now)
        if item is not None:
            if not one.items:
                one.until = max(now + COPY_SECONDS, self._start_until)
                one.at_most = now + AT_MOST_SECONDS
                self._open[channel] = one
            one.items[key] = self._waiting[key] = item
        if one.items:
            one.brought[reader].append(key)
            if received_ms < self._late_before_ms:
                one.until = max(one.until, min(now + LATE_SECONDS, one.at_most))

    def finished(self) -> Iterator[_Item]:
        """What need not wait any longer, in its order; call it once a round."""
        now = self._clock()
        self._late_before_ms = self._wall_clock_ms() - LATE_MS
        for channel, one in list(self._open.items()):
            if now >= one.until or self._is_whole(one, now):
                yield from self._take(channel)

    def everything(self) -> Iterator[_Item]:
        """What waits, in its order, without waiting for more."""
        for channel in list(self._open):
            yield from self._take(channel)

    def left_seconds(self) -> float | None:
        """Seconds until something need not wait any longer; None when nothing waits."""
        until = min((one.until for one in self._open.values()), default=None)
        return None if until is None else max(0.0, until - self._clock())

    def _is_whole(self, one: _Channel[_Item], now: float) -> bool:
        # What was kept comes one reader after the other: that they are in step for a moment says nothing.
        is_usual = one.until <= now + COPY_SECONDS and now >= self._start_until
        return is_usual and one.is_in_step(now)

    def _take(self, channel: str) -> list[_Item]:
        one = self._open.pop(channel)
        for key in one.items:
            del self._waiting[key]
        return one.take()


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
