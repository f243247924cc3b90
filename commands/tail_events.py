"""One event as the line that ``make tail ARGS=--events`` prints. Pure.

Events are read by their JSON and not by their types, so that those of a later version are shown, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from rich.console import Console

from commands.tail_lines import Painter, clock_time

_WHO = ("user_login", "target_user_login")
_SAID = ("system_msg", "text")
# One of what the number of these fields counts, and several.
_UNITS = {
    "ban_duration": ("s", "s"),
    "bits": ("Bit", "Bits"),
    "viewer_count": ("viewer", "viewers"),
    "cumulative_months": ("month", "months"),
    "months": ("month", "months"),
    "mass_gift_count": ("gift", "gifts"),
    "threshold": ("Bit", "Bits"),
    "years": ("year", "years"),
}
# What most events have and nobody wants to read.
_NOT_SHOWN = frozenset(
    {"type", "channel", "id", "id_derived", "timestamp", "timestamp_derived", "room_id", "user_id"}
    | {"target_user_id", "historical", "rm_received_ts"}
)
# How somebody looks who does something.
_LOOK = frozenset(
    {"display_name", "color", "mod", "subscriber", "turbo", "vip", "user_type", "flags", "msg_id"}
)
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class SeenEvent:
    """An event, as far as it can be shown; ``timestamp`` is Unix milliseconds."""

    type: str
    channel: str
    """Its login; empty for what concerns none."""
    timestamp: int
    fields: dict[str, Any]
    """All that the JSON has."""


def read_event(value: bytes) -> SeenEvent:
    """The event of a record's value. Raises ValueError when it is none."""
    fields = _decode(value)
    kind, channel, timestamp = (fields.get(name) for name in ("type", "channel", "timestamp"))
    if not isinstance(kind, str) or not isinstance(channel, str) or type(timestamp) is not int:
        raise ValueError("no event")
    return SeenEvent(kind, channel, timestamp, fields)


class EventLines:
    """Lines for people: time, channel, type, who, what was said, and what is counted."""

    def __init__(self, console: Console, utf8: bool) -> None:
        self._paint = Painter(console, utf8)

    def line(self, event: SeenEvent, _value: bytes) -> bytes:
        """The line with its end, UTF-8."""
        paint = self._paint
        parts = [
            paint.dim(clock_time(event.timestamp // 1000)),
            paint.channel(event.channel) if event.channel else "*",
            paint.dim(event.type),
        ]
        said = " - ".join(_texts(event.fields, _SAID)) or _rest_of(event)
        for who in _texts(event.fields, _WHO):
            parts.append(paint.bold(f"{who}:" if said else who))
        parts.append(paint.visible(said))
        if counted := ", ".join(_counted(event)):
            parts.append(paint.visible(f"({counted})"))
        return (" ".join(part for part in parts if part) + "\n").encode()


def _texts(fields: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    return (text for name in names if isinstance(text := fields.get(name), str) and text)


def _counted(event: SeenEvent) -> Iterator[str]:
    fields = event.fields
    counts: dict[tuple[str, str], int] = {}
    for name, units in _UNITS.items():
        if type(number := fields.get(name)) is int and number:
            counts.setdefault(units, number)
    yield from (f"{number} {one if number == 1 else several}" for (one, several), number in counts.items())
    if event.type == "usernotice":
        yield from _texts(fields, ("msg_id",))
    if fields.get("historical"):
        yield "fetched later"


def _rest_of(event: SeenEvent) -> str:
    """Where nobody says anything: what there is."""
    fields = event.fields
    if event.type == "gap" and type(begin := fields.get("from")) is int:
        return f"{(event.timestamp - begin) / 1000:.1f} s are missing: {fields.get('reason')}"
    left_out = {*_NOT_SHOWN, *_WHO, *_SAID, *_UNITS, *(_LOOK if any(_texts(fields, _WHO)) else ())}
    return " ".join(
        f"{name}={_shown(value)}"
        for name, value in fields.items()
        if name not in left_out and (name == "params" or not isinstance(value, list | dict))
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
