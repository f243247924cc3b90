import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.timing import Backoff, Deadline, Reminder


class HandClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_down_from_its_construction_and_never_below_zero() -> None:
    clock = HandClock()
    deadline = Deadline(5.0, clock)
    left = []
    for _ in range(4):
        left.append(deadline.left_seconds())
        clock.now += 2.0
    assert left == [5.0, 3.0, 1.0, 0.0]


def test_a_deadline_has_passed_when_nothing_is_left() -> None:
    clock = HandClock()
    deadline = Deadline(1.0, clock)
    assert not deadline.passed()
    clock.now += 0.5
    assert not deadline.passed()
    clock.now += 0.5
    assert deadline.passed()
    clock.now += 100.0
    assert deadline.passed()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_deadline_without_budget_has_passed_at_once(seconds: float) -> None:
    deadline = Deadline(seconds)
    assert deadline.passed()
    assert deadline.left_seconds() == 0.0


def test_a_deadline_runs_on_real_time_by_itself() -> None:
    deadline = Deadline(0.05)
    assert 0.0 < deadline.left_seconds() <= 0.05
    time.sleep(deadline.left_seconds() + 0.01)
    assert deadline.passed()


def test_two_deadlines_do_not_share_their_budget() -> None:
    clock = HandClock()
    first = Deadline(5.0, clock)
    clock.now += 3.0
    second = Deadline(5.0, clock)
    assert (first.left_seconds(), second.left_seconds()) == (2.0, 5.0)


def assert_about(pause: float, full: float) -> None:
    assert full * 0.8 - 1e-9 <= pause <= full + 1e-9


@pytest.mark.parametrize("unit", [0.0, 0.25, 0.5, 0.999999])
def test_pauses_double_up_to_the_longest(unit: float) -> None:
    backoff = Backoff(1.0, 60.0, lambda: unit)
    for full in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        assert_about(backoff.next_seconds(), full)


def test_pauses_are_one_second_to_a_minute_unless_told_otherwise() -> None:
    backoff = Backoff()
    for full in (1, 2, 4, 8, 16, 32, 60, 60):
        assert_about(backoff.next_seconds(), full)


def test_after_a_reset_the_first_pause_comes_again() -> None:
    backoff = Backoff(0.5, 10.0)
    for _ in range(7):
        backoff.next_seconds()
    backoff.reset()
    for full in (0.5, 1, 2):
        assert_about(backoff.next_seconds(), full)


def test_a_day_of_failures_still_gives_the_longest_pause() -> None:
    backoff = Backoff(0.01, 60.0)
    pauses = [backoff.next_seconds() for _ in range(5000)]
    assert all(48.0 - 1e-9 <= pause <= 60.0 for pause in pauses[20:])


def test_processes_that_fail_together_do_not_come_back_together() -> None:
    assert len({Backoff(8.0, 60.0).next_seconds() for _ in range(50)}) > 40


def test_the_jitter_uses_the_whole_fifth() -> None:
    spread = {Backoff(10.0, 60.0, lambda unit=unit: unit).next_seconds() for unit in (0.0, 1.0)}  # type: ignore[misc]
    assert sorted(spread) == pytest.approx([8.0, 10.0])


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    first=st.floats(0.001, 10.0),
    factor=st.floats(1.0, 1000.0),
    units=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=30),
)
def test_no_pause_is_longer_than_the_longest_or_shorter_than_four_fifths_of_the_first(
    first: float, factor: float, units: list[float]
) -> None:
    longest = first * factor
    given_units = iter(units)
    backoff = Backoff(first, longest, lambda: next(given_units))
    pauses = [backoff.next_seconds() for _ in units]
    assert all(first * 0.8 - 1e-9 <= pause <= longest for pause in pauses)
    assert all(later >= earlier * 0.8 - 1e-9 for earlier, later in pairwise(pauses))


def test_a_reminder_is_due_at_once_and_then_after_its_time() -> None:
    now = [0.0]
    reminder = Reminder(10.0, clock=lambda: now[0])
    assert reminder.is_due()
    assert not reminder.is_due()
    now[0] = 9.0
    assert not reminder.is_due()
    now[0] = 10.0
    assert reminder.is_due()
    reminder.reset()
    assert reminder.is_due()
    now[0] = 15.0
    reminder.put_off()
    now[0] = 24.0
    assert not reminder.is_due()
