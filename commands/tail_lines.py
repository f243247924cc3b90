"""One chat message, or any record's JSON, as the line that ``make tail`` prints. Pure.

Chat is written by strangers, so nothing that a terminal would obey may reach it.
"""

import functools
import json
import re
import time
import zlib

import msgspec
from rich.console import Console
from rich.style import Style
from rich.text import Text

from shared.chat_message import ChatMessage

# C0, DEL and C1, then all that turns the direction of writing or ends a line.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f]")
# Without UTF-8 a terminal may take the bytes of other letters for C1.
_UNSAFE_WITHOUT_UTF8 = re.compile("[^ -~]")
# Of the 256 colours those that stand out against white and black alike, by a contrast of 4 at least.
_COLOURS = tuple(f"color({number})" for number in (131, 130, 64, 28, 30, 31, 27, 63, 98, 129, 133, 163, 161))
_FEW_COLOURS = ("red", "green", "magenta", "cyan")
_CHANNELS_KEPT = 4096
_NO_TIME = "--:--:--"
_BLANKS = bytes.maketrans(b"\t\n\r", b"   ")


read_message = msgspec.json.Decoder(ChatMessage).decode
"""The chat message of a record's value; raises ValueError when it is none."""


class Painter:
    """Makes text fit for a terminal, and paints it as far as ``console`` has colours."""

    def __init__(self, console: Console, utf8: bool) -> None:
        self._console = console
        self._unsafe = _UNSAFE if utf8 else _UNSAFE_WITHOUT_UTF8
        self.channel = functools.lru_cache(_CHANNELS_KEPT)(self._paint_channel)
        """A channel with its ``#``, in a colour of its own."""
        self._dim_on, self._dim_off = self._codes(Style(dim=True))
        self._bold_on, self._bold_off = self._codes(Style(bold=True))

    def visible(self, text: str) -> str:
        """The text without what a terminal would obey."""
        return self._unsafe.sub(_escaped, text)

    def dim(self, text: str) -> str:
        """Beside the point."""
        return f"{self._dim_on}{self.visible(text)}{self._dim_off}"

    def bold(self, text: str) -> str:
        """For the eye to find."""
        return f"{self._bold_on}{self.visible(text)}{self._bold_off}"

    def _paint_channel(self, channel: str) -> str:
        colours = _FEW_COLOURS if self._console.color_system == "standard" else _COLOURS
        # Not hash(), which is another one in every process.
        colour = colours[zlib.crc32(channel.encode()) % len(colours)]
        on, off = self._codes(Style.parse(colour))
        return f"{on}#{self.visible(channel)}{off}"

    def _codes(self, style: Style) -> tuple[str, str]:
        """What the terminal wants before and after a text of that style."""
        if self._console.no_color:
            return "", ""
        with self._console.capture() as painted:
            self._console.print(Text("|", style), end="")
        on, _, off = painted.get().partition("|")
        return on, off


class TextLines:
    """Lines for people: time, channel, sender, text."""

    def __init__(self, console: Console, utf8: bool) -> None:
        self._paint = Painter(console, utf8)

    def line(self, message: ChatMessage, _value: bytes) -> bytes:
        """The line with its end, UTF-8."""
        paint = self._paint
        return (
            f"{paint.dim(clock_time(message.timestamp // 1000))} {paint.channel(message.channel_id)} "
            f"{paint.bold(f'{message.username}:')} {paint.visible(message.message)}\n"
        ).encode()


class JsonLines:
    """Lines for machines: the record's value, byte for byte; ``to_terminal``: the same JSON made harmless."""

    def __init__(self, to_terminal: bool, utf8: bool) -> None:
        self._to_terminal = to_terminal
        self._unsafe = _UNSAFE if utf8 else _UNSAFE_WITHOUT_UTF8

    def line(self, _read: object, value: bytes) -> bytes:
        """The line with its end, UTF-8."""
        # Only between the parts of JSON that others have written, where they mean a blank.
        value = value.translate(_BLANKS)
        if self._to_terminal:
            value = self._unsafe.sub(_escaped_in_json, value.decode("utf-8", "replace")).encode()
        return value + b"\n"


@functools.lru_cache(_CHANNELS_KEPT)
def clock_time(seconds: int) -> str:
    """Local time of a Unix time, HH:MM:SS; dashes where the calendar has no such time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return _NO_TIME


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _escaped_in_json(found: re.Match[str]) -> str:
    # json.dumps leaves DEL as it is.
    return "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]
