"""What each step of a message's way costs, in processor time of one process.

``python -m tests.benchmarks.micro [ROUNDS]``
"""

import gc
import itertools
import selectors
import socket
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import msgspec
from loguru import logger

from shared import handoff, settings
from shared.chat_message import ChatParser
from shared.event_parser import EventParser
from shared.frames import FrameSocket
from shared.handoff import Batch
from shared.handoff_server import HandoffServer, PendingBatch, Session
from shared.irc_line import IrcLine, LineSplitter, parse_line
from shared.outbox import Outbox
from shared.paths import Paths
from shared.record import Record
from shared.spool import Spool
from shared.waker import Waker
from tests.benchmarks.figures import Figure
from tests.processes.broker import Broker
from tests.processes.conftest import free_port
from tests.processes.test_main_job import sample_lines

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from workers.delivery import Delivery
    from workers.kafka_sink import KafkaSink, Outcome
    from workers.kafka_tail import Tail

ROUNDS = 5
CHUNK_BYTES = 64 * 1024
# So many messages that a step takes 50 ms at least.
CUT = 150_000
PARSED = 10_000
RECORDED = 12_000
RECORDED_EVENTS = 6_000
HANDED_OFF_SINGLY = 20_000
HANDED_OFF = 200_000
TAKEN_IN_SINGLY = 10_000
TAKEN_IN = 200_000
DECIDED = 10_000
SENT = 20_000
SPOOLED = 20_000
# About what a batch of a busy reader holds.
BATCH = 500
# Readers that have one small batch each, as in quiet chat: on one socket they would be read all at once.
CONNECTIONS = 100
# A busy producer's: acknowledgements gather meanwhile.
PAUSE_SECONDS = 0.003
SPOOL_ROWS = 2_000
PLENTY = 1024**3
TIMEOUT_SECONDS = 60.0

Costs = dict[str, float]
"""Microseconds a message, by step."""
_Item = TypeVar("_Item")


