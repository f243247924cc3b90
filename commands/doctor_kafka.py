"""Points of `make doctor` about Kafka: whether it answers, the topics, and a record there and back."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from commands.doctor_point import Point, Waiting, bad, good, untried
from commands.doctor_service import Service
from shared.errors import KafkaUnavailable, ServiceError
from shared.settings import Settings
from workers import kafka_trial
from workers.kafka_client import in_thread
from workers.kafka_trial import KafkaNotAllowed, TopicFacts

POINTS = ("broker", "topic", "round trip")
# Of the topic of events, where there is one.
EVENT_POINTS = ("events topic", "events trip")
# More than the trials take by themselves; a library that hangs must not hang the command.
TRIAL_SECONDS = 20.0
# Usually it takes less than one.
TIDY_SECONDS = 5.0

_Result = TypeVar("_Result")


def look(settings: Settings, service: Service, waiting: Waiting) -> Iterator[Point]:
    """One point after the other. Each takes some seconds where Kafka does not answer."""
    addresses = ", ".join(settings.kafka_addresses)
    try:
        with waiting(f"waiting for Kafka at {addresses}"):
            count = _tried(settings, kafka_trial.reach)
    except ServiceError as error:
        yield _no_broker(settings, service, error)
        for name in (*POINTS[1:], *(EVENT_POINTS if settings.kafka_topic_chat_events else ())):
            yield untried(name, "needs a broker that answers")
        return
    kind = "the embedded Kafka" if settings.kafka_is_embedded else "Kafka"
    brokers = "" if settings.kafka_is_embedded else f", {count} broker{'' if count == 1 else 's'}"
    yield good("broker", f"{kind} at {addresses} answers{brokers}")
    for topic, names in zip(settings.topics, (POINTS[1:], EVENT_POINTS), strict=False):
        yield from _of_topic(settings, service, topic, names, waiting)


def _of_topic(
    settings: Settings, service: Service, topic: str, names: tuple[str, ...], waiting: Waiting
) -> Iterator[Point]:
    """The two points of one topic, by these names."""
    of_topic, of_trip = names
    with waiting(f"looking up topic {topic}"):
        point = _topic(of_topic, settings, service, topic)
    yield point
    with waiting(f"writing a record into a topic beside {topic}, and reading it back"):
        point = _round_trip(of_trip, settings, topic)
    yield point


def _tried(settings: Settings, trial: Callable[[Settings], _Result], tidy_seconds: float = 0.0) -> _Result:
    """What the trial gives, in time. Raises KafkaUnavailable, and what it raises.

    When the user stops the command it gets ``tidy_seconds`` to come to its end.
    """
    future: Future[_Result] = in_thread(lambda: trial(settings), lambda: None)
    try:
        return future.result(TRIAL_SECONDS)
    except TimeoutError:
        raise KafkaUnavailable(
            f"Kafka at {', '.join(settings.kafka_addresses)} gives no answer in {TRIAL_SECONDS:.0f} s: is "
            "the broker frozen, or its disk full?"
        ) from None
    except KeyboardInterrupt:
        with contextlib.suppress(ServiceError, TimeoutError):
            future.result(tidy_seconds)
        raise


def _no_broker(settings: Settings, service: Service, error: ServiceError) -> Point:
    starts = settings.kafka_is_embedded and service.trouble
    return bad("broker", str(error), "it runs with the service: make run" if starts else "")


def _topic(name: str, settings: Settings, service: Service, topic: str) -> Point:
    try:
        facts = _tried(settings, lambda configured: kafka_trial.describe_topic(configured, topic))
    except KafkaNotAllowed as error:
        return untried(name, str(error))
    except ServiceError as error:
        return bad(name, str(error), "")
    if facts is not None:
        return good(name, f"{topic}: {_words_of(facts)}")
    if service.runs("producer"):
        remedy = "the producer makes it within 15 s; where it cannot, logs/producer.log says why"
        return bad(name, f"{topic} does not exist", remedy)
    return untried(name, f"{topic} does not exist yet", "the service makes it when it starts: make run")


def _round_trip(name: str, settings: Settings, topic: str) -> Point:
    def trial(configured: Settings) -> float:
        return kafka_trial.write_and_read_back(configured, topic)

    try:
        # It makes a topic, and would leave it behind.
        seconds = _tried(settings, trial, TIDY_SECONDS)
    except KafkaNotAllowed as error:
        return untried(name, str(error))
    except ServiceError as error:
        return bad(name, str(error), "")
    return good(name, f"a record was written and read back in {seconds * 1000:.0f} ms, beside {topic}")


def _words_of(facts: TopicFacts) -> str:
    partitions = f"{facts.partitions} partition{'' if facts.partitions == 1 else 's'}"
    copies = f"{facts.replication} cop{'y' if facts.replication == 1 else 'ies'} of each"
    if facts.retention_ms is None:
        kept = "retention is not ours to see"
    elif facts.retention_ms == -1:
        kept = "kept for ever"
    else:
        kept = f"kept for {_span(facts.retention_ms)}"
    return f"{partitions}, {copies}, {kept}"


def _span(milliseconds: int) -> str:
    for name, length in (("day", 86_400_000), ("hour", 3_600_000)):
        if milliseconds >= length:
            count = milliseconds / length
            return f"{count:g} {name}{'' if count == 1 else 's'}"
    return f"{milliseconds / 1000:g} s"
