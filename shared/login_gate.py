"""The gate that all readers pass before a login or a JOIN, so that together they stay below Twitch's limits.

Twitch allows 20 logins and 20 JOINs in 10 s for an account, and closes connections that go over
(https://dev.twitch.tv/docs/chat/#rate-limits).
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

Kind = Literal["login", "join"]

LIMIT = 20
# The limit is Twitch's, and so is its clock: the margin is for lines that are delayed on their way.
WINDOW_SECONDS = 10.5


class LoginGate:
    """Hands out times at which to log in or to join, one after the other, over all processes of this folder.

    The times are kept in the file ``path``. ``clock`` gives seconds that all processes of the machine share.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock

    def reserve(self, kind: Kind, apart_seconds: float = 0.0) -> float:
        """Take the next free place; give its time by the clock, which is now or later.

        It is at least ``apart_seconds`` behind the last one of its kind that was taken. Never blocks for
        longer than the other processes need to do the same. Raises OSError when the file cannot be written.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            now = self._clock()
            places = _decode(file.read())
            # Times far ahead are of another boot of the machine: the clock started anew.
            taken = [at for at in places.get(kind, []) if now - WINDOW_SECONDS < at < now + 3600]
            place = now if len(taken) < LIMIT else max(now, taken[-LIMIT] + WINDOW_SECONDS)
            if apart_seconds and taken:
                place = max(place, taken[-1] + apart_seconds)
            # Who keeps no distance may get one before those that do.
            places[kind] = sorted([*taken, place])
            file.seek(0)
            file.write(msgspec.json.encode(places))
            file.truncate()
        return place


def _decode(content: bytes) -> dict[str, list[float]]:
    try:
        return msgspec.json.decode(content, type=dict[str, list[float]])
    except msgspec.DecodeError:
        # Empty at first, or cut off by a full disk.
        return {}
