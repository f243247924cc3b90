"""What people are told about a token, and what to do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import TwitchIdRefused
from shared.settings import Settings
from shared.token_file import StoredTokens

if TYPE_CHECKING:
    from shared.twitch_id import Validation

CHAT_SCOPE = "chat:read"
SIGN_IN_ADVICE = "sign in anew with `make auth` (without a browser: `make auth-device`)"
# So many refused tokens, each newer than the last, are not the tokens' fault.
SUSPICIOUS_REFUSALS = 3
_RENEW_FIXED = "put a new one into TWITCH_OAUTH_TOKEN and restart, or remove it and sign in with `make auth`"


def words_of(seconds: float) -> str:
    """A time left, for people."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def doubts_about_tokens(tokens: StoredTokens, name: str, settings: Settings) -> list[str]:
    """Why a token of the file ``name`` may not be good for long, before Twitch is asked."""
    doubts = [tokens.warning] if tokens.warning else []
    if settings.twitch_oauth_token:
        return doubts
    if tokens.refresh_token is None:
        doubts.append(f"{name} holds no refreshToken: the token cannot be renewed")
    elif not settings.twitch_client_id:
        doubts.append("TWITCH_CLIENT_ID is empty: the token cannot be renewed")
    return doubts


def news_of(validation: Validation) -> str:
    """That Twitch says a token is good."""
    left = validation.life_seconds
    life = "" if left is None else f" for {words_of(left)}"
    scopes = " ".join(validation.scopes) or "none"
    return f"the token of {validation.login or 'nobody'} is good{life}, scopes {scopes}"


def doubts_about(validation: Validation, settings: Settings, can_refresh: bool) -> list[str]:
    """Why a token that is good may not serve all the same; ``can_refresh`` as far as the settings go."""
    doubts = []
    wanted, client_id = settings.twitch_username, settings.twitch_client_id
    if wanted and validation.login and wanted != validation.login.lower():
        doubts.append(
            f"TWITCH_USERNAME is {wanted}, but the token is {validation.login}'s: "
            f"set TWITCH_USERNAME={validation.login}, or leave it empty"
        )
    if CHAT_SCOPE not in validation.scopes:
        doubts.append(
            f"the token lacks the scope {CHAT_SCOPE}, logins may be refused: add it to TWITCH_SCOPES and "
            "sign in again"
        )
    if can_refresh and validation.client_id not in ("", client_id):
        doubts.append(
            "the token is another application's than TWITCH_CLIENT_ID, it cannot be renewed; "
            + SIGN_IN_ADVICE
        )
    return doubts


def advice_on_refusal(error: TwitchIdRefused) -> str:
    """What to do when a refresh was refused for good."""
    if "client" in error.message.lower():
        return f"check TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET and restart, or {SIGN_IN_ADVICE}"
    return SIGN_IN_ADVICE


def advice_on_invalid(source: str) -> str:
    """What to do when the token of ``source`` is not valid and nothing can be done by itself."""
    return _RENEW_FIXED if source == "TWITCH_OAUTH_TOKEN" else SIGN_IN_ADVICE


def advice_on_refused_login(source: str | None, refusals: int, fresh_refusals: int) -> str:
    """What a reader can say when Twitch has refused its login ``refusals`` times in a row.

    ``source`` of the token, None for an anonymous login; ``fresh_refusals`` with another token each.
    """
    if source is None:
        return "it was an anonymous one"
    if fresh_refusals >= SUSPICIOUS_REFUSALS:
        return (
            f"refused {fresh_refusals} times in a row, each time with a fresh token: the account or the "
            f"scope is at fault. Is the account suspended, has the token the scope {CHAT_SCOPE}?"
        )
    if source == "TWITCH_OAUTH_TOKEN":
        advice = _RENEW_FIXED
    else:
        advice = f"the token-refresher was asked for another token; if it has none, {SIGN_IN_ADVICE}"
    if refusals >= SUSPICIOUS_REFUSALS:
        advice += f". If the token is good, the account or the scope is at fault ({CHAT_SCOPE} is needed)"
    return advice


def is_for_good(error: TwitchIdRefused) -> bool:
    """Whether a refused refresh will be refused again: a proxy on the way may say no, too."""
    return error.status in (400, 401) or (error.status == 403 and "client" in error.message.lower())
