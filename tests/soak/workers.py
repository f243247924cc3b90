"""The workers as supervisord and the kernel describe them."""

import http.client
import time
import xmlrpc.client
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from shared.channel_list import is_reader


class SupervisordAway(Exception):
    """supervisord gives no answer, or refuses; it may be otherwise later."""


class Supervisor:
    """supervisord's XML-RPC; a supervisorctl for each question would cost more than the question."""

    def __init__(self, run: Path) -> None:
        self._socket = run / "supervisor.sock"
        self._pid_file = run / "supervisord.pid"

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method. Raises SupervisordAway."""
        # Anew each time: the transport does not survive a supervisord that was restarted.
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisordAway(str(error)) from None

    def programs(self) -> dict[str, dict[str, Any]]:
        """Every program by name; none when supervisord is away."""
        try:
            return {info["name"]: info for info in self.call("getAllProcessInfo")}
        except SupervisordAway:
            return {}

    def states(self) -> dict[str, str]:
        """The state of every program."""
        return {name: info["statename"] for name, info in self.programs().items()}

    def process(self, program: str) -> psutil.Process | None:
        """A program's process, ``supervisord`` being one; None when there is none."""
        try:
            pid = self._pid() if program == "supervisord" else self.programs().get(program, {}).get("pid", 0)
            return psutil.Process(pid) if pid else None
        except psutil.NoSuchProcess:
            return None

    def _pid(self) -> int:
        try:
            return int(self._pid_file.read_text())
        except (OSError, ValueError):
            return 0


@dataclass(frozen=True)
class Measure:
    """What one worker holds."""

    megabytes: float
    """USS, memory of its own; RSS where the kernel does not tell."""
    descriptors: int
    age_seconds: float


def measure(supervisor: Supervisor) -> dict[str, list[Measure]]:
    """Every worker that runs, by kind; all readers are of one."""
    pids = {name: info["pid"] for name, info in supervisor.programs().items()}
    found: defaultdict[str, list[Measure]] = defaultdict(list)
    supervisord = supervisor.process("supervisord")
    pids["supervisord"] = supervisord.pid if supervisord else 0
    for name, pid in pids.items():
        one = _measure(pid) if pid else None
        if one is not None:
            found["reader" if is_reader(name) else name].append(one)
    return found


def _measure(pid: int) -> Measure | None:
    try:
        process = psutil.Process(pid)
        memory = process.memory_full_info()
        used = getattr(memory, "uss", 0) or memory.rss
        return Measure(used / 1e6, process.num_fds(), time.time() - process.create_time())
    except psutil.Error:
        return None
