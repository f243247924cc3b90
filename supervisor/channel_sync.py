"""The supervised program ``channel-sync``: readers for the wanted channels, the broker where it is embedded.

It compares what is wanted with what supervisord runs, writes a section file for each missing program, and
has supervisord add, start, stop and remove them by XML-RPC. Programs that stay are never touched: a reader of
several channels follows the file that says which.
"""

import selectors
import time
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger
from supervisor.xmlrpc import SupervisorTransport

from shared.atomic_file import replace_file
from shared.channel_list import group_name, is_reader, parse_channel_list, reader_name
from shared.errors import ServiceError
from shared.paths import Paths
from shared.reader_groups import Groups, assign, numbers_by_login, read_groups, write_groups
from shared.reports import SyncReport
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.timing import Backoff
from shared.worker import run_worker

PROGRAM = "channel-sync"
LOOK_SECONDS = 0.5
MEND_SECONDS = 10.0
# Editors replace files, and for a moment there is none, or an empty one.
EMPTY_COUNTS_AFTER_SECONDS = 2.0
# supervisord answers other callers between the batches.
BATCH = 25

_SECTION = """\
; Written by channel-sync, changes here are overwritten.
[program:{name}]
command="{root}/supervisor/start-worker" {arguments}
priority={priority}
autostart=false
startsecs={startsecs}
startretries=1000000
autorestart=true
stopwaitsecs={stopwaitsecs}
redirect_stderr=true
stdout_logfile={root}/logs/{name}.log
stdout_logfile_maxbytes=2MB
stdout_logfile_backups=2
"""


@dataclass(frozen=True)
class Program:
    """A supervised program that channel-sync sees to."""

    name: str
    section: str
    """Content of its section file."""


def reader_program(login: str, copy: int, root: Path) -> Program:
    """The reader of a channel; ``copy`` above 1 for a further one. Pure."""
    return _reader(reader_name(login, copy), login, copy, root)


def group_program(number: int, copy: int, root: Path) -> Program:
    """The reader of the channels of that group; ``copy`` as above. Pure."""
    return _reader(group_name(number, copy), f"--group {number}", copy, root)


def _reader(name: str, what: str, copy: int, root: Path) -> Program:
    arguments = f"-m workers.reader {what}" + (f" --copy {copy}" if copy > 1 else "")
    section = _SECTION.format(
        name=name, root=_escaped(root), arguments=arguments, priority=900, startsecs=1, stopwaitsecs=8
    )
    return Program(name, section)


def kafka_program(root: Path) -> Program:
    """The embedded broker. Pure."""
    section = _SECTION.format(
        name="kafka",
        root=_escaped(root),
        arguments="-m workers.embedded_kafka",
        priority=10,
        startsecs=3,
        stopwaitsecs=20,
    )
    return Program("kafka", section)


def wanted_programs(
    logins: tuple[str, ...], groups: Groups, settings: Settings, root: Path
) -> dict[str, Program]:
    """Everything that shall run, by name, the broker first; ``groups`` where readers have several. Pure."""
    programs = [kafka_program(root)] if settings.kafka_is_embedded else []
    copies = range(1, settings.readers_per_channel + 1)
    if settings.channels_per_reader > 1:
        programs += [group_program(number, copy, root) for number in groups for copy in copies]
    else:
        programs += [reader_program(login, copy, root) for login in logins for copy in copies]
    return {program.name: program for program in programs}


def _escaped(root: Path) -> str:
    # supervisord expands %(…)s in its files.
    return str(root).replace("%", "%%")


