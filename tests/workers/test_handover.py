"""What the new connection says besides the old one: each line once, those that came twice twice."""

import pytest

from shared.irc_line import IrcLine
from tests.shared.event_lines import NOW_MS, parts
from workers.handover import COPY_AHEAD_MS, MAX_HELD, Handover

STATE = "@emote-only=0;followers-only=-1;r9k=0;room-id=1;slow=0;subs-only=0 :tmi.twitch.tv ROOMSTATE #c"
SLOW = "@room-id=1;slow=30 :tmi.twitch.tv ROOMSTATE #c"
NOTICE = "@msg-id=slow_on :tmi.twitch.tv NOTICE #c :This room is now in slow mode."
CHAT = "@id=x;tmi-sent-ts=5 :a!a@a.tmi.twitch.tv PRIVMSG #c :hi"
BAN = "@room-id=1;tmi-sent-ts=5 :tmi.twitch.tv CLEARCHAT #c :a"


class Overlap:
    """Two connections; the new one joins #c at NOW_MS."""

    def __init__(self) -> None:
        self.taken: list[IrcLine] = []
        self.handover = Handover(lambda line, _received_ms: self.taken.append(line))
        self.new(STATE)

    def old(self, *lines: str, at_ms: int = NOW_MS + 50) -> None:
        for line in lines:
            self.handover.note(parts(line), at_ms)

    def new(self, *lines: str, at_ms: int = NOW_MS) -> None:
        for line in lines:
            self.handover.hold(parts(line), at_ms)

    def end(self) -> list[IrcLine]:
        """What was taken of the new connection besides the answer to its JOIN."""
        self.handover.end()
        assert self.taken[0] == parts(STATE)
        return self.taken[1:]


@pytest.mark.parametrize(
    "line", [NOTICE, SLOW, STATE, ":tmi.twitch.tv NOTICE * :Maintenance", "PRIVMSG #c hi"]
)
def test_a_line_without_id_and_time_that_both_say_is_not_taken_from_the_new_one(line: str) -> None:
    overlap = Overlap()
    overlap.new(line)
    overlap.old(line)
    assert overlap.end() == []


@pytest.mark.parametrize("line", [CHAT, BAN])
def test_a_line_with_an_id_or_a_time_is_taken_from_both(line: str) -> None:
    overlap = Overlap()
    overlap.old(line)
    overlap.new(line)
    assert overlap.end() == [parts(line)]


def test_what_only_the_new_one_says_is_taken_in_its_place() -> None:
    overlap = Overlap()
    overlap.old(NOTICE)
    overlap.new(CHAT, SLOW, NOTICE, BAN, NOTICE, NOTICE.replace("slow_on", "slow_off"))
    left = [CHAT, SLOW, BAN, NOTICE, NOTICE.replace("slow_on", "slow_off")]
    assert overlap.end() == [parts(line) for line in left]


def test_what_the_old_one_said_before_the_new_one_was_there_has_no_copy() -> None:
    overlap = Overlap()
    overlap.old(NOTICE, at_ms=NOW_MS - COPY_AHEAD_MS - 1)
    overlap.new(NOTICE, at_ms=NOW_MS + 500)
    assert overlap.end() == [parts(NOTICE)]


def test_what_was_read_on_the_old_one_a_moment_before_the_new_one_was_there_has_a_copy() -> None:
    overlap = Overlap()
    overlap.old(NOTICE, at_ms=NOW_MS - 20)
    overlap.new(NOTICE)
    assert overlap.end() == []


def test_the_answer_to_each_join_is_kept_also_while_the_old_one_says_the_same() -> None:
    overlap = Overlap()
    overlap.old(STATE, STATE.replace("#c", "#d"))
    overlap.new(STATE.replace("#c", "#d"))
    assert overlap.end() == [parts(STATE.replace("#c", "#d"))]


def test_of_two_channels_each_counts_from_its_own_join() -> None:
    overlap = Overlap()
    later_ms = NOW_MS + 10_000
    in_d = NOTICE.replace("#c", "#d")
    overlap.old(NOTICE, in_d)
    overlap.new(NOTICE)
    overlap.new(STATE.replace("#c", "#d"), in_d, at_ms=later_ms)
    assert overlap.end() == [parts(STATE.replace("#c", "#d")), parts(in_d)]


def test_the_next_overlap_knows_nothing_of_the_one_before() -> None:
    overlap = Overlap()
    overlap.old(NOTICE)
    assert overlap.end() == []
    overlap.new(STATE, NOTICE)
    assert overlap.end() == [parts(STATE), parts(NOTICE)]


def test_what_is_too_much_goes_on_at_once_and_copies_are_still_left_out() -> None:
    overlap = Overlap()
    overlap.old(NOTICE)
    overlap.new(*[CHAT] * (MAX_HELD - 1))
    assert len(overlap.taken) == MAX_HELD
    overlap.new(NOTICE, NOTICE)
    assert overlap.end()[MAX_HELD - 1 :] == [parts(NOTICE)]
