"""The lines of the fake Twitch: a chat line of today, and the few questions the server has about a line."""

import re
import time
import uuid

_COMMAND = re.compile(rb"(?:@[^ ]+ +)?(?::[^ ]+ +)?([A-Z0-9]+)")
_TARGET = re.compile(
    rb"\A((?:@[^ ]+ +)?(?::[^ ]+ +)?"
    rb"(?:PRIVMSG|CLEARCHAT|USERNOTICE|CLEARMSG|NOTICE|ROOMSTATE|USERSTATE|HOSTTARGET) +#)[^ ]+"
)
_ESCAPES = str.maketrans({"\\": "\\\\", ";": "\\:", " ": "\\s", "\r": "\\r", "\n": "\\n"})


def chat_line(channel: str, text: str, login: str = "ronni", **tags: str | int | None) -> bytes:
    """A chat line with the tags of today.

    ``tags`` has names with ``_`` for ``-`` and plain values, escaped here; None leaves the tag out.
    """
    name = login_of(channel)
    whole: dict[str, str | int | None] = {
        "badge-info": "subscriber/8",
        "badges": "subscriber/6",
        "client-nonce": uuid.uuid4().hex,
        "color": "#1E90FF",
        "display-name": login.capitalize(),
        "emotes": "",
        "first-msg": "0",
        "flags": "",
        "id": str(uuid.uuid4()),
        "mod": "0",
        "returning-chatter": "0",
        "room-id": number_of(name),
        "subscriber": "1",
        "tmi-sent-ts": time.time_ns() // 1_000_000,
        "turbo": "0",
        "user-id": number_of(login),
        "user-type": "",
    }
    whole.update({key.replace("_", "-"): value for key, value in tags.items()})
    raw = ";".join(
        f"{key}={str(value).translate(_ESCAPES)}" for key, value in whole.items() if value is not None
    )
    return f"@{raw} :{login}!{login}@{login}.tmi.twitch.tv PRIVMSG #{name} :{text}".encode()


def aimed_at(channel: str, line: bytes) -> bytes:
    """The same line with another channel as its target."""
    return _TARGET.sub(rb"\g<1>" + channel.encode(), line, count=1)


def bare(line: bytes) -> bytes:
    """The line without its end; a lone CR belongs to the line."""
    return line[:-2] if line.endswith(b"\r\n") else line.removesuffix(b"\n")


def command_of(line: bytes) -> bytes:
    """The command of a line of the server; empty when it is none."""
    found = _COMMAND.match(line)
    return found[1] if found else b""


def login_of(channel: str) -> str:
    """The channel's login: ``#Name`` becomes ``name``."""
    return channel.strip().removeprefix("#").lower()


def number_of(login: str) -> int:
    """The account's number, always the same for one login."""
    return 10_000_000 + int.from_bytes(login.encode()) % 89_999_999
