import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import handoff
from shared.errors import AlreadyRunning, HandoffError
from shared.frames import FrameSocket
from shared.handoff import Batch, Hello
from tests.shared.handoff_loop import ServerLoop, record


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[ServerLoop]:
    loop = ServerLoop(tmp_path)
    yield loop
    loop.close()


def test_records_arrive_in_order_and_are_forgotten_when_acknowledged(loop: ServerLoop) -> None:
    client = loop.client()
    for number in range(1000):
        client.put(record(number))
    loop.run_until(lambda: len(loop.taken) == 1000, client)
    assert loop.ids == [f"id-{number}" for number in range(1000)]
    assert client.pending == 1000
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_nothing_is_forgotten_before_every_record_of_a_batch_is_durable(loop: ServerLoop) -> None:
    client = loop.client()
    for number in range(3):
        client.put(record(number))
    loop.run_until(lambda: len(loop.taken) == 3, client)
    for _one, batch in loop.taken[:2]:
        loop.server.record_is_durable(batch)
    loop.server.acknowledge()
    for _ in range(5):
        loop.turn(client)
    assert client.pending == 3
    loop.server.record_is_durable(loop.taken[2][1])
    loop.server.acknowledge()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_nothing_is_held_back_for_long_while_acknowledgements_are_late(loop: ServerLoop) -> None:
    client = loop.client()
    for number in range(20):
        client.put(record(number))
        loop.run_until(lambda: len(loop.taken) == number + 1, client)  # noqa: B023
    assert client.pending == 20
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_batches_are_acknowledged_in_order_even_when_the_later_one_is_durable_first(loop: ServerLoop) -> None:
    client = loop.client()
    client.put(record(1))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    client.put(record(2))
    loop.run_until(lambda: len(loop.taken) == 2, client)
    loop.server.record_is_durable(loop.taken[1][1])
    loop.server.acknowledge()
    for _ in range(5):
        loop.turn(client)
    assert client.pending == 2
    loop.server.record_is_durable(loop.taken[0][1])
    loop.server.acknowledge()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_a_new_producer_gets_everything_again_that_the_old_one_had_not_acknowledged(tmp_path: Path) -> None:
    first = ServerLoop(tmp_path)
    client = first.client()
    for number in range(5):
        client.put(record(number))
    first.run_until(lambda: len(first.taken) == 5, client)
    first.close()
    client.put(record(5))
    second = ServerLoop(tmp_path)
    second.run_until(lambda: len(second.taken) == 6, client)
    assert second.ids == [f"id-{number}" for number in range(6)]
    client.close()
    second.close()


def test_a_new_producer_gets_what_was_waiting_in_few_batches(tmp_path: Path) -> None:
    first = ServerLoop(tmp_path)
    client = first.client()
    for number in range(4):
        client.put(record(number))
        first.run_until(lambda: len(first.taken) > number, client)  # noqa: B023
    for number in range(4, 1000):
        client.put(record(number))
    first.close()
    second = ServerLoop(tmp_path)
    second.run_until(lambda: len(second.taken) == 1000, client)
    assert second.ids == [f"id-{number}" for number in range(1000)]
    assert len({batch.number for _one, batch in second.taken}) <= 3
    second.run_until_all_is_durable(client)
    client.close()
    second.close()


def test_acknowledgements_of_a_producer_that_has_gone_are_still_heard(tmp_path: Path) -> None:
    loop = ServerLoop(tmp_path)
    client = loop.client()
    client.put(record(1))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    loop.all_durable()
    loop.close()
    client.put(record(2))
    client.pump()
    assert client.pending == 1
    assert [one.id for one in client.rest()] == ["id-2"]
    client.close()


def test_the_same_producer_takes_nothing_twice_from_a_reader_that_comes_back(loop: ServerLoop) -> None:
    client = loop.client()
    client.put(record(1))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    assert client.peer is not None
    client.peer.close()
    client.put(record(2))
    loop.run_until(lambda: len(loop.taken) == 2, client)
    assert loop.ids == ["id-1", "id-2"]
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_an_acknowledgement_that_a_reader_missed_is_told_when_it_comes_back(loop: ServerLoop) -> None:
    client = loop.client()
    client.put(record(1))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    assert client.peer is not None
    client.peer.close()
    loop.run_until(lambda: loop.server.readers == 0)
    loop.all_durable()
    loop.run_until(lambda: client.pending == 0, client)
    client.close()


