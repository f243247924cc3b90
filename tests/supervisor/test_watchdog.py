import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.paths import Paths
from shared.reports import WatchdogReport
from shared.status_file import Head, StatusFile
from tests.supervisor.script import load_script

watchdog = load_script("watchdog")


class Machine:
    """Workers that report or hang, and a watchdog that looks at them every five seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hangs = watchdog.Hangs()
        self.pids = {"watchdog": 1, "producer": 2, "reader-xqc": 3, "kafka": 4}
        self.hanging = {"kafka"}
        self.reports: dict[str, Any] = {}
        self.disk_is_full = False

    def report(self) -> None:
        for name, pid in self.pids.items():
            if name not in self.hanging and not self.disk_is_full:
                self.reports[name] = Head(pid, self.now)

    def look(self, seconds: float = 5.0) -> list[str]:
        """Let so many seconds pass, with a report at their end, then look; whom it kills."""
        self.now += seconds
        self.report()
        return self.look_again()

    def look_again(self) -> list[str]:
        running = [watchdog.Worker(name, pid) for name, pid in self.pids.items()]
        hangs = self.hangs.look(self.now, running, self.reports)
        for hang in hangs:
            self.hangs.killed(self.now, hang.worker)
        return [hang.worker.name for hang in hangs]

    def looks(self, count: int, seconds: float = 5.0) -> list[list[str]]:
        return [self.look(seconds) for _ in range(count)]


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    assert machine.looks(3) == [[], [], []]
    return machine


def test_workers_that_report_are_left_alone(machine: Machine) -> None:
    assert machine.looks(100) == [[]] * 100


def test_a_worker_that_stops_reporting_is_killed_at_the_second_look_that_finds_it_stale(
    machine: Machine,
) -> None:
    machine.hanging.add("reader-xqc")
    # Ages of 5, 10, 15 and 20 s.
    assert machine.looks(4) == [[], [], [], ["reader-xqc"]]


def test_it_tells_for_how_long_a_worker_has_not_reported(machine: Machine) -> None:
    machine.hanging.add("reader-xqc")
    machine.looks(3)
    machine.now += 5.0
    machine.report()
    running = [watchdog.Worker(name, pid) for name, pid in machine.pids.items()]
    assert machine.hangs.look(machine.now, running, machine.reports) == [
        watchdog.Hang(watchdog.Worker("reader-xqc", 3), 20.0)
    ]


def test_a_report_between_two_looks_saves_a_worker(machine: Machine) -> None:
    machine.hanging.add("reader-xqc")
    machine.looks(3)
    machine.hanging.remove("reader-xqc")
    assert machine.look() == []
    machine.hanging.add("reader-xqc")
    assert machine.looks(3) == [[], [], []]


def test_several_workers_that_hang_are_killed_together(machine: Machine) -> None:
    machine.hanging |= {"reader-xqc", "producer"}
    machine.looks(3)
    assert sorted(machine.look()) == ["producer", "reader-xqc"]


def test_neither_itself_nor_what_writes_no_status_is_ever_killed(machine: Machine) -> None:
    machine.hanging |= {"watchdog"}
    assert machine.looks(30) == [[]] * 30


def test_a_worker_that_never_reports_counts_from_when_it_was_first_seen_running(machine: Machine) -> None:
    machine.pids["reader-new"] = 9
    machine.hanging.add("reader-new")
    # Seen first by the first of these.
    assert machine.looks(5) == [[], [], [], [], ["reader-new"]]


def test_many_that_start_together_may_take_longer_until_they_report(machine: Machine) -> None:
    starting = {f"reader-{number}": 100 + number for number in range(100)}
    machine.pids |= starting
    machine.hanging |= set(starting)
    assert machine.looks(10) == [[]] * 10
    machine.hanging -= set(starting)
    assert machine.looks(10) == [[]] * 10
    machine.hanging.add("reader-99")
    assert machine.looks(4) == [[], [], [], ["reader-99"]]


def test_the_report_of_a_predecessor_neither_saves_nor_accuses(machine: Machine) -> None:
    machine.reports["reader-xqc"] = Head(3, machine.now - 100.0)
    machine.hanging.add("reader-xqc")
    machine.pids["reader-xqc"] = 33
    assert machine.looks(4) == [[], [], [], []]
    assert machine.look() == ["reader-xqc"]


def test_a_report_of_the_future_is_of_another_boot_and_counts_as_none(machine: Machine) -> None:
    machine.hanging.add("reader-new")
    machine.pids["reader-new"] = 9
    machine.reports["reader-new"] = Head(9, machine.now + 5000.0)
    assert machine.looks(5) == [[], [], [], [], ["reader-new"]]


def test_a_program_is_killed_at_most_once_a_minute(machine: Machine) -> None:
    machine.hanging.add("reader-xqc")
    killed = []
    for _ in range(40):
        for name in machine.look():
            killed.append(machine.now)
            machine.pids[name] += 100
    assert [at - killed[0] for at in killed] == [0.0, 60.0, 120.0, 180.0]


def test_the_first_look_after_a_pause_of_the_watchdog_counts_nothing(machine: Machine) -> None:
    machine.hanging.add("reader-xqc")
    machine.looks(3)
    assert machine.looks(3, seconds=11.0) == [[], [], []]
    assert machine.look() == []
    assert machine.look() == ["reader-xqc"]


def test_a_pause_of_the_whole_machine_kills_nobody(machine: Machine) -> None:
    for pause in (4.0, 9.0, 14.0, 600.0):
        machine.now += pause
        assert machine.look_again() == []
        assert machine.looks(3) == [[], [], []]


def test_ticks_that_have_piled_up_are_one_look(machine: Machine) -> None:
    machine.now += 600.0
    assert [machine.look_again() for _ in range(10)] == [[]] * 10
    assert machine.looks(3) == [[], [], []]


def test_a_full_disk_kills_nobody_not_even_when_there_is_room_again(machine: Machine) -> None:
    machine.disk_is_full = True
    assert machine.looks(60) == [[]] * 60
    machine.disk_is_full = False
    machine.hanging |= {"reader-xqc", "producer"}
    # The watchdog writes again first, the others up to five seconds later.
    assert machine.looks(2) == [[], []]
    machine.hanging -= {"reader-xqc", "producer"}
    assert machine.looks(3) == [[], [], []]


def test_only_what_supervisord_calls_running_is_looked_at() -> None:
    states = ("STARTING", "RUNNING", "BACKOFF", "STOPPING", "STOPPED", "EXITED", "FATAL", "UNKNOWN")
    infos = [{"name": state.lower(), "pid": 7, "statename": state} for state in states]
    assert watchdog.running_of(infos) == [watchdog.Worker("running", 7)]


def test_it_reads_what_a_worker_writes(tmp_path: Path) -> None:
    StatusFile(tmp_path, "producer", clock=lambda: 77.5).update(lambda: {"pending": 3})
    found = watchdog.read_report(tmp_path, "producer")
    assert found is not None
    assert (found.pid, found.written_monotonic, found.stopped) == (os.getpid(), 77.5, False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"pid": "x"}', b"\xff\xfe", b'{"pid": 1}'])
def test_a_file_that_makes_no_sense_is_no_report(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "producer.json").write_bytes(content)
    assert watchdog.read_report(tmp_path, "producer") is None
    assert watchdog.read_report(tmp_path, "absent") is None


@pytest.fixture
def pipe() -> Iterator[tuple[io.FileIO, int]]:
    read_end, write_end = os.pipe()
    with io.FileIO(read_end) as events:
        yield events, write_end
        os.close(write_end)


def test_of_two_events_that_come_together_the_second_stays_in_the_pipe(pipe: tuple[io.FileIO, int]) -> None:
    events, write_end = pipe
    os.write(write_end, b"ver:3.0 eventname:TICK_5 len:6\nwhen:5ver:3.0 eventname:OTHER len:0\n")
    assert watchdog.read_event(events).name == "TICK_5"
    os.set_blocking(events.fileno(), False)
    assert os.read(events.fileno(), 100) == b"ver:3.0 eventname:OTHER len:0\n"


def test_it_counts_the_starts_that_nobody_ordered(tmp_path: Path) -> None:
    before = WatchdogReport(looks=9, restarts={"producer": 2})
    watching = watchdog.Watchdog(Paths(tmp_path), before)
    for name, state in (
        ("reader-xqc", "STOPPED"),
        ("reader-xqc", "EXITED"),
        ("producer", "BACKOFF"),
        ("kafka", "FATAL"),
    ):
        watching.on_starting({"processname": name, "groupname": name, "from_state": state, "tries": "0"})
    assert watching.report() == WatchdogReport(restarts={"producer": 3, "reader-xqc": 1})


def test_it_reads_what_an_event_tells() -> None:
    read_end, write_end = os.pipe()
    payload = b"processname:kafka groupname:kafka from_state:EXITED tries:0"
    header = b"ver:3.0 server:supervisor serial:1 pool:watchdog poolserial:1 eventname:PROCESS_STATE_STARTING"
    os.write(write_end, header + f" len:{len(payload)}\n".encode() + payload)
    os.close(write_end)
    with io.FileIO(read_end) as events:
        event = watchdog.read_event(events)
        assert (event.name, event.payload["from_state"]) == ("PROCESS_STATE_STARTING", "EXITED")
        assert watchdog.read_event(events) is None
