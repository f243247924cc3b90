"""What a reader missed, got from a recent-messages service, through the whole service."""

import contextlib
import itertools
import json
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.fakes.fake_recent_messages import FakeRecentMessages
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import start


class Stage:
    """A service with events, and a channel whose every message the recent-messages service keeps."""

    def __init__(self, service: Service, twitch: FakeTwitch, recent: FakeRecentMessages) -> None:
        self.service, self.twitch, self.recent = service, twitch, recent
        self.said: list[str] = []
        self._numbers = itertools.count()

    def say(self, count: int, heard: bool = True) -> None:
        """So many messages; not ``heard``: only the recent-messages service gets them."""
        numbers = list(itertools.islice(self._numbers, count))
        lines = [chat_line("alpha", f"message {number}", id=f"id-{number}") for number in numbers]
        for line in lines:
            self.recent.keep("alpha", line)
        if heard:
            self.twitch.send("alpha", *lines)
        self.said += [f"id-{number}" for number in numbers]

    def report(self, program: str = "reader-alpha") -> dict[str, Any]:
        found: dict[str, Any] = self.service.status_of(program)["channels"]["alpha"]
        return found

    @contextlib.contextmanager
    def without(self, program: str = "reader-alpha") -> Iterator[None]:
        """The reader is killed, and its successor does not get in meanwhile."""
        self.service.wait_running(program)
        with self.away():
            process = psutil.Process(self.service.pids()[program])
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            yield

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Twitch lets nobody in meanwhile; afterwards somebody joins."""
        before = len(self.twitch.joins)
        self.twitch.refuse_logins()
        yield
        self.twitch.refuse_logins(0)
        wait_until(lambda: len(self.twitch.joins) > before, "the channel joined again")


@pytest.fixture
def recent() -> Iterator[FakeRecentMessages]:
    with FakeRecentMessages() as recent:
        yield recent


@pytest.fixture
def events(topic: KafkaReader, broker: str) -> Iterator[KafkaReader]:
    events = KafkaReader(broker, f"{topic.topic}-events")
    yield events
    events.close()


@pytest.fixture
def stage(service: Service, twitch: FakeTwitch, recent: FakeRecentMessages, events: KafkaReader) -> Stage:
    service.environment |= {"BACKFILL_URL": recent.url, "KAFKA_TOPIC_CHAT_EVENTS": events.topic}
    return Stage(service, twitch, recent)


def gaps(events: KafkaReader) -> list[dict[str, Any]]:
    return [value for value in events.values("alpha") if value["type"] == "gap"]


def messages(events: KafkaReader) -> list[str]:
    return [value["id"] for value in events.values("alpha") if value["type"] == "privmsg"]


def test_a_killed_single_reader_loses_nothing_that_the_service_holds(
    stage: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    start(stage.service, stage.twitch, "alpha")
    stage.say(200)
    topic.wait_for("alpha", 200)
    for _ in range(2):
        with stage.without():
            stage.say(60)
        stage.say(100)
    topic.wait_for_ids("alpha", set(stage.said))
    events.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said
    assert messages(events) == stage.said
    assert gaps(events) == []
    wait_until(lambda: stage.report().get("absent_since_ms", 0) == 0, "the absence made good")
    assert stage.report()["backfilled"] >= 120
    assert stage.report().get("gap_seconds", 0) == 0
    assert stage.recent.most_at_once == 1
    assert "Traceback" not in stage.service.logs()


def test_what_was_said_before_the_first_start_comes_first_and_is_no_gap(
    stage: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    stage.say(30, heard=False)
    start(stage.service, stage.twitch, "alpha")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said
    events.wait_for_ids("alpha", set(stage.said))
    assert gaps(events) == []
    (request,) = stage.recent.requests
    assert request.after == 0
    assert "historical" in json.dumps(events.values("alpha")[1])


def test_a_lost_connection_and_a_stop_over_the_night_are_made_good(
    stage: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    start(stage.service, stage.twitch, "alpha")
    stage.say(50)
    topic.wait_for("alpha", 50)
    with stage.away():
        stage.twitch.close_all()
        stage.say(10)
    stage.say(10)
    topic.wait_for_ids("alpha", set(stage.said))
    stage.service.shut_down()
    stage.say(40, heard=False)
    stage.service.start()
    topic.wait_for_ids("alpha", set(stage.said))
    stage.say(10)
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said
    events.wait_for_ids("alpha", set(stage.said))
    assert messages(events) == stage.said
    assert gaps(events) == []


@pytest.mark.parametrize("trouble", ["down", "hangs", "not set"])
def test_what_nobody_can_tell_is_a_gap_in_its_place(
    stage: Stage, topic: KafkaReader, events: KafkaReader, trouble: str
) -> None:
    if trouble == "hangs":
        stage.recent.behave("alpha", hang=True)
    else:
        stage.service.environment["BACKFILL_URL"] = "http://127.0.0.1:1" if trouble == "down" else ""
    start(stage.service, stage.twitch, "alpha")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    heard = list(stage.said)
    # A successor of one that is killed in its first second knows of nothing that was read.
    wait_until(
        lambda: stage.report()["joined"] and not stage.report()["absent_since_ms"],
        "it has told that it is in the channel and lacks nothing",
    )
    with stage.without():
        stage.say(5)
    del stage.said[:]
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    wanted = heard + stage.said
    assert topic.ids("alpha") == wanted
    events.wait_for_ids("alpha", set(stage.said))
    told = [value for value in events.values("alpha") if value["type"] in ("privmsg", "gap")]
    assert [value["type"] for value in told] == ["privmsg"] * 20 + ["gap"] + ["privmsg"] * 20
    gap = told[20]
    assert gap["from"] < gap["to"]
    assert gap["reason"]
    seconds = (gap["to"] - gap["from"]) / 1000
    wait_until(lambda: abs(stage.report().get("gap_seconds", 0) - seconds) < 0.01, "the gap counted")


def test_with_two_readers_the_death_of_one_is_no_absence(
    stage: Stage, topic: KafkaReader, events: KafkaReader
) -> None:
    stage.service.environment["READERS_PER_CHANNEL"] = "2"
    start(stage.service, stage.twitch, "alpha")
    wait_until(lambda: len(stage.twitch.joins) == 2, "both in the channel")
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    wait_until(lambda: stage.report("reader-alpha-2")["joined"], "both have told so")
    with stage.without():
        stage.say(20)
    stage.say(20)
    topic.wait_for_ids("alpha", set(stage.said))
    assert topic.ids("alpha") == stage.said
    events.wait_for_ids("alpha", set(stage.said))
    assert gaps(events) == []
    # They have asked for what was said before the first start, and for nothing else.
    assert {request.after for request in stage.recent.requests} <= {0}


def test_channels_that_come_back_together_ask_one_after_the_other_and_all_in_time(
    service: Service, twitch: FakeTwitch, recent: FakeRecentMessages, topic: KafkaReader
) -> None:
    service.environment |= {"BACKFILL_URL": recent.url}
    channels = [f"channel{number}" for number in range(8)]
    for channel in channels:
        recent.keep(channel, chat_line(channel, "before", id=f"before-{channel}"))
        recent.behave(channel, delay_seconds=0.1)
    start(service, twitch, *channels)
    for channel in channels:
        topic.wait_for_ids(channel, {f"before-{channel}"})
    assert recent.most_at_once == 1
    assert sorted(request.channel for request in recent.requests) == channels
    for channel in channels:
        recent.behave(channel, delay_seconds=0.6)
    twitch.close_all()
    for channel in channels:
        recent.keep(channel, chat_line(channel, "missed", id=f"missed-{channel}"))
    for channel in channels:
        topic.wait_for_ids(channel, {f"missed-{channel}"})
    assert recent.most_at_once == 1
