import json
import os
import time
from pathlib import Path

import pytest

from shared.reports import WatchdogReport
from shared.status_file import StatusFile, read_status


def test_a_change_is_written_at_most_once_a_second_and_no_change_every_five(tmp_path: Path) -> None:
    now = [100.0]
    status = StatusFile(tmp_path, "reader-xqc", clock=lambda: now[0])
    path = tmp_path / "reader-xqc.json"

    def count(value: int) -> int:
        status.update(lambda: {"count": value})
        return int(json.loads(path.read_text())["count"])

    assert count(1) == 1
    now[0] += 0.5
    assert count(2) == 1
    now[0] += 0.6
    assert count(2) == 2
    path.write_text('{"count": 77}')
    now[0] += 4.0
    assert count(2) == 77
    now[0] += 1.1
    assert count(2) == 2


def test_it_tells_whose_it_is_and_whether_the_stop_was_ordered(tmp_path: Path) -> None:
    status = StatusFile(tmp_path, "producer", clock=lambda: 7.5)
    status.update(dict)
    path = tmp_path / "producer.json"
    assert json.loads(path.read_text())["program"] == "producer"
    found = read_status(path, WatchdogReport)
    assert found is not None
    assert (found.head.pid, found.head.written_monotonic, found.head.stopped) == (os.getpid(), 7.5, False)
    assert abs(found.head.written - time.time()) < 60
    status.finish(WatchdogReport(looks=3))
    found = read_status(path, WatchdogReport)
    assert found is not None
    assert (found.head.pid, found.head.written_monotonic, found.head.stopped) == (os.getpid(), 7.5, True)
    assert found.report.looks == 3


def test_a_worker_learns_what_its_predecessor_has_left(tmp_path: Path) -> None:
    assert StatusFile(tmp_path, "watchdog").left(WatchdogReport) is None
    StatusFile(tmp_path, "watchdog").update(lambda: WatchdogReport(restarts={"producer": 2}))
    left = StatusFile(tmp_path, "watchdog").left(WatchdogReport)
    assert left is not None
    assert left.report == WatchdogReport(restarts={"producer": 2})


def test_a_file_of_an_older_version_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "watchdog.json").write_text(
        '{"pid": 1, "written_monotonic": 2.0, "looks": 4, "something": "else"}'
    )
    left = StatusFile(tmp_path, "watchdog").left(WatchdogReport)
    assert left is not None
    assert left.report == WatchdogReport(looks=4)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": "x"}', b"\xff\xfe", b'{"pid": 1}'])
def test_a_file_that_makes_no_sense_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "watchdog.json").write_bytes(content)
    assert StatusFile(tmp_path, "watchdog").left(WatchdogReport) is None


def test_a_folder_that_is_not_there_does_not_end_the_worker(tmp_path: Path) -> None:
    assert StatusFile(tmp_path / "gone", "producer").update(dict) > 0


def test_it_tells_when_it_was_written_by_the_clock_that_all_processes_share(tmp_path: Path) -> None:
    now = [100.0]
    status = StatusFile(tmp_path, "producer", clock=lambda: now[0])
    status.update(dict)
    now[0] += 5.5
    status.update(dict)
    assert json.loads((tmp_path / "producer.json").read_text())["written_monotonic"] == 105.5
