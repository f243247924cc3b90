"""The steps of a replay: look through the files, look through the topics, send what is missing."""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loguru import logger

from commands.record_display import Progress
from commands.replay_records import FileRecords, rooms_in
from commands.replay_sending import Sending
from shared import log_setup, settings
from shared.errors import ServiceError
from shared.paths import Paths
from shared.record import Record
from shared.reports import ProducerReport
from shared.settings import Settings
from shared.status_file import read_status
from shared.stopping import Stop
from workers.kafka_presence import Wanted, identity_of, remove_present, retentions_ms

PROGRAM = "replay"
# What is known of each while the topics are looked through takes about 85 bytes.
RECORDS_AT_ONCE = 1_000_000
_CHECK_EVERY_LINES = 1000
_HOUR_MS = 3_600_000


class SpoolNotEmpty(ServiceError):
    """Messages wait for Kafka in the service's spool. Retry when they are delivered."""


class _EndedEarly(Exception):
    """The user wants it to end."""


def replay(files: Sequence[Path], stop: Stop) -> bool:
    """Play the files into the topics; False when ``stop`` was requested before the end.

    Raises ServiceError, and OSError of a file that cannot be read.
    """
    paths = Paths.of_project()
    configured = settings.load(paths)
    progress = Progress(PROGRAM)
    for warning in configured.warnings:
        progress.say(warning)
    _check_spool(paths)
    with progress.shown():
        # Here, so that the log goes where the progress is shown.
        log_setup.set_up(PROGRAM, "warning", configured.log_format, settings.secrets_of(configured))
        # What this would say of rejected lines is in the last line.
        logger.disable("workers.intake")
        replaying = _Replay(configured, files, stop, progress)
        try:
            is_complete = replaying.run()
        except (ServiceError, OSError):
            if replaying.has_added:
                print(replaying.summary(is_complete=False), flush=True)
            raise
        finally:
            replaying.sending.close()
    print(replaying.summary(is_complete), flush=True)
    return is_complete


def _check_spool(paths: Paths) -> None:
    """What waits there may be in the files, too, and would be in the topics twice later."""
    status = read_status(paths.status / "producer.json", ProducerReport)
    if status is not None and status.report.spooled:
        raise SpoolNotEmpty(
            f"{status.report.spooled} messages of the service wait in its spool: let it deliver them first, "
            "make status shows when that is done"
        )


