"""The supervised program ``watchdog``: an event listener of supervisord with three duties.

supervisord stops its programs one after the other and lets up to a second pass for each. When it begins to
shut down, this listener asks all readers and the token-refresher at once to stop, and wakes supervisord
whenever it would sleep. A listener is the last that is stopped.

supervisord notices a worker that ends, but not one that hangs. With every tick this listener looks at the
workers' status files and kills a worker that has stopped to write its own; supervisord starts it again. It
also counts, for the monitor, how often supervisord had to start a program again.
"""

import os
import selectors
import signal
import socket
import sys
import time
import xmlrpc.client
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from loguru import logger
from supervisor import childutils
from supervisor.xmlrpc import SupervisorTransport

from shared.paths import Paths
from shared.reports import WatchdogReport
from shared.settings import Settings
from shared.status_file import STALE_SECONDS, Head, StatusFile, read_status
from shared.stopping import Stop
from shared.worker import run_worker

PROGRAM = "watchdog"
STOPPING_EVENT = "SUPERVISOR_STATE_CHANGE_STOPPING"
TICK_EVENT = "TICK_5"
STARTING_EVENT = "PROCESS_STATE_STARTING"
# States before a start that nobody ordered.
_ENDED_BY_ITSELF = frozenset({"EXITED", "BACKOFF"})
WAKE_SECONDS = 0.02
# supervisord kills what takes longer than its stopwaitsecs; nothing is left to wake it for after that.
WAKE_FOR_SECONDS = 60.0
# For each step of a request to supervisord, which may be busy or stopped.
RPC_SECONDS = 5.0
# The broker is Java and writes no status file.
WITHOUT_STATUS = frozenset({"kafka"})
_ASKED_FIRST = frozenset({b"workers.reader", b"workers.token_refresher"})
# So much longer, for each that starts, until a worker's first report: they share the processor, and a
# hundred that start together take most of a minute on a slow machine.
START_SECONDS = 0.5
# Ticks are 5 s apart, give or take one. Those that have piled up come at once, and are one look.
LOOK_SECONDS = 3.0
PAUSE_SECONDS = 10.0
# The watchdog's own file is not older at a look, unless it cannot be written.
OWN_STALE_SECONDS = 8.0
KILL_AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Worker:
    """A program that supervisord calls RUNNING."""

    name: str
    pid: int


@dataclass(frozen=True)
class Event:
    """One event of supervisord's, with what it tells."""

    name: str
    payload: Mapping[str, str]


@dataclass(frozen=True)
class Hang:
    """A worker that is to be killed, and for how many seconds it has not reported."""

    worker: Worker
    seconds: float


