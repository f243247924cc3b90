"""What the monitor knows of supervisord's programs."""

import os
from pathlib import Path

import pytest

from shared import supervisord
from shared.errors import SupervisordUnavailable
from shared.supervisord import Program
from workers.monitor_sources import SILENT_SECONDS, ProcessTable


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
