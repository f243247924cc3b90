"""The page of the events, made of their types, their docstrings and real lines."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from commands.event_notes import Notes, notes_of_field, read_notes
from commands.event_schema import without_null
from shared.event_base import ChatterEvent, Emote, TwitchEvent
from shared.event_fields import TAG_FIELDS
from shared.event_parser import EventParser, gap_record
from shared.event_tags import Badge, tag_fields
from shared.irc_line import parse_line
from shared.sub_notices import Sub, SubscriptionNotice
from shared.twitch_events import EVENTS
from shared.usernotices import UserNotice

_RECEIVED_MS = 1_790_000_000_000
_GAP = gap_record("xqc", 1_789_999_940_000, _RECEIVED_MS, "the reader was killed", _RECEIVED_MS)
_MADE_OF = {
    "channel": "the channel",
    "id": "`id`",
    "timestamp": "`tmi-sent-ts`",
    "emotes": "`emotes`",
    "text": "the text",
    "highlighted": "`msg-id`",
    "user_login": "who sent it",
    "prefix": "who sent it",
    "command": "the command",
    "params": "the parameters",
    "tags": "all others",
    "target_user_login": "the second parameter",
    "recipient_login": "the first parameter",
}


class Example(NamedTuple):
    """A line and what is known of it."""

    line: str
    kind: str
    """One of the keys of ``EXAMPLE_HEADS``."""
    source: str


EXAMPLE_HEADS = {
    "real": "A real line ({}):",
    "doc": "From {}:",
    "made": "No real line was found; this one is put together {}:",
}
"""What is said above an example, by its kind; with its source."""


def read_examples(path: Path) -> list[Example]:
    """The lines of ``docs/event-examples.txt``; above each stands ``# kind: source``."""
    found: list[Example] = []
    kind = source = ""
    # Only this ends a line: a text may hold what Python takes for an end of line besides.
    for line in path.read_bytes().decode().split("\n"):
        if line.startswith("# "):
            kind, _, source = line[2:].partition(": ")
        elif line:
            found.append(Example(line, kind, source))
    return found


def page_text(template: str, examples: list[Example]) -> str:
    """The content of ``docs/events.md``.

    Raises LookupError for a type without an example.
    """
    notes = read_notes()
    shown = _first_examples(examples)
    parts = {
        "contents": _contents(template),
        "every": _table(TwitchEvent, _own(TwitchEvent), notes),
        "user": _table(ChatterEvent, [one for one in _own(ChatterEvent) if not _is_shared(one)], notes),
        "badge": _table(Badge, list(Badge.__struct_fields__), notes),
        "emote": _table(Emote, list(Emote.__struct_fields__), notes),
        "shared": _table(ChatterEvent, [one for one in _own(ChatterEvent) if _is_shared(one)], notes),
        "notice": _table(UserNotice, _own(UserNotice), notes),
        "goal": _table(Sub, _goals(), notes),
        "types": "\n\n".join(_section(kind, shown, notes) for kind in EVENTS),
    }
    for name, part in parts.items():
        template = template.replace("{" + name + "}", part)
    return template


def _first_examples(examples: list[Example]) -> dict[str, Example]:
    """The first example of every type."""
    found: dict[str, Example] = {}
    for example in examples:
        event = _event_of(example)
        found.setdefault(str(event.__struct_config__.tag), example)
    return found


def _event_of(example: Example) -> TwitchEvent:
    line = parse_line(example.line.encode())
    event = None if line is None else EventParser().event(line, _RECEIVED_MS)
    if event is None:
        raise LookupError(f"no event: {example.line}")
    return event


def _contents(template: str) -> str:
    titles = [line[3:] for line in template.split("\n") if line.startswith("## ") and line != "## Contents"]
    families: dict[str, list[str]] = {}
    for kind in EVENTS:
        families.setdefault(kind.partition(".")[0], []).append(f"[`{kind}`](#{_anchor(kind)})")
    return "\n".join(
        [
            *(f"- [{title}](#{_anchor(title)})" for title in titles),
            *(f"  - {' · '.join(links)}" for links in families.values()),
        ]
    )


def _anchor(title: str) -> str:
    """How GitHub names a heading in links."""
    kept = [letter for letter in title.lower() if letter.isalnum() or letter in " -_"]
    return "".join(kept).replace(" ", "-")


