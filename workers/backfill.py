"""What was said while a reader was out of its channel, put in before what is said after the join."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loguru import logger

from shared.irc_line import IrcLine
from shared.timing import Deadline
from workers.merge import merge_copies

if TYPE_CHECKING:
    # What has to do with the service is loaded only where one is asked.
    from workers.recent_answers import Fetched

Fetch = Callable[[str, int | None, int, Deadline], "Fetched"]
"""Channel, after and before in Unix ms (None: whatever there is), when to be back. Blocks, raises nothing."""

# Live lines are never held for longer.
HOLD_SECONDS = 4.5
# What was said just before the join reaches the service a moment later.
SETTLE_SECONDS = 0.5
# For an answer to be on its way from the thread to the loop.
SPARE_SECONDS = 0.25
# Twitch's clock, ours and the service's differ.
CLOCKS_MS = 3_000
MAX_HELD = 10_000
KEEP_IDS = 1_000
TOLD_IDS = 300
# The service leaves a channel that nobody has asked for in 24 hours; then it has nothing when it is needed.
REMIND_SECONDS = 6 * 3600.0
REMIND_LIMIT_SECONDS = 30.0
_COMMANDS = frozenset({"PRIVMSG", "USERNOTICE", "CLEARCHAT", "CLEARMSG", "NOTICE", "ROOMSTATE"})


@dataclass
class _Visit:
    """One absence that is being made good."""

    since_ms: int | None
    """When it began, Unix ms; None when the channel was never read before."""
    joined_ms: int
    begun: float
    asked: bool = False
    answer: "Fetched | None" = None
    """Set by the thread."""


class Backfill:
    """Fills the gaps of one channel; one thread calls it.

    ``take`` gets every line with the time of its receipt, Unix ms: what was missed, then what is live.
    ``on_gap`` gets from when to when lines may be missing, Unix ms, and why, before the lines that follow.
    ``on_filled`` gets how many lines were put in, once for each answer that counts. ``wake`` is called from
    another thread when ``go_on`` has something to do. ``known_ids`` are of lines that
    a predecessor has passed on. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self,
        channel: str,
        take: Callable[[IrcLine, int], None],
        on_gap: Callable[[int, int, str], None],
        on_filled: Callable[[int], None],
        wake: Callable[[], None],
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        known_ids: Iterable[str] = (),
    ) -> None:
        self._channel = channel
        self._take = take
        self._on_gap = on_gap
        self._on_filled = on_filled
        self._wake = wake
        self._fetch = fetch
        self._clock = clock
        self._wall_clock_ms = wall_clock_ms
        self._visit: _Visit | None = None
        self._held: list[tuple[IrcLine, int]] = []
        self._newest: deque[str] = deque(known_ids, maxlen=KEEP_IDS)
        """Ids of the lines that went on last."""
        self._remind_at = clock() + REMIND_SECONDS

    @property
    def last_ids(self) -> list[str]:
        """Ids of the lines that went on last, as many as an answer may have once more."""
        return list(self._newest)[-TOLD_IDS:]

    @property
    def goes_on(self) -> bool:
        """True while live lines are held."""
        return self._visit is not None

    def note(self, line: IrcLine, received_ms: int) -> None:
        """Pass a live line of the channel on, or hold it while what precedes it is on its way."""
        if self._visit is None:
            self._pass_on(line, received_ms)
            return
        self._held.append((line, received_ms))
        if len(self._held) >= MAX_HELD:
            self._give_up("the chat was too busy to wait for the answer")

    def begin(self, since_ms: int | None, until_ms: int) -> None:
        """The channel was joined after an absence between these times, Unix ms.

        ``since_ms`` None: it was never read before.
        """
        self.end()
        # A clock that was set back makes no absence of less than nothing.
        since_ms = None if since_ms is None else min(since_ms, until_ms)
        self._visit = _Visit(since_ms, until_ms, self._clock())

    def go_on(self) -> float:
        """Do what is due; give the seconds until the next call."""
        now = self._clock()
        visit = self._visit
        if visit is not None:
            left = visit.begun + (HOLD_SECONDS if visit.asked else SETTLE_SECONDS) - now
            if visit.answer is not None:
                self._finish(visit, visit.answer)
            elif left > 0:
                return left
            elif visit.asked:
                self._give_up("no answer in time")
            else:
                self._ask(visit)
                return max(0.0, visit.begun + HOLD_SECONDS - now)
        if now >= self._remind_at:
            self._remind()
        return self._remind_at - now

    def end(self) -> bool:
        """The channel is lost, or the reader stops: what is held goes on, the rest is a gap.

        Gives True when nothing is held and there is no answer: then nothing is told, the absence goes on.
        """
        visit = self._visit
        if visit is None:
            return False
        if visit.answer is not None:
            self._finish(visit, visit.answer)
        elif self._held:
            self._give_up("the channel was left before the answer came")
        else:
            self._visit = None
            return True
        return False

    def _ask(self, visit: _Visit) -> None:
        visit.asked = True
        after_ms = None if visit.since_ms is None else visit.since_ms - CLOCKS_MS
        left_seconds = visit.begun + HOLD_SECONDS - SPARE_SECONDS - self._clock()

        def answer(fetched: "Fetched") -> None:
            visit.answer = fetched
            self._wake()

        self._start(after_ms, self._wall_clock_ms() + CLOCKS_MS, left_seconds, answer)

    def _remind(self) -> None:
        """Ask for nothing, so that the service stays in the channel."""
        now_ms = self._wall_clock_ms()
        self._start(now_ms, now_ms, REMIND_LIMIT_SECONDS, lambda _: None)

    def _start(
        self, after_ms: int | None, before_ms: int, seconds: float, then: "Callable[[Fetched], None]"
    ) -> None:
        deadline = Deadline(seconds, self._clock)
        self._remind_at = self._clock() + REMIND_SECONDS

        def run() -> None:
            then(self._fetch(self._channel, after_ms, before_ms, deadline))

        # The end of the process does not wait for it.
        threading.Thread(target=run, name="backfill", daemon=True).start()

    def _finish(self, visit: _Visit, answer: "Fetched") -> None:
        missing_ms = 0
        if visit.since_ms is not None:
            whole_ms = visit.joined_ms if answer.since_ms is None else min(answer.since_ms, visit.joined_ms)
            missing_ms = max(0, whole_ms - visit.since_ms)
            if missing_ms:
                self._on_gap(visit.since_ms, whole_ms, answer.trouble)
        count = self._put_together(answer.lines)
        if count or answer.since_ms is not None:
            self._on_filled(count)
        self._log(visit, _filled(answer, count), missing_ms, answer.trouble)

    def _give_up(self, reason: str) -> None:
        visit = self._visit
        assert visit is not None
        missing_ms = 0 if visit.since_ms is None else visit.joined_ms - visit.since_ms
        if visit.since_ms is not None:
            self._on_gap(visit.since_ms, visit.joined_ms, reason)
        self._release()
        self._log(visit, "nothing filled in", missing_ms, reason)

    def _put_together(self, fetched: list[IrcLine]) -> int:
        """Let all lines go on in one order; give how many of them were missed.

        The answer may have lines that came, or are still to come, on the connection as well.
        """
        now_ms = self._wall_clock_ms()
        known = set(self._newest)
        missed = {
            key: (line, now_ms)
            for number, line in enumerate(fetched)
            if (key := line.tags.get("id") or f"\0fetched {number}") not in known and self._belongs(line)
        }
        live = {held[0].tags.get("id") or f"\0live {number}": held for number, held in enumerate(self._held)}
        self._visit = None
        self._held = []
        lines = missed | live
        for key in merge_copies([list(missed), list(live)]):
            self._pass_on(*lines[key])
        return len(missed.keys() - live.keys())

    def _belongs(self, line: IrcLine) -> bool:
        target = line.params[0].lower() if line.params else ""
        return line.command in _COMMANDS and target == f"#{self._channel}"

    def _release(self) -> None:
        self._visit = None
        held, self._held = self._held, []
        for line, received_ms in held:
            self._pass_on(line, received_ms)

    def _pass_on(self, line: IrcLine, received_ms: int) -> None:
        line_id = line.tags.get("id")
        if line_id:
            self._newest.append(line_id)
        self._take(line, received_ms)

    def _log(self, visit: _Visit, filled: str, missing_ms: int, trouble: str) -> None:
        if visit.since_ms is None:
            text = "read for the first time, " + (f"{filled}: {trouble}" if trouble else filled)
        else:
            text = f"away for {(visit.joined_ms - visit.since_ms) / 1000:.1f} s, {filled}"
            if missing_ms:
                text += f", {missing_ms / 1000:.1f} s may be missing: {trouble}"
        logger.log("WARNING" if missing_ms else "INFO", "#{}: {}", self._channel, text)


def _filled(answer: "Fetched", count: int) -> str:
    """In words."""
    nothing = "nothing filled in" if answer.trouble else "nothing was said"
    text = f"{count} messages filled in" if count else nothing
    return f"{text}, {answer.unreadable} unreadable" if answer.unreadable else text
