"""The JSON Schema of the events, made of their types and docstrings."""

import json
from typing import Any

import msgspec

from commands.event_notes import Notes, read_notes
from shared.event_base import Emote, TwitchEvent
from shared.event_tags import Badge
from shared.twitch_events import EVENTS

_DESCRIPTION = (
    "The value of one record in the Kafka topic of events: UTF-8 JSON. type says which of the kinds below "
    "it is. A field that is absent has no value; none is null. Kinds and fields may be added at any time: "
    "read what you know and leave the rest. Marks in descriptions: [doc] Twitch says so, [data] seen in "
    "real chat, [code] read in public code that works with Twitch. docs/events.md explains every kind "
    "with an example."
)


def schema_text() -> str:
    """The content of ``schema/chat-event.schema.json``."""
    notes = read_notes()
    parts: dict[str, Any] = {}
    for event in EVENTS.values():
        for one in event.__mro__[event.__mro__.index(TwitchEvent) :: -1]:
            parts.setdefault(one.__name__, _part(one, notes[one.__name__]))
    for piece in (Badge, Emote):
        parts[piece.__name__] = _part(piece, notes[piece.__name__])
    parts["TwitchEvent"]["properties"] = {"type": _KIND} | parts["TwitchEvent"]["properties"]
    parts["TwitchEvent"]["required"].insert(0, "type")
    top = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Twitch chat event",
        "description": _DESCRIPTION,
        "oneOf": [
            {"title": kind, "properties": {"type": {"const": kind}}, "$ref": f"#/$defs/{event.__name__}"}
            for kind, event in EVENTS.items()
        ],
        "$defs": parts,
    }
    return json.dumps(top, indent=2, ensure_ascii=False) + "\n"


_KIND = {"description": "Which kind of event it is.", "type": "string"}


def _part(struct: type[msgspec.Struct], notes: Notes) -> dict[str, Any]:
    """The fields that a class itself has; those of its base are referred to."""
    made = msgspec.json.schema(struct)["$defs"][struct.__name__]
    # Names in JSON are not always those in Python: `from` is a word of the language.
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    own = {names[name]: note for name, note in notes.fields.items()}
    part: dict[str, Any] = {"description": notes.meaning, "type": "object"}
    base = struct.__mro__[1]
    if base is not msgspec.Struct:
        part["allOf"] = [{"$ref": f"#/$defs/{base.__name__}"}]
    part["properties"] = {
        name: {"description": note} | without_null(made["properties"][name]) for name, note in own.items()
    }
    part["required"] = [name for name in made["required"] if name in own]
    return part


def without_null(field: dict[str, Any]) -> dict[str, Any]:
    """An absent field is left out, so null and defaults never appear."""
    field = {key: value for key, value in field.items() if key != "default"}
    kinds = field.pop("anyOf", None)
    if kinds is None:
        return field
    kind: dict[str, Any]
    (kind,) = [kind for kind in kinds if kind != {"type": "null"}]
    return field | kind
