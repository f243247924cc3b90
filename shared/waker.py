"""Wakes a selector's loop from another thread."""

import contextlib
import os


class Waker:
    """``fileno()`` is readable after ``wake`` until ``clear``."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._awake = False

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._read_end

    def wake(self) -> None:
        """Wake the loop; calls before the next ``clear`` cost nothing."""
        if not self._awake:
            self._awake = True
            os.write(self._write_end, b"\0")

    def clear(self) -> None:
        """Sleep again. What was woken for must be looked at after this call, not before."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_end, 64)
        self._awake = False
