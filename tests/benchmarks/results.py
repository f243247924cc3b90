"""What a run of the benchmarks has found, as it is kept in ``results.json``."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tests.benchmarks.figures import Figure

FILE = "results.json"


class Run(msgspec.Struct, frozen=True):
    """One contender in one round of one scenario; ``figures`` by the names of ``names.py``."""

    scenario: str
    contender: str
    round: int
    figures: dict[str, float]


class Failure(msgspec.Struct, frozen=True):
    """A run that gave no figures."""

    scenario: str
    contender: str
    round: int
    trouble: str


class Results(msgspec.Struct):
    """A whole run; ``micro`` is in microseconds a message, by step."""

    machine: dict[str, str]
    runs: list[Run] = []
    failures: list[Failure] = []
    micro: dict[str, Figure] = {}

    @property
    def scenarios(self) -> list[str]:
        """In the order in which they were run."""
        return _once([one.scenario for one in self.runs] + [one.scenario for one in self.failures])

    @property
    def contenders(self) -> list[str]:
        """In the order in which they were run first."""
        return _once(one.contender for one in self.runs)

    def rounds(self, scenario: str, contender: str) -> list[Run]:
        return [run for run in self.runs if (run.scenario, run.contender) == (scenario, contender)]

    def figure(self, scenario: str, contender: str, name: str) -> Figure | None:
        """Over all rounds; None when it was not measured."""
        rounds = self.rounds(scenario, contender)
        values = [run.figures[name] for run in rounds if name in run.figures]
        return Figure.of(values) if values else None

    def median(self, scenario: str, contender: str, name: str) -> float | None:
        figure = self.figure(scenario, contender, name)
        return None if figure is None else figure.median

    def ratio(self, scenario: str, contender: str, other: str, name: str) -> float | None:
        """Of the medians; None when one was not measured, or has nothing to divide by."""
        return divide(self.median(scenario, contender, name), self.median(scenario, other, name))


def divide(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def load(folder: Path) -> Results:
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Results)


def save(results: Results, folder: Path) -> None:
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
