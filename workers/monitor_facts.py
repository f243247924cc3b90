"""What the monitor knows at one time: the workers' reports and supervisord's word. Pure."""

from dataclasses import dataclass, field

from shared.channel_list import group_name, names_of_copies, reader_name
from shared.reports import ProducerReport, ReaderReport, SyncReport, TokenReport, WatchdogReport
from shared.status_file import STALE_SECONDS, Head
from shared.supervisord import Program


@dataclass(frozen=True)
class Usage:
    """What a process takes: per cent of one core over the last seconds, None at first; bytes."""

    cpu_percent: float | None
    memory_bytes: int


@dataclass(frozen=True)
class Facts:
    """None stands for a status file that is not there, and for a supervisord that does not answer."""

    now: float
    """Monotonic seconds, as in the status files."""
    time_ms: int
    """The same moment, Unix milliseconds."""
    copies: int
    """Readers of each channel."""
    heads: dict[str, Head]
    """Of all status files that were read, by program."""
    gone: frozenset[str]
    """Programs whose process of that file does not exist any more."""
    readers: dict[str, ReaderReport]
    """Reports of the wanted readers, by program."""
    producer: ProducerReport
    sync: SyncReport
    token: TokenReport
    watchdog: WatchdogReport
    programs: dict[str, Program] | None
    usage: dict[int, Usage] = field(default_factory=dict)
    """By process id."""
    disk_free_bytes: int | None = None
    """Where the spool is."""

    def is_alive(self, program: str) -> bool:
        """Whether the program runs and reports."""
        head = self.heads.get(program)
        if head is None or head.stopped or program in self.gone:
            return False
        return 0 <= self.now - head.written_monotonic < STALE_SECONDS

    def silent_seconds(self, program: str) -> float | None:
        """For how long a process that is there has not reported; None when it never has."""
        head = self.heads.get(program)
        if head is None or head.stopped or program in self.gone or self.now < head.written_monotonic:
            return None
        return self.now - head.written_monotonic

    def readers_of(self, channel: str) -> list[str]:
        """The programs that read the channel."""
        return readers_of(self.sync, channel, self.copies)


def readers_of(sync: SyncReport, channel: str, copies: int) -> list[str]:
    """The programs that read a wanted channel, of which there are so many."""
    group = sync.groups.get(channel)
    return names_of_copies(reader_name(channel) if group is None else group_name(group), copies)