class Hangs:
    """Tells from look to look which workers hang. Pure.

    A worker hangs when it is stale at two looks in a row, so that after a pause of the whole machine
    everybody has the time to report. ``own`` is the watchdog's program: where its reports do not come
    through, as on a full disk, those of the others do not either, and no look counts.
    """

    def __init__(self, own: str = PROGRAM, without_status: Collection[str] = WITHOUT_STATUS) -> None:
        self._own = own
        self._exempt = {own, *without_status}
        self._looked_at: float | None = None
        self._first_seen: dict[Worker, float] = {}
        self._suspects: set[Worker] = set()
        self._killed_at: dict[str, float] = {}

    def look(self, now: float, running: Collection[Worker], reports: Mapping[str, Head]) -> list[Hang]:
        """The workers to kill now; ``reports`` by program, those of all others are missing or unreadable."""
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return []
        counts = self._looked_at is not None and now - self._looked_at <= PAUSE_SECONDS
        self._looked_at = now
        self._first_seen = {worker: self._first_seen.get(worker, now) for worker in running}
        if not self._own_report_is_fresh(now, reports):
            # The first look after reports come through again counts nothing either.
            self._looked_at = None
            counts = False
        stale = self._stale(now, reports) if counts else []
        hangs = [hang for hang in stale if hang.worker in self._suspects]
        self._suspects = {hang.worker for hang in stale}
        return [hang for hang in hangs if self._may_be_killed(now, hang.worker)]

    def killed(self, now: float, worker: Worker) -> None:
        """Remember that the worker was killed, so that its program is left alone for a while."""
        self._killed_at[worker.name] = now

    def _own_report_is_fresh(self, now: float, reports: Mapping[str, Head]) -> bool:
        own = reports.get(self._own)
        return own is not None and 0 <= now - own.written_monotonic < OWN_STALE_SECONDS

    def _stale(self, now: float, reports: Mapping[str, Head]) -> list[Hang]:
        watched = [worker for worker in self._first_seen if worker.name not in self._exempt]
        reported = {worker: _reported_at(now, worker, reports.get(worker.name)) for worker in watched}
        starting_seconds = STALE_SECONDS + START_SECONDS * list(reported.values()).count(None)
        stale = []
        for worker, at in reported.items():
            silent_seconds = now - (self._first_seen[worker] if at is None else at)
            if silent_seconds >= (starting_seconds if at is None else STALE_SECONDS):
                stale.append(Hang(worker, silent_seconds))
        return stale

    def _may_be_killed(self, now: float, worker: Worker) -> bool:
        return now - self._killed_at.get(worker.name, float("-inf")) >= KILL_AGAIN_SECONDS


def _reported_at(now: float, worker: Worker, report: Head | None) -> float | None:
    # A predecessor's file tells nothing, nor does one of another boot, where the clock started anew.
    if report is None or report.pid != worker.pid or report.written_monotonic > now:
        return None
    return report.written_monotonic


class Watchdog:
    """Looks for workers that hang and kills them; supervisord starts them again.

    ``before`` has the totals to go on with.
    """

    def __init__(self, paths: Paths, before: WatchdogReport) -> None:
        self._paths = paths
        self._hangs = Hangs()
        self._looks = 0
        self._kills = Counter(before.kills)
        self._restarts = Counter(before.restarts)

    def report(self) -> WatchdogReport:
        """For the status file."""
        return WatchdogReport(self._looks, dict(self._kills), dict(self._restarts))

    def on_starting(self, payload: Mapping[str, str]) -> None:
        """Count a start that follows an end which nobody ordered."""
        if payload.get("from_state") in _ENDED_BY_ITSELF:
            self._restarts[payload.get("processname", "")] += 1

    def look(self) -> None:
        """Look once. Whatever supervisord answers, also that it shuts down, the next look is another try."""
        try:
            with self._server() as server:
                self._kill_what_hangs(server.supervisor)
        except Exception as error:  # noqa: BLE001 - no answer, half an answer, or one that says no
            logger.debug("supervisord could not be asked for its programs: {}", error)

    def _server(self) -> xmlrpc.client.ServerProxy:
        # Made anew each time: a connection that failed once is of no use.
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._paths.supervisor_socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def _kill_what_hangs(self, supervisord: Any) -> None:
        running = running_of(supervisord.getAllProcessInfo())
        names = {PROGRAM, *(worker.name for worker in running)}
        reports = {name: report for name in names if (report := read_report(self._paths.status, name))}
        # The clock comes last: what was written a moment ago must not lie in the future.
        hangs = self._hangs.look(time.monotonic(), running, reports)
        self._looks += 1
        for hang in hangs:
            # Time has passed: the number may be another process's by now.
            if hang.worker in running_of([supervisord.getProcessInfo(hang.worker.name)]):
                self._kill(hang)

    def _kill(self, hang: Hang) -> None:
        worker = hang.worker
        logger.warning(
            "{} (pid {}) has not reported for {:.0f} s, it is killed; supervisord starts it again",
            worker.name,
            worker.pid,
            hang.seconds,
        )
        # A process that is stopped takes nothing but a SIGKILL.
        os.kill(worker.pid, signal.SIGKILL)
        self._hangs.killed(time.monotonic(), worker)
        self._kills[worker.name] += 1


