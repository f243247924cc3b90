"""What both ways to sign in share: the life of the command, what must be set, and storing the tokens."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

from shared import event_loop, log_setup, settings
from shared.errors import EXIT_FAILED, ServiceError, TokenFileDamaged, TwitchIdRefused, TwitchIdUnavailable
from shared.paths import Paths
from shared.settings import Settings
from shared.token_advice import doubts_about
from shared.token_store import TokenStore
from shared.twitch_id import Grant, TwitchId, Validation

CONSOLE = "https://dev.twitch.tv/console/apps"
"""Where applications are registered with Twitch."""


@dataclass(frozen=True)
class SignedIn:
    """Tokens that are in the file now.

    ``validation`` None means that Twitch could not be asked about them. ``warnings`` are lines for the user.
    """

    file_name: str
    validation: Validation | None
    warnings: tuple[str, ...]

    @property
    def login(self) -> str:
        """Who signed in, in words where that is not known."""
        if self.validation is None:
            return "an account that could not be checked"
        return self.validation.login or "an account without a name"

    @property
    def scopes(self) -> str:
        """What the tokens are good for, in words where that is not known."""
        if self.validation is None:
            return "scopes that could not be checked"
        return " ".join(self.validation.scopes) or "no scopes"


def run_command(program: str, body: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    """Run ``body`` with the checked settings; gives the exit code of the process.

    What was foreseen (ServiceError, OSError) ends in one line, anything else in a traceback without values.
    Exit codes: what ``body`` gives, 1 failed or interrupted, 2 a setting must be changed.
    """
    log_setup.set_up(program)
    # So both signals end an asyncio program the same way, by cancelling its main task. A shell that starts
    # the command in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    try:
        configured = settings.load(Paths.of_project())
        log_setup.set_up(
            program, configured.log_level, configured.log_format, settings.secrets_of(configured)
        )
        for warning in configured.warnings:
            logger.warning("{}", warning)
        return event_loop.run(body(configured))
    except ServiceError as error:
        logger.critical("{}", error)
        return error.exit_code
    except OSError as error:
        logger.critical("{}", error)
    except KeyboardInterrupt:
        say_not_signed_in()
    except Exception:  # noqa: BLE001 - the last words of a process
        logger.exception("unexpected error, please report it")
    return EXIT_FAILED


def say_not_signed_in() -> None:
    """The last line of a command that was ended before it had tokens."""
    print("not signed in", file=sys.stderr, flush=True)


def ignore_signals() -> None:
    """Let no late signal make a failure of an ordered end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def missing_settings(configured: Settings, *names: str) -> tuple[str, ...]:
    """Which of the settings of these names are empty; placeholders were made so when they were read."""
    return tuple(name for name in names if not getattr(configured, name.lower()))


async def check_and_store(twitch: TwitchId, grant: Grant, configured: Settings) -> SignedIn:
    """Ask Twitch about the new tokens and put them into the token file.

    When Twitch cannot be asked they are stored all the same. Raises TwitchIdRefused when Twitch does not take
    them, and OSError when they cannot be written; then the file is as it was.
    """
    for secret in filter(None, (grant.access_token, grant.refresh_token)):
        log_setup.hide_secret(secret)
    validation, warnings = await _validate(twitch, grant)
    damaged = await _store(grant, configured.twitch_token_file)
    if damaged is not None:
        warnings.append(f"what was in {configured.twitch_token_file.name} held no tokens, it is in {damaged}")
    warnings += _warnings(configured, grant, validation)
    return SignedIn(configured.twitch_token_file.name, validation, tuple(warnings))


def why(error: OSError) -> str:
    """The reason alone, as it fits into a line."""
    return error.strerror or str(error) or type(error).__name__


async def _validate(twitch: TwitchId, grant: Grant) -> tuple[Validation | None, list[str]]:
    try:
        validation = await twitch.validate(grant.access_token)
    except (TwitchIdUnavailable, TwitchIdRefused) as error:
        # The tokens are most likely good, and the only ones there are: the refresher checks them later.
        return None, [f"the tokens could not be checked: {error}"]
    except asyncio.CancelledError:
        # The command is being ended; nobody else has the tokens.
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        return None, ["the tokens could not be checked: stopped before Twitch had answered"]
    if validation is None:
        raise TwitchIdRefused(401, "the new token is not valid")
    return validation, []


async def _store(grant: Grant, path: Path) -> str | None:
    """Write the file; gives the name of the copy where the old one held no tokens. Raises OSError."""
    store = TokenStore(path)
    async with store.locked():
        copy = _copy_if_damaged(store)
        store.write(grant.access_token, grant.refresh_token, grant.life_seconds)
    return copy


def _copy_if_damaged(store: TokenStore) -> str | None:
    try:
        store.read()
    except FileNotFoundError:
        return None
    except TokenFileDamaged:
        return store.keep_copy().name
    return None


def _warnings(configured: Settings, grant: Grant, validation: Validation | None) -> list[str]:
    warnings = []
    if configured.twitch_oauth_token:
        warnings.append(
            "TWITCH_OAUTH_TOKEN is set and is used before the token file: "
            "remove it from .env and the environment"
        )
    if grant.refresh_token is None:
        hours = grant.life_seconds / 3600
        warnings.append(f"Twitch gave no refresh token: sign in again in {hours:.1f} hours")
    if validation is None:
        return warnings
    return warnings + doubts_about(validation, configured, can_refresh=False)
