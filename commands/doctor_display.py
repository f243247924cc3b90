"""How `make doctor` shows its points: a line each as it is done, and meanwhile what is waited for."""

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from commands.doctor_point import BAD, GOOD, UNTRIED, Point
from commands.status_tables import plain

NAME_WIDTH = 12
# Where no line can be taken back, what takes so long is told by one that stays.
LONG_SECONDS = 1.0
# As in the log: shorter ones would black out harmless text.
_SECRET_LETTERS = 6
_STYLES = {GOOD: "green", BAD: "bold red", UNTRIED: "dim"}
_ASCII = {GOOD: "ok", BAD: "XX", UNTRIED: "--"}


class Display:
    """Standard output, in colours on a terminal only. Nothing foreign can control it, no secret is shown."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._signs = {sign: sign for sign in _STYLES}
        if not self._console.encoding.lower().startswith("utf"):
            self._signs = _ASCII
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(errors="backslashreplace")
        self._secrets: list[str] = []

    def hide(self, secrets: Iterable[str]) -> None:
        """Do not show these from now on."""
        known = {secret.removeprefix("oauth:") for secret in secrets}.union(self._secrets)
        self._secrets = sorted((one for one in known if len(one) >= _SECRET_LETTERS), key=len, reverse=True)

    def show(self, point: Point) -> None:
        """Print the point."""
        text = Text()
        text.append(f"{self._signs[point.sign]} {point.name:{NAME_WIDTH}} ", style=_STYLES[point.sign])
        text.append(self._shown(point.text), style="dim" if point.sign == UNTRIED else "")
        indent = " " * (len(self._signs[point.sign]) + NAME_WIDTH + 2)
        for line in (*point.notes, *([f"→ {point.remedy}"] if point.remedy else [])):
            text.append(f"\n{indent}{self._shown(line)}")
        self.print(text)

    def print(self, text: str | Text) -> None:
        """Print a line without breaking it where no terminal's width asks for that."""
        self._console.print(text, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Tell what is waited for while the context lasts."""
        text = f"{self._shown(text)} …"
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            with self._console.status(Text(text)):
                yield
            return
        timer = threading.Timer(LONG_SECONDS, lambda: print(text, file=sys.stderr, flush=True))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _shown(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return plain(text)
