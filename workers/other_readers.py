"""What the other readers of this installation read at the moment, from their status files."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shared.channel_list import names_of_copies
from shared.reports import ChannelReport, ReaderReport
from shared.status_file import STALE_SECONDS, Status, read_status

# Readers write once a second; asked for every line, their files are looked at so often.
KNOWN_SECONDS = 0.5


class Other(NamedTuple):
    """Another reader of a channel. Times are Unix milliseconds, 0 for none."""

    in_since_ms: int
    """Since when it is in the channel."""
    lacks_nothing: bool
    """Whether all that it has missed is there, or was told as a gap."""
    was_in_until_ms: int
    """Until when it was in the channel and lacked nothing; for one that is out of it."""
    gap_until_ms: int
    """Until when something is missing for good, the last time that it told so."""


class OtherReaders:
    """Looks at the status files in ``folder``, but not at the one of ``program``.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, folder: Path, program: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._program = program
        self._clock = clock
        # The channel of a room never changes, so the file of a reader of one is asked for it once.
        self._files: dict[str, set[Path]] = {}
        self._with_room: set[Path] = set()
        self._known: dict[str, tuple[bool, float]] = {}

    def of_channel(self, channel: str, copies: int) -> list[Other]:
        """What the other readers of the channel, one of this reader's, tell of it; it has ``copies``."""
        found = []
        for name in names_of_copies(self._program, copies):
            path = self._folder / f"{name}.json"
            status = None if name == self._program else read_status(path, ReaderReport)
            if status is not None and channel in status.report.channels:
                found.append(self._other(status, status.report.channels[channel]))
        return found

    def _other(self, status: Status[ReaderReport], report: ChannelReport) -> Other:
        if report.joined and self._is_alive(status):
            return Other(report.joined_since_ms, not report.absent_since_ms, 0, report.gap_until_ms)
        # Older versions do not tell up to when they have read.
        heard_ms = report.heard_ms or int(status.head.written * 1000) if report.joined else 0
        return Other(0, False, max(0, report.absent_since_ms or heard_ms), report.gap_until_ms)

    def read_room(self, room_id: str) -> bool:
        """Whether a reader is in the channel with that room id; may be half a second old."""
        now = self._clock()
        answer, until = self._known.get(room_id, (False, 0.0))
        if now >= until:
            answer = self._some_reader_is_in(room_id)
            if not answer:
                self._find_rooms()
                answer = self._some_reader_is_in(room_id)
            self._known[room_id] = answer, now + KNOWN_SECONDS
        return answer

    def _some_reader_is_in(self, room_id: str) -> bool:
        return any(self._is_in_room(path, room_id) for path in self._files.get(room_id, ()))

    def _find_rooms(self) -> None:
        for path in self._folder.glob("reader*-*.json"):
            if path not in self._with_room and (status := read_status(path, ReaderReport)):
                rooms = {one.room_id for one in status.report.channels.values() if one.room_id}
                for room in rooms:
                    self._files.setdefault(room, set()).add(path)
                # One of several may have another channel later.
                if rooms and path.name.startswith("reader-"):
                    self._with_room.add(path)

    def _is_in_room(self, path: Path, room_id: str) -> bool:
        status = None if path.stem == self._program else read_status(path, ReaderReport)
        return (
            status is not None
            and self._is_alive(status)
            and any(one.joined and one.room_id == room_id for one in status.report.channels.values())
        )

    def _is_alive(self, status: Status[ReaderReport]) -> bool:
        age = self._clock() - status.head.written_monotonic
        return not status.head.stopped and 0 <= age < STALE_SECONDS and _runs(status.head.pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
