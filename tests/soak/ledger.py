"""What was said, when it was right to lose something, and what came of it. Pure: times are handed in."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SLACK_SECONDS = 0.2
NEAR_SECONDS = 15.0


@dataclass
class Window:
    """A time in which a channel was not read as it should be, times of time.monotonic()."""

    channel: str | None
    """None: no channel was, because supervisord was away."""
    began: float
    excuses: bool
    """Whether a message that was sent in it may be missing."""
    ended: float | None = None
    """None: not yet."""

    def covers(self, channel: str, at: float) -> bool:
        """Whether a message of the channel that was sent then may be missing."""
        return (
            self.excuses
            and self.channel in (None, channel)
            and self.began - SLACK_SECONDS <= at
            and (self.ended is None or at <= self.ended + SLACK_SECONDS)
        )


@dataclass(frozen=True)
class Happened:
    """A fault that was made."""

    at: float
    name: str
    target: str


@dataclass(frozen=True)
class Problem:
    """A message that is lost, doubled or out of order."""

    kind: str
    channel: str
    number: int
    at: float
    """When it was sent."""


@dataclass
class Verdict:
    """What came of all that was said.

    ``sent`` is what somebody was there to get: ``in_kafka``, lost, ``away`` and ``outage`` together.
    """

    sent: int = 0
    in_kafka: int = 0
    """Different messages, however often each is there."""
    away: int = 0
    """Missing, and sent while the channel's only reader was away."""
    outage: int = 0
    """Missing, and sent while supervisord was away."""
    unheard: int = 0
    """Said when nobody was in the channel."""
    problems: list[Problem] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many problems of this kind there are."""
        return sum(problem.kind == kind for problem in self.problems)

    @property
    def good(self) -> bool:
        """Nothing lost without a reason, nothing doubled, nothing out of order."""
        return not self.problems


class Ledger:
    """The messages of every channel, numbered from 0, with the faults and the windows they opened.

    ``say`` and ``nobody_heard`` may be called from one other thread; the rest is for when that is done.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self.sent_at: dict[str, array[float]] = {channel: array("d") for channel in channels}
        self.unheard: dict[str, set[int]] = {channel: set() for channel in channels}
        self.windows: list[Window] = []
        self.happened: list[Happened] = []

    @property
    def said(self) -> int:
        """How many messages were said so far, heard or not."""
        return sum(len(times) for times in self.sent_at.values())

    def say(self, channel: str, at: float) -> int:
        """Note that the channel's next message is sent at that time; its number."""
        times = self.sent_at[channel]
        times.append(at)
        return len(times) - 1

    def nobody_heard(self, channel: str) -> None:
        """Note that nobody was there to get the channel's latest message."""
        self.unheard[channel].add(len(self.sent_at[channel]) - 1)

    def open_windows(self) -> list[Window]:
        """Those that have not ended."""
        return [window for window in self.windows if window.ended is None]

    def near(self, at: float) -> list[Happened]:
        """The faults of around that time."""
        return [fault for fault in self.happened if abs(fault.at - at) <= NEAR_SECONDS]

    def verdict(self, found: Mapping[str, Sequence[int]]) -> Verdict:
        """Judge; ``found`` has the numbers of each channel's messages in the order of the topic."""
        verdict = Verdict()
        for channel in self.sent_at:
            there = self._judge_found(channel, found.get(channel, ()), verdict)
            self._judge_missing(channel, there, verdict)
        verdict.problems.sort(key=lambda problem: problem.at)
        return verdict

    def _judge_found(self, channel: str, numbers: Sequence[int], verdict: Verdict) -> set[int]:
        there: set[int] = set()
        highest = -1
        for number in numbers:
            if number in there:
                verdict.problems.append(self._problem("doubled", channel, number))
            elif number < highest:
                verdict.problems.append(self._problem("out of order", channel, number))
            there.add(number)
            highest = max(highest, number)
        verdict.in_kafka += len(there)
        verdict.sent += len(there)
        return there

    def _judge_missing(self, channel: str, there: set[int], verdict: Verdict) -> None:
        unheard = self.unheard[channel] - there
        verdict.unheard += len(unheard)
        missing = set(range(len(self.sent_at[channel]))) - there - unheard
        verdict.sent += len(missing)
        for number in missing:
            at = self.sent_at[channel][number]
            covering = [window for window in self.windows if window.covers(channel, at)]
            if not covering:
                verdict.problems.append(self._problem("lost", channel, number))
            elif any(window.channel is None for window in covering):
                verdict.outage += 1
            else:
                verdict.away += 1

    def _problem(self, kind: str, channel: str, number: int) -> Problem:
        return Problem(kind, channel, number, self.sent_at[channel][number])


def kinds(happened: Sequence[Happened]) -> Counter[str]:
    """How often each fault was made."""
    return Counter(fault.name for fault in happened)
