"""The edge to Twitch's sign-in (``TWITCH_ID_URL``), and the only importer of httpx.

Sources of the rules: https://dev.twitch.tv/docs/authentication/ (getting, refreshing and validating tokens)
and RFC 8628 for the device code flow.
"""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from shared.errors import TwitchIdRefused, TwitchIdUnavailable
from shared.token_file import USUAL_LIFE_SECONDS, is_one_word

ANSWER_SECONDS = 10.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LONGEST_LIFE_SECONDS = 10 * 365 * 86400.0
_MAX_BYTES = 64 * 1024
_LONGEST_TEXT = 200
_RETRY = frozenset({408, 425, 429})
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Grant:
    """Tokens that Twitch has issued; the repr does not show them.

    ``refresh_token`` None: the one that was used stays good. ``life_seconds`` from now.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    life_seconds: float


@dataclass(frozen=True)
class Validation:
    """What Twitch says of a valid token. ``life_seconds`` from now, None when Twitch does not tell."""

    client_id: str
    login: str
    scopes: tuple[str, ...]
    life_seconds: float | None


@dataclass(frozen=True)
class DeviceCode:
    """A sign-in that was begun on this device; the user enters ``user_code`` at ``verification_uri``."""

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    life_seconds: float
    interval_seconds: float


@dataclass(frozen=True)
class DevicePending:
    """The user has not decided yet; ``slow_down`` asks for 5 s more between polls (RFC 8628, 3.5)."""

    slow_down: bool = False


class _TokenAnswer(msgspec.Struct):
    access_token: str
    # Read one by one: the old refresh token may be spent, so whatever can be used of an answer is.
    refresh_token: Any = None
    expires_in: Any = None


class _ValidateAnswer(msgspec.Struct):
    client_id: str = ""
    login: str | None = None
    scopes: list[str] | str | None = None
    expires_in: Any = None


class _DeviceAnswer(msgspec.Struct):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float = 1800.0
    interval: float = 5.0


class TwitchId:
    """Calls to Twitch's sign-in at ``base_url``; use it as an asynchronous context manager.

    ``client_secret`` empty is a public client. Every call gives up after ``answer_seconds`` and raises
    TwitchIdUnavailable (try again) or TwitchIdRefused (do not).
    """

    def __init__(
        self, base_url: str, client_id: str, client_secret: str = "", answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._answer_seconds = answer_seconds
        self._http = httpx.AsyncClient(
            # The system's certificate authorities, and SSL_CERT_FILE, as for the chat.
            verify=ssl.create_default_context(),
            timeout=answer_seconds,
            # Chat knows no proxies either, and the library raises on some values of their variables.
            trust_env=False,
            # A compressed answer could be a thousand times larger than what was received.
            headers={"Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def authorize_url(self, redirect_uri: str, scopes: str, state: str) -> str:
        """Where to send the browser; ``scopes`` separated by blanks."""
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": scopes,
            "state": state,
        }
        return f"{self._base_url}/oauth2/authorize?{urlencode(query)}"

    async def validate(self, access_token: str) -> Validation | None:
        """Ask whether the token is good; None means it is not (401)."""
        headers = {"Authorization": f"OAuth {access_token}"}
        status, content = await self._call("GET", "/oauth2/validate", headers=headers)
        if status == 401:
            return None
        answer = _read(status, content, _ValidateAnswer)
        scopes = answer.scopes.split() if isinstance(answer.scopes, str) else answer.scopes or ()
        return Validation(
            answer.client_id,
            _printable(answer.login or ""),
            tuple(map(_printable, scopes)),
            # Twitch says 0 of tokens of old that do not expire, and of one in its last second.
            _life(answer.expires_in),
        )

    async def refresh(self, refresh_token: str) -> Grant:
        """Trade the refresh token in. It may work only once, also when the answer does not arrive."""
        return await self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def exchange(self, code: str, redirect_uri: str) -> Grant:
        """Trade the code of the redirect in."""
        return await self._token(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        )

    async def begin_device(self, scopes: str) -> DeviceCode:
        """Begin a sign-in on a device without a browser; ``scopes`` separated by blanks."""
        fields = {"client_id": self._client_id, "scopes": scopes}
        status, content = await self._call("POST", "/oauth2/device", data=fields)
        answer = _read(status, content, _DeviceAnswer)
        return DeviceCode(
            answer.device_code,
            answer.user_code,
            answer.verification_uri,
            answer.expires_in,
            # A server that says 0 would be asked without a pause.
            max(1.0, answer.interval),
        )

    async def poll_device(self, device: DeviceCode, scopes: str) -> Grant | DevicePending:
        """Ask whether the user has signed in."""
        fields = {"grant_type": DEVICE_GRANT, "device_code": device.device_code, "scopes": scopes}
        try:
            return await self._token(fields, with_secret=False)
        except TwitchIdRefused as error:
            reason = error.message.lower().replace(" ", "_")
            if "authorization_pending" in reason:
                return DevicePending()
            if "slow_down" in reason:
                return DevicePending(slow_down=True)
            raise

    async def _token(self, fields: dict[str, str], with_secret: bool = True) -> Grant:
        fields = {"client_id": self._client_id, **fields}
        if with_secret and self._client_secret:
            fields["client_secret"] = self._client_secret
        status, content = await self._call("POST", "/oauth2/token", data=fields)
        answer = _read(status, content, _TokenAnswer)
        if not is_one_word(answer.access_token):
            raise TwitchIdUnavailable("Twitch's sign-in answers with something that is no token")
        refresh_token = answer.refresh_token
        if not isinstance(refresh_token, str) or not is_one_word(refresh_token):
            refresh_token = None
        return Grant(answer.access_token, refresh_token, _life(answer.expires_in) or USUAL_LIFE_SECONDS)

    async def _call(self, method: str, path: str, **more: Any) -> tuple[int, bytes]:
        try:
            # The library's own limits are for each of its steps: a server that dribbles reaches none.
            async with (
                asyncio.timeout(self._answer_seconds),
                self._http.stream(method, self._base_url + path, **more) as answer,
            ):
                content = b""
                async for part in answer.aiter_raw():
                    content += part
                    if len(content) > _MAX_BYTES:
                        raise TwitchIdUnavailable(f"{self._base_url} sends more than an answer")
                return answer.status_code, content
        except (TimeoutError, httpx.TimeoutException):
            raise TwitchIdUnavailable(
                f"{self._base_url} gives no answer in {self._answer_seconds:.0f} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            reason = str(error) or type(error).__name__
            raise TwitchIdUnavailable(
                f"{self._base_url} cannot be reached ({reason}); check the network"
            ) from None


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_LONGEST_TEXT]


def _life(expires_in: object) -> float | None:
    """Seconds; None when it is no number, or none that makes sense."""
    if isinstance(expires_in, str | int | float):
        with contextlib.suppress(ValueError, OverflowError):
            life = float(expires_in)
            if 0 < life < _LONGEST_LIFE_SECONDS:
                return life
    return None


def _read(status: int, content: bytes, kind: type[_Answer]) -> _Answer:
    if status == 200:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise TwitchIdUnavailable("Twitch's sign-in answers with something else than it should") from None
    reason = _reason(content)
    if 400 <= status < 500 and status not in _RETRY and reason:
        raise TwitchIdRefused(status, reason)
    raise TwitchIdUnavailable(f"Twitch's sign-in answers {status}")


def _reason(content: bytes) -> str:
    """Twitch's reason for a refusal; empty when it is no answer of Twitch's, but of a proxy on the way."""
    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    for name in ("message", "error_description", "error"):
        text = fields.get(name)
        if isinstance(text, str) and text:
            return _printable(text)
    return ""
