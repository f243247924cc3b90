import socket

import pytest

from shared.settings import IrcAddress
from tests.fakes.fake_twitch import FakeTwitch
from workers.twitch_connection import describe_failure, open_socket


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