class Meter:
    """Adds up the processor time of all threads, in ``with`` blocks."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._began = 0.0
        # What the step before has left is none of this one's work.
        gc.collect()

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._seconds += time.process_time() - self._began

    def micros(self, count: int) -> float:
        return self._seconds / count * 1e6


class Chat:
    """Real chat as the steps need it."""

    def __init__(self) -> None:
        self.raw = [line for line in sample_lines() if b" PRIVMSG " in line]
        self.lines = [line for line in map(parse_line, self.raw) if line is not None]
        parser, now_ms = ChatParser(), unix_ms()
        self.records = [record for line in self.lines if (record := parser.read(line, now_ms)) is not None]
        self._numbers = itertools.count()

    def new_records(self, count: int) -> list[Record]:
        """None has the id of another one that was ever given."""
        now_ms = unix_ms()
        return [
            msgspec.structs.replace(
                # Kafka would remove what is as old as the sample.
                record,
                id=f"{next(self._numbers):08x}{record.id[8:]}",
                timestamp_ms=now_ms,
                received_ms=now_ms,
            )
            for record in repeated(self.records, count)
        ]


class WillingSink:
    """A Kafka that has everything at once."""

    connected = True
    full = False
    has_room = True

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def send(self, record: Record, token: object) -> None:
        self._outcomes.append(Outcome(record, token, None))

    def collect(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def take_tail(self) -> Tail | None:
        return None


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


def repeated(items: Sequence[_Item], count: int) -> list[_Item]:
    return list(itertools.islice(itertools.cycle(items), count))


def batches(items: list[_Item], size: int) -> list[list[_Item]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def cut(chat: Chat) -> Costs:
    times = max(1, CUT // len(chat.raw))
    stream = b"".join(line + b"\r\n" for line in chat.raw)
    chunks = [stream[at : at + CHUNK_BYTES] for at in range(0, len(stream), CHUNK_BYTES)] * times
    splitter, found = LineSplitter(), 0
    meter = Meter()
    with meter:
        for chunk in chunks:
            found += len(splitter.feed(chunk))
    assert found == times * len(chat.raw)
    return {"cut bytes into lines": meter.micros(found)}


def parse(chat: Chat) -> Costs:
    raw = repeated(chat.raw, PARSED)
    meter = Meter()
    with meter:
        for line in raw:
            parse_line(line)
    return {"parse a line": meter.micros(PARSED)}


def make_records(chat: Chat, step: str, read: Callable[[IrcLine, int], Record | None], count: int) -> Costs:
    lines, now_ms = repeated(chat.lines, count), unix_ms()
    meter = Meter()
    with meter:
        for line in lines:
            read(line, now_ms)
    return {step: meter.micros(count)}


def hand_off(chat: Chat, count: int, size: int) -> Costs:
    parts = batches(repeated(chat.records, count), size)
    outbox = Outbox()
    meter = Meter()
    with meter:
        for number, part in enumerate(parts, 1):
            for record in part:
                outbox.put(record)
            outbox.next_frame()
            outbox.forget_up_to(number)
    assert not outbox.pending
    return {f"hand-off: encode, {size} a batch": meter.micros(count)}


def take_in(chat: Chat, count: int, size: int) -> Costs:
    parts = batches(repeated(chat.records, count), size)
    frames = [handoff.encode(Batch(number, part)) for number, part in enumerate(parts, 1)]
    meter, taken = Meter(), 0
    with connections() as pairs:
        for group in batches(frames, CONNECTIONS):
            taken += receive(pairs[: len(group)], group, meter)
    assert taken == count
    return {f"hand-off: take in, {size} a batch": meter.micros(count)}


@contextmanager
def connections() -> Iterator[list[tuple[FrameSocket, FrameSocket]]]:
    pairs = []
    for _ in range(CONNECTIONS):
        one, other = socket.socketpair()
        pairs.append((FrameSocket(one), FrameSocket(other)))
    try:
        yield pairs
    finally:
        for frames in itertools.chain(*pairs):
            frames.close()


def receive(pairs: list[tuple[FrameSocket, FrameSocket]], frames: list[bytes], meter: Meter) -> int:
    """Send a frame over each pair, receive it by the meter; gives the number of records."""
    for (sender, _receiver), frame in zip(pairs, frames, strict=True):
        sender.send(frame)
    left, taken = len(frames), 0
    while left:
        # A large frame does not fit into a socket at once.
        for sender, _receiver in pairs:
            sender.flush()
        with meter:
            for _sender, receiver in pairs:
                for frame in receiver.receive():
                    batch = handoff.decode_from_reader(frame)
                    assert isinstance(batch, Batch)
                    left -= 1
                    taken += len(batch.records)
    return taken


def decide(chat: Chat) -> Costs:
    parts = batches(chat.new_records(DECIDED), BATCH)
    session, meter = Session("reader-xqcow"), Meter()
    with tempfile.TemporaryDirectory() as name, selectors.DefaultSelector() as selector:
        run = Path(name)
        server = HandoffServer(run / "socket", run / "key", selector, lambda _record, _batch: None)
        spool = Spool(run / "spool.sqlite3", PLENTY)
        delivery = Delivery(WillingSink(), spool, server.record_is_durable)
        delivery.open()
        delivery.work()
        with meter:
            for number, part in enumerate(parts, 1):
                batch = PendingBatch(session, number, len(part))
                for record in part:
                    delivery.take_in(record, batch)
                delivery.work()
        spool.close()
    assert not delivery.pending
    assert sum(counts["delivered"] for counts in delivery.counts.values()) == DECIDED
    return {"decide and settle": meter.micros(DECIDED)}


@contextmanager
def connected_sink(address: str) -> Iterator[tuple[KafkaSink, Waker]]:
    with tempfile.TemporaryDirectory() as name:
        names = {"KAFKA_BROKERS": address, "KAFKA_TOPIC_CHAT_MESSAGES": f"micro-{time.time_ns()}"}
        waker = Waker()
        sink = KafkaSink(settings.load(Paths(Path(name)), names), waker.wake)
        try:
            end = time.monotonic() + TIMEOUT_SECONDS
            while not sink.connected:
                assert time.monotonic() < end, sink.trouble
                sink.collect()
                time.sleep(0.01)
            yield sink, waker
        finally:
            sink.close(1.0)


def send(chat: Chat, sink: KafkaSink, waker: Waker) -> Costs:
    parts = batches(chat.new_records(SENT), BATCH)
    meter = Meter()
    began = time.perf_counter()
    with meter:
        send_all(parts, sink, waker)
    seconds = time.perf_counter() - began
    return {"send to Kafka": meter.micros(SENT), "send to Kafka, by the clock": seconds / SENT * 1e6}


def send_all(parts: list[list[Record]], sink: KafkaSink, waker: Waker) -> None:
    """As the producer's loop does, until Kafka has them all."""
    left, waiting = sum(map(len, parts)), iter(parts)
    end = time.monotonic() + TIMEOUT_SECONDS
    while left:
        began = time.monotonic()
        assert began < end, f"Kafka has not acknowledged {left} records"
        if not sink.full:
            for record in next(waiting, ()):
                sink.send(record, None)
        waker.clear()
        left -= sum(outcome.refused is None for outcome in sink.collect())
        if time.monotonic() - began < PAUSE_SECONDS:
            time.sleep(PAUSE_SECONDS)


