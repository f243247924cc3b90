"""Absences that are hard to make good: two readers, a stopped process, a reader killed with a full outbox."""

import time

import psutil
import pytest

from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import wait_until
from tests.processes.test_backfill import Stage, events, gaps, recent, stage
from tests.processes.test_main_job import start

__all__ = ["events", "recent", "stage"]
BOTH = ("reader-alpha", "reader-alpha-2")


@pytest.fixture
def pair(stage: Stage, topic: KafkaReader) -> Stage:
    """Two readers that are in the channel, lack nothing and have told so, and some messages."""
    stage.service.environment["READERS_PER_CHANNEL"] = "2"
    start(stage.service, stage.twitch, "alpha")
    wait_until(lambda: len(stage.twitch.joins) == 2, "both in the channel")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    wait_until(lambda: all(is_settled(stage, program) for program in BOTH), "both lack nothing")
    return stage


def is_settled(stage: Stage, program: str = "reader-alpha") -> bool:
    report = stage.report(program)
    return bool(report["joined"] and report["absent_since_ms"] == 0)


def test_that_a_channel_was_lost_is_told_before_anybody_can_be_in_it_again(pair: Stage) -> None:
    def written() -> float:
        return float(pair.service.status_of("reader-alpha")["written"])

    before = written()
    wait_until(lambda: written() > before, "the next status file, long before the one after it")
    assert pair.report()["heard_ms"] > 0
    pair.twitch.refuse_logins()
    pair.twitch.close_all()
    wait_until(lambda: "next attempt in" in pair.service.log("reader-alpha"), "the loss")
    # Logins are a pause apart.
    wait_until(lambda: pair.service.log("reader-alpha").count("connecting to") == 2, "the next attempt")
    assert not pair.report()["joined"]
    assert pair.report()["absent_since_ms"] > 0
    assert pair.report()["heard_ms"] == 0


def test_at_the_first_start_of_two_readers_what_was_said_before_comes_first(
    stage: Stage, topic: KafkaReader
) -> None:
    stage.service.environment["READERS_PER_CHANNEL"] = "2"
    stage.say(30, heard=False)
    start(stage.service, stage.twitch, "alpha")
    wait_until(lambda: len(stage.twitch.joins) == 2, "both in the channel")
    stage.say(30)
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said


def test_what_neither_of_two_readers_has_heard_comes_in_its_place(
    pair: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    before = len(pair.twitch.joins)
    with pair.away():
        pair.twitch.close_all()
        pair.say(10)
    pair.say(30)
    wait_until(lambda: len(pair.twitch.joins) == before + 2, "both in the channel again")
    pair.say(10)
    topic.wait_for_ids("alpha", set(pair.said))
    assert topic.ids("alpha") == pair.said
    events.wait_for_ids("alpha", set(pair.said))
    assert gaps(events) == []


def test_a_line_that_was_dead_unnoticed_while_the_other_one_was_lost_hides_nothing(
    pair: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    dead, lost = sorted(join.connection for join in pair.twitch.joins)
    before = len(pair.twitch.joins)
    pair.twitch.freeze_connection(dead)
    pair.twitch.close_connection(lost)
    # Heard by nobody; who comes back first believes that the other one has heard it.
    pair.say(10)
    wait_until(lambda: len(pair.twitch.joins) == before + 2, "both in the channel again", 40)
    pair.say(10)
    topic.wait_for_ids("alpha", set(pair.said))
    assert sorted(topic.ids("alpha")) == sorted(pair.said)
    events.wait_for_ids("alpha", set(pair.said))
    assert gaps(events) == []


def test_what_was_said_while_the_reader_was_stopped_is_made_good(stage: Stage, topic: KafkaReader) -> None:
    start(stage.service, stage.twitch, "alpha")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    stage.service.wait_running("reader-alpha")
    wait_until(lambda: is_settled(stage), "it lacks nothing")
    stage.service.control("stop", "watchdog")
    process = psutil.Process(stage.service.pids()["reader-alpha"])
    process.suspend()
    slept_from = time.monotonic()
    # These wait in the socket, then Twitch gives it up.
    stage.say(5)
    stage.twitch.close_all()
    stage.say(10)
    wait_until(lambda: time.monotonic() - slept_from > 9, "nine seconds of sleep")
    process.resume()
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said


def test_a_reader_that_is_killed_with_what_nobody_took_loses_nothing(
    stage: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    start(stage.service, stage.twitch, "alpha")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    wait_until(lambda: is_settled(stage), "it lacks nothing")
    stage.service.control("stop", "producer")
    stage.say(40)
    wait_until(lambda: stage.report()["absent_since_ms"] > 0, "it tells since when it keeps them")
    stage.say(10)
    with stage.without():
        stage.say(10)
    stage.service.control("start", "producer")
    stage.say(10)
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said
    events.wait_for_ids("alpha", set(stage.said))
    assert gaps(events) == []
