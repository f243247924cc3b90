"""A scriptable server of Twitch's sign-in (id.twitch.tv) on loopback.

It runs in a thread of the test; every method may be called from any other thread. As a program of its own:
``python -m tests.fakes.fake_twitch_id --port 8080 --life 60``.
"""

import argparse
import asyncio
import contextlib
import html
import json
import math
import signal
import socket
import string
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.fakes.fake_twitch_id_records import (
    Behaviour,
    Device,
    Exchange,
    Issued,
    Observed,
    Refresh,
    Request,
    Validation,
    Violation,
    random_text,
)
from tests.fakes.threaded_server import ThreadedServer

__all__ = [
    "Behaviour",
    "Device",
    "Exchange",
    "FakeTwitchId",
    "Issued",
    "Refresh",
    "Request",
    "Validation",
    "Violation",
]

CLIENT_ID = "testclient0000000000000000000"
CLIENT_SECRET = "testsecret000000000000000000"
REDIRECT_URI = "http://localhost:3000/auth/callback"
LIFE_SECONDS = 14400.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DRIBBLE_SECONDS = 0.2
SLOW_DOWN_SECONDS = 5.0
_ENDPOINTS = {
    ("GET", "/oauth2/validate"): "validate",
    ("GET", "/oauth2/authorize"): "authorize",
    ("POST", "/oauth2/token"): "token",
    ("POST", "/oauth2/device"): "device",
}
_FORM = "application/x-www-form-urlencoded"
_MISMATCH = "Parameter redirect_uri does not match registered URI"


@dataclass(frozen=True)
class _Incoming:
    """A request as it came; ``fields`` as in ``Request``."""

    endpoint: str
    fields: dict[str, str]
    keeps_open: bool


@dataclass(frozen=True)
class _Reply:
    """An answer; ``reason`` says why nothing was done, empty when something was. Status None is not sent."""

    status: int | None
    content: bytes = b""
    reason: str = ""
    content_type: str = "application/json"
    location: str | None = None

    def encode(self, keeps_open: bool) -> bytes:
        assert self.status is not None
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.content)}",
            f"Connection: {'keep-alive' if keeps_open else 'close'}",
        ]
        if self.location is not None:
            lines.append(f"Location: {self.location}")
        return "\r\n".join([*lines, "", ""]).encode() + self.content


