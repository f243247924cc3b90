"""A scriptable recent-messages service on loopback.

It runs in a thread of the test; every method may be called from any other thread. It does as the code of
https://github.com/robotty/recent-messages2 does, where ``Behaviour`` does not say otherwise.
"""

import asyncio
import contextlib
import json
import re
import ssl
import threading
import time
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from shared.irc_line import IrcLine, parse_line
from tests.fakes.fake_twitch_lines import bare, login_of
from tests.fakes.threaded_server import ThreadedServer

PATH = "/api/v2/recent-messages"
KEEPS = 800
KEPT_MS = 24 * 3600 * 1000
DRIP_SECONDS = 0.05
HUGE_BYTES = 9 * 1024 * 1024
_LOGIN = re.compile(r"[a-z0-9_]{1,25}")
_SHOWN = {"PRIVMSG", "CLEARCHAT", "CLEARMSG", "USERNOTICE", "NOTICE", "ROOMSTATE"}
_NOT_SHOWN_NOTICES = {
    "no_permission",
    "host_on",
    "host_off",
    "host_target_went_offline",
    "msg_channel_suspended",
}
NOT_JOINED = "The bot is currently not joined to this channel (in progress or failed previously)"


@dataclass
class Behaviour:
    """What the service does otherwise than at its best; change it at any time."""

    times: int | None = None
    """The next so many requests only; None: every one. 0: none any more."""
    status: int = 200
    retry_after: str | None = None
    """That header."""
    location: str | None = None
    """That header, for a redirection."""
    delay_seconds: float = 0.0
    """Before the answer."""
    drip: bool = False
    """The answer, header and all, comes byte by byte, one every 0.05 s."""
    hang: bool = False
    """Never answers."""
    cut: bool = False
    """Closes the connection in the middle of the answer."""
    error: str | None = None
    error_code: str | None = None
    """Besides the messages; with another status than 200 instead of them."""
    content: bytes | None = None
    """Instead of the JSON: garbage, or another shape."""
    huge: bool = False
    """An answer of 9 MB."""
    ignores_times: bool = False
    """Knows neither ``after`` nor ``before``, as the first versions of the service."""
    ahead_ms: int = 0
    """So far its clock is ahead of the machine's: its ``Date``, and when it got a line."""
    date: str | None = None
    """That header; None: what its clock says. Empty: without."""
    keeps: int = KEEPS
    """Lines an answer, whatever ``limit`` says."""


@dataclass(frozen=True)
class Request:
    """One request. Times of the query are Unix ms, ``at`` is monotonic seconds."""

    channel: str
    after: int | None
    before: int | None
    limit: int | None
    at: float
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""


@dataclass(frozen=True)
class _Kept:
    received_ms: int
    raw: str
    line: IrcLine


