"""An event back to the line it was made of. Pure."""

from typing import Any

from shared.chat_message import ACTION
from shared.emotes import emotes_tag
from shared.event_base import ChatterEvent, TwitchEvent
from shared.event_fields import TAG_FIELDS
from shared.event_shapes import SERVER, user_prefix
from shared.twitch_events import (
    Ban,
    ClearChat,
    ClearMsg,
    Event,
    Gap,
    GlobalUserState,
    Notice,
    Other,
    PrivMsg,
    RoomState,
    Timeout,
    UserState,
    Whisper,
)

_ESCAPES = str.maketrans({";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"})


def to_line(event: Event) -> bytes:
    """The line of an event, without CR LF.

    It is what Twitch sent but for the order of the tags, the blanks between the parts, escapes that need not
    be, and bytes that were no UTF-8. Raises ValueError for a ``gap``, which is no line.
    """
    if isinstance(event, Gap):
        raise ValueError("a gap is no line of Twitch")
    command, prefix, params = _parts(event)
    if event.prefix is not None:
        prefix = event.prefix
    if event.params is not None:
        params = event.params
    tags = _tags(event)
    written = ";".join(f"{tag}={text.translate(_ESCAPES)}" for tag, text in tags.items())
    words = ["@" + written] if tags else []
    # Without its colon a command that begins with one would be read as who sent the line.
    if prefix or command[0] in ":@":
        words.append(":" + prefix)
    words.append(command)
    if params:
        words += params[:-1]
        words.append(":" + params[-1])
    return " ".join(words).encode()


def _tags(event: TwitchEvent) -> dict[str, str]:
    """All tags of the line; what stands under ``tags`` goes before what a field says."""
    if isinstance(event, Other):
        return event.tags
    tags = {}
    for field in TAG_FIELDS[type(event)]:
        value = getattr(event, field.name)
        if value is not None:
            tags[field.tag] = value if field.write is None else field.write(value)
    if isinstance(event, ChatterEvent) and event.emotes is not None:
        tags["emotes"] = emotes_tag([(emote.start, emote.end, emote.id) for emote in event.emotes])
    if not event.id_derived:
        tags["id"] = event.id
    if not event.timestamp_derived:
        tags["tmi-sent-ts"] = str(event.timestamp)
    return tags | event.tags


def _parts(event: Any) -> tuple[str, str, list[str]]:
    """Command, the usual sender and the usual parameters."""
    channel = "#" + event.channel
    match event:
        case PrivMsg():
            return "PRIVMSG", user_prefix(event.user_login or ""), [channel, _text(event)]
        case Whisper():
            return "WHISPER", user_prefix(event.user_login or ""), [event.recipient_login, _text(event)]
        case ClearChat():
            return "CLEARCHAT", SERVER, [channel]
        case Timeout() | Ban():
            return "CLEARCHAT", SERVER, [channel, event.target_user_login]
        case ClearMsg():
            return "CLEARMSG", SERVER, [channel, event.text]
        case Notice():
            return "NOTICE", SERVER, [channel if event.channel else "*", event.text]
        case RoomState():
            return "ROOMSTATE", SERVER, [channel]
        case UserState():
            return "USERSTATE", SERVER, [channel]
        case GlobalUserState():
            return "GLOBALUSERSTATE", SERVER, []
        case Other():
            return event.command, event.prefix or "", event.params or []
        case _:
            text = [] if event.text is None else [_text(event)]
            return "USERNOTICE", SERVER, [channel, *text]


def _text(event: Any) -> str:
    if not event.action:
        return str(event.text)
    return f"{ACTION}{event.text}{'' if event.action_unclosed else chr(1)}"
