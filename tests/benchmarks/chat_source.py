"""A Twitch of its own process that says as much as it is told, each message with the time of its writing.

Chat over IRC for everybody, and over WebSocket for tmi.js. The text of each message ends in
`` b:<phase>:<number>:<monotonic nanoseconds>``, the clock that all processes of a machine share.
"""

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import random
import re
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterator
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from tests.processes.test_main_job import sample_lines

FIRST = "first"
"""The phase of the message that each channel gets at once when it is joined first."""
ANSWER_SECONDS = 180.0
"""A design that does not take its chat for so long has failed."""
_CHUNK_LINES = 100
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_OF_EACH_MESSAGE = re.compile(rb"(?<=[@;])(id|tmi-sent-ts)=[^; ]*;?")


class _Template(NamedTuple):
    tags: bytes
    prefix: bytes
    text: bytes


def _templates() -> list[_Template]:
    """Real chat, with its own ids and times left out."""
    found = []
    for line in sample_lines():
        head, _, text = line.partition(b" :")[2].partition(b" :")
        prefix, _, rest = head.partition(b" ")
        tags = line.partition(b" :")[0]
        if rest.startswith(b"PRIVMSG ") and not text.startswith(b"\x01"):
            found.append(_Template(_OF_EACH_MESSAGE.sub(b"", tags).rstrip(b";"), prefix, text))
    return found


class _Source:
    """The server's loop; commands come over ``pipe``."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._templates = _templates()
        self._clients: defaultdict[str, list[_Client]] = defaultdict(list)
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self._said = 0
        self._greeted: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._end = asyncio.Event()

    async def serve(self) -> None:
        irc = await asyncio.start_server(self._serve_irc, "127.0.0.1", 0)
        websocket = await asyncio.start_server(self._serve_websocket, "127.0.0.1", 0)
        self._pipe.send((irc.sockets[0].getsockname()[1], websocket.sockets[0].getsockname()[1]))
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._on_command)
        await self._end.wait()

    def _on_command(self) -> None:
        try:
            number, name, *arguments = self._pipe.recv()
        except EOFError:
            self._end.set()
            return
        if name == "joined":
            self._pipe.send((number, sum(map(len, self._clients.values()))))
        elif name == "forget":
            for task in self._tasks:
                task.cancel()
            self._greeted.clear()
            self._numbers.clear()
            self._pipe.send((number, 0))
        else:
            say = self._play if name == "play" else self._blast
            task = asyncio.ensure_future(self._answer_after(number, say(*arguments)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer_after(self, number: int, said: Coroutine[Any, Any, int]) -> None:
        self._pipe.send((number, await said))

    async def _play(self, phase: str, channels: list[str], per_second: float, seconds: float) -> int:
        """Each channel at its pace, at random moments that are the same in every run."""
        moments = sorted(_moments(channels, per_second, seconds))
        began = time.monotonic()
        for due, channel in moments:
            wait = began + due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self._say(phase, channel)
        return len(moments)

    async def _blast(self, phase: str, channels: list[str], each: int) -> int:
        """As fast as it is taken."""
        for done in range(0, each, _CHUNK_LINES):
            count = min(_CHUNK_LINES, each - done)
            for channel in channels:
                lines = b"".join(self._line(phase, channel) for _ in range(count))
                for client in self._clients[channel]:
                    client.write(lines)
            for channel in channels:
                for client in list(self._clients[channel]):
                    # One that has gone misses the rest, and that is seen.
                    with contextlib.suppress(ConnectionError):
                        await client.drain()
        return each * len(channels)

    def _say(self, phase: str, channel: str) -> None:
        line = self._line(phase, channel)
        for client in self._clients[channel]:
            client.write(line)

    def _line(self, phase: str, channel: str) -> bytes:
        template = self._templates[self._said % len(self._templates)]
        self._said += 1
        self._numbers[phase] += 1
        return b"%b;id=%08x-0000-4000-8000-%012x;tmi-sent-ts=%d :%b PRIVMSG #%b :%b b:%b:%d:%d\r\n" % (
            template.tags,
            self._said,
            time.time_ns() // 1000,
            time.time_ns() // 1_000_000,
            template.prefix,
            channel.encode(),
            template.text,
            phase.encode(),
            self._numbers[phase],
            time.monotonic_ns(),
        )

    async def _serve_irc(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve_lines(_Client(writer), _irc_lines(reader))

    async def _serve_websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert found is not None, request
        accept = base64.b64encode(hashlib.sha1(found[1] + _WEBSOCKET_GUID).digest())
        protocol = b"Sec-WebSocket-Protocol: irc\r\n" if b"sec-websocket-protocol" in request.lower() else b""
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n" + protocol + b"\r\n"
        )
        await self._serve_lines(_WebSocketClient(writer), _websocket_lines(reader))

    async def _serve_lines(self, client: "_Client", lines: AsyncIterator[bytes]) -> None:
        try:
            async for line in lines:
                self._answer(client, line)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for clients in self._clients.values():
                if client in clients:
                    clients.remove(client)
            client.close()

    def _answer(self, client: "_Client", line: bytes) -> None:
        command, _, rest = line.partition(b" ")
        if command == b"CAP" and rest.startswith(b"REQ"):
            client.write(b":tmi.twitch.tv CAP * ACK " + rest[4:] + b"\r\n")
        elif command == b"NICK":
            client.nick = rest
            for number in (b"001", b"002", b"003", b"004", b"375", b"372", b"376"):
                client.write(b":tmi.twitch.tv %b %b :-\r\n" % (number, rest))
        elif command == b"PING":
            # tmi.js sends a bare PING over its WebSocket.
            client.write(b":tmi.twitch.tv PONG tmi.twitch.tv " + rest + b"\r\n" if rest else b"PONG \r\n")
        elif command == b"JOIN":
            for channel in rest.split(b","):
                self._let_in(client, channel.strip().lstrip(b"#"))

    def _let_in(self, client: "_Client", channel: bytes) -> None:
        names = {b"nick": client.nick, b"channel": channel}
        client.write(
            b":%(nick)b!%(nick)b@%(nick)b.tmi.twitch.tv JOIN #%(channel)b\r\n"
            b":%(nick)b.tmi.twitch.tv 353 %(nick)b = #%(channel)b :%(nick)b\r\n"
            b":%(nick)b.tmi.twitch.tv 366 %(nick)b #%(channel)b :End of /NAMES list\r\n"
            b"@emote-only=0;room-id=1;slow=0 :tmi.twitch.tv ROOMSTATE #%(channel)b\r\n" % names
        )
        login = channel.decode()
        if client not in self._clients[login]:
            self._clients[login].append(client)
        if login not in self._greeted:
            self._greeted.add(login)
            self._say(FIRST, login)


class _Client:
    """A connection over IRC."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.nick = b""
        self._writer = writer

    def write(self, lines: bytes) -> None:
        self._writer.write(lines)

    async def drain(self) -> None:
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


