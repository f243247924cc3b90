"""This service and others side by side; docs/benchmarks.md says how, and what came of it.

``python -m tests.benchmarks`` takes a quarter of an hour, with ``--quick`` a minute.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from loguru import logger

from tests.benchmarks import machine, micro, names, report, scenarios
from tests.benchmarks.chat_source import ChatSource
from tests.benchmarks.contenders import Contender, contenders
from tests.benchmarks.plan import Turn, turns
from tests.benchmarks.results import Failure, Results, Run
from tests.benchmarks.scenarios import Figures, Scenario
from tests.benchmarks.trial import trial
from tests.processes.broker import Broker
from tests.processes.service import free_port

MICRO = "micro"
# These only when they are asked for.
LEFT_OUT = ("two", "long")
MICRO_ROUNDS = 5
_SHOWN = (names.RATE, names.CPU, names.P50, names.P99, names.CORE, names.MEMORY_EACH, names.START)


def _arguments() -> argparse.Namespace:
    words = [*scenarios.full(), MICRO]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="This service and others side by side."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a minute: two scenarios, one round, two contenders"
    )
    parser.add_argument("--rounds", type=int, help="of every contender (3, slow ones less)")
    parser.add_argument("--only", type=_words_of(words), help=f"scenarios, of {','.join(words)}")
    parser.add_argument("--who", type=_words_of(None), help="contenders, by parts of their names")
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        type=_checkout,
        metavar="PATH",
        help="another checkout of this service as one more contender; may be repeated",
    )
    parser.add_argument(
        "--output", type=Path, help="folder for results, table and pictures (docs/benchmarks)"
    )
    return parser.parse_args()


def _words_of(known: Sequence[str] | None) -> Callable[[str], list[str]]:
    """Reads words between commas; None takes any."""

    def words(text: str) -> list[str]:
        found = text.split(",")
        for word in found:
            if not word or (known is not None and word not in known):
                raise argparse.ArgumentTypeError(f"{word!r} is none of {known or 'them'}")
        return found

    return words


def _checkout(text: str) -> Path:
    path = Path(text).absolute()
    if not (path / "workers" / "producer.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of this service")
    return path


def main() -> None:
    arguments = _arguments()
    # The finally blocks end what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logger.remove()
    began = time.monotonic()
    chosen = _scenarios(arguments)
    results = Results(machine.describe())
    everybody = _contenders(arguments)
    with tempfile.TemporaryDirectory() as name, ChatSource() as source:
        broker = Broker(Path(name), free_port())
        broker.start()
        try:
            for turn in turns(chosen, everybody, 1 if arguments.quick else arguments.rounds):
                _take(turn, everybody, broker.address, source, results)
            if _wants_micro(arguments):
                _measure_steps(broker.address, arguments.rounds or MICRO_ROUNDS, results)
        finally:
            broker.stop()
    results.machine["minutes"] = f"{(time.monotonic() - began) / 60:.1f}"
    print(f"\n{report.table(results)}")
    folder = arguments.output
    if folder is None and not (arguments.quick or arguments.only or arguments.who):
        folder = report.FOLDER
    if folder is not None:
        print(*report.write(results, folder), sep="\n")


def _wants_micro(arguments: argparse.Namespace) -> bool:
    if arguments.only is None:
        return not (arguments.quick or arguments.who)
    return MICRO in arguments.only


def _scenarios(arguments: argparse.Namespace) -> list[Scenario]:
    known = scenarios.quick() if arguments.quick else scenarios.full()
    if arguments.only is None:
        return [one for word, one in known.items() if word not in LEFT_OUT]
    return [one for word, one in known.items() if word in arguments.only]


def _contenders(arguments: argparse.Namespace) -> dict[str, Contender]:
    """Those that are asked for; a checkout is by being named."""
    words = [word.lower() for word in arguments.who or ()]
    known = contenders(arguments.checkout)
    wanted = {path.name for path in arguments.checkout}
    if words:
        wanted |= {name for name in known if any(word in name.lower() for word in words)}
    elif arguments.quick:
        wanted |= {names.OURS, names.NODE_BATCHED}
    else:
        wanted |= known.keys()
    return {name: one for name, one in known.items() if name in wanted}


def _take(
    turn: Turn, everybody: Mapping[str, Contender], broker: str, source: ChatSource, results: Results
) -> None:
    """Measure one contender; one that fails is noted, and does not end the run."""
    began = time.monotonic()
    stages = turn.scenario.stages
    try:
        for stage, figures in _figures(turn.scenario, everybody[turn.contender], broker, source):
            results.runs.append(Run(stage, turn.contender, turn.round, figures))
            _say(stage, turn.contender, _shown(figures), began)
            stages = stages[1:]
    except Exception as error:  # noqa: BLE001 - whatever a design does
        # What has no stage left has failed to stop.
        stage = stages[0] if stages else turn.scenario.stages[-1]
        results.failures.append(Failure(stage, turn.contender, turn.round, _trouble(error)))
        _say(stage, turn.contender, _trouble(error), began)


def _figures(
    scenario: Scenario, contender: Contender, broker: str, source: ChatSource
) -> Iterator[tuple[str, Figures]]:
    """Of each stage, by its name."""
    with trial(
        contender.start,
        broker,
        source,
        channels=scenario.channels[0],
        readers=scenario.readers,
        warm_up_each=scenario.warm_up_each,
    ) as running:
        for channels, stage in zip(scenario.channels, scenario.stages, strict=True):
            running.fill(channels)
            yield stage, scenario.measure(running)


def _measure_steps(broker: str, rounds: int, results: Results) -> None:
    began = time.monotonic()
    try:
        results.micro = micro.measure(broker, rounds)
        _say(MICRO, names.OURS, f"{len(results.micro)} steps", began)
    except Exception as error:  # noqa: BLE001 - the rest was measured
        results.failures.append(Failure(MICRO, names.OURS, 1, _trouble(error)))
        _say(MICRO, names.OURS, _trouble(error), began)


def _say(stage: str, contender: str, what: str, began: float) -> None:
    print(f"{stage} | {contender} | {what} | {time.monotonic() - began:.0f} s", flush=True)


def _trouble(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _shown(figures: Figures) -> str:
    return "; ".join(f"{name} {figures[name]:,.{names.DIGITS[name]}f}" for name in _SHOWN if name in figures)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped, nothing is written")
