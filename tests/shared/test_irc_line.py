import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.irc_line import MAX_LINE_BYTES, IrcLine, LineSplitter, parse_line, unescape_tag

FAST = settings(deadline=None, derandomize=True, max_examples=200)
PIECES = st.lists(
    st.one_of(
        st.sampled_from([b"\r\n", b"\r", b"\n", b"\r\r\n", b"\n\r", b"PING", b" ", b"abcdefghijklm"]),
        st.binary(max_size=12),
    ),
    max_size=20,
)


def parsed(line: bytes) -> IrcLine:
    result = parse_line(line)
    assert result is not None
    return result


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(edges)]


# --- Bytes to lines ---


@FAST
@given(pieces=PIECES, at=st.lists(st.integers(0, 300), max_size=30))
def test_bytes_cut_anywhere_give_the_lines_of_the_uncut_stream(pieces: list[bytes], at: list[int]) -> None:
    data = b"".join(pieces)
    splitter = LineSplitter()
    lines = [line for part in cut(data, at) for line in splitter.feed(part)]
    assert lines == [line for line in data.split(b"\r\n")[:-1] if line]
    assert splitter.oversized == 0


@FAST
@given(pieces=PIECES)
def test_bytes_that_come_one_by_one_give_the_lines_of_the_uncut_stream(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    splitter = LineSplitter()
    lines = [line for byte in data for line in splitter.feed(bytes([byte]))]
    assert lines == [line for line in data.split(b"\r\n")[:-1] if line]


@FAST
@given(pieces=PIECES, at=st.lists(st.integers(0, 300), max_size=30), limit=st.integers(4, 40))
@example(pieces=[b"abcdefghijklm", b"\r\n", b"PING", b"\r\n"], at=[14], limit=6)
@example(pieces=[b"just as long"], at=[13], limit=12)
@example(pieces=[b"one too long"], at=[13], limit=11)
def test_oversized_lines_are_the_same_however_the_stream_is_cut(
    pieces: list[bytes], at: list[int], limit: int
) -> None:
    data = b"".join(pieces) + b"\r\n"
    whole, parts = LineSplitter(limit), LineSplitter(limit)
    expected = whole.feed(data)
    assert [line for part in cut(data, at) for line in parts.feed(part)] == expected
    assert parts.oversized == whole.oversized
    all_lines = [line for line in data.split(b"\r\n") if line]
    assert len(expected) + whole.oversized == len(all_lines)
    assert set(map(len, expected)) <= set(range(1, limit + 1))
    assert sum(len(line) <= limit - 2 for line in all_lines) <= len(expected)


def test_the_bound_of_a_line_is_64_kib() -> None:
    splitter = LineSplitter()
    assert MAX_LINE_BYTES == 65_536
    fits, too_long = b"f" * 65_534, b"t" * 65_537
    stream = fits + b"\r\n" + too_long + b"\r\n" + b"PING :after\r\n"
    assert splitter.feed(stream) == [fits, b"PING :after"]
    assert splitter.oversized == 1


@pytest.mark.parametrize("chunk_bytes", [1000, 16_384, 65_536, 8_388_608])
def test_a_line_without_end_takes_no_memory_and_the_next_line_is_read(chunk_bytes: int) -> None:
    splitter = LineSplitter()
    chunk = b"x" * chunk_bytes
    tracemalloc.start()
    try:
        for _ in range(8_388_608 // chunk_bytes):
            assert splitter.feed(chunk) == []
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 3 * 65_536
    assert splitter.feed(b"end\r\nPING :one\r\nPI") == [b"PING :one"]
    assert splitter.feed(b"NG :two\r\n") == [b"PING :two"]
    assert splitter.oversized == 1


def test_every_oversized_line_is_counted_once() -> None:
    splitter = LineSplitter(10)
    lines = splitter.feed(b"PING\r\n" + b"a" * 50 + b"\r\nPONG\r\n" + b"b" * 50)
    lines += splitter.feed(b"b" * 50 + b"\r")
    lines += splitter.feed(b"\nJOIN\r\n")
    assert lines == [b"PING", b"PONG", b"JOIN"]
    assert splitter.oversized == 2


@pytest.mark.parametrize(
    "control",
    ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00"],
    ids=lambda control: f"U+{ord(control):04X}",
)
def test_only_cr_lf_ends_a_line(control: str) -> None:
    line = f":a!a@a PRIVMSG #c :before{control}after".encode()
    assert LineSplitter().feed(line + b"\r\n") == [line]


def test_a_line_that_ends_in_cr_keeps_it() -> None:
    assert LineSplitter().feed(b"a\r\r\nb\r\n") == [b"a\r", b"b"]


# --- Lines to parts ---


@settings(FAST, max_examples=400)
@given(st.one_of(st.binary(max_size=80), st.text("@:;=\\ !#aZ\x00\x85é", max_size=40).map(str.encode)))
@example(b"@")
@example(b":")
@example(b"@ : ")
@example(b"@a=\\")
def test_no_line_raises(line: bytes) -> None:
    result = parse_line(line)
    assert result is None or (result.command and result.login == result.login.lower())


@pytest.mark.parametrize(
    "line", [b"", b"   ", b"@a=b", b"@a=b ", b":irc", b":irc ", b"@a=b :irc", b"@a=b :irc "]
)
def test_a_line_without_a_command_is_none(line: bytes) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("line", "prefix", "command", "params"),
    [
        (b"PING", "", "PING", []),
        (b"PING :tmi.twitch.tv", "", "PING", ["tmi.twitch.tv"]),
        (b":tmi.twitch.tv RECONNECT", "tmi.twitch.tv", "RECONNECT", []),
        (b":tmi.twitch.tv 001 me :Welcome, GLHF!", "tmi.twitch.tv", "001", ["me", "Welcome, GLHF!"]),
        (b":a!a@a.tmi.twitch.tv JOIN #c", "a!a@a.tmi.twitch.tv", "JOIN", ["#c"]),
        (b":a!a@a JOIN #c ", "a!a@a", "JOIN", ["#c"]),
        (b":a!a@a privmsg #c :hi", "a!a@a", "PRIVMSG", ["#c", "hi"]),
        (b":a!a@a PRIVMSG #c hi", "a!a@a", "PRIVMSG", ["#c", "hi"]),
        (b":a!a@a PRIVMSG #c :", "a!a@a", "PRIVMSG", ["#c", ""]),
        (b":a!a@a PRIVMSG #c ::) : :", "a!a@a", "PRIVMSG", ["#c", ":) : :"]),
        (b":a!a@a PRIVMSG #c :  two  ", "a!a@a", "PRIVMSG", ["#c", "  two  "]),
        (
            b":s CAP * ACK :twitch.tv/tags twitch.tv/commands",
            "s",
            "CAP",
            ["*", "ACK", "twitch.tv/tags twitch.tv/commands"],
        ),
        (b"@a=b   :s    NOTICE   #c   :  x :y", "s", "NOTICE", ["#c", "  x :y"]),
    ],
)
def test_a_line_is_taken_apart(line: bytes, prefix: str, command: str, params: list[str]) -> None:
    result = parsed(line)
    assert (result.prefix, result.command, result.params) == (prefix, command, params)


@pytest.mark.parametrize(
    "blank", ["\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2003", "\u2028", "\u3000"], ids=ascii
)
def test_only_the_blank_parts_a_line(blank: str) -> None:
    line = f"@display-name=a{blank}b;id=1 :a!a@a PRIVMSG #c x{blank}y".encode()
    result = parsed(line)
    assert result.tags == {"display-name": f"a{blank}b", "id": "1"}
    assert result.params == ["#c", f"x{blank}y"]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1;a=2;a=3", {"a": "3"}),
        ("a=1;a=", {"a": ""}),
        ("a=1;a", {"a": ""}),
        ("a;b=;c=1", {"a": "", "b": "", "c": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("badges=a/1,b/2;+x.y/new-tag=v", {"badges": "a/1,b/2", "+x.y/new-tag": "v"}),
        ("a=x\\sy\\:z\\\\s\\r\\n;b=\\q\\", {"a": "x y;z\\s\r\n", "b": "q"}),
        ("a=\u00fc\U0001f600", {"a": "\u00fc\U0001f600"}),
        ("a=:x", {"a": ":x"}),
    ],
)
def test_tags_are_read(tags: str, expected: dict[str, str]) -> None:
    assert parsed(f"@{tags} :s PING".encode()).tags == expected


@pytest.mark.parametrize("tags", ["a=1;", ";a=1", "a=1;;b=2", "=x;a=1"])
def test_odd_separators_between_tags_cost_no_tag(tags: str) -> None:
    assert parsed(f"@{tags} :s PING".encode()).tags["a"] == "1"


def test_a_line_without_tags_has_none() -> None:
    assert parsed(b":s PING").tags == {}


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        ("", ""),
        (r"\:", ";"),
        (r"\s", " "),
        (r"\\", "\\"),
        (r"\r\n", "\r\n"),
        (r"\\s", r"\s"),
        (r"\\\s", "\\ "),
        (r"\x", "x"),
        ("\\\U0001f600", "\U0001f600"),
        ("end\\", "end"),
        ("end\\\\", "end\\"),
        ("\\", ""),
    ],
)
def test_escapes_of_ircv3_are_undone(escaped: str, plain: str) -> None:
    assert unescape_tag(escaped) == plain


@FAST
@given(st.text())
def test_what_was_escaped_comes_back(plain: str) -> None:
    escapes = {";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"}
    assert unescape_tag("".join(escapes.get(letter, letter) for letter in plain)) == plain


def test_a_bad_byte_costs_one_character_and_nothing_else() -> None:
    result = parsed(b"@id=1\xff2 :a!a@a PRIVMSG #c :caf\xe9 ok")
    assert result.tags == {"id": "1\ufffd2"}
    assert result.params == ["#c", "caf\ufffd ok"]


@pytest.mark.parametrize(
    ("prefix", "login"),
    [
        (":Onche!onche@onche.tmi.twitch.tv ", "onche"),
        (":onche@onche.tmi.twitch.tv ", "onche"),
        (":x_1!x ", "x_1"),
        (":tmi.twitch.tv ", ""),
        (":!user@host ", ""),
        (":@host ", ""),
        ("", ""),
    ],
)
def test_the_login_is_the_lower_case_nick_of_a_person(prefix: str, login: str) -> None:
    assert parsed(f"{prefix}PRIVMSG #c :hi".encode()).login == login
