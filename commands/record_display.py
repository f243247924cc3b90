"""The line of progress of `make record` and `make replay`."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from commands.status_tables import plain
from shared.timing import Reminder

ON_TERMINAL_SECONDS = 0.5
ELSEWHERE_SECONDS = 60.0


class Progress:
    """One line on standard error that is kept current; where that is no terminal, a line after each minute.

    ``program`` begins the lines that stay. That nobody reads it any more, or the terminal is gone, ends
    nothing.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._live: Live | None = None
        self._reminder = Reminder(ELSEWHERE_SECONDS)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show it while the context lasts; what is printed meanwhile stands above it."""
        console = Console(stderr=True, highlight=False)
        if not console.is_terminal or console.is_dumb_terminal:
            self._reminder.put_off()
            yield
            return
        self._reminder = Reminder(ON_TERMINAL_SECONDS)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        with contextlib.suppress(OSError):
            live.start()
        self._live = live
        try:
            yield
        finally:
            self._live = None
            with contextlib.suppress(OSError):
                live.stop()

    def update(self, text: Callable[[], str], at_once: bool = False) -> None:
        """Show what ``text`` gives when it is time to, or ``at_once``."""
        if at_once:
            self._reminder.reset()
        if not self._reminder.is_due():
            return
        if self._live is None:
            self.say(text())
        else:
            with contextlib.suppress(OSError):
                self._live.update(Text(plain(text()), no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, text: str) -> None:
        """A line for the user that stays."""
        try:
            print(f"{self._program}: {plain(text)}", file=sys.stderr, flush=True)
        except OSError:
            # What is left in its buffer would make a failure of the end of the process.
            sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
