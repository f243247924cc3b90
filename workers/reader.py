"""The supervised programs ``reader-<login>`` and ``readers-<number>``: read chat and hand it off.

``python -m workers.reader LOGIN [--copy N]`` reads a channel, ``python -m workers.reader --group NUMBER
[--copy N]`` those of a group, which may change while it runs; N above 1 is a further reader of the same.
"""

import selectors
import sys
import time
from collections import Counter, defaultdict

from loguru import logger

from shared.channel_list import group_name, reader_name
from shared.errors import SpoolError
from shared.frames import FrameSocket
from shared.handoff_client import HandoffClient
from shared.outbox import MAX_OUTBOX_BYTES
from shared.paths import Paths
from shared.reader_groups import GroupFile
from shared.reports import LOST_NOT_STORED, LOST_OUTBOX, ChannelReport, ReaderReport
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.timing import Deadline
from shared.waker import Waker
from shared.worker import run_worker
from workers.absence import Absence
from workers.intake import Intake
from workers.other_readers import OtherReaders
from workers.predecessors import last_word_on, leave_to_others
from workers.presence import Presence
from workers.twitch_connection import TwitchConnection
from workers.twitch_session import SessionListener, TwitchSession

# At the stop what the producer does not take goes to the spool; without a producer there is less to wait for.
STOP_HANDOFF_SECONDS = 4.0
STOP_ALONE_SECONDS = 0.5
# How often it is looked for other channels: they come and go within two seconds.
LOOK_SECONDS = 0.5
# Waking up costs more than reading a line: where readings follow each other so soon each waits for more.
GATHER_SECONDS = 0.004
# Where it is the only reader the producer need not gather then.
GATHER_SHARED_SECONDS = 0.008
# So many in a row; two may be chance, and waiting is one more wake-up.
GATHER_AFTER_READINGS = 3


