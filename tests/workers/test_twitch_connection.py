import select
import socket
import ssl
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.irc_line import IrcLine
from shared.settings import IrcAddress
from tests.fakes.certificates import server_context
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from workers.twitch_connection import (
    ASLEEP_MS,
    TwitchConnection,
    TwitchListener,
    describe_failure,
    open_socket,
)


def test_ipv6_is_used_where_ipv4_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTwitch(host="::1") as twitch:
        # What a name with both kinds of address gives; hardly a machine has one for loopback.
        both = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", twitch.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", twitch.port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_names: both)
        with open_socket(IrcAddress("chat.example", twitch.port, tls=False)) as connection:
            assert connection.family == socket.AF_INET6
            assert not connection.getblocking()
        twitch.wait_for(lambda: any(b"CAP REQ" in line.raw for line in twitch.lines), what="CAP REQ")


def test_a_name_that_does_not_exist_names_the_setting() -> None:
    with pytest.raises(OSError) as caught:
        open_socket(IrcAddress("no-such-host.invalid", 6667, tls=False))
    assert "TWITCH_IRC_URL" in describe_failure(caught.value)


class Told(TwitchListener):
    def __init__(self) -> None:
        self.ends: list[str] = []
        self.lines: list[IrcLine] = []
        self.notices: list[str] = []

    def on_line(self, connection: TwitchConnection, line: IrcLine, received_ms: int) -> None:
        self.lines.append(line)

    def on_notice(self, connection: TwitchConnection, channel: str, notice_id: str, text: str) -> None:
        self.notices.append(notice_id)

    def on_closed(self, connection: TwitchConnection, reason: str, refused: bool) -> None:
        self.ends.append(reason)


@pytest.fixture
def peers() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, and Twitch's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        ours.setblocking(False)
        theirs, _ = server.accept()
    yield ours, theirs
    ours.close()
    theirs.close()


def reset(peers: tuple[socket.socket, socket.socket]) -> None:
    """Twitch's machine forgets the connection, which our next sending finds out."""
    ours, theirs = peers
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    assert select.select([ours], [], [], 10)[0]


def opened(ours: socket.socket, password: str | None = None) -> tuple[TwitchConnection, Told]:
    told = Told()
    connection = TwitchConnection(
        IrcAddress("localhost", 1, False), "justinfan1", password, told, lambda: None
    )
    connection._opened.put(ours)
    return connection, told


def let_in(connection: TwitchConnection, peers: tuple[socket.socket, socket.socket]) -> None:
    connection.on_wake()
    peers[1].sendall(b":tmi.twitch.tv 001 justinfan1 :Welcome, GLHF!\r\n")
    # TLS has something to say of its own.
    while not connection.online:
        assert select.select([peers[0]], [], [], 10)[0]
        connection.on_readable()


def test_a_line_that_was_reset_while_the_process_slept_ends_in_order(
    peers: tuple[socket.socket, socket.socket],
) -> None:
    connection, told = opened(peers[0])
    let_in(connection, peers)
    reset(peers)
    connection._looked_ms -= ASLEEP_MS + 1000
    connection.on_readable()
    assert len(told.ends) == 1


def test_a_line_that_was_reset_before_the_login_ends_in_order(
    peers: tuple[socket.socket, socket.socket],
) -> None:
    connection, told = opened(peers[0], "oauth:secret")
    reset(peers)
    connection.on_wake()
    assert len(told.ends) == 1


def test_a_line_that_was_reset_before_several_joins_ends_in_order(
    peers: tuple[socket.socket, socket.socket],
) -> None:
    connection, told = opened(peers[0])
    let_in(connection, peers)
    reset(peers)
    for channel in ("alpha", "beta", "gamma"):
        connection.join(channel)
    assert len(told.ends) == 1


def test_one_reading_takes_many_records_of_tls(
    tmp_path: Path, peers: tuple[socket.socket, socket.socket]
) -> None:
    context, authority = server_context(tmp_path)
    for peer in peers:
        peer.setblocking(True)
    with ThreadPoolExecutor() as pool:
        accepting = pool.submit(context.wrap_socket, peers[1], server_side=True)
        ours = ssl.create_default_context(cafile=str(authority)).wrap_socket(
            peers[0], server_hostname="localhost"
        )
        theirs = accepting.result(10)
    with ours, theirs:
        ours.setblocking(False)
        connection, told = opened(ours)
        let_in(connection, (ours, theirs))
        for number in range(60):
            theirs.sendall(chat_line("alpha", str(number)) + b"\r\n")
        # What is behind it on the way has come when it has.
        connection.on_readable()
        assert [line.params[-1] for line in told.lines] == [str(number) for number in range(60)]


def test_a_flood_is_read_in_turns(peers: tuple[socket.socket, socket.socket]) -> None:
    connection, told = opened(peers[0])
    let_in(connection, peers)
    peers[1].setblocking(False)
    line = chat_line("alpha", "x" * 400) + b"\r\n"
    sent = 0
    while sent < 600 * 1024 and select.select([], [peers[1]], [], 1)[1]:
        sent += peers[1].send(line * 20)
    connection.on_readable()
    assert 0 < len(told.lines) * len(line) <= 260 * 1024


def test_a_channel_that_never_was_joined_is_not_waited_for(
    peers: tuple[socket.socket, socket.socket],
) -> None:
    connection, told = opened(peers[0])
    let_in(connection, peers)
    suspended = b"@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE #alpha :gone\r\n"
    for asked in (1, 2):
        connection.join("alpha")
        peers[1].sendall(suspended)
        assert select.select([peers[0]], [], [], 10)[0]
        connection.on_readable()
        assert told.notices == ["msg_channel_suspended"] * asked
        # Twitch does not answer to it.
        connection.part("alpha")
