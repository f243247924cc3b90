"""One connection of the fake Twitch: the protocol as Twitch speaks it, and its deviations."""

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import Sequence

from tests.fakes.fake_twitch_lines import bare, command_of, login_of, number_of
from tests.fakes.fake_twitch_records import Join, Line, Login, Observed, Pong, Violation

LINGER_SECONDS = 5.0
_ANONYMOUS = re.compile(r"justinfan\d+")
_PASSWORD = re.compile(r"oauth:[^\s:]+")
_CAPABILITIES = {"twitch.tv/tags", "twitch.tv/commands", "twitch.tv/membership"}
_WELCOME = (
    ("001", "Welcome, GLHF!"),
    ("002", "Your host is tmi.twitch.tv"),
    ("003", "This server is rather new"),
    ("004", "-"),
    ("375", "-"),
    ("372", "You are in a maze of twisty passages, all alike."),
    ("376", ">"),
)
_NEEDS_COMMANDS = {
    b"CLEARCHAT",
    b"CLEARMSG",
    b"GLOBALUSERSTATE",
    b"HOSTTARGET",
    b"NOTICE",
    b"RECONNECT",
    b"ROOMSTATE",
    b"USERNOTICE",
    b"USERSTATE",
}
_NOTICES = {
    "msg_banned": "You are permanently banned from talking in {}.",
    "tos_ban": "The community has closed channel {} due to Terms of Service violations.",
}
_NO_CHANNEL = "This channel does not exist or has been suspended."