class Reader(SessionListener):
    """The loop between Twitch and the hand-off queue.

    ``program`` is its name, ``copy`` above 1 for a further reader of the same channels. Those are ``wanted``,
    or what is said in the file ``group``, which is followed.
    """

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        program: str,
        copy: int,
        wanted: tuple[str, ...],
        group: GroupFile | None = None,
    ) -> None:
        self._settings = settings
        self._copy = copy
        self._group = group
        if group is not None:
            wanted = group.look() or ()
        self._wanted: frozenset[str] = frozenset()
        # Those that are wanted no more, until all that was read of them is durable.
        self._leaving: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._handoff = HandoffClient(
            paths.handoff_socket,
            paths.handoff_key,
            program,
            # Not more: at a stop there are eight seconds to put all of it into the spool.
            MAX_OUTBOX_BYTES * (1 if group is None else 2),
            needs_types=bool(settings.kafka_topic_chat_events),
        )
        self._program = program
        self._spool_path = paths.spool
        self._status_folder = paths.status
        self._status = StatusFile(paths.status, program)
        self._watched_peer: FrameSocket | None = None
        self._watched_is_busy = False
        self._watched_descriptor = -1
        self._totals: dict[str, ChannelReport] = {}
        """Of those that are wanted and those that are leaving."""
        self._lost = defaultdict[str, Counter[str]](Counter)
        """Besides what the hand-off counts in this life."""
        self._stopping = False
        # Until then nothing has to be looked at but lines, monotonic seconds.
        self._look_at = 0.0
        self._gather_seconds = GATHER_SECONDS if group is None else GATHER_SHARED_SECONDS
        self._read_at = 0.0
        self._readings_in_a_row = 0
        self._uses_tls = settings.twitch_irc_url.tls
        self._presence = Presence()
        self._others = OtherReaders(paths.status, program)
        self._intake = Intake(settings, self._totals, self._handoff.put, self._reads_room)
        self._absence = Absence(settings, paths, self._totals, self._intake, self._others, self._waker.wake)
        self._session = TwitchSession(settings, paths, (), self, self._absence.take, self._waker.wake)
        if group is not None:
            leave_to_others(program, wanted, paths.status, copy)
        self._want(wanted)

    def run(self, stop: Stop) -> None:
        """Read until ``stop`` is requested, then hand off what was read."""
        self._selector.register(stop, selectors.EVENT_READ)
        self._selector.register(self._waker, selectors.EVENT_READ)
        logger.info("starting, Twitch is {}", self._settings.twitch_irc_url)
        try:
            while not stop.requested:
                self._round()
            self._finish(stop)
            self._status.finish(self._report())
        finally:
            self._handoff.close()

    def _round(self) -> None:
        now = time.monotonic()
        if now >= self._look_at or self._session.has_changed:
            self._look_at = now + self._look_after()
        wait = self._handoff.pump()
        self._watch_handoff()
        seconds = max(0.0, self._look_at - now)
        if self._uses_tls and self._session.has_undelivered:
            seconds = 0.0
        if self._readings_in_a_row >= GATHER_AFTER_READINGS:
            self._gather()
        else:
            self._dispatch(self._selector.select(seconds if wait is None else min(wait, seconds)))

    def _look_after(self) -> float:
        """Do all that lines do not ask for; give the seconds until it is due again."""
        self._session.has_changed = False
        if self._group is not None:
            self._follow(self._group)
        self._presence.look(self._session.joined)
        waits = [self._status.update(self._report), self._session.go_on(), self._absence.go_on()]
        self._session.watch(self._selector)
        if self._session.has_changed:
            return 0.0
        if self._group is not None:
            waits.append(LOOK_SECONDS)
        return min(wait for wait in waits if wait is not None)

    def _follow(self, group: GroupFile) -> None:
        wanted = group.look()
        if wanted is not None and self._wanted != set(wanted):
            logger.info("the channels are {}", ", ".join(wanted))
            self._want(wanted)
        # While the session moves what the new connection has heard is still to come.
        if self._leaving and not self._session.is_moving:
            pending = self._handoff.pending_by_channel()
            for channel in sorted(self._leaving):
                if not pending[channel]:
                    self._let_go(channel)

    def _want(self, wanted: tuple[str, ...]) -> None:
        """Take up what is new, and leave what is wanted no more; what stays is not touched."""
        before, self._wanted = self._wanted, frozenset(wanted)
        # One that has not been let go yet has all that is known of it.
        for channel in sorted(self._wanted - before - self._leaving):
            self._take_up(channel)
        self._leaving = (self._leaving | before) - self._wanted
        self._session.want(self._wanted)

    def _take_up(self, channel: str) -> None:
        """Go on where the channel's last reader has ended."""
        left = last_word_on(channel, self._status_folder, self._copy)
        total = left.report.channels[channel] if left is not None else ChannelReport()
        # Of the moment, not of the channel.
        total.pending = None
        self._totals[channel] = total
        self._lost[channel] = Counter(total.lost)
        self._presence.add(channel, left)
        self._absence.add(channel, left)

    def _let_go(self, channel: str) -> None:
        """Leave what is known of the channel to whoever reads it next, as a reader of its own would do."""
        self._report()
        own = StatusFile(self._status_folder, reader_name(channel, self._copy))
        if not own.finish(ReaderReport("not joined", 0, {channel: self._totals[channel]})):
            # On a full disk it is kept here.
            return
        self._leaving.remove(channel)
        del self._totals[channel], self._lost[channel], self._handoff.lost[channel]
        self._presence.remove(channel)
        self._absence.remove(channel)

    def _reads_room(self, room_id: str) -> bool:
        joined = self._session.joined
        return any(
            channel in joined and total.room_id == room_id for channel, total in self._totals.items()
        ) or self._others.read_room(room_id)

    def _dispatch(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in events:
            if isinstance(key.data, TwitchConnection):
                self._note_reading()
                key.data.on_readable()
            elif key.fileobj is self._waker:
                self._waker.clear()
                self._session.on_wake()
                self._look_at = 0.0
            elif key.data is self._handoff:
                if mask & selectors.EVENT_WRITE:
                    self._handoff.on_writable()
                if mask & selectors.EVENT_READ:
                    self._handoff.on_readable()
        if self._uses_tls:
            self._session.read_undelivered()

    def _gather(self) -> None:
        # Now, and not when the first line has come: that would be one more wake-up.
        rest = self._read_at + self._gather_seconds - time.monotonic()
        time.sleep(max(0.0, rest))
        # What is here now follows soon.
        self._read_at = time.monotonic()
        before, self._readings_in_a_row = self._readings_in_a_row, 0
        self._dispatch(self._selector.select(0.0))
        if self._readings_in_a_row:
            self._readings_in_a_row = before

    def _note_reading(self) -> None:
        now = time.monotonic()
        is_soon = now - self._read_at < self._gather_seconds
        self._readings_in_a_row = self._readings_in_a_row + 1 if is_soon else 0
        self._read_at = now
        # What was read is told at the next writing, and not only when something else asks for one.
        self._look_at = min(self._look_at, self._status.next_at)

    def _watch_handoff(self) -> None:
        peer = self._handoff.peer
        is_busy = peer is not None and peer.wants_to_write
        if peer is self._watched_peer and is_busy == self._watched_is_busy:
            return
        if self._watched_peer is not None:
            self._selector.unregister(self._watched_descriptor)
        if peer is not None:
            # A peer that is closed has none any more.
            self._watched_descriptor = peer.fileno()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_busy else 0)
            self._selector.register(self._watched_descriptor, events, self._handoff)
        self._watched_peer, self._watched_is_busy = peer, is_busy

    def on_login(self, login: str) -> None:
        """Learn our own name, count the reconnects."""
        if login:
            self._intake.leave_out_own(self._settings.twitch_username or login)
        if self._session.logins > 1:
            for total in self._totals.values():
                total.reconnects += 1

    def on_in(self, channel: str) -> None:
        """See to what was missed, before anything that is said from here on."""
        self._absence.end(channel)
        # A successor begins with what was told last, and other readers go by it for shared chats.
        self._status.hurry()

    def on_out(self, channel: str, heard_ms: int) -> None:
        """From here on something is missed."""
        self._absence.begin(channel, heard_ms)
        # Another reader that was lost at the same moment may be in again before the next regular writing,
        # and must not believe that this one has read everything meanwhile.
        self._status.hurry()

    def on_rejected(self, raw: bytes, reason: str, count: int = 1) -> None:
        """Count it."""
        self._intake.reject(raw, reason, count)

    def _finish(self, stop: Stop) -> None:
        """Leave Twitch, hand off what was read."""
        self._selector.unregister(stop)
        self._stopping = True
        self._session.close()
        # Others may have left out what is mirrored from here.
        self._status.update(self._report)
        self._session.watch(self._selector)
        deadline = Deadline(STOP_HANDOFF_SECONDS)
        alone = Deadline(STOP_ALONE_SECONDS)
        while self._handoff.pending and not deadline.passed():
            if not self._handoff.connected and alone.passed():
                break
            wait = self._handoff.pump()
            self._watch_handoff()
            limit = min(0.1, deadline.left_seconds())
            self._dispatch(self._selector.select(limit if wait is None else min(wait, limit)))
        if self._handoff.pending:
            self._leave_rest()
        else:
            logger.info("stopped, everything handed off")

    def _leave_rest(self) -> None:
        """No producer has made durable what is still here: put it into the spool for the next one."""
        # Only here: SQLite would cost every reader memory all its life.
        from shared.spool import leave_rest

        rest = self._handoff.rest()
        try:
            leave_rest(self._spool_path, self._settings.spool_max_bytes, self._program, rest)
        except SpoolError as error:
            for channel, count in Counter(record.channel for record in rest).items():
                self._lost[channel][LOST_NOT_STORED] += count
                logger.error("{} messages of #{} are lost: {}", count, channel, error)
        else:
            logger.info("stopped, {} messages left in the spool for the next producer", len(rest))

    def _report(self) -> ReaderReport:
        joined = self._session.joined
        pending = self._handoff.pending_by_channel() if self._group is not None else None
        for channel, total in self._totals.items():
            total.joined = channel in joined
            total.trouble = "" if total.joined else self._session.trouble_of(channel)
            if channel not in self._leaving:
                total.offline_seconds = round(self._presence.seconds_out(channel), 3)
            # At an ordered stop what is not durable yet goes into the spool.
            total.heard_ms = self._session.heard_ms(channel)
            self._absence.tell(channel, None if self._stopping else self._handoff.oldest_ms)
            total.pending = pending[channel] if pending is not None else None
            total.lost = dict(self._lost[channel] + Counter({LOST_OUTBOX: self._handoff.lost[channel]}))
        state = "joined" if self._wanted <= joined else "not joined"
        return ReaderReport(state, self._handoff.pending, self._totals)


