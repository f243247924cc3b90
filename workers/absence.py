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
from workers.other_readers import OtherReaders

if TYPE_CHECKING:
    from workers.backfill import Backfill


class Absence:
    """Gives every line to the intake, behind what was missed before it; tells what is missing for good.

    ``left`` is what the reader's predecessor told last: what was said since then was missed, and never
    anything where there was none. What another reader of the channel has read is not missing. ``wake`` is
    called from another thread when ``go_on`` has something to do. ``wall_clock_ms`` gives Unix milliseconds.
    """

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        totals: dict[str, ChannelReport],
        left: Status[ReaderReport] | None,
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
        self._since: dict[str, int] = _since(left, totals)
        self._fills: dict[str, Backfill] = {}
        self.take: Callable[[IrcLine, int], None] = intake.take
        """Takes a line that was read at that time, Unix milliseconds."""
        if settings.backfill_url:
            self._ask(settings.backfill_url, paths, totals, wake)
            self.take = self._take

    def begin(self, channel: str, heard_ms: int) -> None:
        """The channel was lost; all was read up to that time, Unix milliseconds."""
        if channel in self._fills:
            self._fills[channel].end()
        self._since[channel] = heard_ms

    def end(self, channel: str) -> None:
        """The channel was joined: what ``take`` is given from here on stands behind what was missed."""
        since_ms = self._since.get(channel)
        if self._copies > 1:
            if self._others.read_channel(channel, self._copies):
                # It has been there all the time, or it came back first and has told what is missing.
                return
            if since_ms is not None:
                since_ms = max(since_ms, self._others.last_in_ms(channel, self._copies))
        if channel in self._fills:
            self._fills[channel].begin(since_ms)
        elif since_ms is not None:
            now_ms = self._wall_clock_ms()
            logger.info(
                "#{}: away for {:.1f} s, what was said is missing; BACKFILL_URL could help",
                channel,
                (now_ms - since_ms) / 1000,
            )
            self._tell_gap(channel, min(since_ms, now_ms), now_ms, "no service is asked, see BACKFILL_URL")

    def go_on(self) -> float | None:
        """Do what is due; give the seconds until the next call, None when nothing will be due."""
        waits = [wait for fill in self._fills.values() if (wait := fill.go_on()) is not None]
        return min(waits, default=None)

    def since_ms(self, channel: str, joined: bool) -> int:
        """Since when what was said is missing and may still come, Unix milliseconds; 0 when nothing is."""
        if joined and not (channel in self._fills and self._fills[channel].goes_on):
            self._since.pop(channel, None)
        return self._since.get(channel, 0)

    def _ask(self, url: str, paths: Paths, channels: Iterable[str], wake: Callable[[], None]) -> None:
        """Let the service at ``url`` be asked about the channels from here on."""
        # Only here: HTTP would cost every reader memory all its life.
        from shared.fetch_gate import FetchGate
        from workers.backfill import Backfill
        from workers.recent_messages import fetch

        gate = FetchGate(paths.fetch_gate)
        for channel in channels:
            self._fills[channel] = Backfill(
                channel,
                self._intake.take,
                functools.partial(self._tell_gap, channel),
                functools.partial(self._count_filled, channel),
                wake,
                lambda name, after_ms, before_ms, deadline: fetch(
                    url, name, after_ms, before_ms, gate, deadline
                ),
                wall_clock_ms=self._wall_clock_ms,
            )

    def _take(self, line: IrcLine, received_ms: int) -> None:
        fill = self._fills.get(line.params[0].lower().lstrip("#")) if line.params else None
        if fill is None:
            self._intake.take(line, received_ms)
        else:
            fill.note(line, received_ms)

    def _tell_gap(self, channel: str, from_ms: int, to_ms: int, reason: str) -> None:
        self._intake.take_gap(channel, from_ms, to_ms, reason, self._wall_clock_ms())

    def _count_filled(self, channel: str, count: int) -> None:
        self._totals[channel].backfilled += count


def _since(left: Status[ReaderReport] | None, channels: dict[str, ChannelReport]) -> dict[str, int]:
    """Since when each channel has not been read; those that were never read are not in it."""
    if left is None:
        return {}
    known = {
        channel: left.report.channels[channel] for channel in channels if channel in left.report.channels
    }
    # One that was killed has read up to its last report at least.
    written_ms = int(left.head.written * 1000)
    since = {
        channel: one.absent_since_ms or (written_ms if one.joined else 0) for channel, one in known.items()
    }
    return {channel: at for channel, at in since.items() if at}
