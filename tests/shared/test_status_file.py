import json
import os
from pathlib import Path

from shared.status_file import StatusFile


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


def test_it_tells_whose_it_is_and_goes_with_an_ordered_stop(tmp_path: Path) -> None:
    status = StatusFile(tmp_path, "producer")
    status.update(dict)
    assert json.loads((tmp_path / "producer.json").read_text())["pid"] == os.getpid()
    status.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_does_not_end_the_worker(tmp_path: Path) -> None:
    assert StatusFile(tmp_path / "gone", "producer").update(dict) > 0


def test_it_tells_when_it_was_written_by_the_clock_that_all_processes_share(tmp_path: Path) -> None:
    now = [100.0]
    status = StatusFile(tmp_path, "producer", clock=lambda: now[0])
    status.update(dict)
    now[0] += 5.5
    status.update(dict)
    assert json.loads((tmp_path / "producer.json").read_text())["written_monotonic"] == 105.5
