import gzip
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.chat_message import MAX_AHEAD_MS
from shared.irc_line import MAX_LINE_BYTES, parse_line
from shared.line_file import (
    CUT_OFF,
    DAMAGED,
    LineFile,
    LineTimes,
    MarkWriter,
    mark_line,
    marked_ms,
)

NOW_MS = 1_764_084_000_000
LINES = [f"@id={number} :ronni PRIVMSG #dallas :text {number} \n héllo".encode() for number in range(300)]
AS_PLAIN = b"".join(line + b"\r\n" for line in LINES)

# What Twitch could send: any bytes but CR LF, among them what looks like the end of a line or a tag.
PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
        b" ",
        b":",
        b"@",
        b";",
        b"=",
        b"tmi-sent-ts=",
        b"0",
        b"99",
        b"\xe2\x80\xa8",
    ]
)
HOSTILE = (
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), min_size=1, max_size=20)
    .map(b"".join)
    .map(lambda line: line.replace(b"\r\n", b"\n"))
    .filter(lambda line: line and b"\r\n" not in line and not line.endswith(b"\r"))
    .filter(lambda line: marked_ms(line) is None)
)
TAGGED = st.builds(
    lambda tag, rest: b"@tmi-sent-ts=" + tag + b" " + rest,
    st.one_of(st.integers(-5, 2**64).map(lambda number: str(number).encode()), st.binary(max_size=5)),
    HOSTILE,
).filter(lambda line: b"\r\n" not in line)


def file_with(folder: Path, content: bytes) -> LineFile:
    path = folder / "lines"
    path.write_bytes(content)
    return LineFile(path)


def times_of(lines: list[bytes], now_ms: int = NOW_MS) -> list[int | None]:
    times, found = LineTimes(now_ms), []
    for raw in lines:
        marked = marked_ms(raw)
        if marked is not None:
            times.mark(marked)
        elif (line := parse_line(raw)) is not None:
            found.append(times.received_ms(line))
    return found


@given(st.lists(st.tuples(st.one_of(HOSTILE, TAGGED), st.integers(NOW_MS - 5, NOW_MS + 5))), st.booleans())
def test_lines_come_back_byte_for_byte_and_those_without_a_time_with_that_of_their_receipt(
    received: list[tuple[bytes, int]], is_packed: bool
) -> None:
    marks, content = MarkWriter(), b""
    for raw, received_ms in received:
        mark = marks.mark_before(raw, received_ms)
        content += (mark + b"\r\n" if mark else b"") + raw + b"\r\n"
    with tempfile.TemporaryDirectory() as folder:
        read = list(file_with(Path(folder), gzip.compress(content) if is_packed else content))
    assert [raw for raw in read if marked_ms(raw) is None] == [raw for raw, _ in received]
    parsed = [(line, at) for raw, at in received if (line := parse_line(raw)) is not None]
    for (line, received_ms), told_ms in zip(parsed, times_of(read), strict=True):
        sent = line.tags.get("tmi-sent-ts", "")
        is_sent = sent.isascii() and sent.isdigit() and len(sent) < 20
        assert told_ms == (int(sent) if is_sent and int(sent) <= received_ms + MAX_AHEAD_MS else received_ms)


def test_a_mark_is_a_line_that_says_nothing_to_anybody_else() -> None:
    line = parse_line(mark_line(1764084000123))
    assert line is not None
    assert (line.tags, line.prefix, line.command) == ({}, "recorder.local", "RECEIVED")
    assert line.params == ["1764084000123"]


@pytest.mark.parametrize(
    "raw",
    [b":recorder.local RECEIVED x", b":recorder.local RECEIVED", b":recorder.local RECEIVED -1", b"PING"],
)
def test_another_line_is_no_mark(raw: bytes) -> None:
    assert marked_ms(raw) is None


def test_marks_stand_only_where_they_are_needed() -> None:
    marks = MarkWriter()
    assert marks.mark_before(b"@tmi-sent-ts=1 PRIVMSG #a :b", 100) == b""
    assert marks.mark_before(b"PING :a", 100) == mark_line(100)
    assert marks.mark_before(b"PING :b", 100) == b""
    assert marks.mark_before(b"@tmi-sent-ts=2 PRIVMSG #a :b", 101) == b""
    assert marks.mark_before(b"PING :c", 101) == mark_line(101)


