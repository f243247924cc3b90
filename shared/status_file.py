"""What a worker tells about itself, for the monitor, the watchdog and people: one JSON file per program."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from loguru import logger

from shared.atomic_file import replace_file

CHANGED_SECONDS = 1.0
UNCHANGED_SECONDS = 5.0


class StatusFile:
    """Writes ``<folder>/<program>.json``, at most once a second, and every five seconds without a change.

    So a file older than some ten seconds belongs to a worker that hangs or is gone. ``clock`` gives
    monotonic seconds; ``written_monotonic`` in the file is such a time, for the processes of this machine
    only, as the wall clock may jump.
    """

    def __init__(self, folder: Path, program: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / f"{program}.json"
        self._fixed = {"program": program, "pid": os.getpid(), "started": round(time.time(), 3)}
        self._clock = clock
        self._written_at = float("-inf")
        self._last: dict[str, Any] = {}

    def update(self, report: Callable[[], dict[str, Any]]) -> float:
        """Write what ``report`` gives when it is time to; give the seconds until the next call makes sense.

        A disk that is full must not end a worker that could go on: a failed write is tried again.
        """
        now = self._clock()
        age = now - self._written_at
        if age < CHANGED_SECONDS:
            return CHANGED_SECONDS - age
        content = report()
        if content == self._last and age < UNCHANGED_SECONDS:
            return UNCHANGED_SECONDS - age
        times = {"written": round(time.time(), 3), "written_monotonic": now}
        whole = self._fixed | times | content
        # Also after a failure: the next attempt is due a pause later, not at once.
        self._written_at = now
        self._last = content
        try:
            replace_file(self._path, msgspec.json.encode(whole))
        except OSError as error:
            logger.debug("{} could not be written: {}", self._path.name, error.strerror)
        return CHANGED_SECONDS

    def remove(self) -> None:
        """Take the file away: the program was stopped in order."""
        # Where it could not be written there is nothing to take away.
        with contextlib.suppress(OSError):
            self._path.unlink()
