"""What is measured of a design: the loads, and the figures of each."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.benchmarks import names
from tests.benchmarks.arrivals import Arrived
from tests.benchmarks.process_tree import Usage, usage
from tests.benchmarks.trial import Trial

# Node needs so many to be steady.
WARM_UP_EACH = 2_000
# Enough for Python, and a hundred readers more would take a minute otherwise.
WARM_UP_EACH_GROWING = 500
QUICK_WARM_UP_EACH = 400
# The workers report, and the watchdog looks at them, as often.
GROWN_SECONDS = 5.0

Figures = dict[str, float]


class Scenario(NamedTuple):
    """``measure`` gives the figures of a design that runs with so many channels."""

    name: str
    channels: tuple[int, ...]
    """More than one number: the channel list grows while the design runs."""
    measure: Callable[[Trial], Figures]
    warm_up_each: int = WARM_UP_EACH
    most_rounds: int = 100
    only_ours: bool = False
    readers: int = 1
    """Of each channel, for this service."""
    without: tuple[str, ...] = ()
    """Designs that are not measured with it."""

    @property
    def stages(self) -> list[str]:
        """The names of what is measured, one for each number of channels."""
        if len(self.channels) == 1:
            return [self.name]
        return [names.at_size(self.name, channels) for channels in self.channels]


def steady(per_second: float, seconds: float, growing: bool = False) -> Callable[[Trial], Figures]:
    """All channels at that pace; where they grow what each takes is told, and what supervisord does alone."""

    def measure(trial: Trial) -> Figures:
        channels = len(trial.channels)
        phase = f"steady{channels}"
        before, began = usage(trial.running.root), time.monotonic()
        count = trial.source.play(phase, trial.channels, per_second, seconds)
        arrived = trial.arrivals.wait(phase, count)
        elapsed = time.monotonic() - began
        after = usage(trial.running.root, with_memory=True)
        cuts = statistics.quantiles(arrived.latencies_ms, n=100)
        used = after.cpu_seconds - before.cpu_seconds
        return {
            names.CPU: used / count * 1e6,
            names.P50: cuts[49],
            names.P99: cuts[98],
            names.CORE: used / elapsed * 100,
            names.MEMORY_EACH: after.pss / 1e6 / channels,
            names.PROCESSES: after.processes,
            **(_grown(before, after, elapsed, channels) if growing else _start(trial)),
            **_completeness(arrived, count),
        }

    return measure


def long(per_second: float, minutes: int) -> Callable[[Trial], Figures]:
    """All channels at that pace, minute after minute; a third of the time has to be ten minutes at least.

    By then the producer remembers as many ids as it ever will at that pace.
    """

    def measure(trial: Trial) -> Figures:
        before, began = usage(trial.running.root), time.monotonic()
        memory: list[float] = []
        whole: list[Figures] = []
        for minute in range(minutes):
            count = trial.source.play(f"minute{minute}", trial.channels, per_second, 60.0)
            whole.append(_completeness(trial.arrivals.wait(f"minute{minute}", count), count))
            memory.append(usage(trial.running.root, with_memory=True).pss / 1e6)
        used = usage(trial.running.root).cpu_seconds - before.cpu_seconds
        return {
            names.CORE: used / (time.monotonic() - began) * 100,
            names.MEMORY_AT_FIRST: memory[minutes // 3 - 1],
            names.MEMORY_AT_LAST: memory[-1],
            **{name: sum(one[name] for one in whole) for name in (names.LOST, names.DOUBLED)},
        }

    return measure


def burst(each: int) -> Callable[[Trial], Figures]:
    """So many messages in each channel, as fast as they are taken."""

    def measure(trial: Trial) -> Figures:
        before = usage(trial.running.root)
        began = time.monotonic()
        count = trial.source.blast("burst", trial.channels, each)
        arrived = trial.arrivals.wait("burst", count)
        after = usage(trial.running.root)
        return {
            names.RATE: arrived.unique / (arrived.last - began),
            names.CPU: (after.cpu_seconds - before.cpu_seconds) / count * 1e6,
            **_completeness(arrived, count),
        }

    return measure


def _start(trial: Trial) -> Figures:
    return {} if trial.start_seconds is None else {names.START: trial.start_seconds}


def _grown(before: Usage, after: Usage, seconds: float, channels: int) -> Figures:
    return {
        names.CORE_EACH: (after.cpu_seconds - before.cpu_seconds) / seconds * 100 / channels,
        names.MEMORY: after.pss / 1e6,
        names.ROOT_CORE: (after.root_cpu_seconds - before.root_cpu_seconds) / seconds * 100,
        names.ROOT_MEMORY: after.root_pss / 1e6,
    }


def _completeness(arrived: Arrived, count: int) -> Figures:
    return {names.LOST: count - arrived.unique, names.DOUBLED: arrived.records - arrived.unique}


def full() -> dict[str, Scenario]:
    """By the word for ``--only``; ``two`` and ``long`` are run only when they are asked for."""
    return {
        "steady": Scenario(names.STEADY, (20,), steady(50.0, 6.0)),
        "single": Scenario(names.SINGLE, (1,), steady(100.0, 6.0), most_rounds=2, without=(names.SHARED,)),
        "burst": Scenario(names.BURST, (4,), burst(25_000)),
        "idle": Scenario(
            names.IDLE,
            (50,),
            steady(1.0, 10.0),
            WARM_UP_EACH,
            most_rounds=2,
            without=(names.NODE_REPLACED,),
        ),
        "growth": Scenario(
            names.GROWTH,
            names.GROWTH_SIZES,
            steady(1.0, GROWN_SECONDS, growing=True),
            WARM_UP_EACH_GROWING,
            most_rounds=1,
            only_ours=True,
            # It takes two minutes.
            without=(names.SHARED,),
        ),
        "long": Scenario(names.LONG, (50,), long(2.0, minutes=30), most_rounds=1, only_ours=True),
        "two": Scenario(names.TWO, (20,), steady(50.0, 6.0), only_ours=True, readers=2),
    }


def quick() -> dict[str, Scenario]:
    """A minute's worth."""
    return {
        "steady": Scenario(names.STEADY, (20,), steady(50.0, 4.0), QUICK_WARM_UP_EACH),
        "burst": Scenario(names.QUICK_BURST, (4,), burst(5_000), QUICK_WARM_UP_EACH),
    }
