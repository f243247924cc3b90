"""What people are told about a token, and what to do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.errors import TwitchIdRefused
from shared.settings import Settings
from shared.token_file import SIGN_IN_ADVICE, StoredTokens

if TYPE_CHECKING:
    from shared.twitch_id import Validation

CHAT_SCOPE = "chat:read"


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
    if source == "TWITCH_OAUTH_TOKEN":
        return "put a new one there and restart, or remove it and sign in with `make auth`"
    return SIGN_IN_ADVICE
