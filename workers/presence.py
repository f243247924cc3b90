"""For how long each channel was left alone since it was joined first."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.reports import ReaderReport
from shared.status_file import Status


@dataclass
class _Channel:
    was_in: bool = False
    out_since: float | None = None
    seconds: float = 0.0


class Presence:
    """Counts the time out of each channel. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in: set[str] = set()
        self._channels: dict[str, _Channel] = {}

    def add(self, channel: str, left: Status[ReaderReport] | None) -> None:
        """Count for the channel from here on.

        ``left`` is what its last reader told last. When that was killed the channel has been out since then;
        the time after an ordered stop counts for nothing, as somebody wanted it so.
        """
        state = self._channels[channel] = _Channel()
        before = left.report.channels.get(channel) if left is not None else None
        if left is None or before is None:
            return
        state.seconds = before.offline_seconds
        # After a reboot the clock began anew, and nobody knows how long it took.
        killed = not left.head.stopped and left.head.written_monotonic <= self._clock()
        if killed and (before.joined or before.offline_seconds):
            state.was_in, state.out_since = True, left.head.written_monotonic

    def remove(self, channel: str) -> None:
        """Forget the channel."""
        del self._channels[channel]

    def look(self, joined: set[str]) -> None:
        """Take note of the channels that the reader is in now."""
        if joined == self._in:
            return
        self._in = set(joined)
        now = self._clock()
        for channel, state in self._channels.items():
            if channel in joined:
                if state.out_since is not None:
                    state.seconds += now - state.out_since
                state.was_in, state.out_since = True, None
            elif state.was_in and state.out_since is None:
                state.out_since = now

    def seconds_out(self, channel: str) -> float:
        """So many up to now."""
        state = self._channels[channel]
        return state.seconds + (0.0 if state.out_since is None else self._clock() - state.out_since)
