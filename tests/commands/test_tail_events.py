"""The lines of `make tail ARGS=--events`: every event, of those that nobody knows yet, too."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from commands.tail import Selection
from commands.tail_events import EventLines, SeenEvent, read_event
from commands.tail_kind import kind_of
from shared import settings
from shared.event_parser import EventParser, gap_record
from shared.paths import Paths
from shared.twitch_events import EVENTS
from tests.commands.test_tail_lines import HOSTILE, SHOWN, UNSAFE
from tests.shared.event_lines import NOW_MS, example_lines

LINE = re.compile(r"\d\d:\d\d:\d\d (?:#\w+|\*) [a-z.]+(?: .+)?\n")


def shown(event: SeenEvent, utf8: bool = True) -> str:
    return EventLines(Console(no_color=True), utf8).line(event, b"").decode()


def line_of(**fields: Any) -> str:
    """Without the time."""
    value = {"type": "new.one", "channel": "xqc", "id": "1", "timestamp": NOW_MS} | fields
    return shown(read_event(json.dumps(value).encode())).partition(" ")[2].removesuffix("\n")


def test_an_event_of_every_type_is_one_line() -> None:
    parser = EventParser()
    records = [parser.read(line, NOW_MS) for line in example_lines()]
    values = [record.value for record in records if record is not None]
    values.append(gap_record("xqc", NOW_MS - 1000, NOW_MS, "why", NOW_MS).value)
    events = [read_event(value) for value in values]
    assert {event.type for event in events} == set(EVENTS)
    for event in events:
        assert LINE.fullmatch(shown(event)), shown(event)
        assert f" {event.type}" in shown(event)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"type": "privmsg", "user_login": "onche", "text": "hi"}, "#xqc privmsg onche: hi"),
        (
            {"type": "privmsg", "user_login": "onche", "text": "cheer1", "bits": 1},
            "#xqc privmsg onche: cheer1 (1 Bit)",
        ),
        (
            {
                "type": "clearchat.timeout",
                "target_user_login": "onche",
                "target_user_id": "7",
                "ban_duration": 600,
            },
            "#xqc clearchat.timeout onche (600 s)",
        ),
        ({"type": "clearchat.ban", "target_user_login": "onche"}, "#xqc clearchat.ban onche"),
        ({"type": "clearchat.clear", "room_id": "7"}, "#xqc clearchat.clear"),
        (
            {
                "type": "usernotice.resub",
                "user_login": "onche",
                "system_msg": "onche subscribed at Tier 1.",
                "text": "again",
                "months": 0,
                "cumulative_months": 28,
            },
            "#xqc usernotice.resub onche: onche subscribed at Tier 1. - again (28 months)",
        ),
        (
            {"type": "usernotice.raid", "user_login": "a", "system_msg": "they come", "viewer_count": 430},
            "#xqc usernotice.raid a: they come (430 viewers)",
        ),
        (
            {"type": "usernotice", "user_login": "a", "system_msg": "", "text": "x", "msg_id": "odd"},
            "#xqc usernotice a: x (odd)",
        ),
        ({"type": "notice", "text": "slow", "historical": True}, "#xqc notice slow (fetched later)"),
        ({"type": "roomstate", "slow": 10, "r9k": False}, "#xqc roomstate slow=10 r9k=false"),
        (
            {"type": "other", "channel": "", "command": "X", "params": ["a b"], "tags": {"c": "d"}},
            '* other command=X params=["a b"]',
        ),
        (
            {"type": "gap", "from": NOW_MS - 71_500, "to": NOW_MS, "reason": "why"},
            "#xqc gap 71.5 s are missing: why",
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_line_has_who_what_was_said_and_what_is_counted(fields: dict[str, Any], line: str) -> None:
    assert line_of(**fields) == line


def test_an_event_that_nobody_knows_yet_is_shown_with_what_there_is() -> None:
    assert line_of(user_login="onche", color="#fff", level=3, kind="big", badges=[]) == (
        "#xqc new.one onche: level=3 kind=big"
    )
    assert line_of() == "#xqc new.one"


def test_fields_of_another_kind_than_expected_are_no_error() -> None:
    assert line_of(type="gap", user_login=7, text=["x"], bits="many", viewer_count=True, reason=None) == (
        "#xqc gap reason=null"
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"text",
        b"[]",
        b'{"channel_id":"xqc","message":"hi","timestamp":1}',
        b'{"type":1,"channel":"xqc","timestamp":1}',
        b'{"type":"privmsg","channel":null,"timestamp":1}',
        b'{"type":"privmsg","channel":"xqc","timestamp":true}',
        b"\xff",
    ],
)
def test_what_is_no_event_is_told_apart(value: bytes) -> None:
    with pytest.raises(ValueError):
        read_event(value)


def test_what_a_terminal_would_obey_is_shown_in_letters() -> None:
    texts = dict.fromkeys(
        ("type", "channel", "user_login", "target_user_login", "system_msg", "text"), HOSTILE
    )
    assert line_of(**texts) == f"#{SHOWN} {SHOWN} {SHOWN}: {SHOWN}: {SHOWN} - {SHOWN}"


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())))
def test_no_field_gets_anything_else_through(fields: dict[str, Any]) -> None:
    known = {"type": "other", "channel": "xqc", "timestamp": 1}
    event = read_event(json.dumps(fields | known).encode())
    line = shown(event)
    assert line[-1] == "\n"
    assert not UNSAFE.search(line[:-1])
    assert shown(event, utf8=False).isascii()


@pytest.mark.parametrize("events", [False, True])
def test_json_that_is_nested_too_deep_is_left_out_like_everything_foreign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], events: bool
) -> None:
    configured = settings.load(Paths(tmp_path), {"KAFKA_TOPIC_CHAT_EVENTS": "events"})
    kind = kind_of(configured, events)
    deep = b'{"fields":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    record: Any = SimpleNamespace(value=deep, partition=1, offset=2)
    assert Selection(kind, lambda _read, value: value, frozenset()).lines([record]) == []
    assert "left out: the record at partition 1, offset 2" in capsys.readouterr().err
