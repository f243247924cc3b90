"""The way of a replay's records to Kafka."""

import selectors
import time
from collections.abc import Callable

from shared.errors import KafkaUnavailable
from shared.record import Record
from shared.settings import Settings
from shared.stopping import Stop
from shared.timing import Deadline
from shared.waker import Waker
from workers.kafka_connection import KafkaConnection
from workers.kafka_sink import SILENT_SECONDS, KafkaSink

# Two attempts; the second one ends a little later.
FIRST_CONTACT_SECONDS = 8.0
# When the user ends it, what is on its way gets so long.
LAST_SECONDS = 4.0
# What is on its way must be among the newest records that a new connection reads back, also where all of it
# is in one of many partitions.
ON_THEIR_WAY = 5_000
LOOK_AFTER_SECONDS = 1.0
_WORK_EVERY = 500


class Sending:
    """Sends records in order, through outages of Kafka. ``say`` tells the user about them.

    Everything ends early once ``stop`` is requested.
    """

    def __init__(self, configured: Settings, stop: Stop, say: Callable[[str], None]) -> None:
        self.messages = 0
        """Chat messages that Kafka has."""
        self.events = 0
        """Events that Kafka has."""
        self.refused = 0
        """Records that Kafka will never take."""
        self._settings = configured
        self._stop = stop
        self._say = say
        self._waker = Waker()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._connection = KafkaConnection(configured, self._waker.wake)
        # What is there is found out before anything is sent.
        self._connection.must_read_back = False
        self._sink = KafkaSink(configured, self._waker.wake, connection=self._connection)
        self._sent = 0
        self._in_trouble = False
        self._look_after_at = 0.0

    @property
    def pending(self) -> int:
        """Records that are on their way."""
        return self._sink.pending

    def connect(self) -> None:
        """Wait for the first contact, which makes the topics. Raises KafkaUnavailable when there is none."""
        deadline = Deadline(FIRST_CONTACT_SECONDS)
        while not self._sink.connected and not self._stop.requested:
            if self._sink.trouble and deadline.passed():
                start = "; is the service running? make run" if self._settings.kafka_is_embedded else ""
                raise KafkaUnavailable(f"{self._sink.trouble}{start}")
            self._work(0.1)

    def send(self, record: Record) -> None:
        """Send the record, or have it wait in here; waits itself while too many are on their way."""
        self._sink.send(record, None)
        self._sent += 1
        if self._sent % _WORK_EVERY == 0:
            self._work(0.0)
        if self._sink.full or self._sink.pending >= ON_THEIR_WAY:
            while not self._may_go_on and not self._stop.requested:
                self._work(0.1)

    def finish(self, told: Callable[[], None]) -> None:
        """Wait until nothing is on its way; for some seconds only once ``stop`` is requested.

        ``told`` is called again and again meanwhile.
        """
        deadline: Deadline | None = None
        while self._sink.pending and (deadline is None or not deadline.passed()):
            if deadline is None and self._stop.requested:
                deadline = Deadline(LAST_SECONDS)
            self._work(0.1)
            told()

    def close(self) -> None:
        """Leave Kafka."""
        self._sink.close(timeout_seconds=0.2)

    @property
    def _may_go_on(self) -> bool:
        return self._sink.has_room and self._sink.pending <= ON_THEIR_WAY // 2

    def _work(self, seconds: float) -> None:
        due = self._sink.due_seconds()
        if self._selector.select(seconds if due is None else min(seconds, due)):
            self._waker.clear()
        for outcome in self._sink.collect():
            if outcome.refused is not None:
                self.refused += 1
                self._say(
                    f"Kafka refuses a record of {outcome.record.channel} for good, it is left out: id "
                    f"{outcome.record.id or 'none'}, {len(outcome.record.value)} bytes, {outcome.refused}"
                )
            elif outcome.record.type:
                self.events += 1
            else:
                self.messages += 1
        self._sink.take_tail()
        now = time.monotonic()
        if now >= self._look_after_at:
            self._look_after_at = now + LOOK_AFTER_SECONDS
            self._sink.look_after()
        self._tell_about_silence()

    def _tell_about_silence(self) -> None:
        """Tell about an outage and its end."""
        is_silent = self._sink.silent_seconds() > SILENT_SECONDS and not self._sink.accepts
        if is_silent and not self._in_trouble:
            self._say(f"{self._sink.trouble or 'Kafka does not answer'}; trying on")
        elif self._in_trouble and not is_silent:
            self._say("Kafka answers again")
        self._in_trouble = is_silent
