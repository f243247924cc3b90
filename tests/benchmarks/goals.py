"""What this service is to reach, and whether it does."""

from collections.abc import Callable
from typing import NamedTuple

from tests.benchmarks import names
from tests.benchmarks.names import NODE_BATCHED, NODE_REPLACED
from tests.benchmarks.results import Results, divide

MANY = 200
FEW = 50


Measure = Callable[[Results, str], float | None]
"""The figure of that contender; None where the results do not tell."""


class Goal(NamedTuple):
    """A figure of a scenario, and its bound."""

    scenario: str
    what: str
    bound: float
    unit: str
    measure: Measure
    at_most: bool = True
    digits: int = 2

    def is_met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


def ratio(scenario: str, name: str, other: str) -> Measure:
    """Its figure to that of another contender."""
    return lambda results, contender: results.ratio(scenario, contender, other, name)


def median(scenario: str, name: str) -> Measure:
    return lambda results, contender: results.median(scenario, contender, name)


def grown(name: str) -> Measure:
    """What many channels take each, to what few do."""

    def measure(results: Results, contender: str) -> float | None:
        many, few = (
            results.median(names.at_size(names.GROWTH, channels), contender, name) for channels in (MANY, FEW)
        )
        return divide(many, few)

    return measure


def _kept(results: Results, contender: str) -> float | None:
    first, last = (
        results.median(names.LONG, contender, name) for name in (names.MEMORY_AT_FIRST, names.MEMORY_AT_LAST)
    )
    return divide(last, first)


_BATCHED = f"× {NODE_BATCHED}"
_REPLACED = f"× {NODE_REPLACED}"
_FEWER = f"× that with {FEW}"
_GROWN = names.at_size(names.GROWTH, MANY)

GOALS = (
    Goal(names.STEADY, "CPU a message", 1.0, _BATCHED, ratio(names.STEADY, names.CPU, NODE_BATCHED)),
    Goal(names.STEADY, "half within", 10.0, "ms", median(names.STEADY, names.P50), digits=1),
    Goal(names.STEADY, "99 % within", 20.0, "ms", median(names.STEADY, names.P99), digits=1),
    Goal(
        names.STEADY,
        "from the command to the first message of each channel",
        3.0,
        "s",
        median(names.STEADY, names.START),
        digits=1,
    ),
    Goal(
        names.BURST,
        "messages a second",
        1.0,
        _BATCHED,
        ratio(names.BURST, names.RATE, NODE_BATCHED),
        at_most=False,
    ),
    Goal(
        names.BURST,
        "messages a second",
        10.0,
        _REPLACED,
        ratio(names.BURST, names.RATE, NODE_REPLACED),
        at_most=False,
        digits=1,
    ),
    Goal(names.BURST, "CPU a message", 1.04, _BATCHED, ratio(names.BURST, names.CPU, NODE_BATCHED)),
    Goal(names.IDLE, "memory a channel", 8.0, "MB", median(names.IDLE, names.MEMORY_EACH)),
    Goal(names.IDLE, "CPU", 6.0, "% of a core", median(names.IDLE, names.CORE), digits=1),
    Goal(_GROWN, "CPU a channel", 1.15, _FEWER, grown(names.CORE_EACH)),
    Goal(_GROWN, "memory a channel", 1.15, _FEWER, grown(names.MEMORY_EACH)),
    Goal(names.LONG, "memory at the end", 1.02, "× that after a third", _kept),
)
