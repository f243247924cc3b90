"""One real broker for all tests of this folder; each test has a topic of its own."""

import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.kafka_reader import KafkaReader, broker_answers
from tests.processes.service import Service, copy_project, wait_until

_numbers = itertools.count(1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kafka-") as name:
        folder = Path(name)
        copy_project(folder)
        log = folder / "kafka.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.embedded_kafka"],
                cwd=folder,
                env={**os.environ, "EMBEDDED_KAFKA_PORT": str(port), "KAFKA_BROKERS": ""},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            address = f"127.0.0.1:{port}"
            wait_until(lambda: broker_answers(address), log.read_text, 60)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                psutil.Process(process.pid).kill()
                process.wait()


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
