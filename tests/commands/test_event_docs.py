import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from commands.event_docs import ROOT, made_files, main, outdated
from commands.event_notes import notes_of_field, read_notes
from commands.event_page import EXAMPLE_HEADS, page_text, read_examples
from shared.event_parser import EventParser, gap_record
from shared.twitch_events import EVENTS
from tests.shared.event_lines import NOW_MS, example_lines, sample_lines

SCHEMA = json.loads((ROOT / "schema" / "chat-event.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
PAGE = (ROOT / "docs" / "events.md").read_text()


@cache
def values() -> list[dict[str, Any]]:
    parser = EventParser()
    records = [parser.read(line, NOW_MS) for line in [*example_lines(), *sample_lines()]]
    records.append(gap_record("c", 1, 2, "why", NOW_MS))
    return [json.loads(record.value) for record in records if record]


def test_the_page_and_the_schema_are_current() -> None:
    assert outdated(made_files()) == []


def test_a_file_that_is_not_current_is_named_by_the_check_and_made_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("commands/event_page.md", "docs/event-examples.txt"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "schema").mkdir()
    made = ["docs/events.md", "schema/chat-event.schema.json"]
    assert main(["--check"], tmp_path) == 1
    assert [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()] == made
    assert not (tmp_path / made[0]).exists()
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0
    assert [(tmp_path / name).read_text() for name in made] == [(ROOT / name).read_text() for name in made]
    (tmp_path / made[1]).write_text("else")
    capsys.readouterr()
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out.startswith(made[1])


def test_the_schema_is_valid_and_takes_every_event() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    # One value of each kind: the same kinds of fields come thousands of times in real chat.
    chosen = {(value["type"], *value): value for value in values()}
    assert {kind for kind, *_ in chosen} == set(EVENTS)
    for value in chosen.values():
        VALIDATOR.validate(value)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "nothing"},
        {"channel": None},
        {"id": 1},
        {"timestamp": "1"},
        {"badges": "a/1"},
        {"badges": [{"name": "a"}]},
        {"emotes": [{"id": "1", "text": "x", "start": "0", "end": 1}]},
        {"mod": "1"},
        {"bits": "5"},
        {"tags": {"a": 1}},
        {"color": None},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_event(change: dict[str, Any]) -> None:
    message = next(value for value in values() if value["type"] == "privmsg")
    assert VALIDATOR.is_valid(message)
    assert not VALIDATOR.is_valid(message | change)


@pytest.mark.parametrize("field", ["type", "channel", "id", "timestamp", "text"])
def test_the_schema_asks_for_what_every_message_has(field: str) -> None:
    message = dict(next(value for value in values() if value["type"] == "privmsg"))
    del message[field]
    assert not VALIDATOR.is_valid(message)


def test_the_schema_lets_fields_be_added() -> None:
    assert VALIDATOR.is_valid(values()[0] | {"something_new": 1})


@pytest.mark.parametrize("kind", EVENTS)
def test_every_type_is_on_the_page_with_an_example(kind: str) -> None:
    section = PAGE.partition(f"\n### `{kind}`\n")[2].partition("\n### ")[0]
    assert f'"type": "{kind}"' in section
    assert kind == "gap" or section.count("```text") == 1


@pytest.mark.parametrize("kind", EVENTS)
def test_every_field_is_explained_in_the_schema_and_on_the_page(kind: str) -> None:
    notes = read_notes()
    event = EVENTS[kind]
    for name, written in zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True):
        assert len(notes_of_field(notes, event, name)) > 5
        assert f"| `{written}` |" in PAGE


def test_every_link_within_the_page_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = set(re.findall(r"\]\(#([^)]*)\)", PAGE))
    assert len(links) > len(EVENTS)
    assert links <= anchors


def test_a_type_without_an_example_is_told() -> None:
    with pytest.raises(LookupError, match="privmsg"):
        page_text("{types}", [])


def test_a_field_without_a_docstring_is_told() -> None:
    class Bare(msgspec.Struct):
        bare: str

    with pytest.raises(LookupError, match=r"Bare\.bare"):
        notes_of_field(read_notes(), Bare, "bare")


def test_an_example_says_where_it_is_from() -> None:
    examples = read_examples(ROOT / "docs" / "event-examples.txt")
    assert len(examples) > len(EVENTS)
    assert all(example.source for example in examples)
    assert {example.kind for example in examples} == set(EXAMPLE_HEADS)
