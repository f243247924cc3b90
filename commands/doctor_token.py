"""Points of `make doctor` about the token. It is looked at and never renewed: that may work only once."""

from collections.abc import Iterator

from commands.doctor_point import Point, Waiting, bad, good, untried
from shared import event_loop
from shared.errors import TokenFileDamaged, TwitchIdRefused, TwitchIdUnavailable
from shared.settings import Settings
from shared.token_advice import CHAT_SCOPE, SIGN_IN_ADVICE, advice_on_invalid, words_of
from shared.token_file import StoredTokens, Token, read_tokens, token_of_the_moment
from shared.twitch_id import TwitchId, Validation

POINTS = ("token", "valid", "scopes", "renewal")
ANONYMOUS = "no token: chat is read anonymously"


def look(settings: Settings, waiting: Waiting) -> Iterator[Point]:
    """One point after the other."""
    moment = token_of_the_moment(settings.twitch_oauth_token, settings.twitch_token_file)
    stored = _stored(settings)
    token = moment.token
    renewable = _renewal_trouble(settings, stored) is None
    if token is None:
        yield _no_token(settings, moment.warning, renewable)
        reason = "needs a token"
        yield untried("valid", reason)
        yield untried("scopes", reason)
        yield untried("renewal", reason) if stored is None else _renewal(settings, stored, None)
        return
    yield good("token", f"from {token.source}", *([f"warning: {moment.warning}"] if moment.warning else []))
    with waiting(f"asking {settings.twitch_id_url} about the token"):
        validity, validation = _validate(settings, token, renewable)
    yield validity
    yield untried("scopes", "needs a valid token") if validation is None else _scopes(validation)
    yield _renewal(settings, stored, validation)


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The tokens that are in use, which must not be shown."""
    stored = _stored(settings)
    moment = token_of_the_moment(settings.twitch_oauth_token, settings.twitch_token_file)
    found = [moment.token.secret if moment.token else "", (stored and stored.refresh_token) or ""]
    return tuple(filter(None, found))


def _stored(settings: Settings) -> StoredTokens | None:
    """The tokens of the file; None where it does not count, or has none."""
    if settings.twitch_oauth_token:
        return None
    try:
        return read_tokens(settings.twitch_token_file)
    except (OSError, TokenFileDamaged):
        return None


def _no_token(settings: Settings, warning: str | None, renewable: bool) -> Point:
    if warning is None:
        return good("token", ANONYMOUS)
    name = settings.twitch_token_file.name
    if settings.twitch_oauth_token:
        remedy = advice_on_invalid("TWITCH_OAUTH_TOKEN")
    elif renewable:
        remedy = f"while the service runs the token-refresher fetches one; if it stays so, {SIGN_IN_ADVICE}"
    else:
        remedy = f"mend {name}, or {SIGN_IN_ADVICE}; without {name} chat is read anonymously"
    return bad("token", f"{warning}; chat is read anonymously meanwhile", remedy)


def _validate(settings: Settings, token: Token, renewable: bool) -> tuple[Point, Validation | None]:
    async def ask() -> Validation | None:
        async with TwitchId(settings.twitch_id_url, settings.twitch_client_id) as twitch:
            return await twitch.validate(token.secret)

    try:
        validation = event_loop.run(ask())
    except (TwitchIdUnavailable, TwitchIdRefused) as error:
        remedy = "is TWITCH_ID_URL right? The service goes on with the token meanwhile"
        return bad("valid", str(error), remedy), None
    if validation is None:
        remedy = advice_on_invalid(token.source)
        if renewable:
            remedy = f"while the service runs the token-refresher renews it; if it stays so, {remedy}"
        return bad("valid", f"Twitch says that the token of {token.source} is not valid", remedy), None
    left = validation.life_seconds
    life = "for ever, or for its last second" if left is None else f"for another {words_of(left)}"
    point = good("valid", f"{life}, of the account {validation.login or '(without a name)'}")
    wanted = settings.twitch_username
    if wanted and validation.login and wanted != validation.login.lower():
        text = f"the token is {validation.login}'s, but TWITCH_USERNAME is {wanted}"
        point = bad("valid", text, f"set TWITCH_USERNAME={validation.login}, or leave it empty")
    return point, validation


def _scopes(validation: Validation) -> Point:
    scopes = " ".join(validation.scopes) or "none"
    if CHAT_SCOPE in validation.scopes:
        return good("scopes", scopes)
    remedy = f"add {CHAT_SCOPE} to TWITCH_SCOPES, and {SIGN_IN_ADVICE}"
    return bad("scopes", f"{scopes}: {CHAT_SCOPE} is missing, Twitch may refuse the login", remedy)


def _renewal(settings: Settings, stored: StoredTokens | None, validation: Validation | None) -> Point:
    trouble = _renewal_trouble(settings, stored)
    if stored is None:
        return untried("renewal", "TWITCH_OAUTH_TOKEN is a fixed token, it is never renewed")
    if trouble is not None:
        return bad("renewal", *trouble)
    if validation is not None and validation.client_id not in ("", settings.twitch_client_id):
        text = "the token is another application's than TWITCH_CLIENT_ID, it cannot be renewed"
        return bad("renewal", text, SIGN_IN_ADVICE)
    return good("renewal", "possible: a refresh token and TWITCH_CLIENT_ID are there (not tried, see --help)")


def _renewal_trouble(settings: Settings, stored: StoredTokens | None) -> tuple[str, str] | None:
    """Why the token cannot be renewed, and what to do; None where it can, as far as that can be seen."""
    if stored is None:
        return "there is no refresh token", SIGN_IN_ADVICE
    if stored.refresh_token is None:
        name = settings.twitch_token_file.name
        return f"{name} holds no refreshToken: the token cannot be renewed", SIGN_IN_ADVICE
    if not settings.twitch_client_id:
        remedy = "put the client id of your application into .env, it is that of the sign-in"
        return "TWITCH_CLIENT_ID is empty: the token cannot be renewed", remedy
    return None
