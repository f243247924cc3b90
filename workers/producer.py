"""The supervised program ``producer``: takes records in from all readers and brings them into Kafka.

A record is acknowledged to its reader only when Kafka has it or the spool, so the death of this process
loses nothing.
"""

import gc
import math
import selectors
import time
from itertools import zip_longest

import msgspec
from loguru import logger

from shared.handoff_server import HandoffServer, PendingBatch
from shared.paths import Paths
from shared.record import Record
from shared.reports import Counted, DeliveredReport, Offsets, ProducerReport
from shared.settings import Settings
from shared.spool import Spool
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.timing import Deadline, Reminder
from shared.waker import Waker
from shared.worker import run_worker
from workers.delivery import Delivery
from workers.kafka_sink import KafkaSink

PROGRAM = "producer"
# A busy producer waits after each small round for more, as a request of many records costs little more than
# one of a single record: so long that it and kafka-python take a seventh of a processor, within these bounds.
GATHER_TIMES_COST = 6
GATHER_AT_LEAST_SECONDS = 0.002
GATHER_AT_MOST_SECONDS = 0.024
# What readers of several channels save is spent on a shorter delay, down to this.
GATHER_SHARED_SECONDS = 0.005
# So many already make a good request.
GATHER_FEWER_THAN = 200
# What hundreds of readers have kept while there was no producer is not taken in all at once.
TAKE_IN_A_ROUND = 2_000
# For what is on its way at a stop; what Kafka has not taken by then goes to the spool.
STOP_KAFKA_SECONDS = 2.0
REMIND_SECONDS = 60.0
LOOK_AFTER_SECONDS = 1.0
COLLECT_SECONDS = 60.0


def gather_at_most_seconds(channels_per_reader: int) -> float:
    """How long a message may wait for others, so that the whole service takes about the same. Pure.

    Measured with 20 channels of 50 messages a second, and 1, 5, 10 or 20 of them in a reader.
    """
    return max(GATHER_AT_MOST_SECONDS / math.sqrt(channels_per_reader), GATHER_SHARED_SECONDS)


