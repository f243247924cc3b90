"""What a reader has missed of its channels, whether it can still be got, and that it is missing."""

import functools
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from loguru import logger

from shared.irc_line import IrcLine
from shared.paths import Paths
from shared.reports import ChannelReport, ReaderReport
from shared.settings import Settings
from shared.status_file import Status
from workers.intake import Intake
from workers.other_readers import Other, OtherReaders

if TYPE_CHECKING:
    from workers.backfill import Backfill

NEVER_READ = -1
# Another reader that has been in for so long has got what was said before its first join, or has given up.
SETTLED_MS = 6_000
# What is so old and not durable yet would be gone with this process.
LATE_MS = 1_000


class Absence:
    """Gives every line to the intake, behind what was missed before it; tells what is missing for good.

    What another reader of the channel has read is not missing. ``wake`` is called from another thread when
    ``go_on`` has something to do. ``wall_clock_ms`` gives Unix milliseconds.
    """

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        totals: dict[str, ChannelReport],
        intake: Intake,
        others: OtherReaders,
        wake: Callable[[], None],
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._totals = totals
        self._intake = intake
        self._others = others
        self._copies = settings.readers_per_channel
        self._wall_clock_ms = wall_clock_ms
        # Those that lack something, None where they lack everything.
        self._since: dict[str, int | None] = {}
        self._joined_at: dict[str, int] = {}
        # When what was missed was handed in: until it is durable it may be missed once more.
        self._filled_at: dict[str, int] = {}
        self._fills: dict[str, Backfill] = {}
        self.take: Callable[[IrcLine, int], None] = intake.take
        """Takes a line that was read at that time, Unix milliseconds."""
        self._make_fill: Callable[[str, Iterable[str]], Backfill] | None = None
        if settings.backfill_url:
            self._make_fill = self._filler(settings.backfill_url, paths, wake)
            self.take = self._take

    def add(self, channel: str, left: Status[ReaderReport] | None) -> None:
        """See to the channel from here on.

        ``left`` is what its last reader told last: what was said since then was missed.
        """
        self._since[channel] = _since(left, channel)
        if self._make_fill is not None:
            before = left.report.channels.get(channel) if left is not None else None
            self._fills[channel] = self._make_fill(channel, before.last_ids if before is not None else ())

    def remove(self, channel: str) -> None:
        """Forget the channel, which was left."""
        for known in (self._since, self._joined_at, self._filled_at, self._fills):
            known.pop(channel, None)

    def begin(self, channel: str, heard_ms: int) -> None:
        """The channel was lost; all was read up to that time, Unix milliseconds."""
        self._joined_at.pop(channel, None)
        self._filled_at.pop(channel, None)
        fill = self._fills.get(channel)
        if fill is None or not fill.end():
            self._since[channel] = heard_ms

    def end(self, channel: str) -> None:
        """The channel was joined: what ``take`` is given from here on stands behind what was missed."""
        now_ms = self._joined_at[channel] = self._wall_clock_ms()
        since_ms, until_ms = self._since.get(channel), now_ms
        for other in self._other_readers(channel):
            if other.lacks_nothing and other.in_since_ms <= (since_ms or now_ms - SETTLED_MS):
                return
            if since_ms is not None:
                since_ms = max(since_ms, other.was_in_until_ms)
                if other.in_since_ms > since_ms:
                    until_ms = min(until_ms, other.in_since_ms)
        if channel in self._fills:
            self._fills[channel].begin(since_ms, until_ms)
        elif since_ms is not None:
            since_ms = min(since_ms, until_ms)
            logger.info(
                "#{}: away for {:.1f} s, what was said is missing; BACKFILL_URL could help",
                channel,
                (until_ms - since_ms) / 1000,
            )
            self._tell_gap(channel, since_ms, until_ms, "no service is asked, see BACKFILL_URL")

    def go_on(self) -> float | None:
        """Do what is due; give the seconds until the next call, None when nothing will be due."""
        return min((fill.go_on() for fill in self._fills.values()), default=None)

    def tell(self, channel: str, oldest_ms: int | None) -> None:
        """Put into the totals what a successor and the other readers have to know.

        ``oldest_ms`` is when the oldest line was read that is not durable yet, Unix milliseconds; None when
        all are, or will be.
        """
        total, now_ms = self._totals[channel], self._wall_clock_ms()
        fill = self._fills.get(channel)
        joined_at = self._joined_at.get(channel, 0)
        if joined_at and channel in self._since and not (fill is not None and fill.goes_on):
            filled_at = self._filled_at.setdefault(channel, now_ms)
            if fill is None or oldest_ms is None or oldest_ms > filled_at:
                del self._since[channel]
        since_ms = self._since.get(channel, 0)
        if since_ms is not None and oldest_ms is not None and oldest_ms < now_ms - LATE_MS:
            since_ms = min(since_ms or oldest_ms, oldest_ms)
        total.joined_since_ms = joined_at
        total.absent_since_ms = NEVER_READ if since_ms is None else since_ms
        total.last_ids = fill.last_ids if fill is not None and not joined_at else []

    def _filler(
        self, url: str, paths: Paths, wake: Callable[[], None]
    ) -> "Callable[[str, Iterable[str]], Backfill]":
        """What makes the filler of a channel that asks the service at ``url``."""
        # Only here: HTTP would cost every reader memory all its life.
        from shared.fetch_gate import FetchGate
        from workers.backfill import Backfill
        from workers.recent_messages import fetch

        gate = FetchGate(paths.fetch_gate)
        return lambda channel, known_ids: Backfill(
            channel,
            self._intake.take,
            functools.partial(self._tell_gap, channel),
            functools.partial(self._count_filled, channel),
            wake,
            lambda name, after_ms, before_ms, deadline: fetch(url, name, after_ms, before_ms, gate, deadline),
            wall_clock_ms=self._wall_clock_ms,
            known_ids=known_ids,
        )

    def _take(self, line: IrcLine, received_ms: int) -> None:
        fill = self._fills.get(line.params[0].lower().lstrip("#")) if line.params else None
        if fill is None:
            self._intake.take(line, received_ms)
        else:
            fill.note(line, received_ms)

    def _other_readers(self, channel: str) -> list[Other]:
        return self._others.of_channel(channel, self._copies) if self._copies > 1 else []

    def _tell_gap(self, channel: str, from_ms: int, to_ms: int, reason: str) -> None:
        if any(other.gap_until_ms >= to_ms for other in self._other_readers(channel)):
            # It came back first and has told it.
            self._intake.count_gap(channel, from_ms, to_ms)
        else:
            self._intake.take_gap(channel, from_ms, to_ms, reason, self._wall_clock_ms())

    def _count_filled(self, channel: str, count: int) -> None:
        self._totals[channel].backfilled += count


def _since(left: Status[ReaderReport] | None, channel: str) -> int | None:
    """Since when a channel has not been read, Unix milliseconds; None when it never was."""
    before = left.report.channels.get(channel) if left is not None else None
    if left is None or before is None or before.absent_since_ms == NEVER_READ:
        return None
    was_read = before.joined or before.received
    # Older versions do not tell up to when they have read.
    return before.absent_since_ms or before.heard_ms or (int(left.head.written * 1000) if was_read else None)