def test_a_paused_producer_takes_nothing_and_gets_it_after_the_pause(loop: ServerLoop) -> None:
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    loop.server.pause()
    for number in range(10):
        client.put(record(number))
    for _ in range(10):
        loop.turn(client)
    assert loop.taken == []
    loop.server.resume()
    loop.run_until(lambda: len(loop.taken) == 10, client)
    client.close()


def test_a_full_outbox_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    loop = ServerLoop(tmp_path)
    client = loop.client(max_outbox_bytes=1024 * 1024)
    for number in range(4000):
        client.put(record(number, size=1000))
    assert client.lost["xqc"] > 0
    assert client.pending + client.lost["xqc"] == 4000
    kept = client.pending
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == [f"id-{number}" for number in range(4000 - kept, 4000)]
    client.close()
    loop.close()


def test_a_reader_is_not_blocked_by_a_producer_that_hangs(loop: ServerLoop) -> None:
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    # Nobody serves the loop from here on: the socket's buffer fills up.
    for number in range(20_000):
        client.put(record(number, size=500))
        client.pump()
    assert client.pending == 20_000
    loop.run_until_all_is_durable(client)
    assert loop.ids_made_durable == [f"id-{number}" for number in range(20_000)]
    client.close()


def test_a_peer_without_the_key_is_dropped_and_the_others_go_on(loop: ServerLoop) -> None:
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    hostile = _connect(loop)
    hostile.send(handoff.encode(Hello(b"guess", "reader-evil", "s")))
    hostile.send(handoff.encode(Batch(1, [record(1)])))
    loop.run_until(lambda: _is_closed(hostile), client)
    client.put(record(2))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    assert loop.ids == ["id-2"]
    hostile.close()
    client.close()


def test_a_batch_before_the_key_was_proved_is_not_taken(loop: ServerLoop) -> None:
    hostile = _connect(loop)
    hostile.send(handoff.encode(Batch(1, [record(1)])))
    loop.run_until(lambda: _is_closed(hostile))
    assert loop.taken == []
    hostile.close()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\xff\xff\xff\xff", id="negative length"),
        pytest.param(b"\x7f\xff\xff\xff", id="2 GiB announced"),
        pytest.param(b"\x00\x00\x00\x03abc", id="no MessagePack"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
    ],
)
def test_bytes_that_are_no_frame_drop_the_peer(loop: ServerLoop, raw: bytes) -> None:
    hostile = socket.socket(socket.AF_UNIX)
    hostile.connect(str(loop.folder / "handoff.sock"))
    hostile.sendall(raw)
    hostile.setblocking(False)
    loop.run_until(lambda: _is_closed(FrameSocket(hostile)))
    hostile.close()


def test_a_peer_that_stops_in_the_middle_of_a_frame_holds_up_nobody(loop: ServerLoop) -> None:
    stuck = socket.socket(socket.AF_UNIX)
    stuck.connect(str(loop.folder / "handoff.sock"))
    stuck.sendall(b"\x00\x00\x10\x00half a frame")
    client = loop.client()
    client.put(record(1))
    loop.run_until(lambda: len(loop.taken) == 1, client)
    stuck.close()
    client.close()


def test_a_second_producer_in_the_same_folder_is_refused(loop: ServerLoop) -> None:
    with pytest.raises(AlreadyRunning, match="supervisorctl stop producer"):
        ServerLoop(loop.folder)


def test_a_socket_left_by_a_killed_producer_is_taken_over(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "handoff.sock"))
    left.close()
    loop = ServerLoop(tmp_path)
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    client.close()
    loop.close()


def test_key_and_socket_are_for_their_owner_only(loop: ServerLoop) -> None:
    for name in ("handoff.key", "handoff.sock"):
        assert stat.S_IMODE((loop.folder / name).stat().st_mode) == 0o600


@given(st.binary(max_size=300))
def test_any_bytes_as_a_frame_are_a_message_or_a_handoff_error(frame: bytes) -> None:
    for decode in (handoff.decode_from_reader, handoff.decode_from_producer):
        try:
            message = decode(frame)
        except HandoffError:
            continue
        assert message is not None


def _connect(loop: ServerLoop) -> FrameSocket:
    raw = socket.socket(socket.AF_UNIX)
    raw.connect(str(loop.folder / "handoff.sock"))
    return FrameSocket(raw)


def _is_closed(peer: FrameSocket) -> bool:
    try:
        peer.receive()
    except HandoffError:
        return True
    return False
