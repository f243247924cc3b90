"""The spool: messages that Kafka does not take now, on disk and in order.

An SQLite database in WAL mode. The producer appends, reads on and removes; a reader that has to stop while
no producer is there leaves its rest, which the producer takes over later. Every commit is on disk when it
returns.
"""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from loguru import logger

from shared.errors import SpoolError
from shared.record import Record
from shared.reports import LOST_SPOOL_DAMAGED, LOST_SPOOL_FULL
from shared.seen_ids import key_of_record
from shared.spool_file import (
    PAGE_BYTES,
    code_of,
    connect,
    count_channels,
    delete,
    delete_rests,
    encode,
    first_blobs,
    insert,
    reason_of,
    transaction,
    used_pages,
)
from shared.timing import Reminder

# For the write-ahead log's sake.
TRANSACTION_BYTES = 1024 * 1024
# Some hundred readers may stop at once, and each has its turn; supervisord kills a reader after 8 s.
LEAVE_SECONDS = 3.5
# Looking through a larger file at the start would take seconds; damage shows when it is read.
CHECK_BYTES = 64 * 1024 * 1024
SHRINK_BYTES = 8 * 1024 * 1024
_ROW_OVERHEAD_BYTES = 20
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_Result = TypeVar("_Result")
_decode = msgspec.msgpack.Decoder(Record).decode


