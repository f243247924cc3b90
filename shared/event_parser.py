"""A line of Twitch to its event, and to the record that Kafka gets. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.chat_message import MAX_AHEAD_MS, is_channel, source_of, timestamp_of
from shared.emotes import emotes_tag, find_emotes, fit_an_event
from shared.event_base import ChatterEvent, Emote, TwitchEvent
from shared.event_fields import TAG_FIELDS
from shared.event_ids import EventIds, digest
from shared.event_shapes import SHAPES
from shared.irc_line import IrcLine, concerns_connection
from shared.record import Record
from shared.twitch_events import Event, Gap, Other

_TABLES = {
    event: {field.tag: (field.name, field.read) for field in fields} for event, fields in TAG_FIELDS.items()
}
_UNKNOWN: tuple[str, Callable[[str], Any] | None] = "", lambda text: None
_encode = msgspec.json.Encoder().encode


class EventParser:
    """Makes events of lines.

    ``own_login`` is the account whose messages are left out, empty for none.
    """

    def __init__(self, own_login: str = "") -> None:
        self.own_login = own_login
        self._ids = EventIds()

    def read(self, line: IrcLine, received_ms: int) -> Record | None:
        """The record of a line that was read at ``received_ms`` (Unix milliseconds).

        None for lines that are the business of the connection alone, and for messages of ``own_login``. Never
        raises.
        """
        event = self.event(line, received_ms)
        return None if event is None else _record(event, received_ms, *source_of(line.tags))

    def event(self, line: IrcLine, received_ms: int) -> Event | None:
        """The event that ``read`` makes a record of."""
        command = line.command
        shape = SHAPES.get(command)
        if shape is None:
            return None if concerns_connection(command) else self._other(line, received_ms)
        if command == "PRIVMSG" and self.own_login and line.login == self.own_login:
            return None
        found = shape(line)
        if found is None:
            return self._other(line, received_ms)
        return self._typed(line, received_ms, *found)

    def _typed(
        self, line: IrcLine, received_ms: int, event: type[TwitchEvent], values: dict[str, Any]
    ) -> Event:
        rest: dict[str, str] = {}
        table = _TABLES[event]
        for tag, text in line.tags.items():
            name, read = table.get(tag, _UNKNOWN)
            value = text if read is None else read(text)
            if value is None:
                rest[tag] = text
            else:
                values[name] = value
        if "emotes" in rest and issubclass(event, ChatterEvent):
            _add_emotes(values, rest)
        self._add_identity(line, received_ms, values, rest)
        if rest:
            values["tags"] = rest
        made: Event = event(**values)  # type: ignore[assignment]
        return made

    def _add_identity(
        self, line: IrcLine, received_ms: int, values: dict[str, Any], rest: dict[str, str]
    ) -> None:
        """Id and timestamp of the line; tags that say just that are no longer among the ``rest``."""
        sent = timestamp_of(rest.get("tmi-sent-ts", ""), -1)
        if sent >= 0:
            values["timestamp"] = sent
            if str(sent) == rest["tmi-sent-ts"]:
                del rest["tmi-sent-ts"]
        else:
            received_ms = timestamp_of(line.tags.get("rm-received-ts", ""), received_ms)
            values["timestamp"] = received_ms
            values["timestamp_derived"] = True
        if rest.get("id"):
            values["id"] = rest.pop("id")
        else:
            values["id"] = self._ids.of_sent(line) if sent >= 0 else self._ids.of_received(line, received_ms)
            values["id_derived"] = True

    def _other(self, line: IrcLine, received_ms: int) -> Other:
        channel = next((param for param in line.params if is_channel(param)), "")
        values: dict[str, Any] = {
            "channel": channel[1:].lower(),
            "command": line.command,
            "prefix": line.prefix,
            "params": line.params,
        }
        self._add_identity(line, received_ms, values, dict(line.tags))
        return Other(**values, tags=line.tags)


def gap_record(channel: str, from_ms: int, to_ms: int, reason: str, received_ms: int) -> Record:
    """The record that says that nobody heard ``channel`` (a login) from ``from_ms`` to ``to_ms``.

    Times are Unix milliseconds; ``reason`` is for people.
    """
    gap = Gap(
        channel=channel,
        id=digest("gap", channel, from_ms, to_ms),
        id_derived=True,
        timestamp=to_ms,
        timestamp_derived=True,
        from_ms=from_ms,
        to_ms=to_ms,
        reason=reason,
    )
    return _record(gap, received_ms, "", "")


def _record(event: Event, received_ms: int, source_id: str, source_room_id: str) -> Record:
    return Record(
        event.channel,
        event.id,
        received_ms if event.timestamp > received_ms + MAX_AHEAD_MS else event.timestamp,
        received_ms,
        source_id,
        source_room_id,
        _encode(event),
        str(event.__struct_config__.tag),
    )


def _add_emotes(values: dict[str, Any], rest: dict[str, str]) -> None:
    raw = rest["emotes"]
    if not raw:
        values["emotes"] = []
        del rest["emotes"]
        return
    text = values.get("text", "")
    spans, _ = find_emotes(raw, text)
    if not fit_an_event(spans):
        return
    values["emotes"] = [Emote(emote_id, text[start : end + 1], start, end) for start, end, emote_id in spans]
    if emotes_tag(spans) == raw:
        del rest["emotes"]