def _own(event: type[msgspec.Struct]) -> list[str]:
    """The fields that a class has and its base has not."""
    base = event.__mro__[1]
    inherited = base.__struct_fields__ if issubclass(base, msgspec.Struct) else ()
    return [name for name in event.__struct_fields__ if name not in inherited]


def _is_shared(field: str) -> bool:
    return field.startswith("source_")


def _goals() -> list[str]:
    return [name for name in SubscriptionNotice.__struct_fields__ if name.startswith("goal_")]


def _section(kind: str, examples: dict[str, Example], notes: dict[str, Notes]) -> str:
    event = EVENTS[kind]
    common = set(_common_of(event))
    fields = [
        name
        for name in event.__struct_fields__
        if name not in common or (name in notes[event.__name__].fields and event is not UserNotice)
    ]
    parts = [f"### `{kind}`", notes[event.__name__].meaning]
    if fields:
        parts += [f"Besides the fields of {_common_in_words(event)}:", _table(event, fields, notes)]
    else:
        parts.append(f"It has the fields of {_common_in_words(event)}, and no others.")
    return "\n\n".join([*parts, _shown(kind, examples)])


def _common_of(event: type[TwitchEvent]) -> list[str]:
    common = list(TwitchEvent.__struct_fields__)
    for base in (ChatterEvent, UserNotice):
        if issubclass(event, base):
            common += base.__struct_fields__
    return common + _goals()


def _common_in_words(event: type[TwitchEvent]) -> str:
    titles = ["Fields of every event"]
    if issubclass(event, ChatterEvent):
        titles += ["Fields of a user", "Fields of shared chat"]
    if issubclass(event, UserNotice):
        titles.append("Fields of every notice")
    if issubclass(event, SubscriptionNotice):
        titles.append("Fields of the channel's goal")
    links = [f"[{title.removeprefix('Fields of ')}](#{_anchor(title)})" for title in titles]
    return " and ".join([", ".join(links[:-1]), links[-1]]) if links[1:] else links[0]


def _table(struct: type[msgspec.Struct], fields: list[str], notes: dict[str, Notes]) -> str:
    names = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    kinds = msgspec.json.schema(struct)["$defs"][struct.__name__]["properties"]
    with_tags = issubclass(struct, TwitchEvent)
    tags = _tags_of(struct) if with_tags else {}
    rows = ["| field | type | tag | meaning |", "|---|---|---|---|"]
    if not with_tags:
        rows = ["| field | type | meaning |", "|---|---|---|"]
    for name in fields:
        note = notes_of_field(notes, struct, name).replace("|", "\\|")
        cells = [f"`{names[name]}`", _kind_in_words(kinds[names[name]])]
        if with_tags:
            cells.append(tags.get(name, ""))
        rows.append(f"| {' | '.join([*cells, note])} |")
    return "\n".join(rows)


def _tags_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """What each field is made of."""
    if issubclass(struct, TwitchEvent) and struct in TAG_FIELDS:
        fields = TAG_FIELDS[struct]
    else:
        fields = tag_fields(struct, lambda name: "")
    return _MADE_OF | {field.name: f"`{field.tag}`" for field in fields}


def _kind_in_words(kind: dict[str, Any]) -> str:
    kind = without_null(kind)
    if "$ref" in kind:
        return str(kind["$ref"]).rpartition("/")[2].lower()
    if kind["type"] == "array":
        return f"list of {_kind_in_words(kind['items'])}s"
    if kind["type"] == "object":
        return f"object of {_kind_in_words(kind['additionalProperties'])}s"
    return str(kind["type"])


def _shown(kind: str, examples: dict[str, Example]) -> str:
    """An example: the line and the JSON that comes of it."""
    if kind == "gap":
        return f"What it looks like:\n\n{_json(_GAP.value)}"
    if kind not in examples:
        raise LookupError(f"no example of {kind}")
    example = examples[kind]
    value = msgspec.json.encode(_event_of(example))
    head = EXAMPLE_HEADS[example.kind].format(example.source)
    return f"{head}\n\n```text\n{example.line}\n```\n\n{_json(value)}"


def _json(value: bytes) -> str:
    rows = [
        f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}"
        for name, one in json.loads(value).items()
    ]
    return "```json\n{\n" + ",\n".join(rows) + "\n}\n```"
