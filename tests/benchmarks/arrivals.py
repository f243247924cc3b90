"""A Kafka consumer of its own process that notes when each message of the chat source is there to be had."""

import multiprocessing
import re
import signal
import time
from array import array
from collections import defaultdict
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from kafka import KafkaConsumer, TopicPartition

_STAMP = re.compile(rb" b:(\w+):(\d+):(\d+)\"")
# A design that loses messages, or is slow beyond all measure, must not hold up the others.
SILENT_SECONDS = 10.0
LIMIT_SECONDS = 180.0


class Arrived(NamedTuple):
    """What has come of one phase."""

    records: int
    unique: int
    latencies_ms: list[float]
    """From the write at the source's socket to the consumer's hand."""
    last: float
    """When the latest came, monotonic seconds."""
    firsts: dict[str, float]
    """The same for the first one of each channel."""


class _Phase:
    def __init__(self) -> None:
        self.latencies = array("q")
        self.numbers: set[int] = set()
        self.last_ns = 0
        self.firsts: dict[str, float] = {}

    def arrived(self) -> Arrived:
        return Arrived(
            len(self.latencies),
            len(self.numbers),
            [one / 1e6 for one in self.latencies],
            self.last_ns / 1e9,
            self.firsts,
        )


def _run(pipe: Connection, broker: str, topic: str, partitions: int) -> None:
    # Ctrl-C is for the parent, whose end of the pipe says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    consumer = KafkaConsumer(
        bootstrap_servers=broker, auto_offset_reset="earliest", max_poll_records=10_000, metrics_enabled=False
    )
    consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
    phases: defaultdict[str, _Phase] = defaultdict(_Phase)
    pipe.send("ready")
    while True:
        _take(consumer.poll(timeout_ms=100), phases)
        while pipe.poll():
            try:
                phase, whole = pipe.recv()
            except EOFError:
                return
            pipe.send(phases[phase].arrived() if whole else len(phases[phase].numbers))


def _take(polled: dict[Any, list[Any]], phases: defaultdict[str, _Phase]) -> None:
    now = time.monotonic_ns()
    for records in polled.values():
        for record in records:
            found = _STAMP.search(record.value)
            if found is None:
                continue
            phase = phases[found[1].decode()]
            phase.latencies.append(now - int(found[3]))
            phase.numbers.add(int(found[2]))
            phase.last_ns = now
            phase.firsts.setdefault(record.key.decode(), now / 1e9)


class Arrivals:
    """The process; use it as a context manager."""

    def __init__(self, broker: str, topic: str, partitions: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._end = context.Pipe()
        self._process = context.Process(target=_run, args=(self._end, broker, topic, partitions), daemon=True)

    def __enter__(self) -> "Arrivals":
        self._process.start()
        self._end.close()
        self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()

    def count(self, phase: str) -> int:
        """How many different messages of the phase are there."""
        self._pipe.send((phase, False))
        return int(self._pipe.recv())

    def wait(self, phase: str, count: int) -> Arrived:
        """What is there of the phase once there are so many, or nothing more comes for ten seconds.

        :raises TimeoutError: nothing came at all, or it takes over three minutes.
        """
        seen, began = -1, time.monotonic()
        since = began
        while time.monotonic() - since < SILENT_SECONDS:
            there = self.count(phase)
            if there != seen:
                seen, since = there, time.monotonic()
            if there >= count:
                break
            if since - began > LIMIT_SECONDS:
                raise TimeoutError(f"{there:,} of {count:,} messages came in {LIMIT_SECONDS:.0f} s")
            time.sleep(0.05)
        if not seen:
            raise TimeoutError(f"no message came in {SILENT_SECONDS:.0f} s")
        self._pipe.send((phase, True))
        arrived = self._pipe.recv()
        assert isinstance(arrived, Arrived)
        return arrived
