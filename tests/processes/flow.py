"""Chat that goes on in the background."""

import itertools
import threading
from collections.abc import Iterator

from tests.fakes.fake_twitch import FakeTwitch, chat_line


class Flow:
    """Chat in a channel, evenly, until ``finish``."""

    def __init__(self, twitch: FakeTwitch, channel: str, per_second: float) -> None:
        self._channel = channel
        self._ids: list[str] = []
        self._finished = threading.Event()
        self._playing = twitch.start_playing(channel, self._lines(), per_second)

    def _lines(self) -> Iterator[bytes]:
        for number in itertools.count():
            if self._finished.is_set():
                return
            self._ids.append(f"flow-{number}")
            yield chat_line(self._channel, f"message {number}", id=f"flow-{number}")

    def finish(self) -> list[str]:
        """End it; the ids of everything that was said, in order."""
        self._finished.set()
        self._playing.result(30)
        return self._ids
