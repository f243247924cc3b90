import gzip
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.record_file import DURABLE_SECONDS, FLUSH_SECONDS, HourFiles, RecordingFailed, path_of_hour
from shared.line_file import LineFile, mark_line

HOUR_MS = 3_600_000
# 2026-11-25T15:00:00Z.
START_MS = 1_795_618_800_000
LINE = b"@tmi-sent-ts=1795618800000 :ronni!r@r PRIVMSG #dallas :a\nb"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["chat.irc", "chat.irc.gz"])
def pattern(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def lines_of(path: Path) -> list[bytes]:
    file = LineFile(path)
    lines = list(file)
    assert file.trouble == ""
    return lines


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("chat.irc.gz", "chat-2026-11-25T15.irc.gz"),
        ("chat.irc", "chat-2026-11-25T15.irc"),
        ("chat.gz", "chat-2026-11-25T15.gz"),
        ("chat", "chat-2026-11-25T15"),
        ("my.chat.irc.gz", "my.chat-2026-11-25T15.irc.gz"),
        (".gz", ".gz-2026-11-25T15"),
        (".hidden", ".hidden-2026-11-25T15"),
    ],
)
def test_a_file_is_named_after_its_hour(pattern: str, name: str) -> None:
    assert path_of_hour(Path("/there") / pattern, START_MS + HOUR_MS - 1) == Path("/there") / name


def test_each_hour_has_a_file_of_its_own_that_is_complete_when_the_next_one_begins(pattern: Path) -> None:
    files = HourFiles(pattern)
    files.add(LINE, START_MS)
    files.add(b"PING :one", START_MS + HOUR_MS - 1)
    files.add(b"PING :two", START_MS + HOUR_MS)
    first, second = path_of_hour(pattern, START_MS), path_of_hour(pattern, START_MS + HOUR_MS)
    assert lines_of(first) == [LINE, mark_line(START_MS + HOUR_MS - 1), b"PING :one"]
    files.close()
    assert lines_of(second) == [mark_line(START_MS + HOUR_MS), b"PING :two"]
    assert files.files == 2
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


def test_every_further_file_begins_with_what_tells_whose_connection_it_is(pattern: Path) -> None:
    files = HourFiles(pattern)
    files.add(LINE, START_MS)
    files.first_line = b":tmi.twitch.tv 001 bot :Welcome, GLHF!"
    files.add(LINE, START_MS)
    files.add(b"PING :two", START_MS + HOUR_MS)
    files.close()
    assert lines_of(path_of_hour(pattern, START_MS)) == [LINE, LINE]
    mark, *lines = lines_of(path_of_hour(pattern, START_MS + HOUR_MS))
    assert mark == mark_line(START_MS + HOUR_MS)
    assert lines == [files.first_line, b"PING :two"]


def test_a_file_is_completed_when_its_hour_is_over_although_nothing_more_comes(pattern: Path) -> None:
    files = HourFiles(pattern)
    files.add(LINE, START_MS)
    files.tick(START_MS + HOUR_MS)
    assert lines_of(path_of_hour(pattern, START_MS)) == [LINE]


def test_a_file_that_is_there_is_appended_to(pattern: Path) -> None:
    for number in range(3):
        files = HourFiles(pattern)
        files.add(b"PING :%d" % number, START_MS)
        files.close()
    path = path_of_hour(pattern, START_MS)
    # The last mark of another run counts for nothing.
    assert lines_of(path) == [line for n in range(3) for line in (mark_line(START_MS), b"PING :%d" % n)]
    if pattern.suffix == ".gz":
        assert gzip.decompress(path.read_bytes()).count(b"\r\n") == 6


def test_a_second_after_it_came_a_line_can_be_read_by_others(pattern: Path) -> None:
    clock = Clock()
    files = HourFiles(pattern, clock)
    path = path_of_hour(pattern, START_MS)
    for number in range(2 + int(DURABLE_SECONDS / FLUSH_SECONDS)):
        files.add(LINE, START_MS)
        assert len(list(LineFile(path))) == number
        assert files.tick(START_MS) == FLUSH_SECONDS
        clock.now += FLUSH_SECONDS
        assert files.tick(START_MS) is None
        assert len(list(LineFile(path))) == number + 1
    # Nothing came: there is nothing to write either.
    size = path.stat().st_size
    clock.now += FLUSH_SECONDS
    assert files.tick(START_MS) is None
    assert path.stat().st_size == size


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 3)


def fill_with_zeros(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(4096))


@pytest.mark.parametrize("spoil", [lambda path: None, cut, fill_with_zeros], ids=["killed", "cut", "zeros"])
def test_behind_the_end_of_one_that_was_killed_it_goes_on_so_that_all_can_be_read(
    pattern: Path, spoil: Callable[[Path], None]
) -> None:
    clock = Clock()
    killed = HourFiles(pattern, clock)
    path = path_of_hour(pattern, START_MS)
    for number in range(100):
        killed.add(b"@tmi-sent-ts=1 PING :%d" % number, START_MS)
    killed.add(b"PING :last", START_MS)
    clock.now += FLUSH_SECONDS
    killed.tick(START_MS)
    # The process is gone, and what it had locked is free.
    assert killed._file is not None
    os.close(killed._file._descriptor)
    spoil(path)
    files = HourFiles(pattern)
    files.add(LINE, START_MS + 1)
    files.close()
    lines = lines_of(path)
    assert lines[:100] == [b"@tmi-sent-ts=1 PING :%d" % number for number in range(100)]
    # A mark whose line is missing would count for the next one.
    assert lines[100:] in ([LINE], [mark_line(START_MS), b"PING :last", LINE])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_recordings_do_not_write_into_the_same_file(pattern: Path) -> None:
    first = HourFiles(pattern)
    first.open(START_MS)
    with pytest.raises(RecordingFailed, match="another recording writes to it"):
        HourFiles(pattern).open(START_MS)
    first.add(LINE, START_MS)
    first.close()
    assert lines_of(path_of_hour(pattern, START_MS)) == [LINE]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_of_another_kind_stays_as_it_is(pattern: Path, pack: Callable[[bytes], bytes]) -> None:
    content = pack(b"my diary\nof today\n")
    path = path_of_hour(pattern, START_MS)
    path.write_bytes(content)
    with pytest.raises(RecordingFailed, match="no recording of that kind"):
        HourFiles(pattern).open(START_MS)
    assert path.read_bytes() == content


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingFailed, match="cannot be written: No such file or directory"):
        HourFiles(tmp_path / "gone" / "chat.irc").open(START_MS)