def test_a_time_that_cannot_be_is_replaced_by_that_of_the_receipt_each_time() -> None:
    marks = MarkWriter()
    ahead = b"@tmi-sent-ts=%d PRIVMSG #a :b" % (NOW_MS + MAX_AHEAD_MS + 1)
    for _ in range(2):
        assert marks.mark_before(ahead, NOW_MS) == mark_line(NOW_MS)
    # Read later, when that time has come.
    assert times_of([mark_line(NOW_MS), ahead, mark_line(NOW_MS), ahead], NOW_MS * 2) == [NOW_MS, NOW_MS]


def test_without_marks_a_line_counts_as_received_when_the_one_before_was_sent() -> None:
    ahead = b"@tmi-sent-ts=%d PRIVMSG #a :b" % (NOW_MS + MAX_AHEAD_MS + 1)
    lines = [b"PING :a", b"@tmi-sent-ts=5 PRIVMSG #a :b", b"PING :b", ahead]
    assert times_of(lines) == [None, 5, 5, 5]


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_file_that_was_cut_off_anywhere_gives_whole_lines_up_to_the_cut(
    tmp_path: Path, is_packed: bool
) -> None:
    packer = zlib.compressobj(wbits=31)
    flushed = packer.compress(AS_PLAIN[: len(AS_PLAIN) // 2]) + packer.flush(zlib.Z_SYNC_FLUSH)
    whole = (
        flushed + packer.compress(AS_PLAIN[len(AS_PLAIN) // 2 :]) + packer.flush() if is_packed else AS_PLAIN
    )
    # Nobody can tell what half a first line is, of a plain file.
    for length in range(2 if is_packed else len(LINES[0]) + 2, len(whole), 7 if is_packed else 97):
        file = file_with(tmp_path, whole[:length])
        read = list(file)
        assert read == LINES[: len(read)]
        assert file.trouble == (CUT_OFF if is_packed or whole[length - 2 : length] != b"\r\n" else "")
        if is_packed and length >= len(flushed):
            assert len(read) >= len(LINES) // 2 - 1
    file = file_with(tmp_path, whole)
    assert list(file) == LINES
    assert file.trouble == ""


def test_members_follow_each_other_with_and_without_zeros_between(tmp_path: Path) -> None:
    member = gzip.compress(AS_PLAIN)
    file = file_with(tmp_path, member + member + bytes(100) + member)
    assert list(file) == LINES * 3
    assert (file.trouble, file.is_packed) == ("", True)


@pytest.mark.parametrize("rest", [bytes(5000), b"no gzip at all", b"\xff" * 5000])
def test_what_follows_a_damage_is_left_out(tmp_path: Path, rest: bytes) -> None:
    packer = zlib.compressobj(wbits=31)
    file = file_with(tmp_path, packer.compress(AS_PLAIN) + packer.flush(zlib.Z_SYNC_FLUSH) + rest)
    read = list(file)
    assert read == LINES[: len(read)]
    assert len(read) >= len(LINES) - 1
    assert file.trouble == DAMAGED


def test_a_file_without_any_cr_lf_has_lines_that_end_by_lf_the_last_one_or_not(tmp_path: Path) -> None:
    for end in (b"", b"\n"):
        for pack in (bytes, gzip.compress):
            file = file_with(tmp_path, pack(b"one\ntwo \rtoo\n\nthree" + end))
            assert list(file) == [b"one", b"two \rtoo", b"three"]
            assert (file.trouble, file.is_recording) == ("", False)


def test_a_text_with_lf_does_not_make_an_lf_file_however_long_the_first_line_is(tmp_path: Path) -> None:
    long = b"a\n" * (MAX_LINE_BYTES // 2)
    file = file_with(tmp_path, long + b"\r\nPING\r\n")
    assert list(file) == [long, b"PING"]


def test_a_line_that_is_too_long_is_skipped_and_counted(tmp_path: Path) -> None:
    file = file_with(tmp_path, b"one\r\n" + bytes(MAX_LINE_BYTES + 1) + b"\r\ntwo\r\n")
    assert list(file) == [b"one", b"two"]
    assert file.oversized == 1


def test_an_empty_file_has_no_lines_and_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    file = file_with(tmp_path, b"")
    assert list(file) == []
    assert file.trouble == ""
