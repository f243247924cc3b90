"""How readers ask the token-refresher for another token: by a file named after the refused one."""

import contextlib
from pathlib import Path

from loguru import logger


class RefusedTokens:
    """The reports in ``folder``; its files have fingerprints of tokens for names, and no content.

    However many readers report the same token, it is one report.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def report(self, fingerprint: str) -> None:
        """Say that a login with this token was refused; a disk that is full costs one report."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / fingerprint).touch(mode=0o600)
        except OSError as error:
            logger.debug("the refused token could not be reported: {}", error.strerror)

    def take(self, fingerprint: str) -> bool:
        """Whether this token was reported since the last call."""
        try:
            (self._folder / fingerprint).unlink()
        except OSError:
            return False
        return True

    def clear(self) -> None:
        """Forget the reports: the token is another one now."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                path.unlink()
