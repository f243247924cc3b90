"""What a reader's end gives, keeps and drops, over a real socket."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from loguru import logger

from shared import handoff
from shared.frames import MAX_FRAME_BYTES
from shared.handoff import Challenge
from shared.handoff_client import HandoffClient
from shared.outbox import BATCH_BYTES
from shared.record import Record
from tests.shared.handoff_loop import WAIT_SECONDS, ServerLoop, record
from tests.shared.test_handoff_fuzz import HostileProducer


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[ServerLoop]:
    loop = ServerLoop(tmp_path)
    yield loop
    loop.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    handler = logger.add(lines.append, level="WARNING", format="{level} {message}")
    yield lines
    logger.remove(handler)


def read_at(received_ms: int, size: int = 20) -> Record:
    return msgspec.structs.replace(record(received_ms, size=size), received_ms=received_ms)


def test_a_record_that_no_frame_can_hold_is_dropped_and_all_others_arrive(
    loop: ServerLoop, log: list[str]
) -> None:
    client = loop.client()
    for number in range(3):
        client.put(record(number))
    client.put(record(3, channel="forsen", size=MAX_FRAME_BYTES))
    client.put(record(4))
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == ["id-0", "id-1", "id-2", "id-4"]
    assert client.lost == {"forsen": 1}
    assert len(log) == 1
    assert log[0].startswith("ERROR a message of ")
    client.close()


def test_a_record_that_no_frame_can_hold_is_alone_and_nothing_waits(loop: ServerLoop) -> None:
    client = loop.client()
    client.put(record(0, size=MAX_FRAME_BYTES))
    assert (client.pending, client.oldest_ms, client.rest()) == (0, None, [])
    loop.run_until(lambda: client.connected, client)
    client.put(record(1))
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == ["id-1"]
    client.close()


def test_records_that_fit_one_by_one_and_not_together_all_arrive(loop: ServerLoop) -> None:
    client = loop.client()
    client.put(record(0, size=BATCH_BYTES - 1000))
    client.put(record(1, size=MAX_FRAME_BYTES - 1000))
    # Their values are short: it is their number that makes a batch.
    others = [msgspec.structs.replace(record(number), source_id="x" * 60_000) for number in range(2, 302)]
    for one in others:
        client.put(one)
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == [f"id-{number}" for number in range(302)]
    assert client.lost == {}
    client.close()


def test_the_time_of_the_oldest_goes_on_as_batches_become_durable(loop: ServerLoop) -> None:
    client = loop.client()
    assert client.oldest_ms is None
    client.put(read_at(100))
    client.put(read_at(200))
    assert client.oldest_ms == 100
    loop.run_until(lambda: len(loop.taken) == 2, client)
    client.put(read_at(300))
    assert client.oldest_ms == 100
    loop.run_until(lambda: len(loop.taken) == 3, client)
    for _one, batch in loop.taken[:2]:
        loop.server.record_is_durable(batch)
    loop.server.acknowledge()
    loop.run_until(lambda: client.oldest_ms == 300, client)
    loop.server.record_is_durable(loop.taken[2][1])
    loop.server.acknowledge()
    loop.run_until(lambda: client.oldest_ms is None, client)
    client.close()


def test_the_oldest_of_a_full_outbox_is_the_oldest_that_is_left(loop: ServerLoop) -> None:
    client = loop.client(max_outbox_bytes=1024 * 1024)
    for number in range(1, 2001):
        client.put(read_at(number, size=1000))
    assert client.lost["xqc"] > 0
    assert client.oldest_ms == client.lost["xqc"] + 1
    client.close()


# --- A producer of the version before, which takes every record for a chat message ---


@pytest.fixture
def old(tmp_path: Path) -> Iterator[HostileProducer]:
    old = HostileProducer(tmp_path)
    yield old
    if (tmp_path / "handoff.sock").exists():
        old.close()


def client_with_a_record(folder: Path, needs_types: bool) -> HandoffClient:
    client = HandoffClient(
        folder / "handoff.sock", folder / "handoff.key", "reader-xqc", needs_types=needs_types
    )
    client.put(record(1))
    return client


def visit(old: HostileProducer, client: HandoffClient) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not old.has_a_visitor:
        assert time.monotonic() < end, "the reader did not come"
        client.pump()
    old.accept()
    # Its Welcome has one field less.
    old.say(handoff.encode(Challenge(b"nonce")), msgspec.msgpack.encode(["welcome", 0]))
    for _ in range(3):
        client.on_readable()
        client.pump()
    old.hear()


def test_an_older_producer_gets_nothing_where_there_are_events_until_it_is_restarted(
    tmp_path: Path, old: HostileProducer, log: list[str]
) -> None:
    client = client_with_a_record(tmp_path, needs_types=True)
    for _ in range(3):
        visit(old, client)
        old.hang_up()
    assert old.received == set()
    assert (client.connected, client.pending) == (False, 1)
    assert len(log) == 1
    assert "older version, restart it: supervisorctl restart producer" in log[0]
    old.close()
    loop = ServerLoop(tmp_path)
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == ["id-1"]
    client.close()
    loop.close()


def test_an_older_producer_gets_chat_messages_where_there_are_no_events(
    tmp_path: Path, old: HostileProducer
) -> None:
    client = client_with_a_record(tmp_path, needs_types=False)
    visit(old, client)
    assert client.connected
    assert old.received == {"id-1"}
    client.close()
