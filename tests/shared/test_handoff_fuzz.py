"""The hand-off against peers that have the key and do not keep to the protocol."""

import contextlib
import select
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import handoff
from shared.errors import HandoffError
from shared.handoff import Ack, Batch, Challenge, Hello, Welcome
from shared.handoff_client import HandoffClient
from shared.record import Record
from tests.shared.handoff_loop import WAIT_SECONDS, ServerLoop, record

bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

numbers = st.integers(-3, 12) | st.integers(-(2**63), 2**64 - 1)
evil_records = st.builds(
    Record,
    st.text(max_size=5),
    st.text(max_size=5).map("evil-{}".format),
    numbers,
    numbers,
    st.text(max_size=5),
    st.text(max_size=5),
    st.binary(max_size=20),
)
batches = st.builds(Batch, numbers, st.lists(evil_records, max_size=3))
hellos = st.builds(Hello, st.binary(max_size=40), st.text(max_size=5), st.text(max_size=5))
from_producer: st.SearchStrategy[Challenge | Welcome | Ack] = st.one_of(
    st.builds(Challenge, st.binary(max_size=40)), st.builds(Welcome, numbers), st.builds(Ack, numbers)
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
of_wrong_types = st.tuples(
    st.sampled_from(["batch", "hello", "challenge", "welcome", "ack", "other"]),
    st.lists(anything, max_size=4),
).map(lambda parts: msgspec.msgpack.encode([parts[0], *parts[1]]))
changes = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)