class _WebSocketClient(_Client):
    """The same in text frames. [RFC 6455]"""

    def write(self, lines: bytes) -> None:
        length = len(lines)
        if length < 126:
            head = bytes([0x81, length])
        elif length < 1 << 16:
            head = bytes([0x81, 126]) + length.to_bytes(2)
        else:
            head = bytes([0x81, 127]) + length.to_bytes(8)
        self._writer.write(head + lines)


async def _irc_lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while line := await reader.readline():
        yield line.rstrip(b"\r\n")


async def _websocket_lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length)
        if first & 0x0F == 8:
            return
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
        for line in data.splitlines():
            yield line


def _moments(channels: list[str], per_second: float, seconds: float) -> Iterator[tuple[float, str]]:
    for channel in channels:
        chance = random.Random(channel)
        at = chance.expovariate(per_second)
        while at < seconds:
            yield at, channel
            at += chance.expovariate(per_second)


def _run(pipe: Connection) -> None:
    # Ctrl-C is for the parent, whose end of the pipe says when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_Source(pipe).serve())


class ChatSource:
    """The process; use it as a context manager."""

    irc_port: int
    websocket_port: int

    def __enter__(self) -> "ChatSource":
        context = multiprocessing.get_context("spawn")
        self._asked = 0
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_run, args=(end,), daemon=True)
        self._process.start()
        end.close()
        self.irc_port, self.websocket_port = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(5)
        self._process.kill()

    def joined(self) -> int:
        """How many are in the channels, all together: one a channel, or two."""
        return self._ask("joined")

    def forget(self) -> None:
        """Greet every channel anew, and say no more of what was told before."""
        self._ask("forget")

    def play(self, phase: str, channels: list[str], per_second: float, seconds: float) -> int:
        """Say something in each channel at that pace; gives how many messages, once all are written."""
        return self._ask("play", phase, channels, per_second, seconds)

    def blast(self, phase: str, channels: list[str], each: int) -> int:
        """So many messages in each channel as fast as they are taken; gives how many in all, at the end."""
        return self._ask("blast", phase, channels, each)

    def _ask(self, *command: object) -> int:
        self._asked += 1
        self._pipe.send((self._asked, *command))
        end = time.monotonic() + ANSWER_SECONDS
        while self._pipe.poll(max(0.0, end - time.monotonic())):
            number, answer = self._pipe.recv()
            # Others answer what was given up before.
            if number == self._asked:
                return int(answer)
        raise TimeoutError(f"the chat was not taken in {ANSWER_SECONDS:.0f} s")
