"""The supervised program ``producer``: takes records in from all readers and brings them into Kafka.

A record is acknowledged to its reader only when Kafka has it, so the death of this process loses nothing.
"""

import selectors
import time
from collections import Counter, defaultdict

from loguru import logger

from shared.chat_message import ChatRecord
from shared.errors import KafkaUnavailable
from shared.handoff_server import HandoffServer, PendingBatch
from shared.paths import Paths
from shared.seen_ids import SeenIds
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import STOP_SECONDS, Stop
from shared.timing import Backoff, Deadline
from shared.waker import Waker
from shared.worker import run_worker
from workers.kafka_sink import KafkaSink

PROGRAM = "producer"
# A busy producer begins a round only so often: waking up for each message costs more than sending it.
ROUND_SECONDS = 0.003
SILENCE_SECONDS = 5.0
REMIND_SECONDS = 60.0


class Producer:
    """The loop between the hand-off queue and Kafka."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._sink = KafkaSink(settings, self._waker.wake)
        self._server = HandoffServer(paths.handoff_socket, paths.handoff_key, self._selector, self._take_in)
        self._seen = SeenIds()
        self._status = StatusFile(paths.status, PROGRAM)
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._connect_backoff = Backoff(first=0.5, longest=5.0)
        self._connect_at = 0.0
        self._reminded_at = float("-inf")
        self._said_silent = False

    def run(self, stop: Stop) -> None:
        """Work until ``stop`` is requested, then finish what was taken in."""
        self._server.open()
        self._server.pause()
        self._selector.register(stop, selectors.EVENT_READ, lambda: None)
        self._selector.register(self._waker, selectors.EVENT_READ, self._waker.clear)
        logger.info(
            "starting, Kafka is {}, topic {}",
            ", ".join(self._settings.kafka_addresses),
            self._settings.kafka_topic_chat_messages,
        )
        try:
            while not stop.requested:
                self._round()
            self._finish(stop)
        finally:
            self._server.close()
            self._sink.close(timeout_seconds=0.5)
            self._status.remove()

    def _round(self) -> None:
        if not self._sink.connected and not self._sink.pending and time.monotonic() >= self._connect_at:
            self._connect()
        wait = self._status.update(self._report)
        due = self._sink.due_seconds()
        if due is not None:
            wait = min(wait, due)
        if not self._sink.connected:
            wait = min(wait, max(0.0, self._connect_at - time.monotonic()))
        began = time.monotonic()
        self._serve(wait)
        self._sink.follow_partitions()
        self._watch_silence()
        if self._sink.pending and time.monotonic() - began < ROUND_SECONDS:
            time.sleep(ROUND_SECONDS)

    def _serve(self, wait_seconds: float) -> None:
        for key, _events in self._selector.select(wait_seconds):
            key.data()
        for outcome in self._sink.collect():
            counts = self._counts[outcome.record.channel]
            if outcome.refused is None:
                counts["delivered"] += 1
            else:
                counts["refused"] += 1
                logger.error(
                    "Kafka refuses a message of {} for good, it is left out: id {}, {} bytes, {}",
                    outcome.record.channel,
                    outcome.record.id or "none",
                    len(outcome.record.value),
                    outcome.refused,
                )
            self._server.record_is_durable(outcome.token)
        self._server.acknowledge()
        if self._sink.full or not self._sink.connected:
            self._server.pause()
        elif self._sink.has_room:
            self._server.resume()

    def _take_in(self, record: ChatRecord, batch: PendingBatch) -> None:
        if self._seen.add(record.channel, record.id):
            self._sink.send(record, batch)
        else:
            self._counts[record.channel]["duplicate"] += 1
            self._server.record_is_durable(batch)

    def _connect(self) -> None:
        try:
            self._sink.connect()
        except KafkaUnavailable as error:
            now = time.monotonic()
            self._connect_at = now + self._connect_backoff.next_seconds()
            if now - self._reminded_at >= REMIND_SECONDS:
                self._reminded_at = now
                logger.warning("{}; messages wait in the readers", error)
        else:
            self._connect_backoff.reset()
            self._reminded_at = float("-inf")
            logger.info("ready, connected to Kafka, topic {}", self._settings.kafka_topic_chat_messages)

    def _watch_silence(self) -> None:
        silent = self._sink.silent_seconds()
        if silent < SILENCE_SECONDS:
            if self._said_silent:
                self._said_silent = False
                logger.info("Kafka takes messages again")
            return
        now = time.monotonic()
        if not self._said_silent or now - self._reminded_at >= REMIND_SECONDS:
            self._said_silent = True
            self._reminded_at = now
            logger.warning(
                "Kafka at {} has taken nothing for {:.0f} s; {} messages wait here, more in the readers",
                ", ".join(self._settings.kafka_addresses),
                silent,
                self._sink.pending,
            )

    def _finish(self, stop: Stop) -> None:
        """Take nothing more in, see off what is on its way, tell the readers."""
        self._server.pause()
        # It stays readable, and would wake the loop without end.
        self._selector.unregister(stop)
        deadline = Deadline(STOP_SECONDS)
        while self._sink.pending and not deadline.passed():
            for key, _events in self._selector.select(min(0.1, deadline.left_seconds())):
                key.data()
            for outcome in self._sink.collect():
                self._server.record_is_durable(outcome.token)
            self._server.acknowledge()
        if self._sink.pending:
            logger.warning(
                "stopped while Kafka had not taken {} messages; the readers still have them",
                self._sink.pending,
            )
        else:
            logger.info("stopped, everything delivered")

    def _report(self) -> dict[str, object]:
        return {
            "kafka_connected": self._sink.connected and not self._said_silent,
            "readers": self._server.readers,
            "pending": self._sink.pending,
            "channels": {channel: dict(counts) for channel, counts in sorted(self._counts.items())},
        }


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Run the producer until ``stop`` is requested."""
    Producer(settings, paths).run(stop)


if __name__ == "__main__":
    run_worker(PROGRAM, main)
