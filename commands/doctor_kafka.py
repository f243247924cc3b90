"""Points of `make doctor` about Kafka: whether it answers, the topic, and a record there and back."""

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
        for name in POINTS[1:]:
            yield untried(name, "needs a broker that answers")
        return
    kind = "the embedded Kafka" if settings.kafka_is_embedded else "Kafka"
    brokers = "" if settings.kafka_is_embedded else f", {count} broker{'' if count == 1 else 's'}"
    yield good("broker", f"{kind} at {addresses} answers{brokers}")
    with waiting(f"looking up topic {settings.kafka_topic_chat_messages}"):
        point = _topic(settings, service)
    yield point
    with waiting("writing a record into a topic of its own, and reading it back"):
        point = _round_trip(settings)
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


def _topic(settings: Settings, service: Service) -> Point:
    topic = settings.kafka_topic_chat_messages
    try:
        facts = _tried(settings, kafka_trial.describe_topic)
    except KafkaNotAllowed as error:
        return untried("topic", str(error))
    except ServiceError as error:
        return bad("topic", str(error), "")
    if facts is not None:
        return good("topic", f"{topic}: {_words_of(facts)}")
    if service.runs("producer"):
        remedy = "the producer makes it within 15 s; where it cannot, logs/producer.log says why"
        return bad("topic", f"{topic} does not exist", remedy)
    return untried("topic", f"{topic} does not exist yet", "the service makes it when it starts: make run")


def _round_trip(settings: Settings) -> Point:
    try:
        # It makes a topic, and would leave it behind.
        seconds = _tried(settings, kafka_trial.write_and_read_back, TIDY_SECONDS)
    except KafkaNotAllowed as error:
        return untried("round trip", str(error))
    except ServiceError as error:
        return bad("round trip", str(error), "")
    return good("round trip", f"a record was written and read back in {seconds * 1000:.0f} ms")


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
