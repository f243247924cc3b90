"""How a worker is told to stop: SIGTERM and SIGINT, or the death of its supervisor."""

import ctypes
import os
import signal
from types import FrameType

STOP_SECONDS = 5.0
"""What a worker may take for an ordered stop; below supervisord's ``stopwaitsecs``."""

EXIT_SECOND_SIGNAL = 3
STARTED_BY = "SUPERVISORD_PID"
"""Variable with the process id of supervisord, set by ``supervisor/start-worker``; no setting."""
_PR_SET_PDEATHSIG = 1


class Stop:
    """A request to stop that a selector can wait for: ``fileno()`` becomes readable with it.

    The first signal asks for an ordered stop, the second ends the process at once. SIGUSR1 only asks: the
    watchdog sends it to those who can stop early when supervisord, which stops all one by one, shuts down.
    """

    def __init__(self) -> None:
        self.requested = False
        self._terminated = False
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Descriptor that is readable once a stop is requested, and stays so."""
        return self._read_end

    def request(self) -> None:
        """Ask for an ordered stop. May be called from any thread and from a signal handler."""
        self.requested = True
        os.write(self._write_end, b"\0")

    def on_signals(self) -> None:
        """Take SIGTERM, SIGINT and SIGUSR1, and a SIGTERM from the kernel when the parent dies."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: self.request())
        self._end_with_parent()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._terminated:
            os._exit(EXIT_SECOND_SIGNAL)
        self._terminated = True
        self.request()

    def _end_with_parent(self) -> None:
        end_with_parent()
        # supervisord may have died before the kernel was asked to watch it: a start takes its time.
        started_by = os.environ.get(STARTED_BY)
        if started_by is not None and started_by != str(os.getppid()):
            self.request()


def end_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent dies, so that no worker outlives supervisord.

    Only Linux has that; elsewhere it does nothing.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
