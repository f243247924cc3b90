"""For how long a channel was left alone."""

from shared.reports import ChannelReport, ReaderReport
from shared.status_file import Head, Status
from workers.presence import Presence


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def left(written: float, joined: bool, offline: float, stopped: bool = False) -> Status[ReaderReport]:
    channel = ChannelReport(joined=joined, offline_seconds=offline)
    return Status(Head(1, written, stopped), ReaderReport(channels={"xqc": channel}))


def counting(clock: Clock, left: Status[ReaderReport] | None, *channels: str) -> Presence:
    presence = Presence(clock)
    for channel in channels or ("xqc",):
        presence.add(channel, left)
    return presence


def test_the_time_before_the_first_join_does_not_count() -> None:
    clock = Clock()
    presence = counting(clock, None)
    clock.now += 60.0
    presence.look(set())
    presence.look({"xqc"})
    clock.now += 60.0
    assert presence.seconds_out("xqc") == 0.0


def test_the_time_out_counts_while_it_runs_and_adds_up() -> None:
    clock = Clock()
    presence = counting(clock, None, "xqc", "forsen")
    presence.look({"xqc", "forsen"})
    presence.look({"forsen"})
    clock.now += 3.0
    presence.look({"forsen"})
    assert presence.seconds_out("xqc") == 3.0
    presence.look({"xqc", "forsen"})
    clock.now += 5.0
    presence.look(set())
    clock.now += 0.5
    assert presence.seconds_out("xqc") == 3.5
    assert presence.seconds_out("forsen") == 0.5


def test_the_set_that_is_looked_at_may_change_afterwards() -> None:
    clock = Clock()
    presence = counting(clock, None)
    joined = {"xqc"}
    presence.look(joined)
    joined.clear()
    presence.look(joined)
    clock.now += 2.0
    assert presence.seconds_out("xqc") == 2.0


def test_after_a_kill_the_channel_counts_as_out_since_the_last_report() -> None:
    clock = Clock()
    presence = counting(clock, left(clock.now - 4.0, joined=True, offline=10.0))
    presence.look(set())
    clock.now += 1.0
    presence.look({"xqc"})
    clock.now += 9.0
    assert presence.seconds_out("xqc") == 15.0


def test_a_killed_reader_that_was_out_goes_on_being_out() -> None:
    clock = Clock()
    presence = counting(clock, left(clock.now - 4.0, joined=False, offline=10.0))
    assert presence.seconds_out("xqc") == 14.0


def test_the_time_after_an_ordered_stop_does_not_count_but_the_total_stays() -> None:
    clock = Clock()
    presence = counting(clock, left(clock.now - 4000.0, joined=False, offline=10.0, stopped=True))
    presence.look(set())
    clock.now += 1.0
    presence.look({"xqc"})
    assert presence.seconds_out("xqc") == 10.0


def test_a_report_of_another_boot_gives_the_total_only() -> None:
    clock = Clock()
    presence = counting(clock, left(clock.now + 50_000.0, joined=True, offline=10.0))
    clock.now += 1.0
    assert presence.seconds_out("xqc") == 10.0


def test_a_reader_that_never_was_in_has_missed_nothing_when_it_is_killed() -> None:
    clock = Clock()
    presence = counting(clock, left(clock.now - 4.0, joined=False, offline=0.0))
    clock.now += 1.0
    assert presence.seconds_out("xqc") == 0.0


def test_a_channel_that_is_removed_and_added_begins_with_what_was_left() -> None:
    clock = Clock()
    presence = counting(clock, None, "xqc", "forsen")
    presence.look({"xqc", "forsen"})
    presence.look(set())
    clock.now += 2.0
    presence.remove("xqc")
    presence.look({"forsen"})
    clock.now += 2.0
    presence.add("xqc", left(clock.now - 2.0, joined=False, offline=7.0, stopped=True))
    clock.now += 2.0
    presence.look({"xqc", "forsen"})
    assert presence.seconds_out("xqc") == 7.0
    presence.look({"forsen"})
    clock.now += 1.0
    assert presence.seconds_out("xqc") == 8.0
