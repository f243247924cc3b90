"""The token file for those who write it: the token-refresher and the sign-in commands.

A refresh token may work only once, so whoever uses it or replaces the file holds the lock beside the file
meanwhile, and stores the new tokens before anything else happens.
"""

import asyncio
import contextlib
import errno
import fcntl
import glob
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from shared.atomic_file import check_replaceable, replace_file
from shared.errors import TokenFileDamaged
from shared.timing import Deadline
from shared.token_file import StoredTokens, read_content, read_fields, read_tokens

LOCK_SECONDS = 30.0
LOCK_LOOK_SECONDS = 0.1
# More than the file ever has of our own.
_ROOM_BYTES = 8192


class TokenStore:
    """The file at ``path``, or where a symbolic link there leads to."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path

    @property
    def _target(self) -> Path:
        # Replacing the link itself would leave the file that it names behind.
        return Path(os.path.realpath(self._path))

    @contextlib.asynccontextmanager
    async def locked(self, wait_seconds: float = LOCK_SECONDS) -> AsyncIterator[None]:
        """Keep every other process that uses the file this way out; waits for them.

        Raises OSError; TimeoutError, which is one, when somebody holds the lock for longer than that.
        """
        lock = self._target.with_name(f"{self._target.name}.lock")
        deadline = Deadline(wait_seconds)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _take(descriptor):
                if deadline.passed():
                    raise TimeoutError(errno.ETIMEDOUT, f"another process holds {lock.name}")
                await asyncio.sleep(LOCK_LOOK_SECONDS)
            self._remove_leftovers()
            yield
        finally:
            # The file stays: one that is removed could be locked twice.
            os.close(descriptor)

    def signature(self) -> tuple[int, ...] | None:
        """Changes with the file; None when there is none. Raises OSError when it cannot be looked at."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)

    def read(self) -> StoredTokens:
        """What the file holds. Raises FileNotFoundError, another OSError, or TokenFileDamaged."""
        return read_tokens(self._path)

    def write(self, access_token: str, refresh_token: str | None, life_seconds: float) -> int:
        """Replace the file, on disk when this returns; keys of others stay as they are.

        ``access_token`` is without its ``oauth:``, ``refresh_token`` None when there is none. Gives when the
        token expires, Unix milliseconds. Raises OSError; then the old file is untouched.
        """
        expires_at_ms = int((time.time() + life_seconds) * 1000)
        try:
            fields = read_fields(self._target)
        except (FileNotFoundError, TokenFileDamaged):
            fields = {}
        new: dict[str, object] = {"accessToken": f"oauth:{access_token}", "refreshToken": refresh_token}
        content = msgspec.json.encode(fields | new | {"expiresAt": expires_at_ms})
        replace_file(self._target, msgspec.json.format(content, indent=2) + b"\n", 0o600, durable=True)
        return expires_at_ms

    def check_usable(self) -> None:
        """Raise the OSError that a sign-in would end with: not readable, not writable, disk full."""
        with contextlib.suppress(FileNotFoundError):
            read_content(self._target)
        check_replaceable(self._target, _ROOM_BYTES)

    def rehearse(self) -> None:
        """Do all that ``write`` does, with what is there, before a refresh token is spent for nothing.

        To be called with the lock. Raises the OSError that ``write`` would, also where a file can be written
        and not be replaced: one that is mounted by itself, or another user's.
        """
        content = read_content(self._target)
        check_replaceable(self._target, len(content) + _ROOM_BYTES)
        replace_file(self._target, content, 0o600, durable=True)

    def close_to_others(self) -> bool:
        """Take all rights from group and others; True when there were any. Raises OSError.

        What is no file is left alone.
        """
        found = self._target.stat()
        if not stat.S_ISREG(found.st_mode) or not stat.S_IMODE(found.st_mode) & 0o077:
            return False
        self._target.chmod(0o600)
        return True

    def keep_copy(self) -> Path:
        """Copy the file as it is beside itself, mode 0600, in place of an earlier copy. Raises OSError.

        So it does for what is no file; nothing waits for a named pipe.
        """
        copy = self._target.with_name(f"{self._target.name}.damaged")
        replace_file(copy, read_content(self._target), 0o600, durable=True)
        return copy

    def _remove_leftovers(self) -> None:
        # Of writers that were killed: only who has the lock writes.
        name = self._target.name
        for path in self._target.parent.glob(f".{glob.escape(name)}.*.new"):
            if path.name.removeprefix(f".{name}.").removesuffix(".new").isdigit():
                path.unlink(missing_ok=True)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
