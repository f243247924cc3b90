"""Ctrl-C of `make record` and `make replay`."""

import os
import signal

from shared.stopping import EXIT_SECOND_SIGNAL, Stop


def stop_on_signals(stop: Stop) -> None:
    """Have Ctrl-C, SIGTERM and the end of the terminal ask for a stop; the second one ends the process."""

    def on_signal(_number: int, _frame: object) -> None:
        if stop.requested:
            os._exit(EXIT_SECOND_SIGNAL)
        stop.request()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    # Ignored by `nohup`, which is there for that.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, on_signal)