def go_through_spool(chat: Chat) -> Costs:
    records = repeated(chat.records, SPOOLED)
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name) / "spool.sqlite3", PLENTY)
        spool.changed_by_others()
        into, out = Meter(), Meter()
        with into:
            left = records
            while left:
                left = left[len(spool.append(left)) :]
        with out:
            while rows := spool.read_on(SPOOL_ROWS):
                spool.remove([(number, record.channel) for number, record in rows])
        assert not spool.messages
        spool.close()
    return {"spool: in": into.micros(SPOOLED), "spool: out": out.micros(SPOOLED)}


def steps_of(chat: Chat, sink: tuple[KafkaSink, Waker] | None) -> list[Callable[[], Costs]]:
    steps: list[Callable[[], Costs]] = [
        lambda: cut(chat),
        lambda: parse(chat),
        lambda: make_records(chat, "make a chat record", ChatParser().read, RECORDED),
        lambda: make_records(chat, "make an event record", EventParser().read, RECORDED_EVENTS),
        lambda: hand_off(chat, HANDED_OFF_SINGLY, 1),
        lambda: hand_off(chat, HANDED_OFF, BATCH),
        lambda: take_in(chat, TAKEN_IN_SINGLY, 1),
        lambda: take_in(chat, TAKEN_IN, BATCH),
        lambda: decide(chat),
    ]
    if sink is not None:
        steps.append(lambda: send(chat, *sink))
    return [*steps, lambda: go_through_spool(chat)]


def measure(broker_address: str | None, rounds: int) -> dict[str, Figure]:
    """Microseconds a message, by step; without a broker all but the sending."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        sink = None if broker_address is None else stack.enter_context(connected_sink(broker_address))
        steps = steps_of(Chat(), sink)
        # The sample is no part of a worker: its garbage collector would not look through it.
        gc.freeze()
        stack.callback(gc.unfreeze)
        # In turns: a machine that is slow for a while is slow for all of them.
        for _ in range(rounds):
            for step in steps:
                for name, micros in step().items():
                    found[name].append(micros)
    return {name: Figure.of(values) for name, values in found.items()}


def main() -> None:
    logger.remove()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name), free_port())
        broker.start()
        try:
            figures = measure(broker.address, rounds)
        finally:
            broker.stop()
    print("| Step | µs a message: median (least-greatest) | messages/s |\n| --- | ---: | ---: |")
    for step, figure in figures.items():
        print(f"| {step} | {figure.text(2)} | {1e6 / figure.median:,.0f} |")


if __name__ == "__main__":
    main()
