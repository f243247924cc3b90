from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared import settings
from shared.paths import Paths
from tests.supervisor.script import load_script

channel_sync = load_script("channel_sync")


class SlowSupervisord:
    """Answers as many times that the program still stops, then that it has; counts batches of calls."""

    def __init__(self, answers: int) -> None:
        self.left = answers
        self.batches = 0
        self.supervisor = SimpleNamespace(getAllProcessInfo=self._infos)
        self.system = SimpleNamespace(multicall=self._multicall)

    def _infos(self) -> list[dict[str, Any]]:
        self.left -= 1
        return [{"name": "reader-xqc", "statename": "STOPPING" if self.left > 0 else "STOPPED"}]

    def _multicall(self, requests: list[Any]) -> list[Any]:
        self.batches += 1
        return [True for _ in requests]


def test_it_reports_while_it_waits_for_programs_to_stop(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.prepare()
    sync = channel_sync.ChannelSync(settings.load(paths, {}), paths)
    sync._supervisord._server = SlowSupervisord(answers=3)
    sync._wait_until_stopped(["reader-xqc"])
    assert (paths.status / "channel-sync.json").exists()


def test_it_reports_before_each_batch_of_calls(tmp_path: Path) -> None:
    reports: list[int] = []
    slow = SlowSupervisord(answers=0)
    supervisord = channel_sync.Supervisord(tmp_path / "socket", lambda: reports.append(slow.batches))
    supervisord._server = slow
    supervisord.call_all(*(("startProcess", f"reader-{number}", False) for number in range(60)))
    assert reports == [0, 1, 2]
