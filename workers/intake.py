"""From lines to records: what of them goes to Kafka, and how much of what there was."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from loguru import logger

from shared.chat_message import ChatParser, LineRejected, source_of
from shared.irc_line import IrcLine
from shared.record import Record
from shared.reports import ChannelReport
from shared.settings import Settings
from shared.timing import Reminder

if TYPE_CHECKING:
    from shared.event_parser import EventParser

LOG_REJECTED_EVERY_SECONDS = 10.0
_MIRRORED = frozenset({"PRIVMSG", "USERNOTICE"})


class Intake:
    """Makes records of what Twitch says, gives them to ``put``, and counts in ``totals`` of the channels.

    ``reads_room`` says whether the channel with that room id is read by this installation at the moment.
    """

    def __init__(
        self,
        settings: Settings,
        totals: dict[str, ChannelReport],
        put: Callable[[Record], None],
        reads_room: Callable[[str], bool],
    ) -> None:
        self._totals = totals
        self._put = put
        self._shared_chat = settings.shared_chat
        self._reads_room = reads_room
        self._chat = ChatParser(own_login=settings.twitch_username)
        self._emotes_rejected = 0
        self._events = _event_parser(settings)
        self._rejected_reminder = Reminder(LOG_REJECTED_EVERY_SECONDS)
        self._rejected_unlogged = 0

    def leave_out_own(self, login: str) -> None:
        """Leave out what this account says itself."""
        self._chat.own_login = login
        if self._events is not None:
            self._events.own_login = login

    def take(self, line: IrcLine, received_ms: int) -> None:
        """Take a line that was read at that time, Unix milliseconds."""
        command = line.command
        if self._shared_chat != "all" and command in _MIRRORED and self._is_unwanted(line):
            return
        if command == "PRIVMSG":
            self._take_chat(line, received_ms)
        elif command == "ROOMSTATE":
            self._learn_room(line)
        if self._events is not None:
            event = self._events.read(line, received_ms)
            if event is not None:
                self._total_of(event.channel).events_received += 1
                self._put(event)

    def take_gap(self, channel: str, from_ms: int, to_ms: int, reason: str, now_ms: int) -> None:
        """What was said between these times, Unix milliseconds, is missing for good: count and tell it."""
        self.count_gap(channel, from_ms, to_ms)
        if self._events is not None:
            from shared.event_parser import gap_record

            self._put(gap_record(channel, from_ms, to_ms, reason, now_ms))

    def count_gap(self, channel: str, from_ms: int, to_ms: int) -> None:
        """The same, told by another reader of the channel."""
        total = self._total_of(channel)
        total.gap_seconds += max(0, to_ms - from_ms) / 1000
        total.gap_until_ms = to_ms

    def reject(self, raw: bytes, reason: str, count: int = 1, channel: str = "") -> None:
        """Count ``count`` lines that could not be read, one of them ``raw``; log once in a while.

        ``channel`` is the one that they name, empty for none.
        """
        rejected = self._total_of(channel).rejected
        rejected[reason] = rejected.get(reason, 0) + count
        self._rejected_unlogged += count
        # A flood of such lines must not become a flood of log lines.
        if self._rejected_reminder.is_due():
            logger.warning(
                "{} lines could not be read ({}), like {!r}", self._rejected_unlogged, reason, raw[:120]
            )
            self._rejected_unlogged = 0

    def _take_chat(self, line: IrcLine, received_ms: int) -> None:
        try:
            record = self._chat.read(line, received_ms)
        except LineRejected as error:
            channel = line.params[0].lower().lstrip("#") if line.params else ""
            self.reject(repr(line).encode(), error.reason, channel=channel)
            return
        if record is None:
            return
        total = self._total_of(record.channel)
        total.received += 1
        total.last_ms = received_ms
        if self._chat.emotes_rejected != self._emotes_rejected:
            total.emotes_rejected += self._chat.emotes_rejected - self._emotes_rejected
            self._emotes_rejected = self._chat.emotes_rejected
        self._put(record)

    def _is_unwanted(self, line: IrcLine) -> bool:
        """A message mirrored from another channel that is not to be had from here."""
        _source_id, room = source_of(line.tags)
        return bool(room) and (self._shared_chat == "own" or self._reads_room(room))

    def _learn_room(self, line: IrcLine) -> None:
        total = self._totals.get(line.params[0].lower().lstrip("#")) if line.params else None
        if total is not None and (room := line.tags.get("room-id")):
            total.room_id = room

    def _total_of(self, channel: str) -> ChannelReport:
        """Where to count; for what names no channel of ours it is the first one."""
        total = self._totals.get(channel)
        return next(iter(self._totals.values()), ChannelReport()) if total is None else total


def _event_parser(settings: Settings) -> "EventParser | None":
    if not settings.kafka_topic_chat_events:
        return None
    # Only here: without events no reader pays for them.
    from shared.event_parser import EventParser

    return EventParser(own_login=settings.twitch_username)