class Producer:
    """The loop between the hand-off queue and Kafka."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._selector = selectors.DefaultSelector()
        self._waker = Waker()
        self._status = StatusFile(paths.status, PROGRAM)
        left = self._status.left(ProducerReport)
        # An ordered stop tells the readers everything.
        was_killed = left is not None and not left.head.stopped
        self._topics = " and ".join(f"topic {topic}" for topic in settings.topics)
        self._before = left.report if left else ProducerReport()
        """Totals to go on with."""
        self._sink = KafkaSink(settings, self._waker.wake, counted=self._counted_before())
        self._spool = Spool(paths.spool, settings.spool_max_bytes)
        self._server = HandoffServer(
            paths.handoff_socket,
            paths.handoff_key,
            self._selector,
            lambda record, batch: self._arrived.append((record, batch)),
        )
        self._delivery = Delivery(
            self._sink,
            self._spool,
            self._server.record_is_durable,
            copies=settings.readers_per_channel,
            takes_events=bool(settings.kafka_topic_chat_events),
            after_kill=was_killed,
        )
        # Reading lets kafka-python's thread run, which would send each record alone: all are read first.
        self._arrived: list[tuple[Record, PendingBatch]] = []
        # Where the last round has left off.
        self._next_event = 0
        self._was_connected = False
        self._trouble = ""
        self._trouble_reminder = Reminder(REMIND_SECONDS)
        self._look_after_at = 0.0
        self._collect_at = 0.0
        self._gather_at_most_seconds = gather_at_most_seconds(settings.channels_per_reader)
        # Processor seconds of this process, when it gathered last.
        self._used = 0.0

    def run(self, stop: Stop) -> None:
        """Work until ``stop`` is requested, then make durable what was taken in."""
        self._server.open()
        self._delivery.open()
        self._selector.register(stop, selectors.EVENT_READ, lambda: None)
        self._selector.register(self._waker, selectors.EVENT_READ, self._waker.clear)
        logger.info("starting, Kafka is {}, {}", ", ".join(self._settings.kafka_addresses), self._topics)
        try:
            while not stop.requested:
                self._round()
            self._finish(stop)
            self._status.finish(self._report())
        finally:
            self._server.close()
            self._spool.close()
            self._sink.close(timeout_seconds=0.2)

    def _round(self) -> None:
        began = time.monotonic()
        waits = [
            self._status.update(self._report),
            self._sink.due_seconds(),
            self._delivery.work(),
            self._server.acknowledge(),
        ]
        self._tell_about_kafka()
        if began >= self._look_after_at:
            self._look_after_at = began + LOOK_AFTER_SECONDS
            self._sink.look_after()
            self._delivery.look_after()
        if began >= self._collect_at:
            self._collect_at = began + COLLECT_SECONDS
            gc.collect()
        if self._delivery.must_pause:
            self._server.pause()
        elif self._delivery.may_resume:
            self._server.resume()
        taken = self._wait(min(wait for wait in waits if wait is not None))
        is_quick = time.monotonic() - began < self._gather_at_most_seconds
        if self._sink.pending and taken < GATHER_FEWER_THAN and is_quick:
            self._gather()

    def _gather(self) -> None:
        used = time.process_time()
        cost, self._used = used - self._used, used
        wait = max(GATHER_TIMES_COST * cost, GATHER_AT_LEAST_SECONDS)
        time.sleep(min(wait, self._gather_at_most_seconds))

    def _wait(self, seconds: float) -> int:
        """Take in what arrives in that time, at least what is there; the number of records."""
        events = self._selector.select(seconds)
        start, self._next_event = self._next_event, 0
        for number, (key, _events) in enumerate((*events[start:], *events[:start]), start=start + 1):
            key.data()
            if len(self._arrived) >= TAKE_IN_A_ROUND:
                # The others are still there in the next round, which goes on from here.
                self._next_event = number % len(events)
                break
        arrived, self._arrived = self._arrived, []
        if arrived:
            with self._sink.together():
                for record, batch in arrived:
                    self._delivery.take_in(record, batch)
        return len(arrived)

    def _wait_for_kafka(self) -> None:
        self._wait(0.05)

    def _tell_about_kafka(self) -> None:
        trouble = self._sink.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self._trouble_reminder.reset()
        if trouble and self._trouble_reminder.is_due():
            logger.warning("{}", trouble)
        if self._sink.connected and not self._was_connected:
            logger.info("ready, connected to Kafka, {}", self._topics)
            # A killed producer's successor counts what lies behind the offsets that it was told: not only at
            # the next regular writing, up to which a second of messages may be delivered.
            self._status.hurry()
            self._status.update(self._report)
        self._was_connected = self._sink.connected

    def _finish(self, stop: Stop) -> None:
        """Take nothing more in, make durable what is here, tell the readers."""
        self._server.pause()
        # It stays readable, and would wake the loop without end.
        self._selector.unregister(stop)
        deadline = Deadline(STOP_KAFKA_SECONDS)
        left = self._delivery.finish(self._wait_for_kafka, lambda: not deadline.passed())
        self._server.acknowledge_all()
        if self._spool.messages:
            logger.warning(
                "stopped; Kafka has not taken {} messages, they are in the spool", self._spool.messages
            )
        elif not left:
            logger.info("stopped, everything delivered")

    def _counted_before(self) -> Offsets:
        """Up to where a predecessor had counted; empty where that was another Kafka."""
        counted = self._before.counted
        return counted.topics if counted.addresses == list(self._settings.kafka_addresses) else {}

    def _report(self) -> ProducerReport:
        before, delivery = self._before, self._delivery
        channels = {
            channel: msgspec.structs.replace(total, lost=dict(total.lost))
            for channel, total in before.channels.items()
        }
        for channel, counts in delivery.counts.items():
            total = channels.setdefault(channel, DeliveredReport())
            total.delivered += counts["delivered"]
            total.duplicate += counts["duplicate"]
            total.events_delivered += counts["events_delivered"]
            total.events_duplicate += counts["events_duplicate"]
        for (channel, reason), count in (delivery.lost + self._spool.lost).items():
            lost = channels.setdefault(channel, DeliveredReport()).lost
            lost[reason] = lost.get(reason, 0) + count
        return ProducerReport(
            kafka_accepts=self._sink.accepts and not delivery.spooling,
            trouble=self._sink.trouble,
            readers=self._server.readers,
            pending=delivery.pending,
            spooled=self._spool.messages,
            spool_bytes=self._spool.bytes_on_disk,
            channels=dict(sorted(channels.items())),
            delivery_buckets=[
                one + more
                for one, more in zip_longest(before.delivery_buckets, delivery.delivery_buckets, fillvalue=0)
            ],
            counted=Counted(list(self._settings.kafka_addresses), self._sink.counted),
            delivery_seconds=round(before.delivery_seconds + delivery.delivery_ms / 1000, 3),
        )


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Run the producer until ``stop`` is requested."""
    producer = Producer(settings, paths)
    # What is on its way are many objects, which Python's collector would go through again and again, an
    # eighth of a burst's processor time. Only failures leave it something to do: once a minute is enough.
    gc.freeze()
    gc.disable()
    producer.run(stop)


if __name__ == "__main__":
    run_worker(PROGRAM, main)
