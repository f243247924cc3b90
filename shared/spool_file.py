"""The spool's file: its tables, and the steps that its users take on them."""

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from shared.record import Record

PAGE_BYTES = 4096
# How long another process may hold the file: the producer's loop shall not stand still for long.
BUSY_SECONDS = 2.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (number INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rest (
    number INTEGER PRIMARY KEY AUTOINCREMENT, reader TEXT NOT NULL, record BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS waiting (channel TEXT PRIMARY KEY, messages INTEGER NOT NULL) WITHOUT ROWID;
"""

encode = msgspec.msgpack.Encoder().encode


def connect(path: Path, log_bytes: int, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file, or make it. Raises sqlite3.Error and OSError.

    ``log_bytes`` bounds the write-ahead log beside it, ``busy_seconds`` the waiting for other processes.
    """
    # SQLite would make it with the umask's mode; its other files follow this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    try:
        database.execute(f"PRAGMA page_size={PAGE_BYTES}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(f"PRAGMA wal_autocheckpoint={max(8, log_bytes // 2 // PAGE_BYTES)}")
        database.execute(f"PRAGMA journal_size_limit={log_bytes}")
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is done in it, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        # Some errors have rolled it back already.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def insert(database: sqlite3.Connection, blobs: list[bytes]) -> int:
    """Number of the newest message afterwards; 0 when there has never been one."""
    database.executemany("INSERT INTO message (record) VALUES (?)", ((blob,) for blob in blobs))
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
    return int(row[0]) if row else 0


def count_channels(database: sqlite3.Connection, changes: Counter[str]) -> None:
    """Note how many messages of each channel have come, or gone where negative."""
    database.executemany(
        "INSERT INTO waiting VALUES (?, ?) "
        "ON CONFLICT (channel) DO UPDATE SET messages = messages + excluded.messages",
        changes.items(),
    )


def delete(database: sqlite3.Connection, numbers: list[int], channels: Counter[str]) -> None:
    """Remove messages, which are so many of each channel."""
    with transaction(database):
        database.executemany("DELETE FROM message WHERE number = ?", ((number,) for number in numbers))
        count_channels(database, Counter({channel: -count for channel, count in channels.items()}))
        database.execute("DELETE FROM waiting WHERE messages <= 0")


def delete_rests(database: sqlite3.Connection, numbers: list[int]) -> None:
    """Remove what readers have left."""
    with transaction(database):
        database.executemany("DELETE FROM rest WHERE number = ?", ((number,) for number in numbers))


def used_pages(database: sqlite3.Connection) -> int:
    """Pages of the file that hold something."""
    pages: int = database.execute("PRAGMA page_count").fetchone()[0]
    free: int = database.execute("PRAGMA freelist_count").fetchone()[0]
    return pages - free


def first_blobs(records: Sequence[Record], limit_bytes: int) -> list[bytes]:
    """The first of ``records`` as they are stored, one at least, up to the limit."""
    blobs: list[bytes] = []
    left = limit_bytes
    for record in records:
        blob = encode(record)
        left -= len(blob)
        if left < 0 and blobs:
            break
        blobs.append(blob)
    return blobs


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for an error of the Python module itself."""
    # Only errors of SQLite itself have one; the upper bits tell the kind apart.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def reason_of(error: Exception) -> str:
    """The error in words, with what to do."""
    if isinstance(error, sqlite3.Error):
        advice = {sqlite3.SQLITE_FULL: "; free some disk", sqlite3.SQLITE_IOERR: "; is the disk full?"}
        return f"{error}{advice.get(code_of(error), '')}"
    return str(error)
