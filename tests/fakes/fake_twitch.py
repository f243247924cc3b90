"""A scriptable Twitch chat server on loopback.

It runs in a thread of the test; every method may be called from the test's own thread. As a program of its
own it invents chat: ``python -m tests.fakes.fake_twitch --port 6667 --per-second 5``.
"""

import argparse
import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Self, TypeVar

from tests.fakes.fake_twitch_connection import Connection

WAIT_SECONDS = 20.0
_Result = TypeVar("_Result")
_TARGET = re.compile(rb"( (?:PRIVMSG|CLEARCHAT|USERNOTICE|CLEARMSG|NOTICE|ROOMSTATE) #)\S+")


@dataclass(frozen=True)
class Login:
    """A NICK that was sent, whether it was taken or not."""

    nick: str
    password: str | None
    at: float


@dataclass(frozen=True)
class Join:
    """One channel of a JOIN."""

    channel: str
    at: float


@dataclass
class Behaviour:
    """What the server does otherwise than Twitch at its best; change it at any time."""

    refuse_logins: int = 0
    """How many logins to refuse from now on."""
    refusal: str = "Login authentication failed"
    valid_tokens: set[str] | None = None
    """Passwords that are taken; None takes any."""
    mute_channels: set[str] = field(default_factory=set)
    """Channels whose JOIN gets no answer."""
    closed_channels: dict[str, str] = field(default_factory=dict)
    """Channels whose JOIN gets a NOTICE with this msg-id."""
    answers_ping: bool = True
    answers_login: bool = True
    close_after_login: bool = False
    close_after_accept: bool = False
    write_bytes: int | None = None
    """Size of each write; None writes all at once."""


