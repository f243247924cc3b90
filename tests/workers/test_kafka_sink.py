"""In which order the sink learns what became of its records, without a broker."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared import settings
from shared.paths import Paths
from shared.record import Record
from workers.kafka_sink import KafkaSink


class Future:
    """kafka-python's, as far as the sink uses it."""

    def __init__(self) -> None:
        self.is_done = False
        self.value: Any = None
        self.exception: BaseException | None = None
        self.callbacks: list[Any] = []

    def add_both(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def succeed(self, offset: int) -> None:
        self.value = SimpleNamespace(topic="chat", partition=0, offset=offset)
        self._end(self.value)

    def fail(self, error: BaseException) -> None:
        self.exception = error
        self._end(error)

    def _end(self, end: object) -> None:
        self.is_done = True
        for callback in self.callbacks:
            callback(end)


class Connection:
    """One that works; ``futures`` are of all records, in order."""

    def __init__(self) -> None:
        self.producer: Any = self
        self.trouble = ""
        self.answers = True
        self.must_read_back = False
        self.futures: list[Future] = []

    def send(self, *_topic: object, **_record: object) -> Future:
        self.futures.append(Future())
        return self.futures[-1]

    def partition_of(self, _topic: str, _key: bytes) -> int:
        return 0

    def works(self) -> None:
        """The real one counts."""

    def abandon(self, pause: bool = False) -> None:
        self.producer = None

    def advance(self) -> None:
        """Not connected yet."""


class World:
    def __init__(self, folder: Path) -> None:
        self.wakes = 0
        self.connection = Connection()
        configured = settings.load(Paths(folder), {"KAFKA_TOPIC_CHAT_MESSAGES": "chat"})
        connection: Any = self.connection
        self.sink = KafkaSink(configured, self._wake, connection=connection)
        self.sink.collect()

    def _wake(self) -> None:
        self.wakes += 1

    def send(self, *numbers: int) -> list[Future]:
        before = len(self.connection.futures)
        for number in numbers:
            self.sink.send(Record("xqc", f"id-{number}", 1, 1, "", "", b"{}"), number)
        return self.connection.futures[before:]

    def collect(self) -> list[int]:
        return [outcome.token for outcome in self.sink.collect() if outcome.refused is None]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_end_of_the_newest_and_of_the_oldest_wakes_and_of_those_between_nobody(world: World) -> None:
    futures = world.send(0, 1, 2, 3)
    world.collect()
    assert [len(future.callbacks) for future in futures] == [1, 0, 0, 1]
    for offset, future in enumerate(futures[:3]):
        future.succeed(offset)
    assert world.wakes == 1
    assert world.collect() == [0, 1, 2]
    futures[3].succeed(3)
    assert world.wakes == 2
    assert world.collect() == [3]
    assert world.sink.counted == {"chat": {0: 4}}
    assert world.sink.pending == 0


def test_whoever_is_left_wakes_when_it_is_done_although_the_newest_was_done_before(world: World) -> None:
    """As when a batch is sent once more that was behind another one."""
    futures = world.send(0, 1, 2)
    world.collect()
    futures[0].succeed(0)
    futures[2].succeed(2)
    assert world.collect() == [0]
    wakes = world.wakes
    futures[1].succeed(1)
    assert world.wakes == wakes + 1
    assert world.collect() == [1, 2]


def test_what_fails_is_held_until_nothing_is_on_its_way_and_then_sent_again_in_order(world: World) -> None:
    futures = world.send(0, 1, 2)
    world.collect()
    futures[0].fail(OSError("broken"))
    assert world.collect() == []
    assert world.connection.producer is not None
    futures[1].succeed(1)
    futures[2].fail(OSError("broken"))
    assert world.collect() == [1]
    # The connection is given up; a new one begins where this one ended.
    assert world.connection.producer is None
    world.connection.producer = world.connection
    world.collect()
    again = world.connection.futures[3:]
    assert len(again) == 2
    for offset, future in enumerate(again, 2):
        future.succeed(offset)
    assert world.collect() == [0, 2]
