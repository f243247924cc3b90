"""Processor time of a reader per line, from the socket to the hand-off, and its memory.

``python -m tests.benchmarks.reader [CHECKOUT ...]`` compares checkouts in turns, as ratios to the first;
without any it measures this one. Each is measured with its defaults, and where it can with events.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

import psutil
from loguru import logger

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.service import ROOT, wait_until
from tests.processes.test_main_job import sample_lines
from tests.shared.handoff_loop import ServerLoop

ROUNDS = 6
# As fast as it goes, and at a steady pace where wake-ups count.
LOADS = {"burst of 20,000": (20_000, None), "400 lines/s for 10 s": (4_000, 400.0)}
MODES = {"defaults": {}, "with events": {"KAFKA_TOPIC_CHAT_EVENTS": "events"}}


class Cost(NamedTuple):
    """Of one reader: processor seconds for all lines, and bytes that only it has at the end."""

    seconds: float
    memory: int


class _Producer:
    """Takes everything in and says at once that it is durable."""

    def __init__(self, folder: Path) -> None:
        self.taken = 0
        self._loop = ServerLoop(folder)
        self._end = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._end:
            self._loop.turn()
            self.taken += sum(not one.type for one, _batch in self._loop.taken)
            self._loop.all_durable()
        self._loop.close()

    def close(self) -> None:
        self._end = True
        self._thread.join()


def measure(checkout: Path, mode: dict[str, str], count: int, per_second: float | None) -> Cost:
    """Run the checkout's reader in a folder of its own."""
    lines = (sample_lines() * (count // 4_900 + 1))[:count]
    wanted = sum(b" PRIVMSG " in line for line in lines)
    with tempfile.TemporaryDirectory() as name, FakeTwitch() as twitch:
        folder = Path(name)
        for part in ("shared", "workers"):
            shutil.copytree(checkout / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "run").mkdir(mode=0o700)
        producer = _Producer(folder / "run")
        environment = {**os.environ, "TWITCH_IRC_URL": twitch.url, **mode}
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.reader", "xqcow"],
            cwd=folder,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        try:
            twitch.wait_joined("xqcow", timeout=30)
            twitch.play("xqcow", lines[:200])
            warm = sum(b" PRIVMSG " in line for line in lines[:200])
            wait_until(lambda: producer.taken >= warm, "the first lines")
            seen = psutil.Process(process.pid)
            before = sum(seen.cpu_times()[:2])
            twitch.play("xqcow", lines, per_second)
            wait_until(lambda: producer.taken >= warm + wanted, "every line")
            return Cost(sum(seen.cpu_times()[:2]) - before, seen.memory_full_info().uss)
        finally:
            process.terminate()
            process.wait(20)
            producer.close()


def main() -> None:
    logger.remove()
    checkouts = [Path(name).absolute() for name in sys.argv[1:]] or [ROOT]
    for load, (count, per_second) in LOADS.items():
        variants = [
            (checkout, mode)
            for mode in MODES
            for checkout in checkouts
            if mode == "defaults" or (checkout / "shared" / "twitch_events.py").exists()
        ]
        costs: dict[tuple[Path, str], list[Cost]] = {variant: [] for variant in variants}
        for turn in range(ROUNDS):
            # Each is the first of a round as often as the others: what ran before is felt.
            place = turn % len(variants)
            for checkout, mode in variants[place:] + variants[:place]:
                costs[checkout, mode].append(measure(checkout, MODES[mode], count, per_second))
        first = min(cost.seconds for cost in costs[variants[0]])
        for (checkout, mode), found in costs.items():
            best = min(cost.seconds for cost in found)
            memory = min(cost.memory for cost in found) / 1e6
            print(
                f"{load}: {checkout}, {mode}: {best / count * 1e6:.1f} µs a line, {best / first:.2f}; "
                f"{memory:.1f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
