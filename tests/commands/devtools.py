"""A real headless Chromium, driven by its DevTools protocol over a pair of pipes.

Not by its command line: that cannot look whether a page is wider than a phone's screen without a script.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = f"none of {', '.join(NAMES)} is on PATH; install one, on Debian: apt-get install chromium"
ANSWER_SECONDS = 60.0
# Chromium reads from descriptor 3 and writes to 4.
_LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = (
    "--headless",
    # In containers tests run as root, where the sandbox does not work.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


def find_browser() -> str:
    """The browser's path. Without one the test is skipped, but in continuous integration it fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(HOW_TO_INSTALL)
        pytest.skip(HOW_TO_INSTALL)
    return found


class DevTools:
    """One browser; ``folder`` is for its profile."""

    def __init__(self, folder: Path) -> None:
        self.warnings: list[str] = []
        """What the browser's console says, and what scripts failed with."""
        self.session = ""
        self._number = 0
        self._received = b""
        self.loaded: set[str] = set()
        """The loads that are done."""
        read_end, self._write = os.pipe()
        self._read, write_end = os.pipe()
        high = [fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10) for low in (read_end, write_end)]
        command = [find_browser(), *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-IS", "-c", _LAUNCH, *map(str, high), *command],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # With all its helpers it is one group, which is ended as a whole.
            start_new_session=True,
        )
        for theirs in (read_end, write_end, *high):
            os.close(theirs)

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self.next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def next(self) -> dict[str, Any]:
        """What the browser says next, an answer or an event."""
        end = time.monotonic() + ANSWER_SECONDS
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"the browser says nothing in {ANSWER_SECONDS:.0f} s"
            part = os.read(self._read, 2**16)
            assert part, f"the browser has ended: {self._process.wait(ANSWER_SECONDS)}"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        self._take_event(found.get("method"), found.get("params", {}))
        return found

    def close(self) -> None:
        """End the browser with all its processes."""
        os.close(self._write)
        os.close(self._read)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(ANSWER_SECONDS)

    def _take_event(self, method: str | None, parameters: dict[str, Any]) -> None:
        if method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self.loaded.add(parameters["loaderId"])
        elif method == "Log.entryAdded":
            self.warnings.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.warnings.append(str([argument.get("value") for argument in parameters["args"]]))
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.warnings.append(details.get("exception", {}).get("description", details["text"]))
