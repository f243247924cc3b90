"""The whole service in a folder of its own, under a real supervisord."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
WAIT_SECONDS = 30.0


def wait_until(
    condition: Callable[[], bool], what: str | Callable[[], str], seconds: float = WAIT_SECONDS
) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_project(folder: Path, project: Path = ROOT) -> None:
    for name in ("workers", "shared", "supervisor", "commands", "schema"):
        shutil.copytree(project / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("supervisord.conf", "channels.example.txt", "requirements.txt", "requirements-embedded.txt"):
        shutil.copy(project / name, folder / name)
    for name in ("run", "logs"):
        (folder / name).mkdir()


class Service:
    """One installation; ``settings`` are its environment's."""

    project = ROOT
    """Whose code it runs."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        copy_project(folder, self.project)
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        # Without the virtual environment on PATH: supervisord's own interpreter must be enough.
        self.environment = kept | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            # No test ever asks the real one; here nobody listens.
            "TWITCH_ID_URL": "http://127.0.0.1:1",
            "MONITOR_PORT": str(free_port()),
            **settings,
        }

    @property
    def monitor(self) -> str:
        """Where the monitor is."""
        return f"http://127.0.0.1:{self.environment['MONITOR_PORT']}"

    def set_channels(self, *logins: str) -> None:
        new = self.folder / "channels.txt.new"
        new.write_text("".join(f"{login}\n" for login in logins))
        new.replace(self.folder / "channels.txt")

    def start(self) -> None:
        # From another folder than the project's.
        subprocess.run(
            [str(BIN / "supervisord"), "-c", str(self.folder / "supervisord.conf")],
            env=self.environment,
            cwd="/",
            check=True,
            capture_output=True,
            timeout=30,
        )

    def control(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "supervisorctl"), *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout

    def states(self) -> dict[str, str]:
        lines = [line.split() for line in self.control("status").splitlines()]
        return {line[0]: line[1] for line in lines if len(line) > 1}

    def pids(self) -> dict[str, int]:
        lines = [line.replace(",", "").split() for line in self.control("status").splitlines()]
        return {line[0]: int(line[3]) for line in lines if "pid" in line}

    def wait_running(self, *programs: str) -> None:
        wait_until(
            lambda: all(self.states().get(program) == "RUNNING" for program in programs),
            lambda: f"{programs} RUNNING, is {self.control('status')} {self.logs()}",
        )

    def status_of(self, program: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run" / "status" / f"{program}.json").read_text())
        return found

    def log(self, program: str) -> str:
        path = self.folder / "logs" / f"{program}.log"
        return path.read_text() if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(
            f"== {path.name}\n{path.read_text()[-2000:]}" for path in (self.folder / "logs").glob("*.log")
        )

    def processes(self) -> list[psutil.Process]:
        """Every process that works in this folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def shut_down(self, seconds: float = 60.0) -> None:
        """Stop in order and wait until nothing is left."""
        pid_file = self.folder / "run" / "supervisord.pid"
        if pid_file.exists():
            process = psutil.Process(int(pid_file.read_text()))
            process.terminate()
            process.wait(seconds)
        wait_until(lambda: not self.processes(), lambda: f"no process left, but {self.processes()}")

    def end(self) -> None:
        """Leave nothing behind, whatever has happened."""
        while processes := self.processes():
            # supervisord is among them: what it starts meanwhile is found by the next look.
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, timeout=10)
