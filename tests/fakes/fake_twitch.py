"""A scriptable Twitch chat server on loopback.

It runs in a thread of the test; every method may be called from any other thread. As a program of its own
it invents chat in every channel that is joined:
``python -m tests.fakes.fake_twitch --port 6667 --per-second 5``.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import itertools
import signal
import socket
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import TypeVar

from tests.fakes.fake_twitch_connection import Connection
from tests.fakes.fake_twitch_lines import aimed_at, bare, chat_line, login_of
from tests.fakes.fake_twitch_records import Behaviour, Join, Line, Login, Observed, Pong, Violation
from tests.fakes.threaded_server import ThreadedServer

__all__ = ["Behaviour", "Connection", "FakeTwitch", "Join", "Line", "Login", "Pong", "Violation", "chat_line"]

BATCH_LINES = 500
PLAY_SECONDS = 600.0
_Result = TypeVar("_Result")
_INVENTED = (
    ("hello chat Kappa", "25:11-15"),
    ("Kappa Keepo Kappa", "25:0-4,12-16/1902:6-10"),
    ("\U0001f389\U0001f389 gg Kappa", "25:6-10"),
    ("no emotes here: just a longer line of text, as people write it", ""),
    ("\x01ACTION waves Kappa\x01", "25:6-10"),
)


class FakeTwitch(ThreadedServer, Observed):
    """The server; use it as a context manager.

    ``tls`` None is plain TCP; ``port`` 0 is a free one; ``ipv6`` listens on ::1 with the same port too.
    What it saw (``logins``, ``joins``, ``lines``, ...) and the waiting are those of ``Observed``; what it
    does otherwise than Twitch is set in ``behaviour``.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0, ipv6: bool = False
    ) -> None:
        ThreadedServer.__init__(self, "the fake Twitch")
        Observed.__init__(self)
        self.sent: Counter[str] = Counter()
        """Chat lines per channel that were written to anybody, before doubling and leaving out."""
        self.unheard: Counter[str] = Counter()
        """Chat lines per channel that nobody was there to get."""
        self._tls = tls
        self._hosts = (host, "::1") if ipv6 else (host,)
        self._port = port
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._hanging: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """As TWITCH_IRC_URL wants it."""
        host = f"[{self._hosts[0]}]" if ":" in self._hosts[0] else self._hosts[0]
        return f"{'ircs' if self._tls else 'irc'}://{host}:{self._port}"

    def send(self, channel: str, *lines: str | bytes) -> None:
        """Send lines as they are, CR LF appended, to all in the channel; returns when they are written."""
        self.play(channel, lines, rewrite_channel=False)

    def send_raw(self, data: bytes, channel: str | None = None) -> None:
        """Send bytes as they are to all in the channel; None: to every connection."""
        self._to_each(lambda connection: connection.write(data), channel)

    def chat(self, channel: str, text: str, login: str = "ronni", **tags: str | int | None) -> str:
        """Say something in the channel; gives the message's id. ``tags`` as in ``chat_line``."""
        message_id = str(tags.setdefault("id", str(uuid.uuid4())))
        self.send(channel, chat_line(channel, text, login, **tags))
        return message_id

    def play(
        self,
        channel: str,
        lines: Iterable[bytes | str],
        per_second: float | None = None,
        rewrite_channel: bool = True,
        each_member: bool = True,
    ) -> None:
        """Send many lines; returns when they are written.

        ``per_second`` None is as fast as they are read, else evenly. ``rewrite_channel`` makes ``channel``
        the lines' target. ``each_member`` gives every connection in the channel its own copy, as Twitch
        does; False gives them to the oldest one only.
        """
        self._call(self._play(channel, lines, per_second, rewrite_channel, each_member), PLAY_SECONDS)

    def start_playing(
        self,
        channel: str,
        lines: Iterable[bytes | str],
        per_second: float | None = None,
        rewrite_channel: bool = True,
        each_member: bool = True,
    ) -> concurrent.futures.Future[None]:
        """The same as ``play`` in the background; ``.result(timeout)`` waits, ``.cancel()`` ends it."""
        return self._submit(self._play(channel, lines, per_second, rewrite_channel, each_member))

    def start_saying(
        self,
        channel: str,
        next_line: Callable[[], bytes | None],
        per_second: float,
        told: Callable[[bool], None],
    ) -> concurrent.futures.Future[None]:
        """Say what ``next_line`` gives, evenly, until it gives None.

        It is called right before its line is written, and ``told`` right after that with whether anybody was
        there to get the line; both in the server's thread.
        """
        return self._submit(self._say(login_of(channel), next_line, per_second, told))

    def start_inventing(self, per_second: float) -> concurrent.futures.Future[None]:
        """Invent so many messages a second in every channel somebody is in, until cancelled."""
        return self._submit(self._invent(per_second))

    def refuse_logins(
        self, times: int = True, text: str = "Login authentication failed", closes: bool = True
    ) -> None:
        """Refuse the next logins; True until told otherwise, 0 no more."""
        self.behaviour.refusal, self.behaviour.refusal_closes = text, closes
        self.behaviour.refuse_logins = times

    def suspend(self, channel: str, notice: str = "msg_channel_suspended", part: bool = False) -> None:
        """Close the channel to all, also those who are in it; ``part`` sends them a PART too."""
        name = login_of(channel)
        self.behaviour.closed_channels[name] = notice
        self._to_each(lambda connection: connection.turn_away(name, notice, part=part), name)

    def reopen(self, channel: str) -> None:
        """Let clients join a channel that was suspended or mute."""
        self.behaviour.closed_channels.pop(login_of(channel), None)
        self.behaviour.mute_channels.discard(login_of(channel))

    def ping(self, text: str | None = None) -> str:
        """Ask every connection for a PONG; gives the text, one of its own when None."""
        text = text or f"ping-{uuid.uuid4()}"
        self.pings.add(text)
        self._to_each(lambda connection: connection.say(f"PING :{text}"))
        return text

    def reconnect(self, close_after: float | None = None, channel: str | None = None) -> None:
        """Announce to the connections of now that they will be closed; do it after so many seconds."""
        announced: list[Connection] = []

        async def announce(connection: Connection) -> None:
            announced.append(connection)
            await connection.say(":tmi.twitch.tv RECONNECT")

        async def close_later() -> None:
            await asyncio.sleep(close_after or 0)
            for connection in announced:
                connection.close()

        self._to_each(announce, channel)
        if close_after is not None:
            self._submit(close_later())

    def close_all(self, reset: bool = False) -> None:
        """Close every connection, in order or by a TCP reset; the frozen and the hanging ones too."""

        async def close() -> None:
            for connection in tuple(self.connections):
                connection.reset() if reset else connection.close()
            self._close_hanging()

        self._call(close())

    def close_members(self, channel: str, reset: bool = False) -> None:
        """Close the connections in a channel, in order or by a TCP reset."""

        async def close(connection: Connection) -> None:
            connection.reset() if reset else connection.close()

        self._to_each(close, channel)

    def close_connection(self, number: int, reset: bool = False) -> None:
        """Close the connection with this number, a frozen one too; nothing when it is gone."""

        async def close() -> None:
            for connection in self._numbered(number):
                connection.reset() if reset else connection.close()

        self._call(close())

    def freeze_connection(self, number: int) -> None:
        """Leave the connection with this number open and dead; nothing when it is gone."""

        async def freeze() -> None:
            for connection in self._numbered(number):
                connection.freeze()

        self._call(freeze())

    def freeze(self, channel: str | None = None) -> None:
        """Leave connections open and dead: nothing is read or written; None: all those of now."""

        async def freeze(connection: Connection) -> None:
            connection.freeze()

        self._to_each(freeze, channel)

    def thaw(self) -> None:
        """Wake the frozen connections; what was sent to them meanwhile stays lost."""

        async def thaw() -> None:
            for connection in tuple(self.connections):
                connection.thaw()

        self._call(thaw())

    def drop_every(self, nth: int, connection: int) -> None:
        """Leave out each n-th chat line on the connection with this number only; 0 none."""
        found = [one for one in self.history if one.number == connection]
        assert found, f"no connection {connection}; {self}"
        found[0].drop_every = nth

    def refuse_connections(self) -> None:
        """Stop listening: a new connection is refused; those of now go on."""
        self._call(self._stop_listening())

    def accept_connections(self) -> None:
        """Listen again, on the same port."""
        self._call(self._listen())

    async def _open(self) -> None:
        await self._listen()

    async def _close(self) -> None:
        await self._stop_listening()
        self._close_hanging()
        for connection in tuple(self.connections):
            connection.abort()
        # The one that runs this is among all the tasks.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        # A transport gives its socket back one turn of the loop after it was aborted.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        if self._listeners:
            return
        for attempts_left in reversed(range(10 if self._port == 0 else 1)):
            try:
                self._open_listeners()
            except OSError:  # the port that is free for IPv4 may be taken for IPv6
                await self._stop_listening()
                if not attempts_left:
                    raise
                self._port = 0
            else:
                return

    def _open_listeners(self) -> None:
        for host in self._hosts:
            listener = socket.create_server(
                (host, self._port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
            )
            listener.setblocking(False)
            self._port = listener.getsockname()[1]
            self._listeners.append(listener)
            self._accepting.append(self._spawn(self._accept(listener)))

    async def _stop_listening(self) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        self._accepting, self._listeners = [], []

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(listener)
            self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        with self.changed:
            self.accepted += 1
            number = self.accepted
            hangs = self.behaviour.take("hang_handshakes")
            if hangs:
                self._hanging.append(client)
            closes = not hangs and self.behaviour.take("close_after_accept")
            self.changed.notify_all()
        if closes:
            client.close()
        elif not hangs:
            await self._converse(client, number)

    async def _converse(self, client: socket.socket, number: int) -> None:
        loop = asyncio.get_running_loop()
        # asyncio does it only for sockets whose protocol number is set, and these have none: small
        # writes would wait 40 ms for the client's acknowledgement.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = asyncio.StreamReader(limit=2**20)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls, ssl_shutdown_timeout=2.0 if self._tls else None
            )
        except OSError:  # a client that does not trust the certificate, or left
            client.close()
            return
        connection = Connection(number, self, reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        with self.changed:
            self.connections.add(connection)
            self.history.append(connection)
            self.changed.notify_all()
        try:
            with contextlib.suppress(OSError):
                await connection.serve()
        finally:
            with self.changed:
                connection.closed_at = time.monotonic()
                self.connections.discard(connection)
                self.changed.notify_all()
            await connection.finish()

    async def _play(
        self,
        channel: str,
        lines: Iterable[bytes | str],
        per_second: float | None,
        rewrite_channel: bool,
        each_member: bool,
    ) -> None:
        name = login_of(channel)
        began = time.monotonic()
        batch: list[bytes] = []
        for place, line in enumerate(lines):
            ahead = began + place / per_second - time.monotonic() if per_second else 0.0
            if len(batch) >= BATCH_LINES or ahead > 0:
                await self._write(name, batch, each_member)
                batch = []
                await asyncio.sleep(max(ahead, 0))
            raw = bare(line.encode() if isinstance(line, str) else line)
            batch.append(aimed_at(name, raw) if rewrite_channel else raw)
        await self._write(name, batch, each_member)

    async def _say(
        self,
        name: str,
        next_line: Callable[[], bytes | None],
        per_second: float,
        told: Callable[[bool], None],
    ) -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(began + number / per_second - time.monotonic(), 0))
            line = next_line()
            if line is None:
                return
            told(await self._write(name, [line]))

    async def _write(self, name: str, lines: list[bytes], each_member: bool = True) -> bool:
        members = self.in_channel(name)
        if not each_member:
            members = members[:1]
        sent_lines = [line for line in lines for _ in range(2)] if self.behaviour.duplicates else lines
        joined = b"".join(line + b"\r\n" for line in sent_lines)
        # Together, so that one slow reader does not keep the lines from the others.
        heard = await asyncio.gather(*(connection.deliver(sent_lines, joined) for connection in members))
        with self.changed:
            (self.sent if any(heard) else self.unheard)[name] += len(lines)
            self.changed.notify_all()
        return any(heard)

    async def _invent(self, per_second: float) -> None:
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(began + number / per_second - time.monotonic(), 0))
            text, emotes = _INVENTED[number % len(_INVENTED)]
            for name in sorted({name for one in tuple(self.connections) for name in one.channels}):
                login = f"viewer_{number % 97}"
                await self._write(name, [chat_line(name, text, login, emotes=emotes)])

    def _to_each(
        self, action: Callable[[Connection], Coroutine[None, None, object]], channel: str | None = None
    ) -> None:
        async def act() -> None:
            everybody = [one for one in tuple(self.connections) if one.live]
            chosen = everybody if channel is None else self.in_channel(channel)
            await asyncio.gather(*(action(connection) for connection in chosen))

        self._call(act())

    def _numbered(self, number: int) -> list[Connection]:
        return [one for one in tuple(self.connections) if one.number == number]

    def _close_hanging(self) -> None:
        for client in self._hanging:
            client.close()
        self._hanging.clear()

    def _call(self, what: Coroutine[None, None, _Result], timeout: float = 30.0) -> _Result:
        future = self._submit(what)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise AssertionError(f"not written within {timeout:g} s: nobody reads; {self}") from None


def _main() -> None:
    parser = argparse.ArgumentParser(description="A Twitch chat server on loopback that invents chat.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=6667, help="0 takes a free one")
    parser.add_argument("--per-second", type=float, default=1.0, help="messages per second and channel")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        FakeTwitch(host=arguments.host, port=arguments.port) as twitch,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print(f"fake Twitch on {twitch.url}, Ctrl-C ends it", flush=True)
        twitch.start_inventing(arguments.per_second).result()


if __name__ == "__main__":
    _main()
