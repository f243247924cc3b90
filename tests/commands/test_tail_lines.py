"""The lines of `make tail`: readable for people, exact for machines, harmless for terminals."""

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from commands.tail_lines import JsonLines, TextLines, clock_time
from shared.chat_message import ChatMessage

HOSTILE = "a\x1b[31m\x9b31m\r\n\t\x7f\u202eb\u2066c\u200f\u2028d"
SHOWN = r"a\x1b[31m\x9b31m\r\n\t\x7f\u202eb\u2066c\u200f\u2028d"
# Every character that a terminal may obey, or that turns the direction of writing.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def message(text: str = "hello", channel: str = "xqc", sender: str = "onche") -> ChatMessage:
    return ChatMessage(channel, "1", sender, text, 1568505600501, [])


def text_line(one: ChatMessage, utf8: bool = True) -> str:
    return TextLines(Console(no_color=True), utf8).line(one, b"").decode()


def json_line(value: bytes, utf8: bool = True) -> str:
    return JsonLines(True, utf8).line(message(), value).decode()


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    clock_time.cache_clear()
    yield
    monkeypatch.undo()
    time.tzset()
    clock_time.cache_clear()


@pytest.mark.usefixtures("new_york")
def test_a_line_has_the_local_time_the_channel_the_sender_and_the_text() -> None:
    assert text_line(message("Kappa hello [bold]:smile: ❤️👩‍👩‍👧")) == (
        "20:00:00 #xqc onche: Kappa hello [bold]:smile: ❤️👩‍👩‍👧\n"
    )


def test_a_time_beyond_the_calendar_is_dashes() -> None:
    assert clock_time(2**63) == "--:--:--"


def test_a_long_text_is_one_line() -> None:
    text = "word " * 2000
    assert text_line(message(text)).endswith(f" {text}\n")


def test_what_a_terminal_would_obey_is_shown_in_letters() -> None:
    line = text_line(message(HOSTILE, HOSTILE, HOSTILE))
    assert line.endswith(f" #{SHOWN} {SHOWN}: {SHOWN}\n")


@given(st.text(), st.text(), st.text())
def test_no_text_gets_anything_else_through(text: str, channel: str, sender: str) -> None:
    line = text_line(message(text, channel, sender))
    assert line[-1] == "\n"
    assert not UNSAFE.search(line[:-1])
    assert text_line(message(text, channel, sender), utf8=False).isascii()


@given(st.text())
def test_json_for_a_terminal_is_the_same_json(text: str) -> None:
    value = msgspec.json.encode(message(text))
    for utf8 in (True, False):
        line = json_line(value, utf8)
        assert json.loads(line) == json.loads(value)
        assert not UNSAFE.search(line[:-1])
        assert utf8 or line.isascii()


def test_json_for_a_pipe_is_the_value_byte_for_byte() -> None:
    value = msgspec.json.encode(message(HOSTILE + "é"))
    assert JsonLines(False, True).line(message(), value) == value + b"\n"


def test_json_that_others_wrote_over_several_lines_becomes_one() -> None:
    value = json.dumps(msgspec.to_builtins(message()), indent=2).encode()
    line = JsonLines(False, True).line(message(), value)
    assert line.count(b"\n") == 1
    assert json.loads(line) == json.loads(value)


@pytest.mark.parametrize(
    ("colours", "of_xqc", "how_many"),
    [("standard", "36", 4), ("256", "38;5;131", 13), ("truecolor", "38;5;131", 13)],
)
def test_a_channel_has_the_same_colour_in_every_process_and_channels_have_many(
    colours: Literal["standard", "256", "truecolor"], of_xqc: str, how_many: int
) -> None:
    def painted(channel: str) -> str:
        console = Console(force_terminal=True, color_system=colours, no_color=False)
        line = TextLines(console, True).line(message(channel=channel), b"").decode()
        found = re.search(r"\x1b\[([\d;]+)m#" + channel + r"\x1b\[0m", line)
        assert found is not None, line
        return found[1]

    assert painted("xqc") == of_xqc
    assert len({painted(f"channel{number}") for number in range(100)}) == how_many


def test_without_colours_there_is_nothing_but_text() -> None:
    console = Console(file=sys.stdout, force_terminal=True, color_system="256", no_color=True)
    assert "\x1b" not in TextLines(console, True).line(message(), b"").decode()
