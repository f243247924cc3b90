"""Where the monitor's facts come from: status files, supervisord, the system."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from shared import supervisord
from shared.errors import SupervisordUnavailable
from shared.paths import Paths
from shared.reports import ProducerReport, ReaderReport, SyncReport, TokenReport, WatchdogReport
from shared.settings import Settings
from shared.status_file import Head, read_status
from shared.supervisord import Program
from workers.monitor_facts import Facts, Usage, readers_of

# A stop waits for the answer.
ANSWER_SECONDS = 3.0
# While it starts some hundred readers it does nothing else for seconds.
SILENT_SECONDS = 20.0
# The kernel goes through all pages of a process for it: a third of a millisecond.
MEMORY_A_LOOK = 25
_Report = TypeVar("_Report")


class ProcessTable:
    """supervisord's programs and what their processes take. ``look`` blocks, in a thread of its own.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, socket_path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.programs: dict[str, Program] | None = {}
        """By name; None when supervisord has not answered for some time."""
        self._clock = clock
        self._answered_at = clock()
        self.usage: dict[int, Usage] = {}
        self._socket_path = socket_path
        self._processes: dict[int, psutil.Process] = {}
        # Bytes by process id, what was measured first in front.
        self._memory: dict[int, int] = {}

    def look(self) -> None:
        """Ask anew."""
        try:
            programs = {one.name: one for one in supervisord.programs(self._socket_path, ANSWER_SECONDS)}
        except SupervisordUnavailable:
            if self._clock() - self._answered_at >= SILENT_SECONDS:
                self.programs = None
            return
        self._answered_at = self._clock()
        usage = {}
        processes: dict[int, psutil.Process] = {}
        due = set(list(self._memory)[:MEMORY_A_LOOK])
        for program in programs.values():
            if program.pid is None:
                continue
            try:
                # Kept: the processor time counts from the last look.
                known = self._processes.get(program.pid)
                process = known if known is not None and known.is_running() else psutil.Process(program.pid)
                processes[program.pid] = process
                with process.oneshot():
                    # Over the time since the last look; the first one gives nothing.
                    cpu = process.cpu_percent(None)
                if process is not known or program.pid in due or program.pid not in self._memory:
                    self._memory.pop(program.pid, None)
                    self._memory[program.pid] = _memory_of(process)
            except psutil.Error:
                continue
            usage[program.pid] = Usage(cpu if process is known else None, self._memory[program.pid])
        self._processes = processes
        self._memory = {pid: memory for pid, memory in self._memory.items() if pid in usage}
        self.programs, self.usage = programs, usage


def _memory_of(process: psutil.Process) -> int:
    """In bytes; what several share counts a part in each, where the system tells that (Linux)."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


class Sources:
    """Reads what there is to know at one time."""

    def __init__(self, settings: Settings, paths: Paths, processes: ProcessTable) -> None:
        self._copies = settings.readers_per_channel
        self._paths = paths
        self._processes = processes

    def read(self) -> Facts:
        """Read all status files of what is wanted: some ten microseconds each. Never raises."""
        heads: dict[str, Head] = {}
        sync = self._report("channel-sync", SyncReport, heads)
        names = dict.fromkeys(
            name for channel in sync.channels for name in readers_of(sync, channel, self._copies)
        )
        readers = {name: self._report(name, ReaderReport, heads) for name in names}
        return Facts(
            copies=self._copies,
            heads=heads,
            gone=frozenset(name for name, head in heads.items() if not psutil.pid_exists(head.pid)),
            readers=readers,
            producer=self._report("producer", ProducerReport, heads),
            sync=sync,
            token=self._report("token-refresher", TokenReport, heads),
            watchdog=self._report("watchdog", WatchdogReport, heads),
            programs=self._processes.programs,
            usage=self._processes.usage,
            disk_free_bytes=self._disk_free(),
            # Last, so that no report lies in the future.
            now=time.monotonic(),
            time_ms=time.time_ns() // 1_000_000,
        )

    def _report(self, program: str, kind: type[_Report], heads: dict[str, Head]) -> _Report:
        found = read_status(self._paths.status / f"{program}.json", kind)
        if found is None:
            return kind()
        heads[program] = found.head
        return found.report

    def _disk_free(self) -> int | None:
        try:
            return shutil.disk_usage(self._paths.run).free
        except OSError:
            return None
