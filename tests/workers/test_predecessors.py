"""What was told last of a channel, from real status files."""

import os
import time
from pathlib import Path

import msgspec

from shared.reports import ChannelReport, ReaderReport
from shared.status_file import read_status
from workers.predecessors import last_word_on, leave_to_others


def tell(folder: Path, program: str, written: float, **received: int) -> None:
    head = {"pid": os.getpid(), "written_monotonic": time.monotonic(), "written": written, "stopped": True}
    channels = {channel: ChannelReport(received=count) for channel, count in received.items()}
    report = msgspec.to_builtins(ReaderReport(channels=channels))
    (folder / f"{program}.json").write_bytes(msgspec.json.encode(head | report))


def received(folder: Path, channel: str, copy: int = 1) -> int | None:
    found = last_word_on(channel, folder, copy)
    return None if found is None else found.report.channels[channel].received


def test_the_newest_word_counts_whoever_said_it(tmp_path: Path) -> None:
    assert received(tmp_path, "xqc") is None
    tell(tmp_path, "reader-xqc", 100.0, xqc=1)
    tell(tmp_path, "readers-1", 200.0, forsen=7)
    assert received(tmp_path, "xqc") == 1
    tell(tmp_path, "readers-12", 300.0, forsen=8, xqc=2)
    assert received(tmp_path, "xqc") == 2
    assert received(tmp_path, "forsen") == 8
    tell(tmp_path, "reader-xqc", 400.0, xqc=3)
    assert received(tmp_path, "xqc") == 3


def test_each_copy_goes_on_from_its_own_kind(tmp_path: Path) -> None:
    tell(tmp_path, "reader-xqc", 100.0, xqc=1)
    tell(tmp_path, "readers-1", 200.0, xqc=2)
    assert received(tmp_path, "xqc", copy=2) is None
    tell(tmp_path, "readers-1-2", 50.0, xqc=3)
    assert received(tmp_path, "xqc", copy=2) == 3
    assert received(tmp_path, "xqc") == 2


def test_what_cannot_be_read_is_no_word(tmp_path: Path) -> None:
    (tmp_path / "readers-1.json").write_text("{")
    (tmp_path / "readers-x-y.json").write_text("{}")
    assert received(tmp_path, "xqc") is None


def test_what_a_reader_of_several_has_no_more_is_left_before_it_writes(tmp_path: Path) -> None:
    tell(tmp_path, "reader-gone", 100.0, gone=1)
    tell(tmp_path, "readers-1", 200.0, xqc=7, gone=8)
    leave_to_others("readers-1", ("xqc",), tmp_path, 1)
    tell(tmp_path, "readers-1", 300.0, xqc=9)
    assert received(tmp_path, "gone") == 8
    left = read_status(tmp_path / "reader-gone.json", ReaderReport)
    assert left is not None
    # As old as it is: what was said since then is missing.
    assert (left.head.written, left.head.stopped) == (200.0, True)
    assert not (tmp_path / "reader-xqc.json").exists()


def test_what_somebody_else_has_told_since_is_not_overwritten(tmp_path: Path) -> None:
    tell(tmp_path, "readers-1", 200.0, a=1, b=2, c=3)
    tell(tmp_path, "readers-2", 300.0, a=10)
    tell(tmp_path, "reader-b", 300.0, b=20)
    tell(tmp_path, "readers-1-2", 900.0, c=30)
    leave_to_others("readers-1", (), tmp_path, 1)
    tell(tmp_path, "readers-1", 400.0)
    assert [received(tmp_path, channel) for channel in "abc"] == [10, 20, 3]
    assert received(tmp_path, "c", copy=2) == 30
    leave_to_others("readers-7", (), tmp_path, 1)
