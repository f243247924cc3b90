"""Bytes from Twitch to lines, and lines to their parts. Pure.

The grammar is that of RFC 1459 with the tags of IRCv3 (https://ircv3.net/specs/extensions/message-tags).
"""

from typing import NamedTuple

MAX_LINE_BYTES = 64 * 1024

_OF_THE_CONNECTION = frozenset({"CAP", "PING", "PONG", "JOIN", "PART", "MODE", "RECONNECT"})
_UNESCAPED = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}


class LineSplitter:
    """Cuts a stream of bytes into lines, however the network cut it before.

    Only CR LF ends a line: a text may hold any other control character. Memory is bounded by
    ``max_line_bytes``; a longer line is skipped as a whole and counted in ``oversized``.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.oversized = 0
        self._max_line_bytes = max_line_bytes
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; give the lines that end in them, without CR LF and without empty ones."""
        rest = self._rest
        if rest:
            rest += data
            # A CR LF that came whole or in part with this data has its LF here; else nothing has ended.
            if b"\n" not in data:
                self._bound()
                return []
            data = bytes(rest)
            rest.clear()
        lines = data.split(b"\r\n")
        rest += lines.pop()
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        self._bound()
        if len(data) > self._max_line_bytes:
            short = [line for line in lines if len(line) <= self._max_line_bytes]
            self.oversized += len(lines) - len(short)
            lines = short
        return [line for line in lines if line]

    def _bound(self) -> None:
        # A CR at the end may be half of the CR LF, which is no part of the line.
        length = len(self._rest) - self._rest.endswith(b"\r")
        if self._skipping or length > self._max_line_bytes:
            if not self._skipping:
                self._skipping = True
                self.oversized += 1
            # The last byte may be the CR of the CR LF that ends the skipped line.
            del self._rest[:-1]


class IrcLine(NamedTuple):
    """The parts of one line."""

    tags: dict[str, str]
    """Unescaped; the last of a repeated key counts; a missing value is the empty one. [IRCv3]"""
    prefix: str
    """Who sent it, without the colon; empty when the line names nobody."""
    command: str
    """Upper case, or three digits."""
    params: list[str]
    """The last one may hold blanks, and is exactly as sent when it began with a colon."""

    @property
    def login(self) -> str:
        """The sender's login, lower case; empty when the sender is a server or nobody."""
        nick = self.prefix.partition("!")[0].partition("@")[0]
        return "" if "." in nick else nick.lower()


def concerns_connection(command: str) -> bool:
    """Whether a command, upper case, is of no interest to anybody but the connection; numerics are not."""
    return command in _OF_THE_CONNECTION or (len(command) == 3 and command.isascii() and command.isdigit())


def parse_line(line: bytes) -> IrcLine | None:
    """Take one line apart; None when it holds no command. Never raises.

    Bytes that are no UTF-8 become U+FFFD. Runs of blanks between the parts count as one.
    """
    text = line.decode("utf-8", "replace")
    tags: dict[str, str] = {}
    if text.startswith("@"):
        raw_tags, _, text = text[1:].partition(" ")
        for tag in raw_tags.split(";"):
            key, _, value = tag.partition("=")
            tags[key] = value
        if "\\" in raw_tags:
            tags = {key: unescape_tag(value) for key, value in tags.items()}
    text = text.lstrip(" ")
    prefix = ""
    if text.startswith(":"):
        prefix, _, text = text[1:].partition(" ")
        text = text.lstrip(" ")
    command, _, text = text.partition(" ")
    if not command:
        return None
    params: list[str] = []
    while text:
        if text[0] == ":":
            params.append(text[1:])
            break
        param, _, text = text.partition(" ")
        if param:
            params.append(param)
    return IrcLine(tags, prefix, command.upper(), params)


def unescape_tag(value: str) -> str:
    r"""Undo IRCv3's escapes; an unknown one loses its backslash, and so does a lone one at the end."""
    if "\\" not in value:
        return value
    head, *rest = value.split("\\")
    parts = [head]
    position = 0
    while position < len(rest):
        part = rest[position]
        if part:
            parts.append(_UNESCAPED.get(part[0], part[0]) + part[1:])
        elif position + 1 < len(rest):
            # Two backslashes in a row: the second one is a character, what follows it is plain.
            position += 1
            parts.append("\\" + rest[position])
        position += 1
    return "".join(parts)
