"""What other readers read, from real status files."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from shared.reports import ChannelReport, ReaderReport
from shared.status_file import STALE_SECONDS, StatusFile
from workers.other_readers import KNOWN_SECONDS, Other, OtherReaders


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.others = OtherReaders(path, "reader-xqc", lambda: self.now)

    def write(
        self, program: str, channel: str, room: str = "", joined: bool = True, ends: bool = False
    ) -> None:
        report = ReaderReport(channels={channel: ChannelReport(joined=joined, room_id=room)})
        file = StatusFile(self.path, program, lambda: self.now)
        if ends:
            file.finish(report)
        else:
            file.update(lambda: report)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_room_is_read_while_a_living_reader_is_in_it(folder: Folder) -> None:
    assert not folder.others.read_room("2")
    folder.write("reader-forsen", "forsen", "2")
    folder.now += KNOWN_SECONDS
    assert folder.others.read_room("2")
    assert not folder.others.read_room("3")
    folder.now += STALE_SECONDS
    assert not folder.others.read_room("2")
    folder.write("reader-forsen", "forsen", "2")
    folder.now += KNOWN_SECONDS
    assert folder.others.read_room("2")
    folder.write("reader-forsen", "forsen", "2", joined=False)
    folder.now += KNOWN_SECONDS
    assert not folder.others.read_room("2")
    folder.write("reader-forsen", "forsen", "2", ends=True)
    folder.now += KNOWN_SECONDS
    assert not folder.others.read_room("2")


def test_any_reader_of_the_room_will_do(folder: Folder) -> None:
    folder.write("reader-forsen", "forsen", "2", joined=False)
    folder.write("reader-forsen-2", "forsen", "2")
    assert folder.others.read_room("2")


def test_a_room_that_becomes_known_later_is_found(folder: Folder) -> None:
    folder.write("reader-forsen", "forsen", "", joined=False)
    assert not folder.others.read_room("2")
    folder.write("reader-forsen", "forsen", "2")
    assert not folder.others.read_room("2")
    folder.now += KNOWN_SECONDS
    assert folder.others.read_room("2")


def test_a_files_answer_is_kept_for_half_a_second(folder: Folder) -> None:
    folder.write("reader-forsen", "forsen", "2")
    assert folder.others.read_room("2")
    (folder.path / "reader-forsen.json").unlink()
    assert folder.others.read_room("2")
    folder.now += KNOWN_SECONDS
    assert not folder.others.read_room("2")


def test_only_another_copy_counts_for_the_channel(folder: Folder) -> None:
    folder.write("reader-xqc", "xqc", "1")
    assert folder.others.of_channel("xqc", 2) == []
    assert not folder.others.read_room("1")
    folder.write("reader-xqc-2", "xqc", "1")
    assert [other.lacks_nothing for other in folder.others.of_channel("xqc", 2)] == [True]
    assert folder.others.of_channel("xqc", 1) == []
    folder.write("reader-xqc-2", "xqc", "1", joined=False)
    assert [other.lacks_nothing for other in folder.others.of_channel("xqc", 2)] == [False]


def test_a_killed_reader_is_not_waited_for(folder: Folder) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    report = ReaderReport(channels={"xqc": ChannelReport(joined=True, room_id="1")})
    head = {"pid": gone.pid, "written_monotonic": folder.now, "written": 1700.5, "stopped": False}
    content = msgspec.json.encode(head | msgspec.to_builtins(report))
    (folder.path / "reader-xqc-2.json").write_bytes(content)
    assert not folder.others.read_room("1")
    # It was in the channel when it wrote last, for all that one of an older version tells.
    assert folder.others.of_channel("xqc", 2) == [Other(0, False, 1_700_500, 0)]
    for told, until_ms in (
        ({"heard_ms": 1_690_000}, 1_690_000),
        ({"heard_ms": 1_690_000, "absent_since_ms": 1_600_000}, 1_600_000),
        ({"heard_ms": 1_690_000, "absent_since_ms": -1}, 0),
    ):
        one = msgspec.structs.replace(report.channels["xqc"], **told)
        content = msgspec.json.encode(head | msgspec.to_builtins(ReaderReport(channels={"xqc": one})))
        (folder.path / "reader-xqc-2.json").write_bytes(content)
        assert folder.others.of_channel("xqc", 2) == [Other(0, False, until_ms, 0)]


def test_what_is_no_status_file_is_nothing(folder: Folder) -> None:
    (folder.path / "reader-forsen.json").write_text("{")
    assert not folder.others.read_room("2")