class ChannelFile:
    """The channel list on disk, looked at again and again.

    A list that is gone or empty counts only when it still is after ``EMPTY_COUNTS_AFTER_SECONDS``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: tuple[int, ...] | None = None
        self._logins: tuple[str, ...] = ()
        self._empty_since: float | None = None
        self._first = True

    def look(self, now: float) -> tuple[str, ...]:
        """The logins that count now; warnings go to the log once per change of the file."""
        signature = self._stat()
        if self._first or signature != self._signature:
            self._first = False
            self._signature = signature
            logins = self._read(signature is None)
            if logins:
                self._logins = logins
                self._empty_since = None
            elif self._empty_since is None:
                self._empty_since = now
        if self._empty_since is not None and now - self._empty_since >= EMPTY_COUNTS_AFTER_SECONDS:
            self._logins = ()
        return self._logins

    def _stat(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self, missing: bool) -> tuple[str, ...]:
        name = self._path.name
        try:
            if missing:
                raise FileNotFoundError
            text = self._path.read_text("utf-8", "replace")
        except FileNotFoundError:
            logger.warning("{} is missing: copy channels.example.txt there and edit it", name)
            return ()
        except OSError as error:
            logger.warning("{} cannot be read: {}", name, error.strerror)
            return ()
        found = parse_channel_list(text, name)
        for warning in found.warnings:
            logger.warning("{}", warning)
        if not found.logins:
            logger.warning("{} names no channel", name)
        return found.logins


class Supervisord:
    """supervisord's XML-RPC over its Unix socket.

    ``alive`` is called before the requests that many can follow each other of: together they may take long.
    """

    def __init__(self, socket_path: Path, alive: Callable[[], object]) -> None:
        self._alive = alive
        transport = SupervisorTransport(None, None, serverurl=f"unix://{socket_path}")
        self._server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    @property
    def _rpc(self) -> Any:
        return self._server.supervisor

    def states(self) -> dict[str, dict[str, Any]]:
        """Every program by name, as supervisord describes it."""
        self._alive()
        return {info["name"]: info for info in self._rpc.getAllProcessInfo()}

    def reload(self) -> tuple[list[str], list[str], list[str]]:
        """Read the section files again; the names that were added, changed, removed. Changes nothing."""
        added, changed, removed = self._rpc.reloadConfig()[0]
        return added, changed, removed

    def call_all(self, *calls: tuple[Any, ...]) -> None:
        """Make many calls in few requests, each a method's name and its arguments.

        Answers that only say that there was nothing to do are left out; others are logged.
        """
        for start in range(0, len(calls), BATCH):
            self._alive()
            batch = calls[start : start + BATCH]
            requests = [
                {"methodName": f"supervisor.{method}", "params": list(arguments)}
                for method, *arguments in batch
            ]
            answers: Any = self._server.system.multicall(requests)
            for call, answer in zip(batch, answers, strict=True):
                if isinstance(answer, dict) and not _harmless(str(answer.get("faultString"))):
                    logger.warning("supervisord: {}: {}", " ".join(map(str, call)), answer["faultString"])


def _harmless(fault: str) -> bool:
    return fault.startswith(("ALREADY_ADDED", "ALREADY_STARTED", "NOT_RUNNING"))


class ChannelSync:
    """Brings supervisord's programs in line with the wanted ones."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._paths = paths
        self._file = ChannelFile(settings.twitch_channels_file)
        self._status = StatusFile(paths.status, PROGRAM)
        self._supervisord = Supervisord(paths.supervisor_socket, self._report)
        self._wanted: tuple[str, ...] = ()
        self._groups: Groups = {}
        self._numbers: dict[str, int] = {}
        self._applied: tuple[str, ...] | None = None
        self._apply_at = 0.0
        self._mend_at = 0.0
        self._backoff = Backoff(first=0.5, longest=10.0)

    def run(self, stop: Stop) -> None:
        """Follow the channel list until ``stop`` is requested."""
        logger.info("starting, channels are in {}", self._settings.twitch_channels_file)
        selector = selectors.DefaultSelector()
        selector.register(stop, selectors.EVENT_READ)
        while not stop.requested:
            now = time.monotonic()
            logins = tuple(dict.fromkeys((*self._settings.twitch_channel, *self._file.look(now))))
            self._wanted = logins
            if logins != self._applied and now >= self._apply_at:
                self._apply(logins)
            elif self._groups and now >= self._mend_at:
                self._mend_at = now + MEND_SECONDS
                self._mend_groups()
            self._report()
            selector.select(LOOK_SECONDS)
        self._status.finish(self._content())

    def _report(self) -> None:
        self._status.update(self._content)

    def _content(self) -> SyncReport:
        return SyncReport(list(self._wanted), self._applied == self._wanted, self._numbers)

    def _apply(self, logins: tuple[str, ...]) -> None:
        try:
            self._assign(logins)
            self._bring_in_line(wanted_programs(logins, self._groups, self._settings, self._paths.root))
        except (OSError, xmlrpc.client.Error, ServiceError) as error:
            pause = self._backoff.next_seconds()
            self._apply_at = time.monotonic() + pause
            logger.warning(
                "supervisord could not be told, next attempt in {:.0f} s: {}", pause, _reason(error)
            )
            return
        self._backoff.reset()
        self._applied = logins
        logger.info("{} channels: {}", len(logins), ", ".join(logins) or "none, edit the channel list")

    def _assign(self, logins: tuple[str, ...]) -> None:
        """Where readers have several channels, say which. Raises OSError."""
        size, folder = self._settings.channels_per_reader, self._paths.groups
        before = read_groups(folder) if size > 1 else {}
        may_move = max(map(len, before.values()), default=0) <= size or not self._some_reader_runs()
        self._groups = assign(logins, before, size, may_move) if size > 1 else {}
        if not may_move:
            # Two readers at once would have a channel, each with totals of its own.
            logger.warning(
                "some readers keep more than {} channels until the whole service is restarted", size
            )
        self._numbers = numbers_by_login(self._groups)
        write_groups(folder, self._groups)

    def _some_reader_runs(self) -> bool:
        states = self._supervisord.states()
        return any(is_reader(name) and info["pid"] for name, info in states.items())

    def _mend_groups(self) -> None:
        """Somebody may have edited the files, which readers follow."""
        try:
            write_groups(self._paths.groups, self._groups)
        except OSError as error:
            logger.warning("{} cannot be written: {}", self._paths.groups, error.strerror)

    def _bring_in_line(self, wanted: dict[str, Program]) -> None:
        folder = self._paths.programs
        for stale in folder.glob("*.conf"):
            if stale.stem not in wanted:
                stale.unlink()
        for program in wanted.values():
            path = folder / f"{program.name}.conf"
            content = program.section.encode()
            if not path.exists() or path.read_bytes() != content:
                replace_file(path, content)
        before = self._supervisord.states()
        added, changed, removed = self._supervisord.reload()
        # A section that changed, as after an upgrade, is a program that leaves and comes back.
        leaving = [name for name in (*removed, *changed) if name in before and _ours(name)]
        if leaving:
            self._supervisord.call_all(*(("stopProcess", name, False) for name in leaving))
            self._wait_until_stopped(leaving)
            self._supervisord.call_all(*(("removeProcessGroup", name) for name in leaving))
        coming = [name for name in (*added, *changed) if name in wanted]
        self._supervisord.call_all(*(("addProcessGroup", name) for name in coming))
        self._start(wanted)

    def _start(self, wanted: dict[str, Program]) -> None:
        """Start what has not been started yet; what somebody stopped by hand stays stopped."""
        states = self._supervisord.states()
        names = [name for name in wanted if name in states and _never_started(states[name])]
        self._supervisord.call_all(*(("startProcess", name, False) for name in names))

    def _wait_until_stopped(self, names: list[str]) -> None:
        for _ in range(600):
            states = self._supervisord.states()
            if all(states[name]["statename"] in ("STOPPED", "EXITED", "FATAL") for name in names):
                return
            time.sleep(0.05)
        raise ServiceError(f"{', '.join(names)} did not stop")


def _ours(name: str) -> bool:
    return name == "kafka" or is_reader(name)


def _never_started(info: dict[str, Any]) -> bool:
    return bool(info["statename"] == "STOPPED" and info["start"] == 0)


def _reason(error: BaseException) -> str:
    return error.faultString if isinstance(error, xmlrpc.client.Fault) else str(error)


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Run channel-sync until ``stop`` is requested."""
    ChannelSync(settings, paths).run(stop)


if __name__ == "__main__":
    run_worker(PROGRAM, main)
