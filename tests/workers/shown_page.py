"""The monitor's page in a browser, with the server that it polls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from shared.overview import Overview
from tests.commands.browser import DESKTOP, Browser
from tests.processes.service import wait_until
from tests.workers.page_server import PageServer

VALUE_OF = "(selector) => document.querySelector(selector).dataset.value"
TEXT_OF = "(selector) => document.querySelector(selector).textContent"
IS_HIDDEN = "(selector) => document.querySelector(selector).closest('[hidden]') !== null"
STATE_IS = "(state) => document.documentElement.dataset.state === state"


class ShownPage:
    """Use it as a context manager."""

    def __init__(
        self, folder: Path, overview: Overview, size: tuple[int, int] = DESKTOP, *, dark: bool = False
    ) -> None:
        self.server = PageServer(overview)
        self.browser = Browser(folder / "profile", size, dark, scripts=True)

    def __enter__(self) -> Self:
        self.server.start()
        self.browser.__enter__()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        self.server.stop()

    def open(self) -> None:
        """Load it, and wait until it shows the overview."""
        self.browser.open(self.server.url)
        self._wait_shown(self.server.overview)

    def reload(self) -> None:
        """Load it again, as it is."""
        self.browser.reload()
        self._wait_shown(self.server.overview)

    def show(self, overview: Overview) -> None:
        """Have the server tell this from now on, and wait until the page shows it."""
        later = msgspec.structs.replace(overview, time_ms=self.server.overview.time_ms + 1)
        self.server.overview = later
        self._wait_shown(later)

    def wait_polls(self, more: int = 2) -> None:
        """Wait until the page has asked again; the last answer but one is shown then."""
        wanted = self.server.polls + more
        wait_until(lambda: self.server.polls >= wanted, "the page asks")

    def wait_text(self, selector: str, condition: Callable[[str], bool]) -> None:
        """Wait until an element's text is so."""
        wait_until(lambda: condition(self.text(selector)), lambda: f"{selector}: {self.text(selector)}")

    def value(self, selector: str) -> str:
        """The exact value of what the element shows for people."""
        found: str = self.browser.evaluate(VALUE_OF, selector)
        return found

    def text(self, selector: str) -> str:
        """What the element shows."""
        found: str = self.browser.evaluate(TEXT_OF, selector)
        return found

    def is_hidden(self, selector: str) -> bool:
        """Whether the element, or what it is in, is not shown."""
        return bool(self.browser.evaluate(IS_HIDDEN, selector))

    def channels(self) -> list[str]:
        """The names of the channels that are shown, from the top down."""
        rows = "[...document.querySelectorAll('[data-channel]:not([hidden])')]"
        found: list[str] = self.browser.evaluate(f"{rows}.map((row) => row.dataset.channel)")
        return found

    def evaluate(self, expression: str, *values: object) -> Any:
        """As the browser's."""
        return self.browser.evaluate(expression, *values)

    def _wait_shown(self, overview: Overview) -> None:
        self.browser.wait_for(
            "(ms) => document.querySelector('#clock').dataset.value === String(ms)", overview.time_ms
        )
