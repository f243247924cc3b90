"""The loop between Twitch and the files of a recording."""

import selectors
import time
from collections.abc import Sequence

from commands.record_display import Progress
from commands.record_file import HourFiles
from shared.paths import Paths
from shared.settings import Settings
from shared.stopping import Stop
from shared.waker import Waker
from workers.twitch_connection import TwitchConnection
from workers.twitch_session import SessionListener, TwitchSession


class Recorder(SessionListener):
    """Keeps the ``wanted`` channels joined and writes every line to the files."""

    def __init__(
        self, configured: Settings, paths: Paths, wanted: Sequence[str], files: HourFiles, progress: Progress
    ) -> None:
        self._wanted = wanted
        self._files = files
        self._progress = progress
        self._was_complete = False
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._session = TwitchSession(
            configured,
            paths,
            wanted,
            self,
            lambda _line, _received_ms: None,
            self._waker.wake,
            tap=self._take,
        )

    def run(self, stop: Stop) -> None:
        """Record until ``stop`` is requested. Raises RecordingFailed."""
        self._selector.register(stop, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._files.open(_now_ms())
        try:
            while not stop.requested:
                self._round()
            self._session.close()
        finally:
            self._files.close()

    def _round(self) -> None:
        waits = [1.0, self._session.go_on(), self._files.tick(_now_ms())]
        if self._session.has_undelivered:
            waits.append(0.0)
        self._show()
        self._session.watch(self._selector)
        for key, _events in self._selector.select(min(wait for wait in waits if wait is not None)):
            if key.fileobj is self._waker:
                self._waker.clear()
                self._session.on_wake()
            elif isinstance(key.data, TwitchConnection):
                key.data.on_readable()
        self._session.read_undelivered()

    def _take(self, raw: bytes, received_ms: int) -> None:
        self._files.add(raw, received_ms)
        if raw.startswith(b":") and b" 001 " in raw:
            self._files.first_line = raw

    def _show(self) -> None:
        missing = [channel for channel in self._wanted if channel not in self._session.joined]
        is_complete, was_complete = not missing, self._was_complete
        self._was_complete = is_complete
        self._progress.update(lambda: self._state(missing), at_once=is_complete and not was_complete)

    def _state(self, missing: Sequence[str]) -> str:
        count = len(self._wanted)
        text = f"{count - len(missing)} of {counted(count, 'channel')} joined, "
        text += f"{counted(self._files.lines, 'line')}, {self._files.name}"
        if self._session.trouble:
            return f"{text}; {self._session.trouble}"
        troubles = [(channel, self._session.trouble_of(channel)) for channel in missing]
        return text + "".join(f"; #{channel}: {trouble}" for channel, trouble in troubles[:3] if trouble)


def counted(count: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
