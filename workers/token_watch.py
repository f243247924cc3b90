"""Notices what others do to the token file."""

from dataclasses import dataclass
from typing import Literal

from loguru import logger

from shared.errors import TokenFileDamaged
from shared.token_file import StoredTokens
from shared.token_store import TokenStore


@dataclass(frozen=True)
class NoFile:
    """There is no token file."""


@dataclass(frozen=True)
class Unusable:
    """There is one that cannot be read, or holds no tokens; ``reason`` says so in words."""

    reason: str


Found = StoredTokens | NoFile | Unusable
_NOT_LOOKED: Literal["not looked"] = "not looked"


class TokenWatch:
    """Looks at the file, and reads it only when it has changed."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._signature: tuple[int, ...] | str | None = _NOT_LOOKED
        self._known: Found | None = None
        self._doubtful: tuple[object, Found] | None = None

    def changed(self) -> bool:
        """Whether the file is another one than that of the last ``look``."""
        return self._look_at() != self._signature

    def look(self) -> Found | None:
        """What is there now; None when it is what was there before.

        That it is gone or damaged counts when two calls have found it so: editors write in several steps.
        """
        signature = self._look_at()
        if signature == self._signature:
            return None
        found = self._read()
        if self._is_doubtful(found) and self._doubtful != (signature, found):
            self._doubtful = (signature, found)
            return None
        self._doubtful = None
        # What closing the file to others changes is looked at by the next call.
        self._signature = signature
        if found == self._known and not isinstance(found, Unusable):
            return None
        self._known = found
        return found

    def _is_doubtful(self, found: Found) -> bool:
        return isinstance(found, Unusable) or (isinstance(found, NoFile) and self._known is not None)

    def _look_at(self) -> tuple[int, ...] | str | None:
        try:
            return self._store.signature()
        except OSError as error:
            return f"cannot be looked at ({error.strerror})"

    def _read(self) -> Found:
        try:
            self.close_to_others()
            return self._store.read()
        except FileNotFoundError:
            return NoFile()
        except TokenFileDamaged as error:
            return Unusable(str(error))
        except OSError as error:
            return Unusable(f"{self._store.name} cannot be read ({error.strerror})")

    def close_to_others(self) -> None:
        """Make the file's mode 0600, with a warning. Raises FileNotFoundError."""
        try:
            if self._store.close_to_others():
                logger.warning("{} was open to others, its mode is 0600 now", self._store.name)
        except FileNotFoundError:
            raise
        except OSError as error:
            # Another user's file, or a file system that is read-only: the token can be used all the same.
            logger.warning("the mode of {} cannot be made 0600 ({})", self._store.name, error.strerror)
