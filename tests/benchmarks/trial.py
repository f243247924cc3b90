"""A design at work between the chat source and a consumer of Kafka."""

import contextlib
import itertools
import time
import warnings
from collections.abc import Iterator

from tests.benchmarks.arrivals import Arrivals
from tests.benchmarks.chat_source import FIRST, ChatSource
from tests.benchmarks.contenders import Order, Running, Start
from tests.benchmarks.process_tree import runs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

PARTITIONS = 3
# 200 channels need 100 of them at 20 logins in 10 s.
JOIN_SECONDS = 180.0
SETTLE_SECONDS = 1.5
_topic_numbers = itertools.count()


class Trial:
    """A design at work; ``channels`` are joined and warmed up."""

    def __init__(
        self,
        source: ChatSource,
        arrivals: Arrivals,
        running: Running,
        readers: int,
        warm_up_each: int,
    ) -> None:
        self.source = source
        self.arrivals = arrivals
        self.running = running
        self.channels: list[str] = []
        self.start_seconds: float | None = None
        """From the command to the first message of each channel at the consumer; None when one is lost."""
        self._readers = readers
        self._warm_up_each = warm_up_each
        self._warm = 0

    def fill(self, channels: int) -> None:
        """Wait until so many channels are in, warmed up, and quiet again; more than at first are added.

        :raises TimeoutError: the design does not come that far.
        """
        logins = channel_names(channels)
        added = logins[len(self.channels) :]
        if self.channels:
            assert self.running.set_channels is not None
            self.running.set_channels(logins)
        self._wait_joined(channels)
        first = self.arrivals.wait(FIRST, channels)
        if not self.channels and first.unique == channels:
            self.start_seconds = max(first.firsts.values()) - self.running.began
        self.channels = logins
        self._warm += self.source.blast("warm", added, self._warm_up_each)
        self.arrivals.wait("warm", self._warm)
        time.sleep(SETTLE_SECONDS)

    def _wait_joined(self, channels: int) -> None:
        wanted = channels * self._readers
        end = time.monotonic() + JOIN_SECONDS
        while (joined := self.source.joined()) < wanted:
            if not runs(self.running.root):
                raise TimeoutError("it has ended by itself")
            if time.monotonic() > end:
                raise TimeoutError(f"{joined} of {wanted} joins were made in {JOIN_SECONDS:.0f} s")
            time.sleep(0.02)


def channel_names(count: int) -> list[str]:
    return [f"channel{number}" for number in range(count)]


@contextlib.contextmanager
def trial(
    start: Start, broker: str, source: ChatSource, channels: int, readers: int, warm_up_each: int
) -> Iterator[Trial]:
    """Start a design with a topic of its own; it has ended afterwards."""
    topic = f"bench-{next(_topic_numbers)}"
    settings = {"READERS_PER_CHANNEL": str(readers)} if readers > 1 else {}
    admin = KafkaAdminClient(bootstrap_servers=broker)
    try:
        layout = {"num_partitions": PARTITIONS, "replication_factor": 1}
        admin.create_topics({topic: layout}, wait_for_metadata=True)
        source.forget()
        with Arrivals(broker, topic, PARTITIONS) as arrivals:
            running = start(Order(source, broker, topic, channel_names(channels), settings))
            try:
                yield Trial(source, arrivals, running, readers, warm_up_each)
            finally:
                running.stop()
    finally:
        # It only saves space, and must not hide why the trial has ended.
        with contextlib.suppress(KafkaError):
            admin.delete_topics([topic])
        admin.close()