class FakeTwitchId(ThreadedServer, Observed):
    """The server; use it as a context manager.

    ``port`` 0 is a free one. ``client_secret`` empty is a public client, which needs none. What it saw
    (``requests``, ``refreshes``, ...), the tokens and the waiting are those of ``Observed``; what it does
    otherwise than Twitch is set in ``behaviour``. The other attributes can be set at any time too.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        redirect_uri: str = REDIRECT_URI,
        life_seconds: float = LIFE_SECONDS,
    ) -> None:
        ThreadedServer.__init__(self, "the fake sign-in")
        Observed.__init__(self, life_seconds)
        self.client_id = client_id
        self.client_secret = client_secret
        self.redirect_uri = redirect_uri
        """The one that is registered."""
        self.login = "testbot"
        self.user_id = "12345"
        self._codes: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._host = host
        self._port = port
        self._listener: socket.socket | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """As TWITCH_ID_URL wants it."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    def refuse_connections(self) -> None:
        """Stop listening and close every connection: a new one is refused. Tokens stay as they are."""
        self._submit(self._stop_listening()).result(10)

    def accept_connections(self) -> None:
        """Listen again, on the same port."""
        self._submit(self._listen()).result(10)

    async def _open(self) -> None:
        await self._listen()

    async def _close(self) -> None:
        await self._stop_listening()

    async def _listen(self) -> None:
        if self._listener is not None:
            return
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self._port), family=family)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def _stop_listening(self) -> None:
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        # A task that is cancelled before it begins would not close its connection.
        await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A transport gives its socket back one turn of the loop after it was aborted.
        for _ in range(3):
            await asyncio.sleep(0)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a client that has left again
            client, _ = listener.accept()
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        try:
            # A client that leaves, or speaks something else than HTTP.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._answer(reader, writer):
                    pass
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays open for another request."""
        incoming = await _read(reader)
        reply = self._reply(incoming)
        if reply.status is None:
            while await reader.read(2**16):
                pass
            return False
        data = reply.encode(incoming.keeps_open)
        step = 1 if incoming.endpoint in self.behaviour.dribble else len(data)
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            if step < len(data):
                await asyncio.sleep(DRIBBLE_SECONDS)
        return incoming.keeps_open

    def _reply(self, incoming: _Incoming) -> _Reply:
        endpoint, fields, behaviour = incoming.endpoint, incoming.fields, self.behaviour
        with self.changed:
            now = time.monotonic()
            if endpoint == "token":
                self._watch(fields, now)
            failure = None if endpoint in behaviour.hang else behaviour.take_failure(endpoint)
            if endpoint in behaviour.hang:
                reply = _Reply(None, reason="not answered")
            elif failure is not None:
                reply = _refused(failure, _phrase(failure))
            elif endpoint in behaviour.garbage:
                reply = _page(200, "Welcome to our network", reason="answered with a page")
            else:
                reply = self._work(endpoint, fields)
                if endpoint in behaviour.hang_after:
                    reply = replace(reply, status=None)
            self._record(incoming, reply, now)
            self.changed.notify_all()
        return reply

    def _watch(self, fields: dict[str, str], now: float) -> None:
        grant = fields.get("grant_type")
        if grant == "refresh_token":
            refresh_token = fields.get("refresh_token", "")
            self._uses[refresh_token] += 1
            if refresh_token in self._used:
                text = f"refresh token {refresh_token[:6]}… again"
                self._violations.append(Violation("refresh_token_reused", text, now))
        elif grant == DEVICE_GRANT and (device := self._devices.get(fields.get("device_code", ""))):
            since = now - device.polls[-1] if device.polls else device.interval
            if since < 0.9 * device.interval:
                text = f"polled after {since:.2f} s instead of {device.interval:g} s"
                self._violations.append(Violation("polled_too_soon", text, now))
            self._devices[device.device_code] = replace(device, polls=(*device.polls, now))

    def _record(self, incoming: _Incoming, reply: _Reply, now: float) -> None:
        fields, ok = incoming.fields, not reply.reason
        self._requests.append(Request(incoming.endpoint, now, fields, reply.status))
        match incoming.endpoint, fields.get("grant_type"):
            case "validate", _:
                access_token = fields["authorization"].removeprefix("OAuth ")
                self._validations.append(Validation(access_token, now, ok, reply.reason))
            case "token", "refresh_token":
                self._refreshes.append(Refresh(fields.get("refresh_token", ""), now, ok, reply.reason))
            case "token", "authorization_code":
                code, redirect_uri = fields.get("code", ""), fields.get("redirect_uri", "")
                self._exchanges.append(Exchange(code, redirect_uri, now, ok, reply.reason))

    def _work(self, endpoint: str, fields: dict[str, str]) -> _Reply:
        match endpoint:
            case "validate":
                return self._validate(fields["authorization"])
            case "authorize":
                return self._authorize(fields)
            case "token":
                return self._token(fields)
            case "device":
                return self._begin_device(fields)
        return _refused(404, "Not Found")

    def _validate(self, authorization: str) -> _Reply:
        scheme, _, access_token = authorization.partition(" ")
        issued = self._valid(access_token)
        if scheme != "OAuth" or issued is None:
            return _refused(401, "invalid access token")
        return _done(
            client_id=self.client_id,
            login=self.login,
            scopes=self._scopes(issued),
            user_id=self.user_id,
            expires_in=self._seconds(issued.expires_at - time.monotonic()),
        )

    def _authorize(self, fields: dict[str, str]) -> _Reply:
        registered, state = self.redirect_uri, fields.get("state")
        if fields.get("client_id") != self.client_id:
            return _page(400, "invalid client", reason="invalid client")
        if fields.get("redirect_uri") != registered:
            return _redirect(registered, error="redirect_mismatch", error_description=_MISMATCH, state=state)
        if fields.get("response_type") != "code":
            return _page(400, "invalid response type", reason="invalid response type")
        decision = fields.get("decision", self.behaviour.approve)
        if decision == "page":
            links = (
                f'<a href="{html.escape(self._decision_url(fields, choice))}">{text}</a>'
                for choice, text in (("redirect", "Authorize"), ("deny", "Cancel"))
            )
            return _page(200, " ".join(links))
        if decision == "deny":
            denied = "The user denied you access"
            return _redirect(registered, error="access_denied", error_description=denied, state=state)
        code, scope = random_text(30), fields.get("scope", "")
        self._codes[code] = registered, tuple(scope.split())
        return _redirect(registered, code=code, scope=scope, state=state)

    def _decision_url(self, fields: dict[str, str], choice: str) -> str:
        return f"{self.url}/oauth2/authorize?{urlencode(fields | {'decision': choice})}"

    def _token(self, fields: dict[str, str]) -> _Reply:
        grant, behaviour = fields.get("grant_type"), self.behaviour
        if grant == "refresh_token" and behaviour.refuse_refresh is not None:
            return _refused(400, behaviour.refuse_refresh, error="Bad Request")
        if grant == "authorization_code" and behaviour.refuse_code is not None:
            return _refused(400, behaviour.refuse_code)
        if fields.get("client_id") != self.client_id:
            return _refused(400, "invalid client")
        if grant == DEVICE_GRANT:
            return self._poll_device(fields)
        if self.client_secret and not fields.get("client_secret"):
            return _refused(400, "missing client secret")
        if self.client_secret and fields["client_secret"] != self.client_secret:
            return _refused(403, "invalid client secret")
        if grant == "refresh_token":
            return self._trade_refresh_token(fields.get("refresh_token", ""))
        if grant == "authorization_code":
            return self._trade_code(fields)
        return _refused(400, "invalid grant type")

    def _trade_refresh_token(self, refresh_token: str) -> _Reply:
        old = self._refresh.get(refresh_token)
        if old is None:
            return _refused(400, "Invalid refresh token", error="Bad Request")
        if not self.behaviour.one_time_refresh_tokens:
            return self._granted(self._issue(refresh_token, old.scopes), with_refresh_token=False)
        del self._refresh[refresh_token]
        self._used.add(refresh_token)
        return self._granted(self.issue(scopes=old.scopes))

    def _trade_code(self, fields: dict[str, str]) -> _Reply:
        code = fields.get("code", "")
        asked_for, scopes = self._codes.get(code, (None, ()))
        if fields.get("redirect_uri") != self.redirect_uri:
            return _refused(400, _MISMATCH)
        if asked_for is None:
            return _refused(400, "Invalid authorization code")
        if fields["redirect_uri"] != asked_for:
            return _refused(400, _MISMATCH)
        del self._codes[code]
        return self._granted(self.issue(scopes=scopes))

    def _begin_device(self, fields: dict[str, str]) -> _Reply:
        if fields.get("client_id") != self.client_id:
            return _refused(400, "invalid client")
        if "scopes" not in fields:
            return _refused(400, "missing scopes")
        now, life, interval = time.monotonic(), self.behaviour.device_life, self.behaviour.device_interval
        user_code = random_text(8, string.ascii_uppercase)
        scopes = tuple(fields["scopes"].split())
        device = Device(random_text(40), user_code, scopes, now, now + life, interval)
        self._devices[device.device_code] = device
        return _done(
            device_code=device.device_code,
            expires_in=_number(life),
            interval=_number(interval),
            user_code=user_code,
            verification_uri=f"https://www.twitch.tv/activate?device-code={user_code}",
        )

    def _poll_device(self, fields: dict[str, str]) -> _Reply:
        device = self._devices.get(fields.get("device_code", ""))
        if device is None or device.granted or device.expires_at <= time.monotonic():
            return _refused(400, "invalid device code")
        if "scopes" not in fields:
            return _refused(400, "missing scopes")
        behaviour = self.behaviour
        if behaviour.device_denied:
            return _refused(400, "access_denied")
        if behaviour.device_slow_down > 0:
            behaviour.device_slow_down -= 1
            self._devices[device.device_code] = replace(device, interval=device.interval + SLOW_DOWN_SECONDS)
            return _refused(400, "slow_down")
        if behaviour.device_pending < 0 or device.pending < behaviour.device_pending:
            self._devices[device.device_code] = replace(device, pending=device.pending + 1)
            return _refused(400, "authorization_pending")
        self._devices[device.device_code] = replace(device, granted=True)
        return self._granted(self.issue(scopes=device.scopes))

    def _granted(self, issued: Issued, with_refresh_token: bool = True) -> _Reply:
        more = {"refresh_token": issued.refresh_token} if with_refresh_token else {}
        return _done(
            access_token=issued.access_token,
            expires_in=self._seconds(issued.life_seconds),
            **more,
            scope=self._scopes(issued),
            token_type="bearer",
        )

    def _scopes(self, issued: Issued) -> list[str] | str:
        return " ".join(issued.scopes) if self.behaviour.scope_as_text else list(issued.scopes)

    def _seconds(self, life: float) -> float:
        return math.floor(life) if self.behaviour.expires_in_whole_seconds else life


async def _read(reader: asyncio.StreamReader) -> _Incoming:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *others = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = [*first.split(" "), "", ""][:3]
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in others)}
    content = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    fields = dict(parse_qsl(url.query, keep_blank_values=True))
    # Secrets do not belong into an address, so what is posted there does not count.
    if method == "POST":
        is_form = headers.get("content-type", "").startswith(_FORM)
        fields = (
            dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True)) if is_form else {}
        )
    endpoint = _ENDPOINTS.get((method, url.path), url.path)
    if endpoint == "validate":
        fields["authorization"] = headers.get("authorization", "")
    keeps_open = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return _Incoming(endpoint, fields, keeps_open)


def _done(**fields: Any) -> _Reply:
    return _Reply(200, json.dumps(fields).encode())


def _refused(status: int, message: str, error: str | None = None) -> _Reply:
    fields = {"status": status, "message": message}
    return _Reply(status, json.dumps({"error": error} | fields if error else fields).encode(), message)


def _page(status: int, body: str, reason: str = "") -> _Reply:
    content = f"<!DOCTYPE html><html><title>Twitch</title><body>{body}</body></html>\n"
    return _Reply(status, content.encode(), reason, "text/html; charset=utf-8")


def _redirect(target: str, **fields: str | None) -> _Reply:
    query = urlencode({name: text for name, text in fields.items() if text is not None})
    location = f"{target}{'&' if '?' in target else '?'}{query}"
    return _Reply(302, reason=fields.get("error") or "", location=location)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _number(seconds: float) -> float:
    return int(seconds) if float(seconds).is_integer() else seconds


def _main() -> None:
    parser = argparse.ArgumentParser(description="A server of Twitch's sign-in on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--life", type=float, default=LIFE_SECONDS, help="seconds an access token lives")
    arguments = parser.parse_args()
    ends = {signal.SIGINT, signal.SIGTERM}
    # Before there is a thread to take them: a signal in the middle of the start waits for its end.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = FakeTwitchId(arguments.host, arguments.port, life_seconds=arguments.life)
    try:
        server.start()
    except (OSError, OverflowError) as error:
        raise SystemExit(f"cannot listen on {arguments.host}:{arguments.port}: {error}") from None
    print(f"fake Twitch sign-in, Ctrl-C ends it; TWITCH_ID_URL={server.url}")
    print(f"client id     {server.client_id}")
    print(f"client secret {server.client_secret}")
    print(f"redirect URI  {server.redirect_uri}", flush=True)
    signal.sigwait(ends)
    server.stop()


if __name__ == "__main__":
    _main()
