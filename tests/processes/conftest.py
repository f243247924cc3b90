"""One real broker for all tests of this folder; each test has a topic of its own."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader, broker_answers
from tests.processes.service import Service, free_port, wait_until

__all__ = ["free_port"]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="kafka-") as name:
        broker = Broker(Path(name), free_port())
        try:
            broker.start()
            yield broker.address
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def _own_broker() -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="kafka-") as name:
        broker = Broker(Path(name), free_port())
        yield broker
        broker.stop()


@pytest.fixture
def own(_own_broker: Broker) -> Broker:
    """A second broker, which a test may kill or freeze; it runs at the begin of each."""
    if _own_broker.runs:
        _own_broker.thaw()
        # One that was frozen for long is not in its cluster at first.
        wait_until(lambda: broker_answers(_own_broker.address), _own_broker.log, 60)
    else:
        _own_broker.start()
    return _own_broker


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


@pytest.fixture
def topic(broker: str) -> Iterator[KafkaReader]:
    reader = KafkaReader(broker, f"chat-{next(_numbers)}")
    yield reader
    reader.close()


@pytest.fixture
def service(tmp_path: Path, broker: str, topic: KafkaReader, twitch: FakeTwitch) -> Iterator[Service]:
    service = Service(
        tmp_path,
        TWITCH_IRC_URL=twitch.url,
        KAFKA_BROKERS=broker,
        KAFKA_TOPIC_CHAT_MESSAGES=topic.topic,
        KAFKA_TOPIC_RETENTION_MS="-1",
    )
    try:
        yield service
    finally:
        service.end()