class Connection:
    """What the server knows of one client. Only the server's thread calls the methods."""

    def __init__(
        self, number: int, seen: Observed, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.opened_at = time.monotonic()
        self.closed_at: float | None = None
        self.nick = ""
        self.capabilities: set[str] = set()
        self.channels: set[str] = set()
        self.joined_at: dict[str, float] = {}
        """When it entered each channel last, of time.monotonic()."""
        self.drop_every = 0
        """Each so many-th chat line is left out here; 0 leaves out none."""
        self.dropped = 0
        self._seen = seen
        self._reader = reader
        self._writer = writer
        self._password: str | None = None
        self._chat_lines = 0
        self._closing = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        # A line cut into small writes must not be mixed with another one.
        self._writing = asyncio.Lock()
        self._linger: asyncio.TimerHandle | None = None

    @property
    def live(self) -> bool:
        """Whether the client gets what is sent."""
        return self._thawed.is_set() and not self._closing and self.closed_at is None

    def close(self) -> None:
        """Close in order: what was written before arrives."""
        if self._closing:
            return
        with self._seen.changed:
            self._closing = True
            self._seen.changed.notify_all()
        self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.abort)
        self.thaw()
        # Closing a plain socket with unread input resets it, and the client would lose the last words.
        if self._writer.can_write_eof():
            with contextlib.suppress(OSError):
                self._writer.write_eof()
        else:
            self._writer.close()

    def reset(self) -> None:
        """Close by a TCP reset."""
        linger_zero = struct.pack("ii", 1, 0)
        raw: socket.socket = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
        self.abort()

    def abort(self) -> None:
        """Close without sending what waits."""
        with self._seen.changed:
            self._closing = True
            self._seen.changed.notify_all()
        self.thaw()
        self._writer.transport.abort()

    def freeze(self) -> None:
        """Neither read nor write any more, as if the line were cut; what is sent meanwhile is lost."""
        transport = self._writer.transport
        with self._seen.changed:
            self._thawed.clear()
            self._seen.changed.notify_all()
        if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
            transport.pause_reading()

    def thaw(self) -> None:
        """Go on reading and writing."""
        transport = self._writer.transport
        if self._thawed.is_set():
            return
        with self._seen.changed:
            self._thawed.set()
            self._seen.changed.notify_all()
        if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
            transport.resume_reading()

    async def say(self, *lines: str) -> None:
        """Send lines of the server's own, as far as the client asked for their kind."""
        await self.write(self._adapted([line.encode() for line in lines]))

    async def deliver(self, lines: Sequence[bytes], joined: bytes) -> bool:
        """Send chat lines; ``joined`` is the same, ready to send to a client that asked for everything."""
        asked = {"twitch.tv/tags", "twitch.tv/commands"} <= self.capabilities
        return await self.write(joined if asked and not self.drop_every else self._adapted(self._kept(lines)))

    async def write(self, data: bytes) -> bool:
        """Send bytes as they are, cut as the behaviour says; False when they go nowhere."""
        async with self._writing:
            step = self._seen.behaviour.write_bytes or max(len(data), 1)
            for start in range(0, len(data), step):
                if not self.live or self._seen.behaviour.silent or self._writer.is_closing():
                    return False
                self._writer.write(data[start : start + step])
                try:
                    async with asyncio.timeout(self._seen.behaviour.slow_reader_seconds):
                        await self._writer.drain()
                except TimeoutError:
                    self.abort()
                    return False
                except OSError:
                    return False
                if step < len(data):
                    await asyncio.sleep(0)
        return True

    async def serve(self) -> None:
        """Answer until the client leaves or is closed."""
        while raw := await self._reader.readline():
            await self._thawed.wait()
            if self._closing or not raw.endswith(b"\n"):
                continue
            raw = bare(raw)
            with self._seen.changed:
                self._seen.lines.append(Line(raw, time.monotonic(), self.number))
                self._seen.changed.notify_all()
            await self._answer(raw.decode("utf-8", "replace"))

    async def finish(self) -> None:
        """Give the socket back."""
        if self._linger is not None:
            self._linger.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _kept(self, lines: Sequence[bytes]) -> Sequence[bytes]:
        if not self.drop_every:
            return lines
        first = self._chat_lines + 1
        self._chat_lines += len(lines)
        kept = [line for place, line in enumerate(lines, first) if place % self.drop_every]
        self.dropped += len(lines) - len(kept)
        return kept

    def _adapted(self, lines: Sequence[bytes]) -> bytes:
        if "twitch.tv/commands" not in self.capabilities:
            lines = [line for line in lines if command_of(line) not in _NEEDS_COMMANDS]
        if "twitch.tv/tags" not in self.capabilities:
            lines = [line.partition(b" ")[2] if line.startswith(b"@") else line for line in lines]
        return b"".join(line + b"\r\n" for line in lines)

    async def _answer(self, text: str) -> None:
        command, _, rest = text.partition(" ")
        word = rest.removeprefix(":")
        match command.upper():
            case "CAP":
                await self._capability(rest)
            case "PASS":
                self._password = word
            case "NICK":
                await self._log_in(word)
            case "PING":
                if self._seen.behaviour.answers_ping:
                    await self.say(f":tmi.twitch.tv PONG tmi.twitch.tv :{word}")
            case "PONG":
                self._pong(word)
            case "JOIN":
                for channel in rest.split(","):
                    await self._join(login_of(channel))
            case "PART":
                for channel in rest.partition(" ")[0].split(","):
                    await self._part(login_of(channel))
            case "QUIT":
                self.close()
            case "USER" | "PRIVMSG" | "":
                pass
            case _:
                await self.say(f":tmi.twitch.tv 421 {self.nick or '*'} {command} :Unknown command")

    async def _capability(self, rest: str) -> None:
        action, _, names = rest.partition(" ")
        names = names.removeprefix(":").strip()
        if action.upper() == "LS":
            await self.say(f":tmi.twitch.tv CAP * LS :{' '.join(sorted(_CAPABILITIES))}")
        elif action.upper() == "REQ":
            known = set(names.split()) <= _CAPABILITIES
            if known:
                self.capabilities |= set(names.split())
            await self.say(f":tmi.twitch.tv CAP * {'ACK' if known else 'NAK'} :{names}")

    async def _log_in(self, nick: str) -> None:
        if self.nick:
            return
        behaviour = self._seen.behaviour
        with self._seen.changed:
            refusal = self._refusal(nick)
            taken = refusal is None and behaviour.answers_login and not behaviour.silent
            login = Login(nick, self._password, time.monotonic(), self.number, taken)
            self._seen.logins.append(login)
            over = self._seen.goes_over(
                "logins", (one.at for one in reversed(self._seen.logins)), self.number
            )
            self._seen.changed.notify_all()
        if over:
            self.close()
        elif refusal is not None:
            await self.write(f":tmi.twitch.tv NOTICE * :{refusal}\r\n".encode())
            if behaviour.refusal_closes and not behaviour.silent:
                self.close()
        elif taken:
            self.nick = nick.lower()
            await self.say(*(f":tmi.twitch.tv {number} {self.nick} :{text}" for number, text in _WELCOME))
            if not _ANONYMOUS.fullmatch(self.nick):
                state = f"@badges=;color=;display-name={nick};emote-sets=0;user-id={number_of(self.nick)}"
                await self.say(f"{state};user-type= :tmi.twitch.tv GLOBALUSERSTATE")
            if behaviour.take("close_after_login"):
                self.close()

    def _refusal(self, nick: str) -> str | None:
        behaviour = self._seen.behaviour
        if behaviour.take("refuse_logins"):
            return behaviour.refusal
        if _ANONYMOUS.fullmatch(nick.lower()):
            return None
        if self._password is None or not _PASSWORD.fullmatch(self._password):
            return "Improperly formatted auth"
        if not re.fullmatch(r"\w{1,25}", nick, re.ASCII):
            return "Invalid NICK"
        token = self._password.removeprefix("oauth:")
        valid = behaviour.valid_tokens
        if valid is None:
            return None
        taken = bool(valid & {token, self._password}) if isinstance(valid, set) else valid(token)
        return None if taken else "Login authentication failed"

    def _pong(self, text: str) -> None:
        now = time.monotonic()
        with self._seen.changed:
            self._seen.pongs.append(Pong(text, now, self.number))
            if text not in self._seen.pings:
                self._seen.violations.append(Violation("pong", f"PONG {text!r} unasked", now, self.number))
            self._seen.changed.notify_all()

    async def _join(self, channel: str) -> None:
        behaviour = self._seen.behaviour
        if self._closing:
            return
        with self._seen.changed:
            self._seen.joins.append(Join(channel, time.monotonic(), self.number))
            over = self._seen.goes_over("joins", (one.at for one in reversed(self._seen.joins)), self.number)
            self._seen.changed.notify_all()
        if over:
            self.close()
        elif not self.nick or behaviour.silent or channel in behaviour.mute_channels:
            return
        elif channel in behaviour.closed_channels:
            await self.turn_away(channel, behaviour.closed_channels[channel])
        elif channel not in self.channels:
            await self._enter(channel)

    async def _enter(self, channel: str) -> None:
        nick, room = self.nick, number_of(channel)
        state = f"emote-only=0;followers-only=-1;r9k=0;room-id={room};slow=0;subs-only=0"
        await self.say(
            self._own(f"JOIN #{channel}"),
            f"@{state} :tmi.twitch.tv ROOMSTATE #{channel}",
            f":{nick}.tmi.twitch.tv 353 {nick} = #{channel} :{nick}",
            f":{nick}.tmi.twitch.tv 366 {nick} #{channel} :End of /NAMES list",
        )
        # Only after its answer is on the way: no chat may come before it.
        with self._seen.changed:
            self.joined_at[channel] = time.monotonic()
            self.channels.add(channel)
            self._seen.changed.notify_all()

    async def turn_away(self, channel: str, notice: str, *, part: bool = False) -> None:
        """Say that the channel is closed to this client, and take the client out of it."""
        with self._seen.changed:
            self.channels.discard(channel)
            self._seen.changed.notify_all()
        text = _NOTICES.get(notice, _NO_CHANNEL).format(channel)
        await self.say(f"@msg-id={notice} :tmi.twitch.tv NOTICE #{channel} :{text}")
        if part:
            await self.say(self._own(f"PART #{channel}"))

    async def _part(self, channel: str) -> None:
        with self._seen.changed:
            self._seen.parts.append(Join(channel, time.monotonic(), self.number))
            was_in = channel in self.channels
            self.channels.discard(channel)
            self._seen.changed.notify_all()
        if was_in:
            await self.say(self._own(f"PART #{channel}"))

    def _own(self, text: str) -> str:
        return f":{self.nick}!{self.nick}@{self.nick}.tmi.twitch.tv {text}"