class _Replay:
    """One run. ``sending`` is to be closed afterwards."""

    def __init__(self, configured: Settings, files: Sequence[Path], stop: Stop, progress: Progress) -> None:
        self._settings = configured
        self._files = files
        self._stop = stop
        self._progress = progress
        self.sending = Sending(configured, stop, progress.say)
        self._rooms: set[str] = set()
        self._lines = 0
        self._records = 0
        self._unique = 0
        self._present = 0
        self._undated = 0
        self._rejected: Counter[str] = Counter()
        self._is_told_of_retention = False

    def run(self) -> bool:
        """Do it; False when it ended early."""
        try:
            self.sending.connect()
            self._go_on()
            if self._settings.shared_chat == "once":
                self._look_for_rooms()
            left = list(self._files)
            while left:
                group, wanted = self._look_through_files(left)
                self._look_through_topics(wanted)
                self._send(group, wanted)
        except _EndedEarly:
            self.sending.finish(lambda: None)
            return False
        return True

    @property
    def has_added(self) -> bool:
        """Whether anything is in Kafka that was not there before."""
        return bool(self.sending.messages or self.sending.events)

    def summary(self, is_complete: bool) -> str:
        """The last line."""
        sending = self.sending
        added = f"{sending.messages:,} messages"
        if self._settings.kafka_topic_chat_events:
            added += f" and {sending.events:,} events"
        rejected = self._rejected.total() + sending.refused
        parts = [
            f"{self._lines:,} lines read",
            f"{added} added",
            f"{self._present:,} already there",
            f"{rejected:,} rejected" + (f" ({_reasons(self._rejected)})" if self._rejected else ""),
        ]
        if doubled := self._records - self._unique:
            parts.append(f"{doubled:,} doubled in the files")
        if self._undated:
            parts.append(f"{self._undated:,} lines without any time left out")
        if not is_complete:
            on_their_way = f" and {sending.pending:,} were on their way" if sending.pending else ""
            parts.append(f"it was ended early{on_their_way}; run it again to add what is missing")
        return f"{PROGRAM}: {', '.join(parts)}"

    def _go_on(self) -> None:
        if self._stop.requested:
            raise _EndedEarly

    def _look_for_rooms(self) -> None:
        for path in self._files:
            self._progress.update(functools.partial("looking for rooms in {}".format, path.name))
            self._rooms |= rooms_in(path)
            self._go_on()

    def _look_through_files(self, left: list[Path]) -> tuple[list[Path], dict[str, Wanted]]:
        """Take files from ``left`` up to the bound; what is in them, by topic."""
        wanted = {topic: Wanted() for topic in self._settings.topics}
        group: list[Path] = []
        while left and sum(len(one.identities) for one in wanted.values()) < RECORDS_AT_ONCE:
            group.append(left.pop(0))
            self._look_through_file(group[-1], wanted)
        self._unique += sum(len(one.identities) for one in wanted.values())
        return group, wanted

    def _look_through_file(self, path: Path, wanted: dict[str, Wanted]) -> None:
        records = self._records_of(path)
        for record in self._watched(records, lambda: f"reading {path.name}: {records.lines:,} lines"):
            one = wanted[self._topic_of(record)]
            one.identities.add(identity_of(record))
            one.earliest_ms = min(one.earliest_ms, record.timestamp_ms)
            self._records += 1
        self._note(path, records)

    def _look_through_topics(self, wanted: dict[str, Wanted]) -> None:
        """Remove what is there from ``wanted``."""
        before = sum(len(one.identities) for one in wanted.values())
        self._warn_of_retention(wanted)

        def told(looked_at: int) -> bool:
            self._progress.update(lambda: f"looking for what is there already: {looked_at:,} records")
            return not self._stop.requested

        remove_present(self._settings, wanted, told)
        self._go_on()
        self._present += before - sum(len(one.identities) for one in wanted.values())

    def _send(self, group: Sequence[Path], wanted: dict[str, Wanted]) -> None:
        """Send those of ``wanted``, each once, in the order of the files."""
        missing = sum(len(one.identities) for one in wanted.values())
        done = self.sending.messages + self.sending.events + self.sending.refused

        def state() -> str:
            delivered = self.sending.messages + self.sending.events + self.sending.refused - done
            return f"adding: {delivered:,} of {missing:,} records"

        for path in group if missing else ():
            for record in self._watched(self._records_of(path), state):
                identities = wanted[self._topic_of(record)].identities
                identity = identity_of(record)
                if identity in identities:
                    self._go_on()
                    identities.discard(identity)
                    self.sending.send(record)
        self.sending.finish(lambda: self._progress.update(state))
        self._go_on()

    def _records_of(self, path: Path) -> FileRecords:
        return FileRecords(self._settings, path, self._rooms.__contains__)

    def _watched(self, records: FileRecords, state: Callable[[], str]) -> Iterator[Record]:
        """The records; ends early when the user wants it."""
        checked = 0
        for record in records:
            yield record
            if records.lines - checked >= _CHECK_EVERY_LINES:
                checked = records.lines
                self._progress.update(state)
                self._go_on()
        self._go_on()

    def _note(self, path: Path, records: FileRecords) -> None:
        self._lines += records.lines
        self._undated += records.undated
        self._rejected.update(records.rejected)
        if records.trouble:
            self._progress.say(
                f"{path} {records.trouble}; the {records.lines:,} lines before that are replayed"
            )
        elif not records.lines:
            self._progress.say(f"{path} has no lines")

    def _topic_of(self, record: Record) -> str:
        return self._settings.topics[bool(record.type)]

    def _warn_of_retention(self, wanted: dict[str, Wanted]) -> None:
        """Kafka goes by the records' own timestamps when it deletes old ones."""
        if self._is_told_of_retention or not any(one.identities for one in wanted.values()):
            return
        now_ms = time.time_ns() // 1_000_000
        short = [
            f"topic {topic} keeps records for {kept_ms / _HOUR_MS:g} hours"
            for topic, kept_ms in retentions_ms(self._settings).items()
            if kept_ms >= 0 and wanted[topic].identities and wanted[topic].earliest_ms < now_ms - kept_ms
        ]
        if short:
            self._is_told_of_retention = True
            self._progress.say(
                f"{' and '.join(short)}, and some of these are older: Kafka will soon delete them; to keep "
                "them, set retention.ms=-1 on the topic by kafka-configs, or KAFKA_TOPIC_RETENTION_MS=-1 "
                "before the service makes it"
            )


def _reasons(rejected: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(rejected.items()))
