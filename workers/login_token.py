"""A reader's side of the token: with what to log in, and what to do when Twitch refuses it."""

import secrets

from loguru import logger

from shared import log_setup
from shared.paths import Paths
from shared.refused_tokens import RefusedTokens
from shared.settings import Settings
from shared.token_advice import advice_on_refused_login
from shared.token_file import Token, TokenOfTheMoment, token_of_the_moment

LOOK_SECONDS = 0.2
"""How often ``renewed`` is worth a call while a login waits for another token."""


class LoginToken:
    """Gives the login of the moment; after a refusal asks the token-refresher and tells of a new token."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._reports = RefusedTokens(paths.refused_tokens)
        self._used: Token | None = None
        self._refused: Token | None = None
        self._refusals = 0
        self._fresh_refusals = 0
        self._said: str | None = None

    def login(self) -> tuple[str, str | None]:
        """The nick and the password to log in with now; the password is None for an anonymous login."""
        moment = self._of_the_moment()
        self._say(moment)
        self._used = moment.token
        if moment.token is None:
            return f"justinfan{secrets.randbelow(900_000) + 100_000}", None
        # The token file can change at any time.
        log_setup.hide_secret(moment.token.password)
        # Twitch goes by the token; the name only has to be one.
        return self._settings.twitch_username or "twitchingest", moment.token.password

    def accepted(self) -> None:
        """Twitch took the login: the next refusal is a new story."""
        self._refused = None
        self._refusals = self._fresh_refusals = 0

    def refused(self, reason: str, pause_seconds: float) -> None:
        """Twitch did not take the login: ask for another token, and say what is known.

        ``reason`` is Twitch's; the next attempt is after ``pause_seconds``, or with the next token.
        """
        self._refusals += 1
        if self._used is not None:
            self._reports.report(self._used.fingerprint)
            self._fresh_refusals += self._refused is None or self._refused != self._used
            self._refused = self._used
        source = self._used.source if self._used else None
        advice = advice_on_refused_login(source, self._refusals, self._fresh_refusals)
        logger.error(
            "Twitch refuses the login: {}; {}; next attempt in {:.0f} s",
            reason,
            advice,
            pause_seconds,
        )

    @property
    def waits(self) -> bool:
        """True from a refusal to the next attempt: another token would be worth one at once."""
        return self._refused is not None and self._used is self._refused

    def renewed(self) -> bool:
        """True, once, when there is another token than the refused one."""
        token = self._of_the_moment().token
        # None is a file that is damaged, or being edited: the pause runs on.
        if not self.waits or token is None or token == self._refused:
            return False
        self._used = None
        return True

    def _of_the_moment(self) -> TokenOfTheMoment:
        return token_of_the_moment(self._settings.twitch_oauth_token, self._settings.twitch_token_file)

    def _say(self, moment: TokenOfTheMoment) -> None:
        """Tell about the token, once until it is another story."""
        warning = moment.warning
        if warning and moment.token is None:
            warning += "; reading anonymously"
        text = warning or ("" if moment.token else "no token, reading anonymously")
        if text and text != self._said:
            logger.log("WARNING" if warning else "INFO", "{}", text)
        self._said = text
