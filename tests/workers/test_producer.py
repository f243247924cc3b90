"""How much the producer takes in at a time, and from whom."""

import gc
import selectors
import socket
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared import settings
from shared.handoff_client import HandoffClient
from shared.handoff_server import PendingBatch, Session
from shared.paths import Paths
from tests.shared.handoff_loop import record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from workers.kafka_sink import MAX_RECORDS
    from workers.producer import TAKE_IN_A_ROUND, Producer

# What the last one in a round brings, and a round.
AT_ONCE = 3_500
NO_KAFKA = {"KAFKA_BROKERS": "127.0.0.1:1"}


class Desk:
    """A producer without Kafka, of which the test makes the rounds."""

    def __init__(self, folder: Path) -> None:
        self.paths = Paths(folder)
        self.paths.prepare()
        self.producer = Producer(settings.load(self.paths, NO_KAFKA), self.paths)
        self.producer._server.open()
        self.producer._delivery.open()

    def client(self, number: int) -> HandoffClient:
        return HandoffClient(self.paths.handoff_socket, self.paths.handoff_key, f"reader-{number}")

    def go_on_until(self, condition: Callable[[], bool], clients: list[HandoffClient]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            for client in clients:
                client.pump()
                client.on_writable()
                client.on_readable()
            self.producer._round()

    def close(self) -> None:
        self.producer._server.close()
        self.producer._spool.close()
        self.producer._sink.close(0.0)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_what_only_the_collector_finds_goes_though_it_is_off(desk: Desk) -> None:
    class Leaf:
        def __init__(self) -> None:
            self.itself = self

    leaf = weakref.ref(Leaf())
    gc.disable()
    try:
        desk.producer._round()
        assert leaf() is None
        leaf = weakref.ref(Leaf())
        desk.producer._round()
        assert leaf() is not None, "not at every round"
        desk.producer._collect_at = 0.0
        desk.producer._round()
        assert leaf() is None
    finally:
        gc.enable()


def test_what_many_readers_have_kept_is_not_taken_in_all_at_once(desk: Desk) -> None:
    clients = [desk.client(number) for number in range(20)]
    desk.go_on_until(lambda: all(client.connected for client in clients), clients)
    for number, client in enumerate(clients):
        for one in range(1_500):
            client.put(record(number * 10_000 + one, size=300))
    most = 0

    def all_is_durable() -> bool:
        nonlocal most
        most = max(most, desk.producer._delivery.pending)
        return not any(client.pending for client in clients)

    desk.go_on_until(all_is_durable, clients)
    assert MAX_RECORDS <= most < MAX_RECORDS + AT_ONCE
    assert desk.producer._spool.messages == 20 * 1_500
    for client in clients:
        client.close()


def test_who_had_to_wait_in_a_round_comes_first_in_the_next(desk: Desk) -> None:
    heard: list[int] = []
    batch = PendingBatch(Session("reader"), 1, 1_000_000)

    def says_much(number: int) -> Callable[[], None]:
        def arrive() -> None:
            first = 1_000 * len(heard)
            heard.append(number)
            desk.producer._arrived += [(record(first + one), batch) for one in range(TAKE_IN_A_ROUND // 2)]

        return arrive

    pairs = [socket.socketpair() for _ in range(5)]
    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"there is more")
        desk.producer._selector.register(ours, selectors.EVENT_READ, says_much(number))
    taken = [desk.producer._wait(1.0) for _ in range(5)]
    assert taken == [TAKE_IN_A_ROUND] * 5
    assert sorted(heard) == sorted([*range(5)] * 2)
    for ours, theirs in pairs:
        desk.producer._selector.unregister(ours)
        ours.close()
        theirs.close()
