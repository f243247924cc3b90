"""The last ten minutes of the totals: rates, sparklines, delivery times, recent losses and gaps. Pure."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.overview import HISTORY_SPANS, RATE_SECONDS, SPAN_SECONDS
from shared.reports import BUCKET_SECONDS

SAMPLE_SECONDS = 0.9
"""Samples that follow each other faster are left out."""
RATE_AT_LEAST_SECONDS = 2.0

Losses = Mapping[tuple[str, str], int]
"""Lost messages by channel and reason."""


@dataclass(frozen=True)
class Sample:
    """Totals at one time, monotonic seconds; what was read is by the reader's name and the channel.

    ``gaps`` are the seconds that are missing for good, by channel.
    """

    at: float
    received: Mapping[tuple[str, str], int]
    buckets: Sequence[int]
    lost: Losses
    gaps: Mapping[str, float]


class History:
    """Keeps one sample a span, and those of the last seconds for the rates."""

    def __init__(self) -> None:
        self._recent: deque[Sample] = deque()
        self._spans: dict[int, Sample] = {}
        self._began = 0.0

    def add(self, sample: Sample) -> None:
        """Take a sample; they come in the order of their times."""
        if self._recent and sample.at - self._recent[-1].at < SAMPLE_SECONDS:
            return
        if not self._recent:
            self._began = sample.at
        self._recent.append(sample)
        while len(self._recent) > 2 and self._recent[1].at <= sample.at - RATE_SECONDS:
            self._recent.popleft()
        number = self._number(sample.at)
        # The first of a span is the last of the one before.
        self._spans.setdefault(number, sample)
        for old in [one for one in self._spans if one < number - HISTORY_SPANS]:
            del self._spans[old]

    def per_second(self, reader: str, channel: str) -> float | None:
        """What the reader reads of the channel a second now; None while too little is known."""
        key = reader, channel
        if not self._recent:
            return None
        newest = self._recent[-1]
        for oldest in self._recent:
            if key in oldest.received and newest.at - oldest.at >= RATE_AT_LEAST_SECONDS:
                read = _grown(oldest.received[key], newest.received.get(key, 0))
                return read / (newest.at - oldest.at)
        return None

    def spans(self, reader: str, channel: str) -> list[int | None]:
        """What it read of it in each of the last whole spans, the oldest first; None where nobody looked."""
        if not self._recent:
            return [None] * HISTORY_SPANS
        number = self._number(self._recent[-1].at)
        return [self._read_in(one, (reader, channel)) for one in range(number - HISTORY_SPANS, number)]

    def deliveries(self) -> list[int]:
        """Messages by delivery time, in the buckets of ``shared.reports``."""
        oldest, newest = self._ends()
        if oldest is None or newest is None:
            return []
        before = list(oldest.buckets) or [0] * len(newest.buckets)
        return [_grown(one, other) for one, other in zip(before, newest.buckets, strict=False)]

    def losses(self) -> Counter[tuple[str, str]]:
        """Lost messages, by channel and reason."""
        oldest, newest = self._ends()
        if oldest is None or newest is None:
            return Counter()
        return Counter(
            {key: grown for key, n in newest.lost.items() if (grown := _grown(oldest.lost.get(key, 0), n))}
        )

    def gaps(self) -> dict[str, float]:
        """Seconds that turned out to be missing for good, by channel."""
        if not self._recent:
            return {}
        newest = self._recent[-1].gaps
        first = dict(newest)
        # The first that is known: what a channel lacked before it was wanted again is no news.
        for sample in reversed(self._spans.values()):
            first |= sample.gaps
        return {one: grown for one, seconds in newest.items() if (grown := _grown(first[one], seconds))}

    def _number(self, at: float) -> int:
        return int((at - self._began) // SPAN_SECONDS)

    def _read_in(self, number: int, key: tuple[str, str]) -> int | None:
        begin, end = self._spans.get(number), self._spans.get(number + 1)
        if begin is None or end is None or key not in begin.received or key not in end.received:
            return None
        return _grown(begin.received[key], end.received[key])

    def _ends(self) -> tuple[Sample | None, Sample | None]:
        if not self._recent:
            return None, None
        return self._spans[min(self._spans)], self._recent[-1]


_Total = TypeVar("_Total", int, float)


def _grown(before: _Total, after: _Total) -> _Total:
    """By how much a total has grown; one that fell began anew."""
    return after - before if after >= before else after


def quantile_seconds(share: float, buckets: Sequence[int]) -> float | None:
    """The time that ``share`` of the messages did not exceed; None without messages.

    As Prometheus' ``histogram_quantile``: even within a bucket; what is in the last one counts as its lower
    bound.
    """
    rank = share * sum(buckets)
    if not rank:
        return None
    below = 0
    for index, count in enumerate(buckets[: len(BUCKET_SECONDS)]):
        if count and below + count >= rank:
            low = BUCKET_SECONDS[index - 1] if index else 0.0
            return low + (BUCKET_SECONDS[index] - low) * (rank - below) / count
        below += count
    return BUCKET_SECONDS[-1]
