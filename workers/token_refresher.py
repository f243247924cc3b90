"""The supervised program ``token-refresher``: keeps the token file good for the next login.

``python -m workers.token_refresher``. It validates and refreshes when ``token_plan`` says so, takes up what
others write into the file, and hears of refused logins from the readers. It stays up whatever happens:
without a usable token it waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from loguru import logger

from shared import event_loop, log_setup
from shared.errors import ServiceError, TwitchIdRefused, TwitchIdUnavailable
from shared.paths import Paths
from shared.refused_tokens import RefusedTokens
from shared.reports import TokenReport
from shared.settings import Settings
from shared.status_file import StatusFile
from shared.stopping import Stop
from shared.timing import Reminder
from shared.token_advice import (
    SIGN_IN_ADVICE,
    advice_on_invalid,
    advice_on_refusal,
    doubts_about,
    doubts_about_tokens,
    is_for_good,
    news_of,
    words_of,
)
from shared.token_file import StoredTokens, token_of_the_moment
from shared.token_store import TokenStore
from shared.worker import run_worker
from workers.token_plan import TokenPlan
from workers.token_renewal import Renewed, TokenRenewal
from workers.token_watch import NoFile, TokenWatch, Unusable

if TYPE_CHECKING:
    from shared.twitch_id import TwitchId, Validation

PROGRAM = "token-refresher"
LOOK_SECONDS = 0.5
# A refresh that is on its way at the stop: its answer may hold the only refresh token that is good.
STOP_ANSWER_SECONDS = 4.5
SAY_AGAIN_SECONDS = 60.0


def seconds_with_sleep() -> float:
    """Monotonic seconds that go on while the machine sleeps, where the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class TokenRefresher:
    """Looks after one token at a time: the fixed one, else the file's, else none."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._store = TokenStore(settings.twitch_token_file)
        self._watch = TokenWatch(self._store)
        self._reports = RefusedTokens(paths.refused_tokens)
        self._status = StatusFile(paths.status, PROGRAM)
        self._plan = TokenPlan(seconds_with_sleep)
        self._twitch_id: TwitchId | None = None
        self._trouble = Reminder(SAY_AGAIN_SECONDS)
        self._waits_for_lock = Reminder(SAY_AGAIN_SECONDS)
        self._stopping = False
        self._renewal = TokenRenewal(self._store, self._client)
        self._tokens: StoredTokens | None = None
        self._validation: Validation | None = None
        self._looked = False
        self._refused = False
        self._state = "anonymous"
        self._expires_at_ms = 0
        left = self._status.left(TokenReport)
        before = left.report if left else TokenReport()
        self._counts = {"validations": before.validations, "refreshes": before.refreshes}

    async def run(self, stop: Stop) -> None:
        """Look after the token until ``stop`` is requested."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_stop() -> None:
            # It stays readable.
            loop.remove_reader(stop.fileno())
            stopped.set()

        loop.add_reader(stop.fileno(), on_stop)
        care = asyncio.create_task(self._care())
        tasks = {care, asyncio.create_task(self._keep_reporting()), asyncio.create_task(stopped.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._stopping = True
            if self._renewal.under_way:
                await asyncio.wait({care}, timeout=STOP_ANSWER_SECONDS)
            if self._renewal.under_way:
                logger.warning(
                    "stopped while the token was renewed; if it cannot be any more, {}", SIGN_IN_ADVICE
                )
        finally:
            loop.remove_reader(stop.fileno())
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            if self._twitch_id is not None:
                await self._twitch_id.close()
        for failure in ended:
            if isinstance(failure, Exception):
                raise failure
        self._status.finish(self._report())
        logger.info("stopped")

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(self._status.update(self._report))

    def _report(self) -> TokenReport:
        validation = self._validation
        return TokenReport(
            state=self._state,
            expires_at=self._expires_at_ms // 1000,
            login=validation.login if validation else "",
            scopes=list(validation.scopes) if validation else [],
            **self._counts,
        )

    async def _care(self) -> None:
        fixed = bool(self._settings.twitch_oauth_token)
        if fixed:
            self._take_up_fixed()
        else:
            logger.info("starting, the token file is {}", self._settings.twitch_token_file)
        while not self._stopping:
            if not fixed:
                self._look()
                self._looked = True
            self._hear()
            step, wait = self._plan.due()
            if step == "refresh":
                await self._refresh()
            elif step == "validate":
                await self._validate()
            else:
                await asyncio.sleep(min(LOOK_SECONDS, wait))

    def _take_up_fixed(self) -> None:
        logger.info("starting, TWITCH_OAUTH_TOKEN is used before the token file and cannot be renewed")
        with contextlib.suppress(FileNotFoundError):
            self._watch.close_to_others()
        moment = token_of_the_moment(self._settings.twitch_oauth_token, self._settings.twitch_token_file)
        if moment.token is None:
            logger.warning("{}", moment.warning)
        else:
            self._take_up(StoredTokens(moment.token, None, None, moment.warning))

    def _look(self) -> None:
        """Take up what others did to the file."""
        found = self._watch.look()
        if isinstance(found, StoredTokens):
            if self._tokens is None or not found.same_tokens(self._tokens):
                logger.info("{} taken up", self._store.name)
                self._take_up(found)
        elif isinstance(found, NoFile):
            if self._tokens is None:
                logger.info("no token file, nothing to do: chat is read anonymously; `make auth` signs in")
            else:
                logger.warning("{} is gone: the next logins are anonymous", self._store.name)
            self._have_none("anonymous")
        elif isinstance(found, Unusable):
            logger.error("{}; mend it, or {}{}", found.reason, SIGN_IN_ADVICE, self._copy())
            self._have_none("damaged")

    def _copy(self) -> str:
        try:
            return f". A copy is kept as {self._store.keep_copy().name}"
        except OSError as error:
            return f". It could not be copied: {error.strerror}"

    def _have_none(self, state: str) -> None:
        self._tokens = self._validation = None
        self._expires_at_ms = 0
        self._state = state
        self._plan.nothing()

    def _take_up(self, tokens: StoredTokens) -> None:
        # What appears while we watch was issued just now, by a sign-in or by another service.
        fresh = self._looked
        self._tokens = tokens
        self._validation = None
        self._refused = False
        self._expires_at_ms = tokens.expires_at_ms or 0
        self._state = "unchecked"
        self._trouble.reset()
        self._reports.clear()
        for secret in (tokens.access and tokens.access.secret, tokens.refresh_token):
            if secret:
                log_setup.hide_secret(secret)
        for doubt in doubts_about_tokens(tokens, self._store.name, self._settings):
            logger.warning("{}", doubt)
        self._plan.taken_up(tokens.access is not None, self._can_refresh(), fresh)

    def _can_refresh(self) -> bool:
        known = self._tokens.refresh_token if self._tokens else None
        return known is not None and bool(self._settings.twitch_client_id) and not self._refused

    def _hear(self) -> None:
        """Hear of refused logins."""
        token = self._tokens.access if self._tokens else None
        if token is not None and self._reports.take(token.fingerprint) and self._plan.reported():
            logger.info("a login with the token was refused")

    async def _validate(self) -> None:
        assert self._tokens is not None and self._tokens.access is not None
        asking = asyncio.create_task(self._client().validate(self._tokens.access.secret))
        try:
            while not asking.done():
                await asyncio.wait({asking}, timeout=LOOK_SECONDS)
                if not asking.done() and self._watch.changed():
                    return
            validation = asking.result()
        except (TwitchIdUnavailable, TwitchIdRefused) as error:
            self._say_trouble(error)
            return
        finally:
            asking.cancel()
        self._counts["validations"] += 1
        self._trouble.reset()
        if validation is None:
            self._say_invalid()
            self._plan.invalid()
            return
        if validation.life_seconds is not None:
            self._expires_at_ms = int((time.time() + validation.life_seconds) * 1000)
        if self._validation is None:
            self._say_valid(validation)
        self._validation = validation
        self._state = "refused" if self._refused else "valid"
        self._plan.validated(validation.life_seconds)

    async def _refresh(self) -> None:
        assert self._tokens is not None
        try:
            renewed = await self._renewal.renew(self._tokens, lambda: not self._stopping)
        except TimeoutError as error:
            # Whoever has the lock may be renewing the token for us.
            self._plan.put_off(LOOK_SECONDS)
            if self._waits_for_lock.is_due():
                logger.info("waiting: {}", error.strerror)
        except OSError as error:
            pause = self._plan.no_answer()
            if self._trouble.is_due():
                logger.error(
                    "{} cannot be written: {}; the token is not renewed before, as its refresh token may "
                    "work only once; next attempt in {:.0f} s",
                    self._store.name,
                    error.strerror,
                    pause,
                )
        except TwitchIdUnavailable as error:
            self._say_trouble(error)
        except TwitchIdRefused as error:
            if is_for_good(error):
                self._say_refused(error)
            else:
                self._say_trouble(error)
        else:
            if renewed is None:
                # Somebody else has done it, or edits the file: the next look tells.
                self._plan.put_off(LOOK_SECONDS)
            else:
                self._take_renewed(renewed)

    def _take_renewed(self, renewed: Renewed) -> None:
        self._tokens = renewed.tokens
        self._expires_at_ms = renewed.tokens.expires_at_ms or 0
        self._counts["refreshes"] += 1
        self._state = "valid"
        self._trouble.reset()
        self._reports.clear()
        self._plan.refreshed(renewed.life_seconds)
        logger.info("the token was renewed, it is good for {}", words_of(renewed.life_seconds))

    def _client(self) -> TwitchId:
        if self._twitch_id is None:
            # Only here: without a token the library would cost its memory for nothing.
            from shared.twitch_id import TwitchId

            self._twitch_id = TwitchId(
                self._settings.twitch_id_url,
                self._settings.twitch_client_id,
                self._settings.twitch_client_secret,
            )
        return self._twitch_id

    def _say_trouble(self, error: ServiceError) -> None:
        pause = self._plan.no_answer()
        if self._trouble.is_due():
            logger.warning("{}; next attempt in {:.0f} s", error, pause)

    def _say_refused(self, error: TwitchIdRefused) -> None:
        self._refused = True
        self._state = "refused"
        self._plan.refused_for_good()
        logger.error("the token cannot be renewed: {}; {}", error, advice_on_refusal(error))

    def _say_invalid(self) -> None:
        assert self._tokens is not None and self._tokens.access is not None
        was, self._validation = self._state, None
        if self._can_refresh():
            self._state = "renewing"
            logger.info("the token is not valid any more, it is renewed")
            return
        if was == "refused":
            return
        self._state = "invalid"
        if was != "invalid":
            source = self._tokens.access.source
            advice = advice_on_invalid(source)
            logger.error("the token of {} is not valid, and it cannot be renewed; {}", source, advice)

    def _say_valid(self, validation: Validation) -> None:
        logger.info("{}", news_of(validation))
        for doubt in doubts_about(validation, self._settings, self._can_refresh()):
            logger.warning("{}", doubt)


def main(settings: Settings, paths: Paths, stop: Stop) -> None:
    """Look after the token until ``stop`` is requested."""
    event_loop.run(TokenRefresher(settings, paths).run(stop))


if __name__ == "__main__":
    run_worker(PROGRAM, main)
