"""One page in a real headless Chromium, as a user sees and handles it; scripts are off unless asked for."""

import base64
import json
import time
from pathlib import Path
from typing import Any, Self

from tests.commands.devtools import ANSWER_SECONDS, DevTools, find_browser

__all__ = ["DESKTOP", "PHONE", "TABLET", "Browser", "find_browser"]

PHONE = (360, 740)
TABLET = (768, 1024)
DESKTOP = (1280, 800)
# Name: code of the key, and the text that it enters.
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}
_SHIFT = 8


class Browser:
    """One browser with one page; use it as a context manager. ``folder`` is for its profile.

    ``scripts`` lets the page's own JavaScript run; ``still`` asks pages for as little motion as possible.
    """

    def __init__(
        self,
        folder: Path,
        size: tuple[int, int] = PHONE,
        dark: bool = False,
        *,
        scripts: bool = False,
        still: bool = False,
    ) -> None:
        self._devtools = DevTools(folder)
        self._call = self._devtools.call
        self._size, self._dark, self._scripts, self._still = size, dark, scripts, still

    def __enter__(self) -> Self:
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self._devtools.session = session
            for domain in ("Page", "DOM", "CSS", "Log", *(("Runtime",) if self._scripts else ())):
                self._call(f"{domain}.enable")
            self._call("Page.setLifecycleEventsEnabled", enabled=True)
            self._call("Emulation.setScriptExecutionDisabled", value=not self._scripts)
            # Without it the page of a headless browser does not know of its focus.
            self._call("Emulation.setFocusEmulationEnabled", enabled=True)
            self.resize(self._size)
            self.prefer(dark=self._dark, still=self._still)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def warnings(self) -> list[str]:
        """What the browser's console says, and what scripts failed with."""
        return self._devtools.warnings

    def resize(self, size: tuple[int, int]) -> None:
        """Another screen, width and height in CSS pixels; the phone's is a touch screen."""
        self._size = size
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=2,
            mobile=size == PHONE,
        )

    def prefer(self, *, dark: bool, still: bool = False) -> None:
        """What the user has set: the colour scheme, and whether motion is to be reduced."""
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        pairs = [{"name": name, "value": value} for name, value in features.items()]
        self._call("Emulation.setEmulatedMedia", features=pairs)

    def open(self, url: str) -> None:
        """Go there, and wait until the page that it ends at is loaded."""
        answer = self._call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        while answer["loaderId"] not in self._devtools.loaded:
            self._devtools.next()

    def reload(self) -> None:
        """Load the page again, and wait until it is loaded."""
        before = set(self._devtools.loaded)
        self._call("Page.reload")
        while self._devtools.loaded == before:
            self._devtools.next()

    def click(self, selector: str, *, loads: bool = True) -> None:
        """Click on the element; with ``loads`` wait until the page that it leads to is loaded."""
        before = set(self._devtools.loaded)
        node = self._node(selector)
        self._call("DOM.scrollIntoViewIfNeeded", nodeId=node)
        box = self._call("DOM.getBoxModel", nodeId=node)["model"]["content"]
        at = {"x": (box[0] + box[4]) / 2, "y": (box[1] + box[5]) / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, **at)
        while loads and self._devtools.loaded == before:
            self._devtools.next()

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and let go a key: Tab, Enter, Escape or the space bar."""
        code, text = _KEYS[key]
        event = {"key": key, "windowsVirtualKeyCode": code, "modifiers": _SHIFT if shift else 0}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **event)
        self._call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Enter a text where the focus is."""
        self._call("Input.insertText", text=text)

    def text_of(self, selector: str) -> str:
        """The element's HTML."""
        html: str = self._call("DOM.getOuterHTML", nodeId=self._node(selector))["outerHTML"]
        return html

    def attribute_of(self, selector: str, name: str) -> str | None:
        """The value of an attribute; None when the element does not have it."""
        pairs = self._call("DOM.getAttributes", nodeId=self._node(selector))["attributes"]
        return dict(zip(pairs[::2], pairs[1::2], strict=True)).get(name)

    def style_of(self, selector: str, name: str) -> str:
        """The value that a property of the element has in the end."""
        styles = self._call("CSS.getComputedStyleForNode", nodeId=self._node(selector))["computedStyle"]
        return next(str(style["value"]) for style in styles if style["name"] == name)

    def evaluate(self, expression: str, *values: object) -> Any:
        """The value of a JavaScript expression, or of a function that gets ``values``; both as JSON."""
        if values:
            expression = f"({expression})(...{json.dumps(values)})"
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, *values: object) -> None:
        """Wait until a JavaScript expression, as for ``evaluate``, is true."""
        end = time.monotonic() + ANSWER_SECONDS
        while not self.evaluate(expression, *values):
            assert time.monotonic() < end, f"not within {ANSWER_SECONDS:.0f} s: {expression} of {values}"
            time.sleep(0.05)

    def names(self) -> list[tuple[str, str]]:
        """What a screen reader is told: role and name of everything that is not left out."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        kept = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in kept]

    def overflow(self) -> float:
        """By how many CSS pixels the page is wider than what is seen of it."""
        metrics = self._call("Page.getLayoutMetrics")
        return float(metrics["cssContentSize"]["width"] - self._size[0])

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Keep what is seen, or the whole page, as a PNG file."""
        parameters: dict[str, Any] = {}
        if whole:
            content = self._call("Page.getLayoutMetrics")["cssContentSize"]
            parameters = {"captureBeyondViewport": True, "clip": content | {"scale": 0.5}}
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", **parameters)["data"]))

    def close(self) -> None:
        """End the browser with all its processes."""
        self._devtools.close()

    def _node(self, selector: str) -> int:
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node: int = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        assert node, f"no {selector}"
        return node