class FakeTwitch:
    """The server; use it as a context manager. ``tls`` None is plain TCP, ``port`` 0 a free one."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.behaviour = Behaviour()
        self.logins: list[Login] = []
        self.joins: list[Join] = []
        self.lines: list[str] = []
        self.pongs: list[str] = []
        self.sent: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.accepted = 0
        self.changed = threading.Condition()
        self._tls = tls
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-twitch", daemon=True)
        self._server: asyncio.Server | None = None

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def stop(self) -> None:
        """Close everything and end the thread."""

        async def close() -> None:
            if self._server is not None:
                self._server.close()
            for connection in list(self.connections):
                connection.abort()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """As TWITCH_IRC_URL wants it."""
        return f"{'ircs' if self._tls else 'irc'}://{self._host}:{self._port}"

    def send(self, channel: str, *lines: str | bytes) -> None:
        """Send lines to every connection that is in the channel; returns when they are written."""
        self.play(channel, [line.encode() if isinstance(line, str) else line for line in lines])

    def chat(self, channel: str, text: str, login: str = "ronni", **tags: str) -> str:
        """Say something in the channel; gives the message's id."""
        message_id = tags.setdefault("id", str(uuid.uuid4()))
        self.send(channel, chat_line(channel, text, login, **tags))
        return message_id

    def play(self, channel: str, lines: Iterable[bytes], per_second: float | None = None) -> None:
        """Send many lines, with their target changed to ``channel``; evenly, or as fast as they are read."""

        async def write() -> None:
            began = time.monotonic()
            batch: list[bytes] = []
            written = 0
            for line in lines:
                batch.append(_TARGET.sub(rb"\g<1>" + channel.encode(), line, count=1))
                if per_second is None:
                    due = len(batch) >= 500
                else:
                    ahead = began + (written + len(batch)) / per_second - time.monotonic()
                    due = ahead > 0.001
                    if due:
                        await asyncio.sleep(ahead)
                if due:
                    written += len(batch)
                    await self._write(channel, batch)
                    batch = []
            await self._write(channel, batch)

        self._call(write(), timeout=600)

    def send_raw(self, channel: str, data: bytes) -> None:
        """Send bytes as they are to every connection that is in the channel."""

        async def write() -> None:
            for connection in self._members(channel):
                await connection.write(data)

        self._call(write())

    def reconnect(self) -> None:
        """Announce to every connection that it will be closed."""
        self._to_all(lambda connection: connection.line("RECONNECT"))

    def ping(self, text: str) -> None:
        """Ask every connection for a PONG."""
        self._to_all(lambda connection: connection.line(f"PING :{text}"))

    def close_all(self, reset: bool = False) -> None:
        """Close every connection, in order or by a TCP reset."""

        def close(connection: Connection) -> None:
            if reset:
                raw = connection.socket
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.abort()
            else:
                connection.close()

        self._to_all(close)

    def freeze(self) -> None:
        """Leave every connection open and dead: nothing is read or written any more."""
        self._to_all(lambda connection: connection.freeze())

    def members(self, channel: str) -> int:
        """Connections that are in the channel."""
        return len(self._members(channel))

    def wait_joined(self, channel: str, count: int = 1, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many connections are in the channel."""
        self.wait_for(lambda: self.members(channel) >= count, f"{count} in #{channel}", timeout)

    def wait_left(self, channel: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait until nobody is in the channel."""
        self.wait_for(lambda: self.members(channel) == 0, f"nobody in #{channel}", timeout)

    def wait_logins(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many logins were tried since the start."""
        self.wait_for(lambda: len(self.logins) >= count, f"{count} logins", timeout)

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait for something to happen here; AssertionError when it does not."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout} s: {what}"

    def _members(self, channel: str) -> list[Connection]:
        return [one for one in list(self.connections) if channel in one.channels]

    async def _write(self, channel: str, lines: list[bytes]) -> None:
        if lines:
            data = b"\r\n".join(lines) + b"\r\n"
            for connection in self._members(channel):
                await connection.write(data)
            self.sent[channel] += len(lines)

    def _to_all(self, action: Callable[[Connection], object]) -> None:
        async def act() -> None:
            for connection in list(self.connections):
                action(connection)

        self._call(act())

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, what: Coroutine[None, None, _Result], timeout: float = 60.0) -> _Result:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, ssl=self._tls, limit=2**20, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        with self.changed:
            self.accepted += 1
            self.connections.add(connection)
            self.changed.notify_all()
        try:
            await connection.serve()
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            with self.changed:
                self.connections.discard(connection)
                self.changed.notify_all()
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


def chat_line(channel: str, text: str, login: str = "ronni", **tags: str) -> bytes:
    """A chat line with the tags of today; ``tags`` names others with ``_`` for ``-``, the given ones win."""
    whole = {
        "badge-info": "",
        "badges": "",
        "color": "#1E90FF",
        "display-name": login,
        "emotes": "",
        "first-msg": "0",
        "flags": "",
        "id": str(uuid.uuid4()),
        "mod": "0",
        "returning-chatter": "0",
        "room-id": "71092938",
        "subscriber": "0",
        "tmi-sent-ts": str(time.time_ns() // 1_000_000),
        "turbo": "0",
        "user-id": "48215771",
        "user-type": "",
    } | {name.replace("_", "-"): value for name, value in tags.items()}
    raw_tags = ";".join(f"{name}={value}" for name, value in whole.items())
    return f"@{raw_tags} :{login}!{login}@{login}.tmi.twitch.tv PRIVMSG #{channel} :{text}".encode()


def _main() -> None:
    parser = argparse.ArgumentParser(description="A Twitch chat server on loopback that invents chat.")
    parser.add_argument("--port", type=int, default=6667)
    parser.add_argument("--per-second", type=float, default=1.0, help="messages per second and channel")
    arguments = parser.parse_args()
    with FakeTwitch(port=arguments.port) as twitch:
        print(f"fake Twitch on {twitch.url}, Ctrl-C ends it", flush=True)
        number = 0
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                number += 1
                for channel in {channel for one in list(twitch.connections) for channel in one.channels}:
                    twitch.chat(channel, f"message {number} Kappa", emotes="25:8-12")
                time.sleep(1 / arguments.per_second)


if __name__ == "__main__":
    _main()
