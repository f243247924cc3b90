"""From the lines of a file to records, by the rules of the service."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from shared.chat_message import source_of
from shared.irc_line import IrcLine, parse_line
from shared.line_file import LineFile, LineTimes, marked_ms
from shared.record import Record
from shared.reports import ChannelReport
from shared.settings import Settings
from workers.intake import Intake

_IN_A_ROOM = frozenset({"PRIVMSG", "USERNOTICE", "ROOMSTATE"})


class FileRecords:
    """The records of one file, the same ones whenever and beside whatever other files it is read.

    ``reads_room`` says whether messages that were mirrored from the room with that id are to be had from it.
    """

    def __init__(self, configured: Settings, path: Path, reads_room: Callable[[str], bool]) -> None:
        self.lines = 0
        """Lines that were read so far, marks left out."""
        self.undated = 0
        """Lines so far that are left out as nothing tells when they were sent or received."""
        self._username = configured.twitch_username
        self._file = LineFile(path)
        self._times = LineTimes(time.time_ns() // 1_000_000)
        self._made: list[Record] = []
        self._total = ChannelReport()
        self._intake = Intake(configured, {"": self._total}, self._made.append, reads_room)
        self._logging_in = False
        self._nick = ""
        self._told_at_join: set[tuple[str, str]] = set()

    @property
    def trouble(self) -> str:
        """What is wrong with the file, as ``LineFile`` says it; known at the end."""
        return self._file.trouble

    @property
    def rejected(self) -> dict[str, int]:
        """Lines that could not be read, by reason; complete at the end."""
        oversized = {"oversized": self._file.oversized} if self._file.oversized else {}
        return self._total.rejected | oversized

    def __iter__(self) -> Iterator[Record]:
        """In the order of the lines. To be called once. Raises OSError."""
        for raw in self._file:
            marked = marked_ms(raw)
            if marked is not None:
                self._times.mark(marked)
                continue
            self.lines += 1
            line = parse_line(raw)
            if line is None:
                self._intake.reject(raw, "malformed")
                continue
            self._take(line)
            yield from self._made
            self._made.clear()

    def _take(self, line: IrcLine) -> None:
        received_ms = self._times.received_ms(line)
        self._follow_login(line)
        if self._logging_in and line.command == "NOTICE" and line.params[:1] == ["*"]:
            # Readers pass on nothing before the login either.
            return
        if self._is_of_recording(line):
            return
        if received_ms is None:
            self.undated += 1
        else:
            self._intake.take(line, received_ms)

    def _follow_login(self, line: IrcLine) -> None:
        if line.command == "CAP":
            self._logging_in = True
        elif line.command == "001":
            self._logging_in = False
            self._nick = line.params[0].lower() if line.params else ""
            if self._nick and not self._nick.startswith("justinfan"):
                self._intake.leave_out_own(self._username or self._nick)

    def _is_of_recording(self, line: IrcLine) -> bool:
        """Whether it only answers the recording's own login or JOIN: nothing happened in the channel."""
        if not self._nick or not line.params:
            return bool(self._nick) and line.command == "GLOBALUSERSTATE"
        channel = line.params[0].lower()
        if line.command == "JOIN" and line.login == self._nick:
            self._told_at_join |= {(channel, "ROOMSTATE"), (channel, "USERSTATE")}
        elif (channel, line.command) in self._told_at_join:
            self._told_at_join.discard((channel, line.command))
            return True
        return False


def rooms_in(path: Path) -> set[str]:
    """Ids of the rooms of which the file has messages of their own. Raises OSError."""
    rooms = set()
    for raw in LineFile(path):
        line = parse_line(raw)
        if line is not None and line.command in _IN_A_ROOM and not source_of(line.tags)[1]:
            rooms.add(line.tags.get("room-id", ""))
    return rooms - {""}
