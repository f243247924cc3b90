"""Which messages were already taken in, so that nothing is in the topic twice. Pure but for the clock."""

import time
from collections import deque
from collections.abc import Callable

from shared.record import Record

KEEP_SECONDS = 600.0
KEEP_AT_LEAST = 100_000
KEEP_AT_MOST = 1_000_000


def key_of(channel: str, record_id: str, is_event: bool = False) -> str:
    """What a record is known by.

    Twitch gives a message of a shared chat another id in every channel, but only says so for those; the
    channel is part of the key so that two channels can never hide each other's messages. A message and the
    event that tells of it have the same id.
    """
    return f"\n{channel} {record_id}" if is_event else f"{channel} {record_id}"


def key_of_record(record: Record) -> str:
    """The same of a record that has an id."""
    return key_of(record.channel, record.id, is_event=bool(record.type))


def is_event_key(key: str) -> bool:
    """Whether a key is of an event."""
    return key.startswith("\n")


class SeenIds:
    """Remembers records: those of the last ten minutes, to the second, and the newest 100,000 in any case.

    At most a million are kept (about 140 MB), whatever the rate. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        keep_seconds: float = KEEP_SECONDS,
        at_least: int = KEEP_AT_LEAST,
        at_most: int = KEEP_AT_MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._at_least = at_least
        self._at_most = at_most
        self._clock = clock
        self._known: set[str] = set()
        self._in_order: deque[str] = deque()
        # For each second: when it began, and how many of the oldest are of it.
        self._seconds: deque[list[float]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def add(self, key: str) -> bool:
        """Remember what ``key_of`` gave; False when it was known."""
        known = self._known
        if key in known:
            return False
        now = self._clock()
        known.add(key)
        self._in_order.append(key)
        seconds = self._seconds
        if seconds and now - seconds[-1][0] < 1.0:
            seconds[-1][1] += 1
        else:
            seconds.append([now, 1])
        while len(known) > self._at_least:
            if len(known) <= self._at_most and now - seconds[0][0] <= self._keep_seconds:
                break
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        self._known.discard(self._in_order.popleft())
        oldest = self._seconds[0]
        oldest[1] -= 1
        if not oldest[1]:
            self._seconds.popleft()
