"""The service under test, the Twitch that it reads, and what is wrong with both at the moment."""

import heapq
import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared.channel_list import group_name, names_of_copies, reader_name
from shared.paths import Paths
from shared.reader_groups import Groups, numbers_by_login, read_groups
from tests.fakes.fake_twitch import Connection, FakeTwitch
from tests.processes.service import Service
from tests.soak.ledger import Happened, Ledger, Window
from tests.soak.producer_watch import ProducerWatch
from tests.soak.workers import Supervisor

# A connection that is younger may still miss what its sibling has.
SETTLED_SECONDS = 2.0
# What was read before the producer went may not have been durable yet.
DURABLE_AFTER_SECONDS = 10.0
# The watchdog has 30 s to notice a hung worker and to restart it.
HUNG_SECONDS = 60.0


@dataclass(frozen=True)
class Hung:
    """A worker that was sent SIGSTOP."""

    program: str
    process: psutil.Process
    since: float


class Stage:
    """Everything a fault needs. One thread uses it; ``tick`` has to be called again and again.

    ``readers`` is how many each channel has; ``chance`` decides what is left to it.
    """

    def __init__(
        self,
        service: Service,
        twitch: FakeTwitch,
        ledger: Ledger,
        channels: tuple[str, ...],
        readers: int,
        chance: random.Random,
    ) -> None:
        self.service = service
        self.twitch = twitch
        self.ledger = ledger
        self.channels = channels
        self.readers = readers
        self.chance = chance
        self.supervisor = Supervisor(service.folder / "run")
        self.producer = ProducerWatch(self.supervisor)
        self.busy: set[str] = set()
        """Faults that last and must not be made twice at once, by a name of theirs."""
        self.notes: Counter[str] = Counter()
        """What else was noticed."""
        self.outage_at = float("-inf")
        """When supervisord was killed last."""
        self.hung: list[Hung] = []
        self._held: dict[str, float] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._log: Path = service.folder / "logs" / "soak.log"

    def note_fault(self, name: str, target: str, at: float) -> None:
        """Remember a fault, also in a log beside those of the workers."""
        self.ledger.happened.append(Happened(at, name, target))
        with self._log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {name}: {target}\n")

    def tick(self) -> None:
        """Do what is due, and see what is well again."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()
        self._see_to_hung(now)
        self.producer.look(now)
        for window in self.ledger.open_windows():
            window.ended = self._ended(window)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done in so many seconds, such as the undoing of a fault."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))

    def heal(self) -> None:
        """Undo now what was to be undone later, and let hung workers go on."""
        due, self._due = self._due, []
        for _at, _order, action in sorted(due):
            action()
        self.wake_hung()

    def away(self, channel: str | None) -> list[Window]:
        """Note that a reader or connection of the channel goes now; None: those of all channels."""
        excuses = channel is None or self.readers == 1
        at = time.monotonic()
        gone = (None,) if channel is None else self._companions(channel)
        windows = [Window(one, at, excuses) for one in gone]
        self.ledger.windows += windows
        return windows

    def was_there(self, windows: list[Window]) -> None:
        """Take back what was noted: nothing has gone."""
        for window in windows:
            self.ledger.windows.remove(window)

    def hold(self, channel: str, seconds: float) -> None:
        """Leave the channel alone for so long, and those that share its reader."""
        for one in self._companions(channel):
            self._held[one] = max(self._held.get(one, 0.0), time.monotonic() + seconds)

    @property
    def outage(self) -> bool:
        """Whether supervisord is away, or not everything is back yet."""
        return any(window.channel is None for window in self.ledger.open_windows())

    def ready_channels(self) -> list[str]:
        """Channels that can do without one of their connections (1 reader: that have one at all).

        So can those that share its reader.
        """
        now = time.monotonic()
        open_now = {window.channel for window in self.ledger.open_windows()}
        if None in open_now:
            return []
        ready = {
            channel
            for channel in self.channels
            if channel not in open_now
            and self._held.get(channel, 0.0) <= now
            and self._settled(channel, now) >= self.readers
            and self._whole_in_memory(channel)
        }
        return [one for one in self.channels if one in ready and ready.issuperset(self._companions(one))]

    def a_connection(self, channel: str) -> Connection | None:
        """One of the channel's connections; None when they have just gone."""
        members = self.twitch.in_channel(channel)
        return self.chance.choice(members) if len(members) >= self.readers else None

    def a_reader(self, channel: str) -> str:
        """The program name of one of the channel's readers."""
        number = numbers_by_login(self._groups()).get(channel)
        first = reader_name(channel) if number is None else group_name(number)
        return self.chance.choice(names_of_copies(first, self.readers))

    def _groups(self) -> Groups:
        return read_groups(Paths(self.service.folder).groups)

    def _companions(self, channel: str) -> tuple[str, ...]:
        """The channels of the soak that have the same reader, itself among them."""
        for members in self._groups().values():
            if channel in members:
                return tuple(one for one in members if one in self.channels)
        return (channel,)

    def signal(self, program: str, number: signal.Signals) -> bool:
        """Send a worker a signal; False when it is not there."""
        process = self.supervisor.process(program)
        try:
            if process is None:
                return False
            if program in ("producer", "supervisord"):
                self.producer.is_harmed()
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        if number == signal.SIGSTOP:
            self.hung.append(Hung(program, process, time.monotonic()))
        return True

    def wake_hung(self, program: str | None = None) -> None:
        """Let hung workers go on; None: all of them."""
        for hung in [one for one in self.hung if program in (None, one.program)]:
            self.hung.remove(hung)
            try:
                hung.process.send_signal(signal.SIGCONT)
            except psutil.NoSuchProcess:
                continue

    def _whole_in_memory(self, channel: str) -> bool:
        """Whether each of two readers alone has all that no producer has taken in.

        Without a producer a killed reader's messages are gone; the same must not happen to both.
        """
        since = self.producer.away_since
        if since is None or self.readers == 1:
            return True
        ends = [window.ended for window in self.ledger.windows if window.channel in (None, channel)]
        latest = max((end for end in ends if end is not None), default=0.0)
        return max(latest, self._held.get(channel, 0.0)) < since - DURABLE_AFTER_SECONDS

    def _settled(self, channel: str, now: float) -> int:
        members = self.twitch.in_channel(channel)
        return sum(now - one.joined_at.get(channel, now) >= SETTLED_SECONDS for one in members)

    def _see_to_hung(self, now: float) -> None:
        for hung in tuple(self.hung):
            if not hung.process.is_running():
                self.hung.remove(hung)
            elif now - hung.since >= HUNG_SECONDS:
                self.hung.remove(hung)
                self.notes[f"hung for {HUNG_SECONDS:.0f} s and not restarted: {hung.program}"] += 1
                hung.process.kill()

    def _ended(self, window: Window) -> float | None:
        """When everything was back: enough connections, and new ones for those that went."""
        channels = self.channels if window.channel is None else (window.channel,)
        ends = [self._back_at(channel, window) for channel in channels]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None

    def _back_at(self, channel: str, window: Window) -> float | None:
        members = [one for one in self.twitch.in_channel(channel) if channel in one.joined_at]
        new = [at for one in members if (at := one.joined_at[channel]) > window.began]
        wanted = self.readers if window.channel is None else 1
        return max(new) if len(members) >= self.readers and len(new) >= wanted else None
