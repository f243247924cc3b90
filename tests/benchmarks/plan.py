"""In which order everybody is measured."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.benchmarks.contenders import Contender
from tests.benchmarks.scenarios import Scenario


class Turn(NamedTuple):
    scenario: Scenario
    round: int
    """From 1."""
    contender: str


def turns(
    scenarios: list[Scenario], contenders: Mapping[str, Contender], rounds: int | None
) -> Iterator[Turn]:
    """Round by round, each beginning with another one: a machine that is slow for a while is slow for all.

    :param rounds: of every contender; None for as many as each has by itself.
    """
    for scenario in scenarios:
        wanted = {name: _rounds(scenario, name, one, rounds) for name, one in contenders.items()}
        for number in range(max(wanted.values(), default=0)):
            names = [name for name, times in wanted.items() if times > number]
            place = number % len(names)
            for name in names[place:] + names[:place]:
                yield Turn(scenario, number + 1, name)


def _rounds(scenario: Scenario, name: str, contender: Contender, rounds: int | None) -> int:
    if name in scenario.without or (scenario.only_ours and not contender.is_ours):
        return 0
    return min(contender.rounds, scenario.most_rounds) if rounds is None else rounds
