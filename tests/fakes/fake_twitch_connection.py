"""One connection of the fake Twitch: the protocol as Twitch speaks it, and its deviations."""

import asyncio
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.fake_twitch import FakeTwitch


class Connection:
    """What the server knows of one client."""

    def __init__(
        self, server: "FakeTwitch", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.channels: set[str] = set()
        self.capabilities: set[str] = set()
        self.nick = ""
        self._server = server
        self._reader = reader
        self._writer = writer
        self._password: str | None = None
        self._frozen = False

    @property
    def socket(self) -> socket.socket:
        """The connection's socket."""
        found: socket.socket = self._writer.get_extra_info("socket")
        return found

    def close(self) -> None:
        """Close in order."""
        self._writer.close()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    def freeze(self) -> None:
        """Neither read nor write any more."""
        self._frozen = True
        transport = self._writer.transport
        if isinstance(transport, asyncio.ReadTransport):
            transport.pause_reading()

    def line(self, text: str) -> None:
        """Send a line of the server's own."""
        if not self._frozen:
            self._writer.write(
                f":tmi.twitch.tv {text}\r\n".encode() if text[:4] != "PING" else f"{text}\r\n".encode()
            )

    async def write(self, data: bytes) -> None:
        """Send bytes as they are, cut as the behaviour says."""
        if self._frozen or self._writer.is_closing():
            return
        step = self._server.behaviour.write_bytes or len(data)
        for start in range(0, len(data), step):
            self._writer.write(data[start : start + step])
            try:
                await self._writer.drain()
            except ConnectionError:
                return

    async def serve(self) -> None:
        """Answer until the client leaves."""
        behaviour = self._server.behaviour
        if behaviour.close_after_accept:
            return
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._writer.is_closing():
            raw = await self._reader.readline()
            if not raw:
                return
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            with self._server.changed:
                self._server.lines.append(text)
                keep_on = self._answer(text)
                self._server.changed.notify_all()
            await self._writer.drain()
            if not keep_on:
                return

    def _answer(self, text: str) -> bool:
        command, _, rest = text.partition(" ")
        if command == "CAP":
            wanted = rest.partition(":")[2]
            self.capabilities |= set(wanted.split())
            self.line(f"CAP * ACK :{wanted}")
        elif command == "PASS":
            self._password = rest.removeprefix(":")
        elif command == "NICK":
            return self._login(rest)
        elif command == "PING" and self._server.behaviour.answers_ping:
            self.line(f"PONG tmi.twitch.tv :{rest.removeprefix(':')}")
        elif command == "PONG":
            self._server.pongs.append(rest.removeprefix(":"))
        elif command == "JOIN":
            for channel in rest.split(","):
                self._join(channel.strip().lstrip("#").lower())
        elif command == "PART":
            channel = rest.lstrip("#")
            self.channels.discard(channel)
            self._own(f"PART #{channel}")
        return True

    def _login(self, nick: str) -> bool:
        from tests.fakes.fake_twitch import Login

        server, behaviour = self._server, self._server.behaviour
        server.logins.append(Login(nick, self._password, time.monotonic()))
        anonymous = nick.startswith("justinfan")
        refused = behaviour.refuse_logins > 0
        if not anonymous:
            refused |= self._password is None
            refused |= behaviour.valid_tokens is not None and self._password not in behaviour.valid_tokens
        if refused:
            behaviour.refuse_logins = max(0, behaviour.refuse_logins - 1)
            self.line(f"NOTICE * :{behaviour.refusal}")
            return False
        if not behaviour.answers_login:
            return True
        self.nick = nick
        for number, text in (("001", "Welcome, GLHF!"), ("002", "Your host is tmi.twitch.tv"),
                             ("003", "This server is rather new"), ("004", "-"), ("375", "-"),
                             ("372", "You are in a maze of twisty passages."), ("376", ">")):  # fmt: skip
            self.line(f"{number} {nick} :{text}")
        return not behaviour.close_after_login

    def _join(self, channel: str) -> None:
        from tests.fakes.fake_twitch import Join

        server, behaviour = self._server, self._server.behaviour
        server.joins.append(Join(channel, time.monotonic()))
        if channel in behaviour.mute_channels:
            return
        if channel in behaviour.closed_channels:
            notice = behaviour.closed_channels[channel]
            tags = f"@msg-id={notice} " if "twitch.tv/tags" in self.capabilities else ""
            text = "This channel does not exist or has been suspended."
            self._writer.write(f"{tags}:tmi.twitch.tv NOTICE #{channel} :{text}\r\n".encode())
            return
        self._own(f"JOIN #{channel}")
        self._writer.write(
            f":{self.nick}.tmi.twitch.tv 353 {self.nick} = #{channel} :{self.nick}\r\n"
            f":{self.nick}.tmi.twitch.tv 366 {self.nick} #{channel} :End of /NAMES list\r\n".encode()
        )
        if "twitch.tv/commands" in self.capabilities:
            state = "@emote-only=0;followers-only=-1;r9k=0;room-id=71092938;slow=0;subs-only=0 "
            self._writer.write(f"{state}:tmi.twitch.tv ROOMSTATE #{channel}\r\n".encode())
        self.channels.add(channel)

    def _own(self, text: str) -> None:
        nick = self.nick
        self._writer.write(f":{nick}!{nick}@{nick}.tmi.twitch.tv {text}\r\n".encode())
