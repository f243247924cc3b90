"""What a worker tells about itself, for the monitor, the watchdog and people: one JSON file per program."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from loguru import logger

from shared.atomic_file import replace_file

CHANGED_SECONDS = 1.0
UNCHANGED_SECONDS = 5.0
STALE_SECONDS = 12.0
"""A worker that has not written for so long hangs or is gone: two of its writings are missing."""

_Report = TypeVar("_Report")


class Head(msgspec.Struct):
    """What every status file has besides the report."""

    pid: int
    written_monotonic: float
    """Monotonic seconds, which all processes of a boot share; the wall clock may jump."""
    stopped: bool = False
    """True after an ordered stop."""
    written: float = 0.0
    """The moment of ``written_monotonic`` by the wall clock, Unix seconds."""


@dataclass(frozen=True)
class Status(Generic[_Report]):
    """A status file."""

    head: Head
    report: _Report


class StatusFile:
    """Writes ``<folder>/<program>.json``, at most once a second, and every five seconds without a change.

    So a file older than some ten seconds belongs to a worker that hangs or is gone. It stays when the worker
    ends: the next one begins with the totals that are in it. ``clock`` gives monotonic seconds.
    """

    def __init__(self, folder: Path, program: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / f"{program}.json"
        self._fixed = {"program": program, "pid": os.getpid(), "started": round(time.time(), 3)}
        self._clock = clock
        self._written_at = float("-inf")
        self._last: Any = None

    @property
    def next_at(self) -> float:
        """Before this time, monotonic seconds, a change is not written."""
        return self._written_at + CHANGED_SECONDS

    def left(self, kind: type[_Report]) -> Status[_Report] | None:
        """What the worker's predecessor told last; None when there was none or it cannot be read."""
        return read_status(self._path, kind)

    def update(self, report: Callable[[], Any]) -> float:
        """Write what ``report`` gives when it is time to; give the seconds until the next call makes sense.

        A report is a dict or one of ``shared.reports``. A disk that is full must not end a worker that could
        go on: a failed write is tried again.
        """
        now = self._clock()
        age = now - self._written_at
        if age < CHANGED_SECONDS:
            return CHANGED_SECONDS - age
        content = msgspec.to_builtins(report())
        if content == self._last and age < UNCHANGED_SECONDS:
            return UNCHANGED_SECONDS - age
        # Also after a failure: the next attempt is due a pause later, not at once.
        self._written_at = now
        self._last = content
        self._write(content, stopped=False)
        return CHANGED_SECONDS

    def hurry(self) -> None:
        """Write at the next ``update``, however short the last one is ago."""
        self._written_at = float("-inf")

    def finish(self, report: Any) -> bool:
        """Write the last report: the program was stopped in order. False when that was not possible."""
        return self._write(msgspec.to_builtins(report), stopped=True)

    def write_for(self, head: Head, report: Any) -> bool:
        """Write what another program has told, as at that time. False when that was not possible."""
        return self._replace(msgspec.to_builtins(head) | msgspec.to_builtins(report))

    def _write(self, content: dict[str, Any], stopped: bool) -> bool:
        times = {"written": round(time.time(), 3), "written_monotonic": self._clock(), "stopped": stopped}
        return self._replace(times | content)

    def _replace(self, content: dict[str, Any]) -> bool:
        try:
            replace_file(self._path, msgspec.json.encode(self._fixed | content))
        except OSError as error:
            logger.debug("{} could not be written: {}", self._path.name, error.strerror)
            return False
        return True


def read_status(path: Path, kind: type[_Report]) -> Status[_Report] | None:
    """What a program has last told; None when there is no file or it makes no sense."""
    try:
        content = path.read_bytes()
        return Status(msgspec.json.decode(content, type=Head), msgspec.json.decode(content, type=kind))
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return None