def running_of(infos: list[dict[str, Any]]) -> list[Worker]:
    """The workers that run, of what supervisord tells about its programs. Pure."""
    return [Worker(info["name"], info["pid"]) for info in infos if info["statename"] == "RUNNING"]


def read_report(folder: Path, program: str) -> Head | None:
    """When a program has last told something; None when there is no file or it makes no sense."""
    found = read_status(folder / f"{program}.json", Head)
    return None if found is None else found.head


def read_event(events: FileIO) -> Event | None:
    """supervisord's next event; None when it has closed the pipe."""
    line = events.readline()
    if not line:
        return None
    header = childutils.get_headers(line.decode())
    payload = (events.read(int(header["len"])) or b"").decode("utf-8", "replace")
    pairs = (pair.partition(":") for pair in payload.split())
    return Event(header["eventname"], {name: value for name, _colon, value in pairs})


def asked_first(supervisord: int) -> list[int]:
    """Process ids of supervisord's children that may stop before the others are asked.

    The readers, and the token-refresher, which may have to wait for an answer of Twitch's. Empty where the
    kernel does not tell.
    """
    try:
        children = Path(f"/proc/{supervisord}/task/{supervisord}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if _is_asked_first(child)]


def _is_asked_first(child: str) -> bool:
    try:
        # With zeros between its words, or with blanks where the worker is a fork that has set it itself.
        command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ")
        return not _ASKED_FIRST.isdisjoint(command.split(b" "))
    except OSError:
        return False


def speed_up_the_stop(paths: Paths, stop: Stop) -> None:
    """Ask those who can to stop, then wake supervisord until it has stopped everything, this one at last."""
    for worker in asked_first(os.getppid()):
        os.kill(worker, signal.SIGUSR1)
    transport = SupervisorTransport(None, None, serverurl=f"unix://{paths.supervisor_socket}")
    end = time.monotonic() + WAKE_FOR_SECONDS
    while not stop.requested and time.monotonic() < end:
        try:
            # Any request wakes it; the answer is that it shuts down.
            transport.request("127.0.0.1", "/RPC2", b"<methodCall><methodName>x</methodName></methodCall>")
        except OSError:
            return
        except Exception as fault:  # noqa: BLE001 - the fault that says so, or half an answer
            logger.trace("{}", fault)
        time.sleep(WAKE_SECONDS)


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Listen to supervisord's events until ``stop`` is requested or supervisord closes the pipe."""
    del settings
    # The transport cannot be told; no other sockets are made here.
    socket.setdefaulttimeout(RPC_SECONDS)
    # Without a buffer: the selector does not see what one would have read ahead. supervisord does not send
    # an event before the READY for it, but this need not depend on that.
    events = FileIO(sys.stdin.fileno(), closefd=False)
    selector = selectors.DefaultSelector()
    selector.register(stop, selectors.EVENT_READ)
    selector.register(events, selectors.EVENT_READ)
    status = StatusFile(paths.status, PROGRAM)
    left = status.left(WatchdogReport)
    watchdog = Watchdog(paths, left.report if left else WatchdogReport())
    childutils.listener.ready(sys.stdout)
    while not stop.requested:
        wait = status.update(watchdog.report)
        if events not in [key.fileobj for key, _events in selector.select(wait)]:
            continue
        event = read_event(events)
        if event is None:
            break
        childutils.listener.ok(sys.stdout)
        if event.name == STOPPING_EVENT:
            speed_up_the_stop(paths, stop)
        elif event.name == TICK_EVENT:
            watchdog.look()
        elif event.name == STARTING_EVENT:
            watchdog.on_starting(event.payload)
        childutils.listener.ready(sys.stdout)
    status.finish(watchdog.report())


if __name__ == "__main__":
    run_worker(PROGRAM, main)
