"""When a token is validated and refreshed, with a clock that only this test moves."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.token_plan import TokenPlan

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Case:
    """A plan without jitter."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.plan = TokenPlan(self.clock, random_unit=lambda: 0.0)

    def next(self) -> tuple[str | None, float]:
        """Wait until something is due; what it is, and how long it took."""
        began = self.clock.now
        for _ in range(100):
            step, wait = self.plan.due()
            if step is not None:
                return step, round(self.clock.now - began, 6)
            if wait == float("inf"):
                return None, wait
            self.clock.now += wait
        raise AssertionError("the plan never comes to the point")


@pytest.fixture
def case() -> Case:
    return Case()


def test_without_a_token_nothing_is_ever_due(case: Case) -> None:
    assert case.plan.due() == (None, float("inf"))
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.nothing()
    assert case.next() == (None, float("inf"))


def test_a_token_is_validated_at_once_and_every_hour(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=False, fresh=False)
    assert case.next() == ("validate", 0.0)
    for _ in range(3):
        case.plan.validated(4 * HOUR)
        assert case.next() == ("validate", HOUR)


def test_a_token_is_refreshed_when_a_tenth_of_its_life_is_left(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.refreshed(5.0)
    assert case.next() == ("refresh", 4.5)
    case.plan.refreshed(HOUR)
    assert case.next() == ("refresh", 0.9 * HOUR)


def test_of_a_token_that_was_not_issued_here_twitchs_usual_life_is_taken(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(HOUR)
    assert case.next() == ("refresh", HOUR - 0.1 * 4 * HOUR)


def test_the_rest_of_the_life_that_a_validation_tells_counts(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.refreshed(4 * HOUR)
    assert case.next() == ("validate", HOUR)
    case.plan.validated(HOUR)
    assert case.next() == ("refresh", HOUR - 0.1 * 4 * HOUR)


def test_a_file_with_a_refresh_token_only_is_refreshed_at_once(case: Case) -> None:
    case.plan.taken_up(has_access=False, can_refresh=True, fresh=False)
    assert case.next() == ("refresh", 0.0)


def test_a_token_that_is_not_valid_any_more_is_refreshed(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.invalid()
    assert case.next() == ("refresh", 0.0)


def test_a_token_that_cannot_be_refreshed_is_only_validated(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=False, fresh=False)
    case.plan.invalid()
    assert case.next() == ("validate", HOUR)
    case.plan.validated(None)
    assert case.next() == ("validate", HOUR)


def test_a_token_in_its_last_second_is_refreshed(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(None)
    assert case.next() == ("refresh", 0.0)


def test_a_refused_login_with_a_bad_token_brings_a_refresh_at_once_each_time(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(4 * HOUR)
    for _ in range(9):
        case.clock.now += 1
        case.plan.reported()
        assert case.next() == ("validate", 0.0)
        case.plan.invalid()
        assert case.next() == ("refresh", 0.0)
        case.plan.refreshed(4 * HOUR)


def test_a_refused_login_with_a_good_token_brings_another_one_after_growing_pauses(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(4 * HOUR)
    pauses = []
    for _ in range(9):
        case.plan.reported()
        assert case.next()[0] == "validate"
        began = case.clock.now
        case.plan.validated(4 * HOUR)
        assert case.next()[0] == "refresh"
        pauses.append(round(case.clock.now - began))
        case.plan.refreshed(4 * HOUR)
    assert pauses == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    case.clock.now += 200
    case.plan.reported()
    case.next()
    case.plan.validated(4 * HOUR)
    assert case.next() == ("refresh", 0.0), "a new story"


@pytest.mark.parametrize("can_refresh", [True, False])
def test_a_hundred_readers_that_are_refused_for_hours_are_heeded_once_a_minute(
    case: Case, can_refresh: bool
) -> None:
    case.plan.taken_up(has_access=True, can_refresh=can_refresh, fresh=False)
    case.plan.validated(4 * HOUR)
    refreshes, validations = [], 0
    began = case.clock.now
    while case.clock.now < began + 2 * HOUR:
        case.plan.reported()
        step, _wait = case.plan.due()
        if step == "validate":
            validations += 1
            case.plan.validated(4 * HOUR)
        elif step == "refresh":
            refreshes.append(case.clock.now - began)
            case.plan.refreshed(4 * HOUR)
        case.clock.now += 0.5
    if can_refresh:
        assert len(refreshes) > 100
        pauses = [later - earlier for earlier, later in itertools.pairwise(refreshes)]
        assert max(pauses) <= 61
        assert min(pauses[7:]) >= 59
    assert 100 < validations < 150


def test_a_report_of_a_token_that_is_bad_and_cannot_be_renewed_is_heeded_once_a_minute_too(
    case: Case,
) -> None:
    case.plan.taken_up(has_access=True, can_refresh=False, fresh=False)
    validations = 0
    began = case.clock.now
    while case.clock.now < began + HOUR:
        case.plan.reported()
        if case.plan.due()[0] == "validate":
            validations += 1
            case.plan.invalid()
        case.clock.now += 0.5
    assert 50 < validations < 75


def test_of_a_token_that_appears_while_we_watch_the_whole_life_is_known(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=True)
    case.plan.validated(600.0)
    assert case.next() == ("refresh", 540.0)


def test_a_refused_login_brings_a_refresh_though_twitch_cannot_validate(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(4 * HOUR)
    case.plan.reported()
    assert case.next() == ("validate", 0.0)
    case.plan.no_answer()
    assert case.next() == ("refresh", 1.0)


def test_a_refused_login_that_no_refresh_can_help_brings_a_validation(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=False, fresh=False)
    case.plan.validated(4 * HOUR)
    case.plan.reported()
    assert case.next() == ("validate", 0.0)
    case.plan.validated(4 * HOUR)
    assert case.next() == ("validate", HOUR)


def test_without_an_answer_the_step_comes_again_after_1_to_60_seconds(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.invalid()
    pauses = []
    for _ in range(8):
        case.plan.no_answer()
        step, after = case.next()
        assert step == "refresh"
        pauses.append(after)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_an_answer_ends_the_story(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=False, fresh=False)
    for _ in range(4):
        case.plan.no_answer()
        case.next()
    case.plan.validated(4 * HOUR)
    assert case.plan.no_answer() == 1.0


def test_after_a_refusal_for_good_nothing_is_refreshed_until_there_is_another_token(case: Case) -> None:
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.validated(4 * HOUR)
    case.plan.reported()
    case.plan.refused_for_good()
    case.plan.reported()
    case.plan.invalid()
    assert case.next() == ("validate", HOUR)
    case.plan.taken_up(has_access=False, can_refresh=True, fresh=False)
    assert case.next() == ("refresh", 0.0)


@given(life=st.floats(min_value=1e-6, max_value=0.1))
def test_however_short_the_life_is_twitch_is_not_flooded(life: float) -> None:
    case = Case()
    case.plan.taken_up(has_access=True, can_refresh=True, fresh=False)
    case.plan.refreshed(life)
    step, after = case.next()
    assert (step, after) == ("refresh", 0.1)


STEPS = ("validated", "invalid", "reported", "refreshed", "refused_for_good", "no_answer")


@given(
    steps=st.lists(st.sampled_from(STEPS), max_size=30), has_access=st.booleans(), can_refresh=st.booleans()
)
def test_no_story_makes_the_plan_spin_or_validate_without_a_token(
    steps: list[str], has_access: bool, can_refresh: bool
) -> None:
    case = Case()
    case.plan.taken_up(has_access, can_refresh, fresh=False)
    known = has_access
    for step in steps:
        due, _wait = case.plan.due()
        assert due != "validate" or known
        # Only what can happen then: nothing is answered that was not asked.
        if step in ("validated", "invalid") and due != "validate":
            continue
        if step in ("refreshed", "refused_for_good") and due != "refresh":
            continue
        if step in ("validated", "refreshed"):
            getattr(case.plan, step)(100.0)
            known = True
        else:
            getattr(case.plan, step)()
        assert case.plan.due()[1] >= 0.0
