import errno
import fcntl
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loguru import logger

from shared.fetch_gate import (
    AFTER_ANSWER_SECONDS,
    FIRST_PAUSE_SECONDS,
    LONGEST_ASKED_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    FetchGate,
)
from shared.timing import Deadline
from tests.processes.service import ROOT


class Clock:
    """Seconds that only sleeping takes."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class World:
    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.gate = FetchGate(path, self.clock, self.clock.sleep)

    def ask(self, *, answered: bool, pause: float | None = None, seconds: float = 10_000.0) -> float:
        """Make a request; give how long its turn was waited for."""
        began = self.clock.now
        with self.gate.turn(Deadline(seconds, self.clock)) as turn:
            assert not turn.refusal
            waited = self.clock.now - began
            if answered:
                turn.answered()
            else:
                turn.asked_to_wait(pause)
        return waited


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def world(path: Path) -> World:
    return World(path)


def test_the_first_passes_at_once_and_the_next_after_a_short_pause(world: World) -> None:
    assert world.ask(answered=True) == 0.0
    assert AFTER_ANSWER_SECONDS <= world.ask(answered=True) <= 2.1 * AFTER_ANSWER_SECONDS


def test_pauses_grow_while_the_service_is_in_trouble_and_are_short_again_after_an_answer(
    world: World,
) -> None:
    world.ask(answered=False)
    pauses = [world.ask(answered=False) for _ in range(7)]
    assert pauses == pytest.approx([FIRST_PAUSE_SECONDS, 4.0, 8.0, 16.0, 32.0, 60.0, LONGEST_PAUSE_SECONDS])
    world.ask(answered=True)
    assert AFTER_ANSWER_SECONDS <= world.ask(answered=False) <= 2.1 * AFTER_ANSWER_SECONDS
    assert world.ask(answered=True) == pytest.approx(FIRST_PAUSE_SECONDS)


def test_after_an_answer_comes_first_who_has_the_least_time_left(world: World) -> None:
    world.ask(answered=True)
    waits = []
    for seconds in (4.5, 3.0, 1.5, 0.5):
        began = world.clock.now
        with world.gate.turn(Deadline(seconds, world.clock)) as turn:
            waits.append(world.clock.now - began)
            turn.answered()
    assert waits == sorted(waits, reverse=True)
    assert len({round(wait, 6) for wait in waits}) == 4


def test_a_request_that_ends_in_an_error_counts_as_failed(world: World) -> None:
    with pytest.raises(ValueError, match="broken"), world.gate.turn(Deadline(1.0, world.clock)):
        raise ValueError("broken")
    assert world.ask(answered=True) == pytest.approx(FIRST_PAUSE_SECONDS)


def test_a_request_without_time_for_an_answer_changes_nothing(world: World) -> None:
    for _ in range(3):
        world.ask(answered=False)
    world.clock.now += 8.0
    with world.gate.turn(Deadline(1.0, world.clock)) as turn:
        turn.cut_short()
    assert AFTER_ANSWER_SECONDS <= world.ask(answered=False) <= 2.1 * AFTER_ANSWER_SECONDS
    assert world.ask(answered=True) == pytest.approx(16.0)


@pytest.mark.parametrize(
    ("asked", "kept"), [(7.0, 7.0), (1e9, LONGEST_ASKED_PAUSE_SECONDS), (-5.0, FIRST_PAUSE_SECONDS)]
)
def test_the_pause_that_the_service_asks_for_is_kept_within_bounds(
    world: World, asked: float, kept: float
) -> None:
    world.ask(answered=False, pause=asked)
    assert world.ask(answered=True) == pytest.approx(kept)


def test_a_pause_longer_than_the_deadline_is_not_waited_for(world: World) -> None:
    world.ask(answered=False, pause=40.0)
    began = world.clock.now
    with world.gate.turn(Deadline(4.0, world.clock)) as turn:
        assert "left alone for 40.0 s" in turn.refusal
    assert world.clock.now == began
    # Who was refused has not asked, and puts off nobody.
    assert world.ask(answered=True) == pytest.approx(40.0)


def test_one_at_a_time_has_the_turn(path: Path, world: World) -> None:
    other = FetchGate(path, world.clock, world.clock.sleep)
    with world.gate.turn(Deadline(5.0, world.clock)) as turn:
        with other.turn(Deadline(5.0, world.clock)) as refused:
            assert "too many readers" in refused.refusal
        turn.answered()
    with other.turn(Deadline(5.0, world.clock)) as turn:
        assert not turn.refusal


def test_a_damaged_file_and_times_of_another_boot_count_as_nothing(path: Path, world: World) -> None:
    path.write_bytes(b"\xff{not json")
    assert world.ask(answered=False, pause=500.0) == 0.0
    world.clock.now = 5.0
    assert world.ask(answered=True) == 0.0


def test_failures_of_long_ago_do_not_count(world: World) -> None:
    for _ in range(5):
        world.ask(answered=False)
    world.clock.now += 24 * 3600
    world.ask(answered=False)
    assert world.ask(answered=True) == pytest.approx(FIRST_PAUSE_SECONDS)


@pytest.mark.parametrize("path", [Path("/nowhere/gate"), Path("/dev/full")], ids=["no folder", "full disk"])
def test_where_nothing_can_be_written_the_request_is_made_all_the_same(path: Path) -> None:
    world = World(path)
    assert world.ask(answered=False) == 0.0
    assert world.ask(answered=True) == 0.0


def test_where_no_file_can_be_locked_the_request_is_made_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    told: list[str] = []
    sink = logger.add(told.append, format="{message}")
    try:
        for _ in range(2):
            with world.gate.turn(Deadline(1.0, world.clock)) as turn:
                assert (turn.refusal, turn.guarded) == ("", False)
    finally:
        logger.remove(sink)
    (line,) = told
    assert "cannot be used: No locks available" in line


def _ask_often(path: Path) -> list[tuple[float, float]]:
    gate = FetchGate(path)
    turns = []
    for _ in range(3):
        with gate.turn(Deadline(60.0)) as turn:
            assert not turn.refusal
            began = time.monotonic()
            turns.append((began, time.monotonic()))
            turn.answered()
    return turns


def test_processes_share_the_gate(path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(_ask_often, [path] * 3)
    turns = sorted(turn for one in found for turn in one)
    assert len(turns) == 9
    assert all(later - ended >= AFTER_ANSWER_SECONDS for (_, ended), (later, _) in itertools.pairwise(turns))


HOLDER = """
import sys, time
from pathlib import Path
from shared.fetch_gate import FetchGate
from shared.timing import Deadline
with FetchGate(Path(sys.argv[1])).turn(Deadline(10)) as turn:
    print(repr(turn.refusal), flush=True)
    time.sleep(600)
"""


def test_a_process_that_is_killed_in_its_turn_leaves_the_gate_open(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "''\n"
            with FetchGate(path).turn(Deadline(0.0)) as turn:
                assert turn.refusal
        finally:
            holder.send_signal(signal.SIGKILL)
    with FetchGate(path).turn(Deadline(10.0)) as turn:
        assert not turn.refusal