def _arguments(given: list[str]) -> tuple[str | int, int]:
    """The channel's login or a group's number, and which of its readers this is."""
    # Without argparse in what supervisord calls: that would cost every reader memory all its life.
    match given:
        case [login] if not login.startswith("-"):
            return login, 1
        case [login, "--copy", copy] if not login.startswith("-") and copy.isdecimal():
            return login, int(copy)
        case ["--group", number] if number.isdecimal():
            return int(number), 1
        case ["--group", number, "--copy", copy] if number.isdecimal() and copy.isdecimal():
            return int(number), int(copy)
    import argparse

    parser = argparse.ArgumentParser(prog="python -m workers.reader", description="Read channels' chat.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("login", nargs="?", help="the channel's login")
    which.add_argument("--group", type=int, help="the number of a group of channels, as in run/groups/")
    parser.add_argument("--copy", type=int, default=1, help="2 for the second reader of the same")
    parsed = parser.parse_args(given)
    return parsed.login if parsed.group is None else parsed.group, parsed.copy


def _main(which: str | int, copy: int) -> None:
    if isinstance(which, int):
        group, name = which, group_name(which, copy)
        run_worker(
            name,
            lambda settings, paths, stop: Reader(
                settings, paths, name, copy, (), GroupFile(paths.groups, group)
            ).run(stop),
        )
    else:
        channel = which.lower().lstrip("#")
        name = reader_name(channel, copy)
        run_worker(
            name, lambda settings, paths, stop: Reader(settings, paths, name, copy, (channel,)).run(stop)
        )


if __name__ == "__main__":
    _main(*_arguments(sys.argv[1:]))