class FakeRecentMessages(ThreadedServer):
    """The service; use it as a context manager. ``port`` 0 is a free one, ``tls`` None is plain HTTP."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__("the fake recent-messages service")
        self.most_at_once = 0
        """So many requests were there at the same time."""
        self._host = host
        self._port = port
        self._tls = tls
        self._lock = threading.Lock()
        self._kept: dict[str, list[_Kept]] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._requests: list[Request] = []
        self._now = 0
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """As BACKFILL_URL wants it."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}{PATH}"

    @property
    def requests(self) -> list[Request]:
        """Every request, in the order of their arrival."""
        with self._lock:
            return list(self._requests)

    def behave(self, channel: str, **changes: Any) -> None:
        """Do with requests for this channel as ``Behaviour(**changes)`` says from now on."""
        with self._lock:
            self._behaviours[login_of(channel)] = Behaviour(**changes)

    def keep(self, channel: str, line: str | bytes, received_ms: int | None = None) -> None:
        """Hear a line in the channel; ``received_ms``, by the machine's clock, None is now."""
        raw = bare(line.encode() if isinstance(line, str) else line)
        parsed = parse_line(raw)
        assert parsed is not None, line
        at = time.time_ns() // 1_000_000 if received_ms is None else received_ms
        with self._lock:
            self._kept.setdefault(login_of(channel), []).append(
                _Kept(at, raw.decode("utf-8", "replace"), parsed)
            )

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        talking = tuple(self._tasks)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await self._server.wait_closed()
        # A transport gives its socket back one turn of the loop after it was aborted.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._spawn(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client may leave at any time.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request = _request(head)
        with self._lock:
            self._requests.append(request)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            behaviour = self._behaviour(request.channel)
        try:
            await asyncio.sleep(behaviour.delay_seconds)
            await self._answer(request, behaviour, reader, writer)
        finally:
            with self._lock:
                self._now -= 1

    def _behaviour(self, channel: str) -> Behaviour:
        behaviour = self._behaviours.get(channel, Behaviour())
        if behaviour.times is None:
            return behaviour
        if behaviour.times <= 0:
            return Behaviour()
        behaviour.times -= 1
        return behaviour

    async def _answer(
        self,
        request: Request,
        behaviour: Behaviour,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if behaviour.hang:
            # Until the client goes away.
            await reader.read()
            return
        status, content = self._content(request, behaviour)
        answer = _head(status, behaviour, len(content)) + content
        if behaviour.cut:
            answer = answer[: len(answer) - len(content) // 2 - 1]
        if not behaviour.drip:
            writer.write(answer)
            await writer.drain()
            return
        gone = asyncio.ensure_future(reader.read())
        for byte in answer:
            writer.write(bytes([byte]))
            await asyncio.wait([gone], timeout=DRIP_SECONDS)
            if gone.done():
                break
        gone.cancel()

    def _content(self, request: Request, behaviour: Behaviour) -> tuple[int, bytes]:
        if behaviour.content is not None:
            return behaviour.status, behaviour.content
        if behaviour.huge:
            return behaviour.status, b'{"messages": ["' + b"x" * HUGE_BYTES + b'"]}'
        if behaviour.status != 200:
            return _refusal(behaviour.status, behaviour.error, behaviour.error_code)
        if not _LOGIN.fullmatch(request.channel):
            return _refusal(400, f"Invalid channel login: {request.channel}", "invalid_channel_login")
        with self._lock:
            kept = [
                replace(one, received_ms=one.received_ms + behaviour.ahead_ms)
                for one in self._kept.get(request.channel, [])
            ]
        answer = {
            "messages": _exported(_chosen(kept, request, behaviour)),
            "error": behaviour.error,
            "error_code": behaviour.error_code,
        }
        return 200, json.dumps(answer, ensure_ascii=False).encode()


def _request(head: str) -> Request:
    first, *rest = head.split("\r\n")
    headers = {
        name.lower(): value.strip() for name, colon, value in (one.partition(":") for one in rest) if colon
    }
    target = urlsplit(first.split(" ")[1])
    query = {name: int(values[0]) for name, values in parse_qs(target.query).items()}
    channel = unquote(target.path.removeprefix(PATH).removeprefix("/"))
    return Request(
        channel, query.get("after"), query.get("before"), query.get("limit"), time.monotonic(), headers
    )


def _head(status: int, behaviour: Behaviour, length: int) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {length}",
        "connection: close",
    ]
    date = formatdate(time.time() + behaviour.ahead_ms / 1000, usegmt=True)
    if behaviour.date is not None:
        date = behaviour.date
    if date:
        lines.append(f"date: {date}")
    if behaviour.retry_after is not None:
        lines.append(f"retry-after: {behaviour.retry_after}")
    if behaviour.location is not None:
        lines.append(f"location: {behaviour.location}")
    return "\r\n".join([*lines, "", ""]).encode()


def _refusal(status: int, error: str | None, error_code: str | None) -> tuple[int, bytes]:
    phrase = HTTPStatus(status).phrase
    code = error_code or phrase.lower().replace(" ", "_")
    answer = {"status": status, "status_message": phrase, "error": error or phrase, "error_code": code}
    return status, json.dumps(answer).encode()


def _chosen(kept: list[_Kept], request: Request, behaviour: Behaviour) -> list[_Kept]:
    """The newest that the request asks for, oldest first."""
    after, before = request.after, request.before
    if behaviour.ignores_times:
        after, before = None, None
    oldest_ms = time.time_ns() // 1_000_000 + behaviour.ahead_ms - KEPT_MS
    asked_for = [
        one
        for one in kept
        if one.received_ms > (oldest_ms if after is None else max(after, oldest_ms))
        and (before is None or one.received_ms < before)
    ]
    asked_for.sort(key=lambda one: one.received_ms)
    limit = min(behaviour.keeps, behaviour.keeps if request.limit is None else request.limit)
    return asked_for[max(0, len(asked_for) - limit) :]


def _exported(chosen: list[_Kept]) -> list[str]:
    """With the tags of the service; deletions of the same answer are marked."""
    shown = [one for one in chosen if _is_shown(one.line)]
    deleted: set[int] = set()
    for place, one in enumerate(shown):
        if one.line.command in ("CLEARCHAT", "CLEARMSG"):
            deleted |= {earlier for earlier in range(place) if _deletes(one.line, shown[earlier].line)}
    return [_tagged(one, place in deleted) for place, one in enumerate(shown)]


def _is_shown(line: IrcLine) -> bool:
    hidden = line.command == "NOTICE" and line.tags.get("msg-id") in _NOT_SHOWN_NOTICES
    return line.command in _SHOWN and not hidden


def _deletes(line: IrcLine, earlier: IrcLine) -> bool:
    said = earlier.command in ("PRIVMSG", "USERNOTICE")
    if line.command == "CLEARMSG":
        return said and earlier.tags.get("id") == line.tags.get("target-msg-id")
    return len(line.params) < 2 or (said and earlier.tags.get("user-id") == line.tags.get("target-user-id"))


def _tagged(kept: _Kept, deleted: bool) -> str:
    added = f"historical=1;rm-received-ts={kept.received_ms}" + (";rm-deleted=1" if deleted else "")
    return f"@{added};{kept.raw[1:]}" if kept.raw.startswith("@") else f"@{added} {kept.raw}"
