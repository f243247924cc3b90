"""The points of `make doctor` about Kafka, with trials that end as it suits the test."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from commands import doctor_kafka
from commands.doctor_kafka import EVENT_POINTS, POINTS, look
from commands.doctor_point import Point
from commands.doctor_service import Service
from shared import settings
from shared.errors import KafkaUnavailable
from shared.paths import Paths
from shared.supervisord import Program
from workers import kafka_client, kafka_trial
from workers.kafka_trial import KafkaNotAllowed, TopicFacts

DAY_MS = 24 * 3600 * 1000


class World:
    """Trials that give or raise what was set, and what doctor says of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = Paths(folder)
        self.service = Service(self.paths)
        self._monkeypatch = monkeypatch
        self.trial("reach", lambda: 3)
        self.trial("describe_topic", lambda: TopicFacts(3, 2, DAY_MS))
        self.trial("write_and_read_back", lambda: 0.0123)

    def trial(self, name: str, outcome: Callable[[], object]) -> None:
        self._monkeypatch.setattr(kafka_trial, name, lambda _settings, _topic=None: outcome())

    def fail(self, name: str, error: Exception) -> None:
        def outcome() -> object:
            raise error

        self.trial(name, outcome)

    def points(self, **environment: str) -> dict[str, Point]:
        @contextlib.contextmanager
        def waiting(_text: str) -> Iterator[None]:
            yield

        configured = settings.load(self.paths, {"KAFKA_BROKERS": "kafka:9092"} | environment)
        found = list(look(configured, self.service, waiting))
        events = EVENT_POINTS if configured.kafka_topic_chat_events else ()
        assert tuple(point.name for point in found) == (*POINTS, *events)
        return {point.name: point for point in found}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def signs(points: dict[str, Point]) -> str:
    return "".join(point.sign for point in points.values())


def test_all_is_well_where_the_trials_are(world: World) -> None:
    points = world.points()
    assert signs(points) == "✓✓✓"
    assert points["broker"].text == "Kafka at kafka:9092 answers, 3 brokers"
    assert points["topic"].text == "twitch-chat-messages: 3 partitions, 2 copies of each, kept for 1 day"
    assert points["round trip"].text == (
        "a record was written and read back in 12 ms, beside twitch-chat-messages"
    )


@pytest.mark.parametrize(
    "facts, words",
    [
        (TopicFacts(1, 1, -1), "1 partition, 1 copy of each, kept for ever"),
        (TopicFacts(10, 3, 7 * DAY_MS), "10 partitions, 3 copies of each, kept for 7 days"),
        (TopicFacts(3, 1, 3_600_000), "3 partitions, 1 copy of each, kept for 1 hour"),
        (TopicFacts(3, 1, 90_000), "3 partitions, 1 copy of each, kept for 90 s"),
        (TopicFacts(3, 1, None), "3 partitions, 1 copy of each, retention is not ours to see"),
    ],
)
def test_the_topic_is_told_in_words(world: World, facts: TopicFacts, words: str) -> None:
    world.trial("describe_topic", lambda: facts)
    assert world.points()["topic"].text == f"twitch-chat-messages: {words}"


def test_the_topic_of_events_has_points_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"twitch-chat-messages": TopicFacts(3, 2, DAY_MS), "events": TopicFacts(6, 1, -1)}
    monkeypatch.setattr(kafka_trial, "describe_topic", lambda _settings, topic: facts[topic])
    points = world.points(KAFKA_TOPIC_CHAT_EVENTS="events")
    assert signs(points) == "✓✓✓✓✓"
    assert points["topic"].text == "twitch-chat-messages: 3 partitions, 2 copies of each, kept for 1 day"
    assert points["events topic"].text == "events: 6 partitions, 1 copy of each, kept for ever"
    assert points["events trip"].text == "a record was written and read back in 12 ms, beside events"
    monkeypatch.setattr(
        kafka_trial, "describe_topic", lambda _settings, topic: None if topic == "events" else facts[topic]
    )
    points = world.points(KAFKA_TOPIC_CHAT_EVENTS="events")
    assert signs(points) == "✓✓✓–✓"
    assert points["events topic"].text == "events does not exist yet"
    world.fail("reach", KafkaUnavailable("no broker"))
    assert signs(world.points(KAFKA_TOPIC_CHAT_EVENTS="events")) == "✗––––"


def test_what_this_user_may_not_do_is_no_failure(world: World) -> None:
    world.fail("describe_topic", KafkaNotAllowed("this user may not look up topic x: allow DESCRIBE on it"))
    world.fail("write_and_read_back", KafkaNotAllowed("this user may not make topics"))
    points = world.points()
    assert signs(points) == "✓––"
    assert points["topic"].text == "this user may not look up topic x: allow DESCRIBE on it"
    assert points["round trip"].text == "this user may not make topics"


def test_what_a_trial_says_of_its_failure_is_shown(world: World) -> None:
    world.fail("describe_topic", KafkaUnavailable("no topic: see there"))
    world.fail("write_and_read_back", KafkaUnavailable("no record: see here"))
    points = world.points()
    assert signs(points) == "✓✗✗"
    assert points["topic"].text == "no topic: see there"
    assert points["round trip"].text == "no record: see here"


def test_without_a_broker_nothing_else_is_tried(world: World) -> None:
    world.fail("reach", KafkaUnavailable("no broker: check KAFKA_BROKERS"))
    points = world.points()
    assert signs(points) == "✗––"
    assert (points["broker"].text, points["broker"].remedy) == ("no broker: check KAFKA_BROKERS", "")
    assert world.points(KAFKA_BROKERS="")["broker"].remedy == "it runs with the service: make run"
    world.service.trouble = ""
    assert world.points(KAFKA_BROKERS="")["broker"].remedy == ""


def test_a_missing_topic_is_a_failure_only_where_the_producer_runs(world: World) -> None:
    world.trial("describe_topic", lambda: None)
    points = world.points()
    assert signs(points) == "✓–✓"
    assert points["topic"].text == "twitch-chat-messages does not exist yet"
    world.service.programs = {"producer": Program("producer", "RUNNING", 7, 1.0, "pid 7")}
    assert signs(world.points()) == "✓✗✓"


def test_a_trial_that_hangs_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_kafka, "TRIAL_SECONDS", 0.2)
    for_good = threading.Event()
    world.trial("write_and_read_back", for_good.wait)
    points = world.points()
    for_good.set()
    assert signs(points) == "✓✓✗"
    assert "Kafka at kafka:9092 gives no answer in 0 s" in points["round trip"].text


def test_ctrl_c_lets_the_trial_remove_its_topic(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted, removed = threading.Event(), threading.Event()
    numbers = itertools.count(1)

    class Interrupted(Future[object]):
        """Waiting for the third one is interrupted, once and as soon as it begins."""

        def __init__(self) -> None:
            super().__init__()
            self.number = next(numbers)

        def result(self, timeout: float | None = None) -> object:
            if self.number < len(POINTS) or interrupted.is_set():
                return super().result(timeout)
            interrupted.set()
            raise KeyboardInterrupt

    def trial() -> float:
        assert interrupted.wait(10)
        removed.set()
        return 0.0

    world.trial("write_and_read_back", trial)
    monkeypatch.setattr(kafka_client, "Future", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.points()
    assert removed.is_set()