def changed(payload: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    """The payload with some bytes replaced and the last ``cut`` left out."""
    edited = bytearray(payload)
    for at, byte in edits:
        if edited:
            edited[at % len(edited)] = byte
    return bytes(edited[: len(edited) - cut])


def mutations(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(changed, messages.map(handoff.encode), changes, st.integers(0, 3))


def payloads(messages: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return messages.map(handoff.encode) | mutations(messages) | of_wrong_types | st.binary(max_size=60)


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def frame_in(raw: socket.socket) -> bytes:
    raw.settimeout(WAIT_SECONDS)
    length = int.from_bytes(raw.recv(4, socket.MSG_WAITALL), "big")
    return raw.recv(length, socket.MSG_WAITALL)


class HostileReader:
    """A peer of the producer that proves the key and then sends what it likes."""

    def __init__(self, loop: ServerLoop, session: str = "evil") -> None:
        self._loop = loop
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(loop.folder / "handoff.sock"))
        loop.run_until(self._is_spoken_to)
        challenge = handoff.decode_from_producer(frame_in(self._socket))
        assert isinstance(challenge, Challenge)
        key = handoff.read_key(loop.folder / "handoff.key")
        proof = handoff.prove(key, challenge.nonce)
        self.send(framed(handoff.encode(Hello(proof, "reader-evil", session))))
        loop.run_until(self._is_spoken_to)
        assert isinstance(handoff.decode_from_producer(frame_in(self._socket)), Welcome)

    def _is_spoken_to(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def send(self, raw: bytes) -> None:
        """Send it, or as much of it as the producer lets us."""
        self._socket.settimeout(WAIT_SECONDS)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(raw)

    def is_dropped(self) -> bool:
        self._socket.setblocking(False)
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True

    def close(self) -> None:
        self._socket.close()


class HostileProducer:
    """Listens where the producer would and says what it likes; keeps what readers sent whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: set[str] = set()
        (folder / "handoff.key").write_bytes(b"key" * 10)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "handoff.sock"))
        self._listener.listen(8)
        self._listener.settimeout(WAIT_SECONDS)
        self._peer: socket.socket | None = None
        self._arrived = bytearray()

    @property
    def has_a_visitor(self) -> bool:
        return bool(select.select([self._listener], [], [], 0)[0])

    def accept(self) -> None:
        self._peer, _ = self._listener.accept()
        self._arrived.clear()

    def say(self, *payloads: bytes) -> None:
        assert self._peer is not None
        self._peer.settimeout(WAIT_SECONDS)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._peer.sendall(b"".join(framed(payload) for payload in payloads))

    def hear(self) -> None:
        """Take in what has come."""
        if self._peer is None:
            return
        self._peer.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while data := self._peer.recv(65536):
                self._arrived += data
        while len(self._arrived) >= 4:
            length = int.from_bytes(self._arrived[:4], "big")
            if len(self._arrived) < 4 + length:
                return
            message = handoff.decode_from_reader(bytes(self._arrived[4 : 4 + length]))
            del self._arrived[: 4 + length]
            if isinstance(message, Batch):
                self.received |= {one.id for one in message.records}

    def hang_up(self) -> None:
        self.hear()
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def close(self) -> None:
        self.hang_up()
        self._listener.close()
        (self.folder / "handoff.sock").unlink()


class ImpatientClient:
    """A reader's end whose pauses cost no time."""

    def __init__(self, folder: Path) -> None:
        self._now = 0.0
        self.client = HandoffClient(
            folder / "handoff.sock", folder / "handoff.key", "reader-xqc", clock=lambda: self._now
        )
        self.ids: list[str] = []

    def put(self, count: int) -> None:
        for number in range(len(self.ids), len(self.ids) + count):
            self.client.put(record(number))
            self.ids.append(f"id-{number}")

    def turn(self) -> None:
        self._now += 2.0
        self.client.pump()
        self.client.on_writable()
        self.client.on_readable()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


@contextlib.contextmanager
def server_loop() -> Iterator[ServerLoop]:
    with tempfile.TemporaryDirectory() as name:
        loop = ServerLoop(Path(name))
        try:
            yield loop
        finally:
            loop.close()


@contextlib.contextmanager
def hostile_producer() -> Iterator[HostileProducer]:
    with tempfile.TemporaryDirectory() as name:
        producer = HostileProducer(Path(name))
        try:
            yield producer
        finally:
            if (producer.folder / "handoff.sock").exists():
                producer.close()


def is_dropped_after(sent: list[bytes]) -> bool:
    """What the protocol says: each message is a batch with a higher number than the one before."""
    newest = 0
    for payload in sent:
        try:
            message = handoff.decode_from_reader(payload)
        except HandoffError:
            return True
        if isinstance(message, Hello) or message.number <= newest:
            return True
        newest = message.number
    return False


def honest_goes_on(loop: ServerLoop, client: HandoffClient, first: int) -> None:
    """The honest reader's next records are taken, once and in order, and acknowledged."""
    loop.all_durable()
    loop.ids_made_durable.clear()
    for number in range(first, first + 3):
        client.put(record(number))
    loop.run_until_all_is_durable(client)
    honest = [one for one in loop.ids_made_durable if one.startswith("id-")]
    assert honest == [f"id-{number}" for number in range(first, first + 3)]


@bounded
@given(st.lists(payloads(batches | hellos), max_size=5), st.binary(max_size=40))
def test_a_reader_that_breaks_the_protocol_is_dropped_and_an_honest_one_goes_on(
    sent: list[bytes], tail: bytes
) -> None:
    with server_loop() as loop:
        client = loop.client()
        loop.run_until(lambda: client.connected, client)
        hostile = HostileReader(loop)
        for payload in sent:
            hostile.send(framed(payload))
        honest_goes_on(loop, client, first=0)
        if is_dropped_after(sent):
            loop.run_until(hostile.is_dropped, client)
        else:
            assert not hostile.is_dropped()
        hostile.send(tail)
        honest_goes_on(loop, client, first=3)
        hostile.close()
        loop.run_until(lambda: loop.server.readers == 1, client)
        client.close()


@bounded
@given(st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_numbers_in_any_order_are_taken_once_each_and_only_upwards(order: list[int]) -> None:
    with server_loop() as loop:
        hostile = HostileReader(loop)
        for place, number in enumerate(order):
            hostile.send(framed(handoff.encode(Batch(number, [record(place)]))))
        wanted: list[str] = []
        newest = 0
        for place, number in enumerate(order):
            if number <= newest:
                break
            newest = number
            wanted.append(f"id-{place}")
        else:
            newest = -1
        loop.run_until(lambda: len(loop.taken) == len(wanted) and (newest < 0 or hostile.is_dropped()))
        assert loop.ids == wanted
        hostile.close()


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
def test_a_message_nested_too_deep_drops_only_its_sender(tmp_path: Path, depth: int) -> None:
    # An element that this version does not know is skipped, unless it cannot be.
    nested = b"\x94" + handoff.encode(Batch(1, []))[1:] + b"\x91" * depth + b"\xc0"
    loop = ServerLoop(tmp_path)
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    hostile = HostileReader(loop)
    hostile.send(framed(nested))
    loop.run_until(lambda: hostile.is_dropped() or depth == 100, client)
    honest_goes_on(loop, client, first=0)
    hostile.close()
    client.close()
    loop.close()


def test_many_connections_that_prove_the_key_and_leave_cost_the_honest_reader_nothing(tmp_path: Path) -> None:
    loop = ServerLoop(tmp_path)
    client = loop.client()
    loop.run_until(lambda: client.connected, client)
    half = framed(handoff.encode(Batch(1, [record(1, "other")])))[:-1]
    crowd = [HostileReader(loop, session=f"evil-{number}") for number in range(100)]
    for one in crowd:
        one.send(half)
    honest_goes_on(loop, client, first=0)
    for one in crowd:
        one.close()
    loop.run_until(lambda: loop.server.readers == 1, client)
    honest_goes_on(loop, client, first=3)
    client.close()
    loop.close()


def test_a_session_that_is_taken_over_drops_the_connection_before(tmp_path: Path) -> None:
    loop = ServerLoop(tmp_path)
    first, second = HostileReader(loop), HostileReader(loop)
    loop.run_until(first.is_dropped)
    second.send(framed(handoff.encode(Batch(1, [record(1)]))))
    loop.run_until(lambda: loop.ids == ["id-1"])
    first.close()
    second.close()
    loop.close()


Step = bytes | int
acknowledgements = st.builds(Ack, st.integers(0, 12)).map(handoff.encode)
steps: st.SearchStrategy[Step] = st.integers(1, 4) | acknowledgements | payloads(from_producer)


def play(producer: HostileProducer, reader: ImpatientClient, conversation: list[Step]) -> None:
    """Say the payloads; a number is that many new records of the reader."""
    producer.accept()
    producer.say(handoff.encode(Challenge(b"nonce")), handoff.encode(Welcome(0)))
    for step in conversation:
        if isinstance(step, int):
            reader.put(step)
        else:
            producer.say(step)
        reader.turn()
        producer.hear()
    producer.hang_up()


@bounded
@given(st.lists(st.lists(steps, max_size=16), min_size=1, max_size=3))
def test_whatever_a_producer_says_only_what_it_got_is_forgotten(conversations: list[list[Step]]) -> None:
    with hostile_producer() as producer, ImpatientClient(producer.folder) as reader:
        for conversation in conversations:
            while not producer.has_a_visitor:
                reader.turn()
            play(producer, reader, conversation)
        reader.put(1)
        producer.close()
        loop = ServerLoop(producer.folder)

        def all_is_durable() -> bool:
            reader.turn()
            loop.all_durable()
            return reader.client.pending == 0

        loop.run_until(all_is_durable)
        arrived = loop.ids_made_durable
        loop.close()
    assert arrived == [one for one in reader.ids if one in set(arrived)]
    assert set(reader.ids) - set(arrived) <= producer.received


@bounded
@given(payloads(from_producer), st.binary(max_size=40))
def test_whatever_comes_first_from_a_producer_nothing_is_sent_to_it_or_forgotten(
    first: bytes, raw: bytes
) -> None:
    with hostile_producer() as producer, ImpatientClient(producer.folder) as reader:
        reader.put(3)
        reader.turn()
        producer.accept()
        producer.say(first, first, raw)
        for _ in range(4):
            reader.turn()
            producer.hear()
        assert reader.client.pending == 3
        assert producer.received == set()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Ack(2), id="acknowledges what was not sent"),
        pytest.param(Ack(2**64 - 1), id="acknowledges everything"),
        pytest.param(Welcome(0), id="says welcome again"),
        pytest.param(Challenge(b"nonce"), id="asks again for the proof"),
    ],
)
def test_a_producer_that_speaks_out_of_turn_is_left_and_nothing_is_forgotten(message: Ack | Welcome) -> None:
    with hostile_producer() as producer, ImpatientClient(producer.folder) as reader:
        reader.put(1)
        reader.turn()
        producer.accept()
        producer.say(handoff.encode(Challenge(b"nonce")), handoff.encode(Welcome(0)))
        wait_until_received(producer, reader, 1)
        assert reader.client.connected
        producer.say(handoff.encode(message))
        reader.turn()
        assert not reader.client.connected
        assert reader.client.pending == 1


def test_a_welcome_that_names_a_batch_never_sent_keeps_nothing_back(tmp_path: Path) -> None:
    producer = HostileProducer(tmp_path)
    with ImpatientClient(tmp_path) as reader:
        reader.put(2)
        reader.turn()
        producer.accept()
        producer.say(handoff.encode(Challenge(b"nonce")), handoff.encode(Welcome(7)))
        reader.turn()
        assert not reader.client.connected
        assert reader.client.pending == 2
    producer.close()


def wait_until_received(producer: HostileProducer, reader: ImpatientClient, count: int) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while len(producer.received) < count:
        assert time.monotonic() < end, "the records did not come"
        reader.turn()
        producer.hear()
