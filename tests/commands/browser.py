"""A real headless Chromium without JavaScript, driven by its DevTools protocol over a pair of pipes.

Not by its command line: that cannot look whether a page is wider than a phone's screen without a script.
"""

import base64
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
from typing import Any, Self

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = f"none of {', '.join(NAMES)} is on PATH; install one, on Debian: apt-get install chromium"
ANSWER_SECONDS = 60.0
PHONE = (360, 740)
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


class Browser:
    """One browser with one page; use it as a context manager. ``folder`` is for its profile."""

    def __init__(self, folder: Path, size: tuple[int, int] = PHONE, dark: bool = False) -> None:
        self.warnings: list[str] = []
        """What the browser's console says."""
        self._number = 0
        self._received = b""
        self._loaded: set[str] = set()
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
        self._size, self._dark = size, dark
        self._session = ""

    def __enter__(self) -> Self:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            width, height = self._size
            for domain in ("Page", "DOM", "CSS", "Log"):
                self._call(f"{domain}.enable")
            self._call("Page.setLifecycleEventsEnabled", enabled=True)
            self._call("Emulation.setScriptExecutionDisabled", value=True)
            self._call(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=height,
                deviceScaleFactor=2,
                mobile=self._size == PHONE,
            )
            scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
            self._call("Emulation.setEmulatedMedia", features=[scheme])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str) -> None:
        """Go there, and wait until the page that it ends at is loaded."""
        answer = self._call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        while answer["loaderId"] not in self._loaded:
            self._next()

    def click(self, selector: str) -> None:
        """Click on the element, and wait until the page that it leads to is loaded."""
        before = set(self._loaded)
        box = self._call("DOM.getBoxModel", nodeId=self._node(selector))["model"]["content"]
        at = {"x": (box[0] + box[4]) / 2, "y": (box[1] + box[5]) / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, **at)
        while self._loaded == before:
            self._next()

    def text_of(self, selector: str) -> str:
        """The element's HTML."""
        html: str = self._call("DOM.getOuterHTML", nodeId=self._node(selector))["outerHTML"]
        return html

    def style_of(self, selector: str, name: str) -> str:
        """The value that a property of the element has in the end."""
        styles = self._call("CSS.getComputedStyleForNode", nodeId=self._node(selector))["computedStyle"]
        return next(str(style["value"]) for style in styles if style["name"] == name)

    def overflow(self) -> float:
        """By how many CSS pixels the page is wider than what is seen of it."""
        metrics = self._call("Page.getLayoutMetrics")
        return float(metrics["cssContentSize"]["width"] - self._size[0])

    def screenshot(self, path: Path) -> None:
        """Keep what is seen as a PNG file."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser with all its processes."""
        os.close(self._write)
        os.close(self._read)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(ANSWER_SECONDS)

    def _node(self, selector: str) -> int:
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node: int = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"no {selector}"
        return node

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
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

    def _take_event(self, method: str | None, parameters: dict[str, Any]) -> None:
        if method == "Page.lifecycleEvent" and parameters["name"] == "load":
            self._loaded.add(parameters["loaderId"])
        elif method == "Log.entryAdded":
            self.warnings.append(parameters["entry"]["text"])
