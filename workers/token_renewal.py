"""Trading a refresh token in, so that neither it nor its successor is lost.

A refresh token may work only once, also when Twitch's answer does not arrive. So the lock beside the file is
held from the look at it to the writing, the writing is rehearsed, and the answer is on disk before anything
else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loguru import logger

from shared import log_setup
from shared.errors import TokenFileDamaged
from shared.timing import Reminder
from shared.token_file import StoredTokens, Token
from shared.token_store import TokenStore

if TYPE_CHECKING:
    from shared.twitch_id import Grant, TwitchId

LOCK_SECONDS = 0.3
WRITE_AGAIN_SECONDS = 1.0
SAY_AGAIN_SECONDS = 60.0
# Editors write in several steps; a file that stays as it is was meant to be so.
LOOKS_AT_DAMAGE = 3


@dataclass(frozen=True)
class Renewed:
    """Tokens that are in the file now; ``life_seconds`` of the access token from now."""

    tokens: StoredTokens
    life_seconds: float


class TokenRenewal:
    """Renews the tokens of ``store``. ``client`` gives the connection to Twitch when it is needed."""

    def __init__(self, store: TokenStore, client: Callable[[], TwitchId]) -> None:
        self.under_way = False
        """True from the moment the refresh token is sent until its successor is stored, or not needed."""
        self._store = store
        self._client = client
        self._trouble = Reminder(SAY_AGAIN_SECONDS)

    async def renew(self, known: StoredTokens, may_begin: Callable[[], bool]) -> Renewed | None:
        """Renew the tokens ``known``, which were in the file at the last look.

        None when they are not there any more, others were put there meanwhile, or ``may_begin``, asked when
        the lock is ours, says no. Raises TimeoutError when somebody else has the lock, another OSError when
        the file cannot be replaced, TwitchIdUnavailable and TwitchIdRefused.
        """
        async with self._store.locked(LOCK_SECONDS):
            if not may_begin() or known.refresh_token is None or not self._is_there(known):
                return None
            self._store.rehearse()
            # It stays True where this is cancelled: then nobody knows.
            self.under_way = True
            try:
                grant = await self._client().refresh(known.refresh_token)
                renewed = await self._keep(grant, known)
            except Exception:
                self.under_way = False
                raise
            self.under_way = False
            return renewed

    def _is_there(self, known: StoredTokens) -> bool:
        try:
            return self._store.read().same_tokens(known)
        except (OSError, TokenFileDamaged):
            return False

    async def _keep(self, grant: Grant, known: StoredTokens) -> Renewed | None:
        refresh_token = grant.refresh_token or known.refresh_token
        assert refresh_token is not None
        log_setup.hide_secret(grant.access_token)
        log_setup.hide_secret(refresh_token)
        looks = 0
        while True:
            looks += 1
            try:
                if not self._is_wanted(known, looks):
                    logger.warning("{} was changed meanwhile, what is there counts", self._store.name)
                    return None
                expires_at_ms = self._store.write(grant.access_token, refresh_token, grant.life_seconds)
            except (FileNotFoundError, TokenFileDamaged):
                logger.debug("{} is being edited", self._store.name)
            except OSError as error:
                if self._trouble.is_due():
                    logger.error(
                        "{} cannot be written: {}; the new token is kept in memory until it can",
                        self._store.name,
                        error.strerror,
                    )
            else:
                access = Token(grant.access_token, self._store.name)
                return Renewed(StoredTokens(access, refresh_token, expires_at_ms), grant.life_seconds)
            await asyncio.sleep(WRITE_AGAIN_SECONDS)

    def _is_wanted(self, known: StoredTokens, looks: int) -> bool:
        """Whether the file still waits for the new tokens. Raises when only the next looks can tell."""
        try:
            found = self._store.read()
        except FileNotFoundError:
            if looks > LOOKS_AT_DAMAGE:
                return False
            raise
        except TokenFileDamaged:
            if looks <= LOOKS_AT_DAMAGE:
                raise
            # The new tokens are the only good ones.
            with contextlib.suppress(OSError):
                self._store.keep_copy()
            return True
        if found.refresh_token is None:
            # Another access token alone is another sign-in; the old one alone is half an edit.
            return found.access == known.access
        return found.refresh_token == known.refresh_token
