"""When to ask for which channel."""

from workers.join_schedule import JoinSchedule


class Gate:
    """Gives the first places at once and each later one ten seconds after the last."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.given = 0

    def reserve(self) -> float:
        self.given += 1
        return max(0, self.given - self.at_once) * 10.0


def test_a_place_to_come_is_taken_for_one_channel_only() -> None:
    gate = Gate(at_once=2)
    schedule = JoinSchedule("abcdef", gate.reserve)
    assert schedule.due(set(), 0.0) == (["a", "b"], 10.0)
    assert gate.given == 3
    for channel in "ab":
        schedule.joined(channel)
    assert schedule.due(set("ab"), 5.0) == ([], 5.0)
    assert gate.given == 3
    ask, wait = schedule.due(set("ab"), 10.0)
    assert (ask, wait) == (["c"], 10.0)
    assert gate.given == 4
    # The connection breaks: the place of one is left unused.
    schedule.new_connection()
    assert schedule.due(set(), 25.0) == ([], 5.0)
    assert gate.given == 5
    assert schedule.due(set(), 30.0)[0] == ["a"]


def test_a_channel_that_came_in_otherwise_or_is_wanted_no_more_holds_up_nobody() -> None:
    gate = Gate(at_once=0)
    schedule = JoinSchedule("abc", gate.reserve)
    assert schedule.due(set(), 0.0) == ([], 10.0)
    assert schedule.due({"a"}, 1.0) == ([], 9.0 + 10.0)
    schedule.want("ac")
    assert schedule.due({"a"}, 2.0) == ([], 28.0)
    assert schedule.due({"a"}, 30.0)[0] == ["c"]
    schedule.failed("c", "no", 31.0)
    assert schedule.trouble("c") == "no"
    assert schedule.trouble("b") == ""
