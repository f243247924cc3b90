"""A chat line to the record that Kafka gets. Pure.

The six fields and every rule of theirs are those of the record format in the README.
"""

import msgspec

from shared.emotes import find_emotes
from shared.irc_line import IrcLine
from shared.record import Record

# Kafka refuses records stamped over an hour ahead of the broker's clock; the rest is for clocks that differ.
MAX_AHEAD_MS = 50 * 60 * 1000
MAX_TIMESTAMP_MS = 2**63 - 1
ACTION = "\x01ACTION "
r"""What a ``/me`` message begins with; a ``\x01`` ends it."""


class ChatMessage(msgspec.Struct, gc=False):
    """The value of a record, as JSON in this order of fields."""

    channel_id: str
    """The channel's login, lower case, without ``#``."""
    user_id: str
    """Twitch's number of the sender; empty when the line has none."""
    username: str
    """The sender's login, lower case."""
    message: str
    """The text exactly as sent; for ``/me`` without its wrapper."""
    timestamp: int
    """When Twitch took the message, Unix milliseconds; the time of receipt when the line does not tell."""
    emotes: list[str]
    """The text of every emote, in order of appearance, repeated where it is repeated."""


class LineRejected(ValueError):
    """The line is no chat message that could be read; ``reason`` is a label for the counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChatParser:
    """Makes records of chat lines.

    ``own_login`` is the account whose messages are left out, empty for none. ``emotes_rejected`` counts emote
    ranges that were left out because they do not fit their text.
    """

    def __init__(self, own_login: str = "") -> None:
        self.own_login = own_login
        self.emotes_rejected = 0
        self._encode = msgspec.json.Encoder().encode

    def read(self, line: IrcLine, received_ms: int) -> Record | None:
        """The record of a PRIVMSG that was read at ``received_ms`` (Unix milliseconds).

        None for a message of ``own_login``. Raises LineRejected for a line without login, channel or text.
        """
        tags, params = line.tags, line.params
        if len(params) < 2:
            raise LineRejected("no_text")
        channel = params[0].lower()
        if not is_channel(channel):
            raise LineRejected("no_channel")
        channel = channel[1:]
        login = line.login
        if not login:
            raise LineRejected("no_login")
        if login == self.own_login:
            return None
        text = params[1]
        if text.startswith(ACTION):
            text = text[len(ACTION) :].removesuffix("\x01")
        timestamp = timestamp_of(tags.get("tmi-sent-ts", ""), received_ms)
        raw_emotes = tags.get("emotes")
        emotes = self._emotes(raw_emotes, text) if raw_emotes else []
        return Record(
            channel,
            tags.get("id", ""),
            received_ms if timestamp > received_ms + MAX_AHEAD_MS else timestamp,
            received_ms,
            *source_of(tags),
            self._encode(ChatMessage(channel, tags.get("user-id", ""), login, text, timestamp, emotes)),
        )

    def _emotes(self, raw: str, text: str) -> list[str]:
        found, rejected = find_emotes(raw, text)
        self.emotes_rejected += rejected
        return [text[start : end + 1] for start, end, _ in found]


def is_channel(target: str) -> bool:
    """One channel, not several, with the hash and a name behind it."""
    return target.rfind("#") == 0 and len(target) > 1 and "," not in target


def source_of(tags: dict[str, str]) -> tuple[str, str]:
    """Where a message mirrored from another channel came from; empty for the original.

    Twitch puts ``source-*`` on the original as well, with its own room.
    """
    room = tags.get("source-room-id", "")
    if not room or room == tags.get("room-id", ""):
        return "", ""
    return tags.get("source-id", ""), room


def timestamp_of(text: str, received_ms: int) -> int:
    """Unix milliseconds of a ``tmi-sent-ts``; the time of receipt for one that is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return received_ms
    timestamp = int(text)
    return timestamp if timestamp <= MAX_TIMESTAMP_MS else received_ms