class Spool:
    """The producer's view of the spool. ``max_bytes`` bounds its files together.

    The file is opened, or made, when it is needed first, and again after a failure.

    Messages have growing numbers. ``lost`` counts what was given up, by channel and reason: the oldest when
    the bound is reached, and what was in a damaged file, which is moved aside and replaced by an empty one.
    Whatever else goes wrong raises SpoolError; nothing is stored or removed then.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.lost: Counter[tuple[str, str]] = Counter()
        self._path = path
        self._log_bytes = min(8 * 1024 * 1024, max_bytes // 4)
        self._max_pages = max(16, (max_bytes - self._log_bytes) // PAGE_BYTES)
        self._database: sqlite3.Connection | None = None
        self._stored: Counter[str] = Counter()
        self._unsent: Counter[str] = Counter()
        # Numbers up to this one were given out by `read_on`, or are on their way from the beginning.
        self._cursor = 0
        self._newest = 0
        # Smaller numbers were in a file that is gone.
        self._first = 0
        self._loaded = False
        self._data_version = -1
        self._full_reminder = Reminder(60.0)

    @property
    def messages(self) -> int:
        """How many are stored."""
        return self._stored.total()

    @property
    def bytes_on_disk(self) -> int:
        """Size of its files together; 0 where there are none."""
        size = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                size += self._path.with_name(self._path.name + suffix).stat().st_size
        return size

    @property
    def unsent(self) -> int:
        """How many ``read_on`` will still give."""
        return self._unsent.total()

    def close(self) -> None:
        """Close the file; what is stored stays."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def append(self, records: Sequence[Record], sent: bool = False) -> range:
        """Store as many of ``records``, from the first, as one transaction takes; give their numbers.

        ``sent``: they are on their way to Kafka already; unless older ones are to be sent, ``read_on`` leaves
        them out.
        """
        blobs = first_blobs(records, min(TRANSACTION_BYTES, self._log_bytes // 4))
        taken = Counter(record.channel for record in records[: len(blobs)])

        def store(database: sqlite3.Connection) -> range:
            self._make_room(database, sum(map(len, blobs)) + _ROW_OVERHEAD_BYTES * len(blobs))
            with transaction(database):
                newest = insert(database, blobs)
                count_channels(database, taken)
            return range(newest - len(blobs) + 1, newest + 1)

        numbers = self._run(store)
        self._newest = numbers[-1]
        self._stored += taken
        if sent and not self.unsent:
            self._cursor = self._newest
        else:
            self._unsent += taken
        return numbers

    def read_on(self, limit: int) -> list[tuple[int, Record]]:
        """The next messages with their numbers, in order, each once; they stay stored until ``remove``."""
        if not self.unsent:
            return []
        rows = self._run(
            lambda database: database.execute(
                "SELECT number, record FROM message WHERE number > ? ORDER BY number LIMIT ?",
                (self._cursor, limit),
            ).fetchall()
        )
        if not rows:
            # Counters that a crash of the machine left behind their rows.
            self._unsent.clear()
            return []
        self._cursor = rows[-1][0]
        found = [(number, self._decoded(blob)) for number, blob in rows]
        self._unsent -= Counter(record.channel for _number, record in found if record is not None)
        unreadable = [number for number, record in found if record is None]
        if unreadable:
            self._count_unreadable(len(unreadable))
            with contextlib.suppress(SpoolError):
                self._run(lambda database: delete(database, unreadable, Counter()))
        return [(number, record) for number, record in found if record is not None]

    def remove(self, messages: Iterable[tuple[int, str]]) -> None:
        """Forget messages, each given as its number and channel."""
        valid = [(number, channel) for number, channel in messages if number >= self._first]
        counts = Counter(channel for _number, channel in valid)
        self._run(lambda database: delete(database, [number for number, _channel in valid], counts))
        self._stored -= counts
        self._unsent -= Counter(channel for number, channel in valid if number > self._cursor)
        if not self.messages:
            self._shrink()

    def newest_keys(self, limit: int) -> list[str]:
        """What ``seen_ids.key_of_record`` says of the ``limit`` messages that were stored last, oldest first.

        Those without an id are left out.
        """

        def read(database: sqlite3.Connection) -> list[str]:
            rows = database.execute("SELECT record FROM message ORDER BY number DESC LIMIT ?", (limit,))
            # One at a time: together they may be hundreds of megabytes.
            records = (self._decoded(blob) for (blob,) in rows)
            return [key_of_record(record) for record in records if record is not None and record.id]

        return self._run(read)[::-1]

    def changed_by_others(self) -> bool:
        """Whether another process has written to the file since the last call; True at the first."""
        before = self._data_version
        self._data_version = self._run(
            lambda database: int(database.execute("PRAGMA data_version").fetchone()[0])
        )
        return self._data_version != before

    def rests(self, limit: int) -> list[tuple[int, str, Record]]:
        """The oldest messages that readers have left here: number among the rests, reader, message."""
        rows = self._run(
            lambda database: database.execute(
                "SELECT number, reader, record FROM rest ORDER BY number LIMIT ?", (limit,)
            ).fetchall()
        )
        found = [(number, reader, self._decoded(blob)) for number, reader, blob in rows]
        unreadable = [number for number, _reader, record in found if record is None]
        if unreadable:
            self._count_unreadable(len(unreadable))
            self._run(lambda database: delete_rests(database, unreadable))
        return [(number, reader, record) for number, reader, record in found if record is not None]

    def take_over(self, up_to: int, records: Sequence[Record]) -> None:
        """Store ``records`` in place of the rests with numbers up to ``up_to``."""
        taken = Counter(record.channel for record in records)

        def move(database: sqlite3.Connection) -> int:
            with transaction(database):
                newest = insert(database, [encode(record) for record in records])
                count_channels(database, taken)
                database.execute("DELETE FROM rest WHERE number <= ?", (up_to,))
            return newest

        self._newest = max(self._newest, self._run(move))
        self._stored += taken
        self._unsent += taken

    def _decoded(self, blob: bytes) -> Record | None:
        try:
            return _decode(blob)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError):
            return None

    def _count_unreadable(self, count: int) -> None:
        self.lost["", LOST_SPOOL_DAMAGED] += count
        logger.error("spool: {} messages could not be read and are lost", count)

    def _make_room(self, database: sqlite3.Connection, needed_bytes: int) -> None:
        """Drop the oldest that are not on their way, until ``needed_bytes`` more are within the bound."""
        allowed = self._max_pages - needed_bytes // PAGE_BYTES - 1
        # A small part of the whole at a time.
        at_once = min(1000, max(10, self._max_pages // 16))
        while used_pages(database) > allowed:
            rows = database.execute(
                "SELECT number, record FROM message WHERE number > ? ORDER BY number LIMIT ?",
                (self._cursor, at_once),
            ).fetchall()
            if not rows:
                raise SpoolError("the spool has reached SPOOL_MAX_BYTES")
            records = [self._decoded(blob) for _number, blob in rows]
            dropped = Counter(record.channel if record else "" for record in records)
            delete(database, [number for number, _blob in rows], dropped)
            self._cursor = rows[-1][0]
            self._stored -= dropped
            self._unsent -= dropped
            self.lost.update({(channel, LOST_SPOOL_FULL): count for channel, count in dropped.items()})
            self._log_full()

    def _log_full(self) -> None:
        if self._full_reminder.is_due():
            lost = sum(count for (_channel, reason), count in self.lost.items() if reason == LOST_SPOOL_FULL)
            logger.error(
                "spool: SPOOL_MAX_BYTES is reached, the oldest messages are dropped, {} lost so far; "
                "bring Kafka back or raise SPOOL_MAX_BYTES",
                lost,
            )

    def _shrink(self) -> None:
        """Give the disk back what a long outage took."""

        def shrink(database: sqlite3.Connection) -> None:
            if database.execute("PRAGMA page_count").fetchone()[0] * PAGE_BYTES > SHRINK_BYTES:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        with contextlib.suppress(SpoolError):
            self._run(shrink)

    def _run(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do ``work``; when the file turns out to be damaged, do it on a new one."""
        try:
            try:
                return work(self._opened())
            except sqlite3.DatabaseError as error:
                if code_of(error) not in _DAMAGE:
                    raise
                self._replace_damaged(error)
                return work(self._opened())
        except (sqlite3.Error, OSError) as error:
            # Opened anew at the next attempt: the trouble may have been with this descriptor.
            self.close()
            raise SpoolError(f"the spool {self._path} cannot be used: {reason_of(error)}") from None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            database = connect(self._path, self._log_bytes)
            self._database = database
            if database.execute("PRAGMA page_count").fetchone()[0] * PAGE_BYTES <= CHECK_BYTES:
                verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
                if verdict != "ok":
                    damage = sqlite3.DatabaseError(verdict)
                    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                    raise damage
            self._load(database)
        return self._database

    def _load(self, database: sqlite3.Connection) -> None:
        row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
        if row is None and self._newest:
            # A new file in place of a damaged one goes on with its numbers.
            database.execute("INSERT INTO sqlite_sequence VALUES ('message', ?)", (self._newest,))
        if not self._loaded:
            self._loaded = True
            self._newest = max(self._newest, row[0] if row else 0)
            self._stored = Counter(dict(database.execute("SELECT channel, messages FROM waiting")))
            self._unsent = Counter(self._stored)

    def _replace_damaged(self, error: Exception) -> None:
        lost, known = Counter(self._unsent), self._loaded
        if not known and self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                lost = Counter(dict(self._database.execute("SELECT channel, messages FROM waiting")))
                known = True
        self.close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).replace(aside.with_name(aside.name + suffix))
        self.lost.update({(channel, LOST_SPOOL_DAMAGED): count for channel, count in lost.items()})
        self._stored.clear()
        self._unsent.clear()
        self._cursor = self._newest
        self._first = self._newest + 1
        logger.error(
            "spool: the file is damaged ({}), a new one is made; {} messages are lost unless you get them "
            "out of {}",
            str(error).splitlines()[-1],
            lost.total() if known else "an unknown number of",
            aside,
        )


def leave_rest(path: Path, max_bytes: int, reader: str, records: Iterable[Record]) -> None:
    """Put what the program ``reader`` could not hand off into the spool, all or nothing.

    Raises SpoolError.
    """
    log_bytes = min(8 * 1024 * 1024, max_bytes // 4)
    # Before the file is held: others wait for it.
    rows = [(reader, encode(record)) for record in records]
    try:
        with contextlib.closing(connect(path, log_bytes, LEAVE_SECONDS)) as database, transaction(database):
            database.executemany("INSERT INTO rest (reader, record) VALUES (?, ?)", rows)
            if used_pages(database) * PAGE_BYTES > max_bytes - log_bytes:
                raise SpoolError("the spool has reached SPOOL_MAX_BYTES")
    except (sqlite3.Error, OSError) as error:
        raise SpoolError(f"the spool {path} cannot be used: {reason_of(error)}") from None
