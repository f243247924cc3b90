"""One run: start, chat with faults, and the wait until everything is in Kafka."""

import time
from collections.abc import Iterator
from concurrent.futures import Future

from tests.fakes.fake_twitch import chat_line
from tests.processes.service import wait_until
from tests.soak.faults import Fault
from tests.soak.ledger import Verdict
from tests.soak.stage import Stage
from tests.soak.table import Measures
from tests.soak.topic import TopicNumbers, message_id
from tests.soak.workers import measure

START_SECONDS = 180.0
WARM_UP_SECONDS = 20.0
PROGRESS_SECONDS = 30.0
FAULT_EVERY_SECONDS = (3.0, 8.0)
QUIET_SECONDS = 10.0
SETTLE_SECONDS = 120.0
TICK_SECONDS = 0.1


class Run:
    """``seconds`` is how long the chat lasts, ``per_second`` each channel's messages a second."""

    def __init__(self, stage: Stage, faults: tuple[Fault, ...], seconds: float, per_second: float) -> None:
        self.stage = stage
        self.began = 0.0
        """When the chat began."""
        self.early: Measures = {}
        self.late: Measures = {}
        self.settled_seconds = 0.0
        """How long everything took to be there after the last message."""
        self._faults = faults
        self._seconds = seconds
        self._per_second = per_second
        self._over = False
        self._fault_at = 0.0
        self._progress_at = 0.0

    def start(self) -> None:
        """Start the service and wait until every reader is in its channel."""
        stage = self.stage
        stage.service.set_channels(*stage.channels)
        stage.service.start()
        wait_until(
            lambda: all(stage.twitch.members(channel) >= stage.readers for channel in stage.channels),
            lambda: f"every reader in its channel; {stage.twitch} {stage.service.logs()}",
            START_SECONDS,
        )
        wait_until(
            lambda: set(stage.supervisor.states().values()) == {"RUNNING"},
            lambda: f"everything RUNNING; {stage.supervisor.states()} {stage.service.logs()}",
        )

    def chat(self) -> None:
        """Chat for the time of the run, with faults after the warm-up."""
        self.began = time.monotonic()
        self._progress_at = self.began + PROGRESS_SECONDS
        playing = [self._talk(channel) for channel in self.stage.channels]
        self._go_on(self.began + min(WARM_UP_SECONDS, self._seconds), faults=False)
        self.early = measure(self.stage.supervisor)
        self._go_on(self.began + self._seconds, faults=True)
        self._over = True
        for one in playing:
            one.result(30)

    def settle(self, topic: TopicNumbers) -> Verdict:
        """Make everything healthy, read the topic until nothing comes any more, judge."""
        stage = self.stage
        stage.heal()
        began = grown_at = time.monotonic()
        while True:
            stage.tick()
            now = time.monotonic()
            if topic.poll():
                grown_at = now
            verdict = None
            if now - began >= SETTLE_SECONDS:
                stage.notes[f"not settled within {SETTLE_SECONDS:.0f} s"] += 1
                verdict = self._verdict(topic)
            elif now - grown_at >= QUIET_SECONDS and self._healthy():
                verdict = self._verdict(topic)
                if verdict.count("lost"):
                    verdict = None
            if verdict is not None:
                break
            time.sleep(TICK_SECONDS)
        self.settled_seconds = grown_at - began
        self.late = measure(stage.supervisor)
        return verdict

    def _verdict(self, topic: TopicNumbers) -> Verdict:
        return self.stage.ledger.verdict(topic.numbers)

    def _healthy(self) -> bool:
        stage = self.stage
        return not stage.outage and all(
            stage.twitch.members(channel) >= stage.readers for channel in stage.channels
        )

    def _go_on(self, end: float, faults: bool) -> None:
        while (now := time.monotonic()) < end:
            self.stage.tick()
            if faults and now >= self._fault_at and not self.stage.outage:
                self._make_fault()
                self._fault_at = now + self.stage.chance.uniform(*FAULT_EVERY_SECONDS)
            if now >= self._progress_at:
                self._progress_at += PROGRESS_SECONDS
                self._print_progress(now)
            time.sleep(TICK_SECONDS)

    def _make_fault(self) -> None:
        """One that can be made now; none when none can."""
        left = [fault for fault in self._faults if fault.when(self.stage)]
        while left:
            fault = self.stage.chance.choices(left, [one.weight for one in left])[0]
            at = time.monotonic()
            target = fault.act(self.stage)
            if target is not None:
                self.stage.note_fault(fault.name, target, at)
                return
            left.remove(fault)

    def _print_progress(self, now: float) -> None:
        ledger = self.stage.ledger
        print(
            f"{now - self.began:5.0f} s: {ledger.said:,} messages, {len(ledger.happened)} faults", flush=True
        )

    def _talk(self, channel: str) -> Future[None]:
        lines = self._lines(channel)
        return self.stage.twitch.start_saying(
            channel,
            lambda: next(lines, None),
            self._per_second,
            lambda heard: None if heard else self.stage.ledger.nobody_heard(channel),
        )

    def _lines(self, channel: str) -> Iterator[bytes]:
        # Made once: a line from its parts costs as much as sending it.
        template = chat_line(
            channel, "invented message NUMBER Kappa", id="NUMBER", tmi_sent_ts="MOMENT", emotes="25:0-7"
        )
        while not self._over:
            number = self.stage.ledger.say(channel, time.monotonic())
            moment = str(time.time_ns() // 1_000_000).encode()
            yield template.replace(b"NUMBER", message_id(channel, number).encode()).replace(b"MOMENT", moment)
