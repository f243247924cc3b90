"""The sign-in server's answers to the browser: OAuth's authorization code flow (RFC 6749, 4.1).

Sources of the rules: https://dev.twitch.tv/docs/authentication/getting-tokens-oauth/ and RFC 8252 for a
redirect to loopback.
"""

import asyncio
import secrets
import time
from collections.abc import Callable

from loguru import logger
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from commands import auth_pages
from commands.auth_address import BEGIN_PATH, RedirectAddress
from commands.auth_pages import Page
from commands.sign_in import check_and_store, missing_settings, why
from shared import log_setup
from shared.errors import TwitchIdRefused, TwitchIdUnavailable
from shared.settings import Settings
from shared.token_store import TokenStore
from shared.twitch_id import TwitchId

STATE_SECONDS = 600.0
MOST_STATES = 10
NEEDED = ("TWITCH_CLIENT_ID", "TWITCH_CLIENT_SECRET")
"""Settings without which nobody can sign in this way."""


class States:
    """The values of ``state`` that are out, each good once and for ten minutes; the oldest give way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._born: dict[str, float] = {}

    def new(self) -> str:
        """A value that nobody can guess."""
        while len(self._born) >= MOST_STATES:
            del self._born[next(iter(self._born))]
        state = secrets.token_urlsafe(32)
        self._born[state] = self._clock()
        return state

    def use(self, state: str) -> bool:
        """Whether it is good; it is not any more then."""
        born = self._born.pop(state, None)
        return born is not None and self._clock() - born <= STATE_SECONDS


class SignInApp:
    """An ASGI application; ``on_saved`` is called when the page that tells of saved tokens was sent.

    Not one of Starlette's routes: each for GET answers HEAD as well, which would use the code up.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        address: RedirectAddress,
        twitch: TwitchId,
        keeps_on: bool,
        on_saved: Callable[[], None],
    ) -> None:
        self.saved = False
        """Whether tokens were written at least once."""
        self._settings = settings
        self._address = address
        self._twitch = twitch
        self._keeps_on = keeps_on
        self._on_saved = on_saved
        self._states = States()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            response = await self._answer(Request(scope, receive))
        except asyncio.CancelledError:
            # The server's way to end what takes too long at a stop; there is nothing more to cancel here.
            response = _shown(auth_pages.stopped())
        except Exception:  # noqa: BLE001 - the browser gets no traceback, the log one without values
            logger.exception("unexpected error, please report it")
            response = _shown(auth_pages.unexpected())
        response.headers.update(auth_pages.HEADERS)
        try:
            await response(scope, receive, send)
        finally:
            if self.saved:
                self._on_saved()

    async def _answer(self, request: Request) -> Response:
        query, path = request.query_params, request.scope["path"]
        if not self._address.is_own_host(request.headers.get("host", "")):
            return _shown(auth_pages.not_served(400))
        if request.method != "GET":
            return _shown(auth_pages.not_served(405), {"Allow": "GET"})
        if not _is_visit(request):
            return _shown(auth_pages.not_served(403))
        if "error" in query:
            # On any path: after a mismatch Twitch goes to the registered address, not to ours.
            return _shown(self._error(query, f"http://{request.headers['host']}{path}", path))
        if path == self._address.path:
            return _shown(await self._end(query))
        if path == BEGIN_PATH:
            return self._begin()
        if path == "/":
            return RedirectResponse(BEGIN_PATH, 303)
        return _shown(auth_pages.not_served(404))

    def _begin(self) -> Response:
        missing = missing_settings(self._settings, *NEEDED)
        if missing:
            return _shown(auth_pages.missing(missing, self._address.uri))
        file = self._settings.twitch_token_file
        try:
            # Before the user has gone all the way for nothing.
            TokenStore(file).check_usable()
        except OSError as error:
            return _shown(auth_pages.not_stored(file.name, why(error)))
        state = self._states.new()
        log_setup.hide_secret(state)
        scopes = self._settings.twitch_scopes
        return RedirectResponse(self._twitch.authorize_url(self._address.uri, scopes, state), 303)

    def _error(self, query: QueryParams, seen: str, path: str) -> Page:
        self._states.use(query.get("state", ""))
        error, description = query["error"], query.get("error_description", "")
        if error == "access_denied":
            return auth_pages.denied()
        if error == "redirect_mismatch" or _is_about_redirect(description):
            elsewhere = None if path == self._address.path else seen
            return auth_pages.mismatch(self._address.uri, description or error, elsewhere)
        return auth_pages.error_of_twitch(error, description)

    async def _end(self, query: QueryParams) -> Page:
        if not self._states.use(query.get("state", "")):
            return auth_pages.wrong_state()
        code = query.get("code", "")
        if not code:
            return auth_pages.error_of_twitch("no code", "its answer holds neither a code nor an error")
        log_setup.hide_secret(code)
        try:
            grant = await self._twitch.exchange(code, self._address.uri)
            signed_in = await check_and_store(self._twitch, grant, self._settings)
        except TwitchIdRefused as error:
            if _is_about_redirect(error.message):
                return auth_pages.mismatch(self._address.uri, error.message)
            return auth_pages.refused(error.message)
        except TwitchIdUnavailable as error:
            return auth_pages.unavailable(str(error))
        except OSError as error:
            return auth_pages.not_stored(self._settings.twitch_token_file.name, why(error))
        self.saved = True
        logger.info(
            "signed in as {} with {}, the tokens are in {}",
            signed_in.login,
            signed_in.scopes,
            signed_in.file_name,
        )
        for warning in signed_in.warnings:
            logger.warning("{}", warning)
        return auth_pages.saved(signed_in, self._keeps_on)


def _shown(page: Page, headers: dict[str, str] | None = None) -> Response:
    if page.line:
        logger.error("{}", page.line)
    return HTMLResponse(page.document, page.status, headers)


def _is_visit(request: Request) -> bool:
    """Whether a person goes there: browsers also fetch ahead, and for pictures and frames of other pages."""
    headers = request.headers
    purpose = f"{headers.get('sec-purpose', '')} {headers.get('purpose', '')} {headers.get('x-moz', '')}"
    ahead = "prefetch" in purpose.lower() or "preview" in purpose.lower()
    return not ahead and headers.get("sec-fetch-dest", "document") == "document"


def _is_about_redirect(text: str) -> bool:
    return "redirect_uri" in text.lower().replace(" ", "_")
