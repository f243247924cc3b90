"""``make status`` over a real service."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.service import Service, copy_project, free_port, wait_until
from tests.processes.test_main_job import start
from tests.processes.test_monitor import Watcher


def run(folder: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "commands.status", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Terminal:
    """A command on a terminal of 120 times 40."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "commands.status", *arguments],
            cwd=folder,
            env={"TERM": "xterm-256color", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def wait_shown(self, text: str, seconds: float = 30.0) -> None:
        """Read until the text has come after what was there before."""
        before = len(self.shown)
        end = time.monotonic() + seconds
        while text not in self.shown[before:]:
            assert time.monotonic() < end, f"{text!r} in {self.shown[before:]!r}"
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode("utf-8", "replace")
                except OSError:
                    break
        assert text in self.shown[before:], self.shown[before:]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._master)


def test_it_says_whether_all_is_well_by_its_exit_code(service: Service, twitch: FakeTwitch) -> None:
    start(service, twitch, "alpha", "beta")
    watcher = Watcher(service)
    watcher.wait_ready()
    well = run(service.folder, service.environment)
    assert (well.returncode, well.stderr) == (0, "")
    assert well.stdout.startswith("✓ All is well: 2 channels")
    assert "\x1b" not in well.stdout
    assert {"alpha", "beta", "producer", "monitor"} <= {
        line.split(" ")[0] for line in well.stdout.splitlines()
    }
    as_json = run(service.folder, service.environment, "--json")
    assert as_json.returncode == 0
    assert [one["name"] for one in json.loads(as_json.stdout)["channels"]] == ["alpha", "beta"]
    service.control("stop", "reader-beta")
    wait_until(lambda: watcher.status()["problems"], "a problem")
    ill = run(service.folder, service.environment)
    assert ill.returncode == 1
    assert "#beta is not read" in ill.stdout
    assert run(service.folder, service.environment, "--json").returncode == 1
    watcher.http.close()


def test_watching_goes_on_through_the_monitors_absence_until_it_is_ended(
    service: Service, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    watcher = Watcher(service)
    watcher.wait_ready()
    terminal = Terminal(service.folder, service.environment, "--watch")
    try:
        terminal.wait_shown("All is well: 1 channel")
        assert "\x1b[32m" in terminal.shown
        service.control("stop", "monitor")
        terminal.wait_shown("does not answer (nobody listens)")
        service.control("start", "monitor")
        # At the top of the screen: below the error the last answer stays.
        terminal.wait_shown("\x1b[H\x1b[32m✓ All is well: 1 channel")
        terminal.process.send_signal(signal.SIGINT)
        # The screen that was there before comes back.
        terminal.wait_shown("\x1b[?1049l")
        assert terminal.process.wait(20) == 0
        assert "Traceback" not in terminal.shown
    finally:
        terminal.close()
        watcher.http.close()


def test_no_colours_where_they_are_not_wanted(service: Service, twitch: FakeTwitch) -> None:
    start(service, twitch, "alpha")
    watcher = Watcher(service)
    watcher.wait_ready()
    watcher.http.close()
    terminal = Terminal(service.folder, {**service.environment, "NO_COLOR": "1"})
    try:
        terminal.wait_shown("token     none")
        assert terminal.process.wait(20) == 0
        assert "\x1b[3" not in terminal.shown
    finally:
        terminal.close()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_without_a_service_it_is_one_line_that_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    copy_project(tmp_path)
    port = free_port()
    done = run(tmp_path, os.environ | {"MONITOR_PORT": str(port)}, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"status: the monitor at http://127.0.0.1:{port} does not answer (nobody listens): start the service "
        "with make run; if it runs, see logs/monitor.log\n"
    )


def test_a_bad_setting_is_one_line_and_so_are_arguments_that_do_not_go_together(tmp_path: Path) -> None:
    copy_project(tmp_path)
    done = run(tmp_path, os.environ | {"MONITOR_PORT": "many"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("status: MONITOR_PORT='many'")
    assert len(done.stderr.splitlines()) == 1
    both = run(tmp_path, dict(os.environ), "--watch", "--json")
    assert both.returncode == 2
    assert "--watch and --json do not go together" in both.stderr
