"""What the monitor knows of supervisord's programs."""

import os
from pathlib import Path

import psutil
import pytest

from shared import supervisord
from shared.errors import SupervisordUnavailable
from shared.supervisord import Program
from workers import monitor_sources
from workers.monitor_sources import MEMORY_A_LOOK, SILENT_SECONDS, ProcessTable, _memory_of


def test_memory_is_measured_in_turns_and_shared_pages_count_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def memory_of(process: psutil.Process) -> int:
        measured.append(process.pid)
        return _memory_of(process)

    monkeypatch.setattr(monitor_sources, "_memory_of", memory_of)
    # Forks that do nothing but wait share what they have.
    readers, writers = zip(*(os.pipe() for _ in range(MEMORY_A_LOOK + 5)), strict=True)
    pids = [_forked(reader, writers) for reader in readers]
    try:
        programs = [Program(f"p{pid}", "RUNNING", pid, 5.0, "") for pid in pids]
        monkeypatch.setattr(supervisord, "programs", lambda _socket, _seconds: programs)
        table = ProcessTable(tmp_path / "supervisor.sock")
        table.look()
        assert sorted(measured) == sorted(pids)
        del measured[:]
        table.look()
        assert measured == pids[:MEMORY_A_LOOK]
        table.look()
        assert len(measured) == 2 * MEMORY_A_LOOK
        assert set(measured) == set(pids)
        resident = psutil.Process(pids[0]).memory_info().rss
        assert table.usage[pids[0]].memory_bytes < resident / 4
        programs = programs[1:]
        table.look()
        assert pids[0] not in table.usage
    finally:
        for descriptor in (*readers, *writers):
            os.close(descriptor)
        for pid in pids:
            os.waitpid(pid, 0)


def test_a_process_that_could_not_be_measured_is_measured_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Program("monitor", "RUNNING", os.getpid(), 5.0, "")
    monkeypatch.setattr(supervisord, "programs", lambda _socket, _seconds: [ours])
    answers: list[int | Exception] = [psutil.AccessDenied(os.getpid()), 7_000_000]

    def memory_of(_process: psutil.Process) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(monitor_sources, "_memory_of", memory_of)
    table = ProcessTable(tmp_path / "supervisor.sock")
    table.look()
    assert table.usage == {}
    table.look()
    assert table.usage[os.getpid()].memory_bytes == 7_000_000


def _forked(reader: int, writers: tuple[int, ...]) -> int:
    """The process id of a fork that ends when the other ends of the pipe are closed."""
    pid = os.fork()
    if pid == 0:
        for writer in writers:
            os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    return pid


def test_a_supervisord_that_is_busy_for_a_moment_is_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    ours = Program("monitor", "RUNNING", os.getpid(), 5.0, "")
    answers = True

    def programs(_socket: Path, _seconds: float) -> list[Program]:
        if not answers:
            raise SupervisordUnavailable("busy")
        return [ours]

    monkeypatch.setattr(supervisord, "programs", programs)
    table = ProcessTable(tmp_path / "supervisor.sock", clock=lambda: now[0])
    assert table.programs == {}
    table.look()
    assert table.programs == {"monitor": ours}
    assert table.usage[os.getpid()].memory_bytes > 1_000_000
    answers = False
    now[0] += SILENT_SECONDS - 1.0
    table.look()
    assert table.programs == {"monitor": ours}
    now[0] += 1.0
    table.look()
    assert table.programs is None
    answers = True
    table.look()
    assert table.programs == {"monitor": ours}
