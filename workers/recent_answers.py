"""The answers of a recent-messages service, and what several of them tell together. Pure.

Facts of the service, https://github.com/robotty/recent-messages2 and its page ``/api`` (read in its code):

- It answers ``{"messages": [...], "error": ..., "error_code": ...}``, oldest first, and takes the newest
  where there are more than the limit. The limit goes by what is stored, and what is not shown (JOIN, some
  NOTICEs) is left out afterwards: a full answer may hold fewer lines. A service of one's own gives 500 lines
  at most unless told otherwise.
- It keeps a line for 24 hours, and stays in a channel for 24 hours after the last request for it.
- Its times are of its own clock, which its ``Date`` tells.
- ``error_code`` with status 200 is ``channel_not_joined``: it is not in the channel now, or this was the
  first request for it. Messages come all the same.
- A line that a CLEARCHAT or CLEARMSG of the same answer deletes has ``rm-deleted=1``. It is handed on as it
  is: a reader that was there has taken it too, and the deletion follows it.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from shared.irc_line import MAX_LINE_BYTES, IrcLine, parse_line

LIMIT = 800
# With fewer lines an answer is not cut off by any limit that is in use.
FULL_LINES = 400
# One reader is not to keep the others waiting, and the lines are in its memory: 3 KB each.
MAX_LINES = 8_000
KEPT_MS = 24 * 3600 * 1000
_LONGEST_TEXT = 200


@dataclass(frozen=True)
class Fetched:
    """What the service has said."""

    lines: list[IrcLine] = field(default_factory=list)
    """Oldest first."""
    since_ms: int | None = None
    """From here on, Unix ms by our clock, ``lines`` is whole; None when nobody knows."""
    trouble: str = ""
    """Why not everything that was asked for is there; for people, one line. Empty when it is."""
    unreadable: int = 0
    """Messages that were no lines."""


class _Answer(msgspec.Struct):
    messages: list[Any]
    error: Any = None
    error_code: Any = None


@dataclass(frozen=True)
class Page:
    """One answer."""

    lines: list[IrcLine]
    count: int
    """Of the messages, with those that are no lines."""
    error: str
    """What the service says about itself; empty when it says nothing."""

    @property
    def oldest_ms(self) -> int | None:
        """The earliest receipt by the service, Unix ms; None when no line tells."""
        return min((ms for ms in map(_received_ms, self.lines) if ms is not None), default=None)


def read_page(content: bytes) -> Page:
    """Read an answer with status 200. Raises ValueError when it is none."""
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("no answer of the service") from None
    lines = [line for line in map(_line, answer.messages) if line is not None]
    return Page(lines, len(answer.messages), printable(answer.error or answer.error_code or ""))


def read_refusal(content: bytes) -> str:
    """The reason in an answer with another status; empty when there is none."""
    try:
        return printable(msgspec.json.decode(content, type=dict[str, Any]).get("error") or "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""


def printable(said: object) -> str:
    """Fit for a line of a log, whatever others say."""
    return "".join(letter for letter in str(said) if letter.isprintable())[:_LONGEST_TEXT]


class Collected:
    """The answers to one question, from the newest to the oldest.

    ``after_ms`` is since when lines are wanted, Unix ms; None wants one answer. ``ahead_ms`` is how far the
    service's clock is ahead of ours, by which both times are.
    """

    def __init__(self, after_ms: int | None, before_ms: int, ahead_ms: int = 0) -> None:
        self.after_ms = None if after_ms is None else after_ms + ahead_ms
        """What to ask for, by the service's clock."""
        # One that seems to be behind may have answered late: nothing is lost by asking up to ours as well.
        self.before_ms = before_ms + max(0, ahead_ms)
        """What to ask for next, by the service's clock."""
        self.wants_more = True
        self.trouble = ""
        """As in ``Fetched``."""
        self._ahead_ms = ahead_ms
        self._kept_since_ms = before_ms + ahead_ms - KEPT_MS
        self._since_ms: int | None = None
        self._pages: list[list[IrcLine]] = []
        self._seen: set[str] = set()
        self._unreadable = 0

    def add(self, page: Page) -> None:
        """Take the next older answer."""
        lines = [line for line in page.lines if not self._is_known(line)]
        self._seen.update(map(_key, lines))
        self._pages.append(lines)
        self._unreadable += page.count - len(page.lines)
        oldest = page.oldest_ms
        if page.error:
            self._end(None, f"the service says: {page.error}")
        elif self.after_ms is None:
            self._end(oldest, "")
        elif page.count < FULL_LINES or (oldest is not None and oldest < self.after_ms):
            self._all_there(self.after_ms)
        else:
            self._go_back(oldest)

    def _is_known(self, line: IrcLine) -> bool:
        """Whether an answer before had it, as they overlap in a millisecond; or nobody has asked for it."""
        received_ms = _received_ms(line)
        too_old = self.after_ms is not None and received_ms is not None and received_ms < self.after_ms
        return too_old or _key(line) in self._seen

    def _all_there(self, after_ms: int) -> None:
        if after_ms < self._kept_since_ms:
            self._end(self._kept_since_ms, "the service keeps what was said for 24 hours")
        else:
            self._end(after_ms, "")

    def _go_back(self, oldest_ms: int | None) -> None:
        # The oldest millisecond may have been cut in two, and it is not told whether `before` is inclusive.
        if oldest_ms is None or oldest_ms + 1 >= self.before_ms:
            self._end(self._since_ms, "the service gives nothing older")
        elif sum(map(len, self._pages)) >= MAX_LINES:
            self._end(oldest_ms, f"no more than {MAX_LINES} messages are asked for")
        else:
            self._since_ms, self.before_ms = oldest_ms, oldest_ms + 1

    def _end(self, since_ms: int | None, trouble: str) -> None:
        self.wants_more, self._since_ms, self.trouble = False, since_ms, trouble

    def result(self) -> Fetched:
        """Everything in order."""
        lines = [line for page in reversed(self._pages) for line in page]
        since_ms = None if self._since_ms is None else self._since_ms - self._ahead_ms
        return Fetched(lines, since_ms, self.trouble, self._unreadable)


def _line(message: object) -> IrcLine | None:
    if not isinstance(message, str):
        return None
    raw = message.removesuffix("\r\n").encode("utf-8", "replace")
    return None if b"\r\n" in raw or len(raw) > MAX_LINE_BYTES else parse_line(raw)


def _received_ms(line: IrcLine) -> int | None:
    """When the service got the line, Unix ms; None when the line does not tell."""
    stamp = line.tags.get("rm-received-ts", "")
    return int(stamp) if stamp.isascii() and stamp.isdigit() and len(stamp) < 16 else None


def _key(line: IrcLine) -> str:
    return line.tags.get("id") or repr(line)
