"""When readers are told that their batches are durable, over a real socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import handoff_server
from shared.handoff_client import HandoffClient
from shared.handoff_server import ACKNOWLEDGE_RECORDS, ACKNOWLEDGE_RECORDS_OF_ALL, ACKNOWLEDGE_SECONDS
from tests.shared.handoff_loop import ServerLoop, record


class Clock:
    """Monotonic seconds that go on when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(handoff_server.HandoffServer.__init__, "__defaults__", (clock.monotonic,))
    return clock


@pytest.fixture
def loop(tmp_path: Path, clock: Clock) -> Iterator[ServerLoop]:
    loop = ServerLoop(tmp_path)
    yield loop
    loop.close()


@pytest.fixture
def client(loop: ServerLoop) -> Iterator[HandoffClient]:
    client = loop.client()
    hand_off(loop, client, 0)
    loop.run_until_all_is_durable(client)
    yield client
    client.close()


def hand_off(loop: ServerLoop, client: HandoffClient, *numbers: int) -> None:
    """As one batch."""
    taken = len(loop.taken) + len(numbers)
    for number in numbers:
        client.put(record(number))
    loop.run_until(lambda: len(loop.taken) == taken, client)


def test_what_is_durable_soon_after_an_acknowledgement_is_told_with_the_next_one(
    loop: ServerLoop, client: HandoffClient, clock: Clock
) -> None:
    for number in range(1, 4):
        hand_off(loop, client, number)
        loop.all_durable()
    for _ in range(20):
        loop.turn(client)
    assert client.pending == 3
    due = loop.server.acknowledge()
    assert due == pytest.approx(ACKNOWLEDGE_SECONDS)
    clock.now += ACKNOWLEDGE_SECONDS
    loop.run_until(lambda: client.pending == 0, client)
    assert loop.server.acknowledge() is None


def test_what_is_durable_long_after_an_acknowledgement_is_told_at_once(
    loop: ServerLoop, client: HandoffClient, clock: Clock
) -> None:
    clock.now += ACKNOWLEDGE_SECONDS
    hand_off(loop, client, 1)
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)


def test_much_is_told_at_once_so_that_a_busy_reader_has_room(loop: ServerLoop, client: HandoffClient) -> None:
    hand_off(loop, client, *range(1, ACKNOWLEDGE_RECORDS + 1))
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)


def test_a_little_of_each_of_many_readers_is_told_at_once_when_it_is_much_together(
    loop: ServerLoop, client: HandoffClient
) -> None:
    each = ACKNOWLEDGE_RECORDS - 1
    more = [loop.client() for _ in range(ACKNOWLEDGE_RECORDS_OF_ALL // each)]
    clients = [client, *more]
    for number, client in enumerate(clients):
        hand_off(loop, client, *range(number * each, (number + 1) * each))
    loop.all_durable()
    loop.run_until(lambda: not any(one.pending for one in clients), *clients)
    for one in more:
        one.close()


def test_at_a_stop_all_is_told(loop: ServerLoop, client: HandoffClient) -> None:
    hand_off(loop, client, 1)
    loop.all_durable()
    loop.server.acknowledge_all()
    loop.run_until(lambda: client.pending == 0, client)


def test_a_batch_is_not_told_before_those_ahead_of_it(
    loop: ServerLoop, client: HandoffClient, clock: Clock
) -> None:
    hand_off(loop, client, 1)
    hand_off(loop, client, 2)
    (_first, ahead), (_second, behind) = loop.taken
    loop.server.record_is_durable(behind)
    clock.now += ACKNOWLEDGE_SECONDS
    for _ in range(20):
        loop.turn(client)
    assert client.pending == 2
    loop.server.record_is_durable(ahead)
    loop.run_until(lambda: client.pending == 0, client)
