"""The supervised program ``reader-<login>``: reads the chat of a set of channels and hands it off.

``python -m workers.reader LOGIN [--copy N]``; N above 1 is a further reader of the same channel.
"""

import argparse
import selectors
from collections import Counter, defaultdict
from collections.abc import Iterable

from loguru import logger

from shared.channel_list import reader_name
from shared.errors import SpoolError
from shared.frames import FrameSocket
from shared.handoff_client import HandoffClient
from shared.paths import Paths
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
from workers.presence import Presence
from workers.twitch_connection import TwitchConnection
from workers.twitch_session import SessionListener, TwitchSession

# At the stop what the producer does not take goes to the spool; without a producer there is less to wait for.
STOP_HANDOFF_SECONDS = 4.0
STOP_ALONE_SECONDS = 0.5


class Reader(SessionListener):
    """The loop between Twitch and the hand-off queue."""

    def __init__(self, settings: Settings, paths: Paths, program: str, wanted: Iterable[str]) -> None:
        self._settings = settings
        self._wanted = frozenset(wanted)
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._handoff = HandoffClient(
            paths.handoff_socket,
            paths.handoff_key,
            program,
            needs_types=bool(settings.kafka_topic_chat_events),
        )
        self._program = program
        self._spool_path = paths.spool
        self._status = StatusFile(paths.status, program)
        self._watched_handoff: tuple[FrameSocket, int, int] | None = None
        left = self._status.left(ReaderReport)
        self._totals = {
            channel: left.report.channels.get(channel, ChannelReport()) if left else ChannelReport()
            for channel in sorted(self._wanted)
        }
        self._lost = defaultdict[str, Counter[str]](
            Counter, {channel: Counter(total.lost) for channel, total in self._totals.items()}
        )
        """Besides what the hand-off counts in this life."""
        self._stopping = False
        self._presence = Presence(self._wanted, left)
        others = OtherReaders(paths.status, program)
        self._intake = Intake(settings, self._totals, self._handoff.put, others.read_room)
        self._absence = Absence(settings, paths, self._totals, left, self._intake, others, self._waker.wake)
        self._session = TwitchSession(
            settings, paths, self._wanted, self, self._absence.take, self._waker.wake
        )

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
        self._presence.look(self._session.joined)
        waits = [
            self._status.update(self._report),
            self._session.go_on(),
            self._absence.go_on(),
            self._handoff.pump(),
        ]
        if self._session.has_undelivered:
            waits.append(0.0)
        self._session.watch(self._selector)
        self._watch_handoff()
        self._dispatch(self._selector.select(min(wait for wait in waits if wait is not None)))

    def _dispatch(self, events: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, mask in events:
            if key.fileobj is self._waker:
                self._waker.clear()
                self._session.on_wake()
            elif isinstance(key.data, TwitchConnection):
                key.data.on_readable()
            elif key.data is self._handoff:
                if mask & selectors.EVENT_WRITE:
                    self._handoff.on_writable()
                if mask & selectors.EVENT_READ:
                    self._handoff.on_readable()
        self._session.read_undelivered()

    def _watch_handoff(self) -> None:
        peer = self._handoff.peer
        events = selectors.EVENT_READ
        if peer is not None and peer.wants_to_write:
            events |= selectors.EVENT_WRITE
        watch = None if peer is None else (peer, peer.fileno(), events)
        if watch == self._watched_handoff:
            return
        if self._watched_handoff is not None:
            self._selector.unregister(self._watched_handoff[1])
        if watch is not None:
            self._selector.register(watch[1], events, self._handoff)
        self._watched_handoff = watch

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
        for channel, total in self._totals.items():
            total.joined = channel in joined
            total.trouble = "" if total.joined else self._session.trouble_of(channel)
            total.offline_seconds = round(self._presence.seconds_out(channel), 3)
            # At an ordered stop what is not durable yet goes into the spool.
            total.heard_ms = self._session.heard_ms(channel)
            self._absence.tell(channel, None if self._stopping else self._handoff.oldest_ms)
            total.lost = dict(self._lost[channel] + Counter({LOST_OUTBOX: self._handoff.lost[channel]}))
        state = "joined" if self._wanted <= joined else "not joined"
        return ReaderReport(state, self._handoff.pending, self._totals)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.reader", description="Read a channel's chat.")
    parser.add_argument("login", help="the channel's login")
    parser.add_argument("--copy", type=int, default=1, help="2 for the second reader of the channel")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    channel = arguments.login.lower().lstrip("#")
    name = reader_name(channel, arguments.copy)
    run_worker(name, lambda settings, paths, stop: Reader(settings, paths, name, [channel]).run(stop))
