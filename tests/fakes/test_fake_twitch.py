"""The fake Twitch does what the other tests count on."""

import gc
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fakes.certificates import server_context
from tests.fakes.fake_twitch import FakeTwitch, chat_line

ROOT = Path(__file__).parent.parent.parent
TAGS = "CAP REQ :twitch.tv/tags twitch.tv/commands"


class Client:
    """A chat client on a plain socket."""

    def __init__(
        self, twitch: FakeTwitch, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        raw = socket.create_connection((host, twitch.port), timeout=5)
        self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.input = self.socket.makefile("rb")

    def tell(self, *lines: str) -> None:
        self.socket.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        return self.input.readline().decode().removesuffix("\r\n")

    def hear_until(self, part: str) -> list[str]:
        heard = [self.hear()]
        while part not in heard[-1]:
            assert heard[-1], f"closed before {part!r}: {heard}"
            heard.append(self.hear())
        return heard

    def log_in(self, *channels: str, asking: str = TAGS) -> None:
        self.tell(asking, "PASS oauth:secret", "NICK tester")
        self.hear_until(" 376 ")
        for channel in channels:
            self.tell(f"JOIN #{channel}")
            self.hear_until(" 366 ")

    def hears_nothing(self) -> bool:
        self.socket.settimeout(0.1)
        try:
            return self.socket.recv(1) == b"never"
        except TimeoutError:
            return True

    def close(self) -> None:
        self.input.close()
        self.socket.close()


class Clients(ExitStack):
    """Opens clients and closes them at the end."""

    def new(self, twitch: FakeTwitch, *channels: str, login: bool = True, asking: str = TAGS) -> Client:
        client = Client(twitch)
        self.callback(client.close)
        if login:
            client.log_in(*channels, asking=asking)
        return client


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as server:
        yield server


@pytest.fixture
def clients() -> Iterator[Clients]:
    with Clients() as opened:
        yield opened


def test_a_login_is_welcomed_and_recorded(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, login=False)
    before = time.monotonic()
    client.tell(TAGS, "PASS oauth:secret", "NICK Tester", "USER x 0 * :x")
    assert client.hear() == ":tmi.twitch.tv CAP * ACK :twitch.tv/tags twitch.tv/commands"
    numerics = [line.split()[1:3] for line in client.hear_until(" 376 ")]
    assert numerics == [[n, "tester"] for n in ("001", "002", "003", "004", "375", "372", "376")]
    login = twitch.logins[0]
    assert (login.nick, login.password, login.connection, login.accepted) == (
        "Tester",
        "oauth:secret",
        1,
        True,
    )
    assert before <= login.at <= time.monotonic()
    twitch.wait_for(lambda: len(twitch.lines) == 4, what="the line with USER")
    assert twitch.lines[0].raw == TAGS.encode()


def test_an_anonymous_login_needs_no_password(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, login=False)
    client.tell("NICK justinfan123")
    assert client.hear() == ":tmi.twitch.tv 001 justinfan123 :Welcome, GLHF!"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["PASS oauth:wrong", "NICK tester"], "Login authentication failed"),
        (["PASS secret", "NICK tester"], "Improperly formatted auth"),
        (["NICK tester", "PASS oauth:good"], "Improperly formatted auth"),
    ],
)
def test_a_bad_password_is_refused_and_the_connection_closed(
    twitch: FakeTwitch, clients: Clients, lines: list[str], text: str
) -> None:
    twitch.behaviour.valid_tokens = {"good"}
    client = clients.new(twitch, login=False)
    client.tell(*lines, "JOIN #x")
    assert client.hear() == f":tmi.twitch.tv NOTICE * :{text}"
    assert client.hear() == ""
    assert not twitch.logins[0].accepted


def test_a_function_may_decide_which_passwords_are_taken(twitch: FakeTwitch, clients: Clients) -> None:
    asked: list[str] = []

    def is_valid(token: str) -> bool:
        asked.append(token)
        return len(asked) > 1

    twitch.behaviour.valid_tokens = is_valid
    refused = clients.new(twitch, login=False)
    refused.tell("PASS oauth:secret", "NICK tester")
    assert refused.hear() == ":tmi.twitch.tv NOTICE * :Login authentication failed"
    clients.new(twitch)
    assert asked == ["secret", "secret"]
    assert [login.accepted for login in twitch.logins] == [False, True]


def test_the_last_words_arrive_though_the_client_goes_on_talking(
    twitch: FakeTwitch, clients: Clients
) -> None:
    twitch.refuse_logins()
    client = clients.new(twitch, login=False)
    client.tell("NICK justinfan1", *["PRIVMSG #x :" + "a" * 400] * 10_000)
    assert client.hear() == ":tmi.twitch.tv NOTICE * :Login authentication failed"
    assert client.hear() == ""


def test_logins_are_refused_as_often_as_told(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.refuse_logins(1, text="Login unsuccessful", closes=False)
    client = clients.new(twitch, login=False)
    client.tell("NICK justinfan1")
    assert client.hear() == ":tmi.twitch.tv NOTICE * :Login unsuccessful"
    client.tell("NICK justinfan1")
    assert " 001 " in client.hear()
    twitch.refuse_logins()
    for _ in range(2):
        refused = clients.new(twitch, login=False)
        refused.tell("NICK justinfan1")
        assert "Login authentication failed" in refused.hear()
        assert refused.hear() == ""


def test_a_join_is_answered_as_twitch_does(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch)
    client.tell("JOIN #One,#two")
    heard = client.hear_until("366 tester #two")
    own = [line for line in heard if "GLOBALUSERSTATE" not in line]
    assert own[0] == ":tester!tester@tester.tmi.twitch.tv JOIN #one"
    assert re.fullmatch(r"@emote-only=0;.*room-id=\d+.* :tmi.twitch.tv ROOMSTATE #one", own[1])
    assert own[2:4] == [
        ":tester.tmi.twitch.tv 353 tester = #one :tester",
        ":tester.tmi.twitch.tv 366 tester #one :End of /NAMES list",
    ]
    twitch.wait_joined("#two")
    assert [(join.channel, join.connection) for join in twitch.joins] == [("one", 1), ("two", 1)]
    client.tell("PART #one")
    assert client.hear() == ":tester!tester@tester.tmi.twitch.tv PART #one"
    twitch.wait_left("one")


def test_tags_and_commands_go_only_to_those_who_asked(twitch: FakeTwitch, clients: Clients) -> None:
    plain = clients.new(twitch, "x", asking="CAP REQ :twitch.tv/membership")
    twitch.send("x", "@ban-duration=1 :tmi.twitch.tv CLEARCHAT #x :ronni")
    twitch.chat("x", "hello")
    assert plain.hear() == ":ronni!ronni@ronni.tmi.twitch.tv PRIVMSG #x :hello"
    plain.tell(TAGS)
    assert "ACK" in plain.hear()
    message_id = twitch.chat("x", "again")
    assert f";id={message_id};" in plain.hear()


def test_chat_has_the_tags_of_today(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    first, second = twitch.chat("x", "a"), twitch.chat("#X", "b", "bob", display_name="B; b", user_id=None)
    assert first != second
    tags = dict(tag.split("=") for tag in client.hear()[1:].split(" ")[0].split(";"))
    assert tags["id"] == first
    assert abs(int(tags["tmi-sent-ts"]) / 1000 - time.time()) < 10
    assert tags["user-id"].isdigit() and tags["room-id"].isdigit()
    line = client.hear()
    assert ";display-name=B\\:\\sb;" in line and "user-id" not in line
    assert twitch.sent["x"] == 2


def test_raw_bytes_are_sent_as_they_are(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    twitch.send("x", b"\xff\xfe \r", "second\r\n")
    twitch.send_raw(b"no end")
    twitch.send_raw(b" yet\r\n", "x")
    assert [client.input.readline() for _ in range(3)] == [
        b"\xff\xfe \r\r\n",
        b"second\r\n",
        b"no end yet\r\n",
    ]


def test_many_lines_are_played_under_the_channels_name(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    text = "see PRIVMSG #other " + "Kappa " * 10
    line = chat_line("other", text)
    count, size = 50_000, len(line.replace(b"#other", b"#x", 1)) + 2

    def read_everything() -> None:
        left = 4 * count * size
        while left and (data := client.socket.recv(min(left, 2**20))):
            left -= len(data)

    reader = threading.Thread(target=read_everything)
    reader.start()
    for _ in range(4):
        twitch.play("x", [line] * count)
    reader.join(60)
    assert not reader.is_alive()
    assert twitch.sent["x"] == 4 * count
    twitch.play("x", [line])
    assert client.hear().endswith(f" PRIVMSG #x :{text}")


def test_lines_are_played_evenly_when_paced(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    began = time.monotonic()
    playing = twitch.start_playing("x", [f"line {n}" for n in range(20)], per_second=100)
    late = []
    for number in range(20):
        assert client.hear() == f"line {number}"
        late.append(time.monotonic() - began - number / 100)
    playing.result(5)
    assert min(late) > -0.002, "a line came too early"
    assert sorted(late)[10] < 0.03, "half of the lines came too late"


def test_small_writes_are_not_held_back(twitch: FakeTwitch, clients: Clients) -> None:
    clients.new(twitch)
    # The option and not the 40 ms it saves: whether those occur is up to the client's kernel.
    raw = twitch.history[0]._writer.get_extra_info("socket")
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_only_the_target_of_a_line_is_rewritten(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    whisper = "@a=b :bob!bob@bob WHISPER tester :see PRIVMSG #other or USERNOTICE #other"
    twitch.play(
        "x", [whisper, "@a=b :tmi.twitch.tv USERNOTICE #other", ":tmi.twitch.tv CLEARCHAT #other :bob"]
    )
    assert client.hear() == whisper
    assert client.hear() == "@a=b :tmi.twitch.tv USERNOTICE #x"
    assert client.hear() == ":tmi.twitch.tv CLEARCHAT #x :bob"


def test_every_member_gets_its_own_copy_or_only_the_oldest_does(twitch: FakeTwitch, clients: Clients) -> None:
    old, new = clients.new(twitch, "x"), clients.new(twitch, "x")
    twitch.wait_joined("x", count=2)
    twitch.play("x", ["both"])
    twitch.play("x", ["one"], each_member=False)
    twitch.play("x", ["end"])
    assert [old.hear() for _ in range(3)] == ["both", "one", "end"]
    assert [new.hear() for _ in range(2)] == ["both", "end"]
    assert twitch.sent["x"] == 3


def test_lines_that_nobody_hears_are_counted_apart(twitch: FakeTwitch) -> None:
    twitch.chat("x", "hello?")
    assert (twitch.sent["x"], twitch.unheard["x"]) == (0, 1)


def test_messages_are_doubled_and_dropped(twitch: FakeTwitch, clients: Clients) -> None:
    whole, lossy = clients.new(twitch, "x"), clients.new(twitch, "x")
    twitch.drop_every(3, connection=2)
    twitch.send("x", *"abcdef")
    assert "".join(whole.hear() for _ in range(6)) == "abcdef"
    assert "".join(lossy.hear() for _ in range(4)) == "abde"
    twitch.behaviour.duplicates = True
    twitch.send("x", "g")
    assert [whole.hear(), whole.hear()] == ["g", "g"]


def test_ping_is_answered_both_ways(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch)
    client.tell("PING :are you there")
    assert client.hear_until("PONG")[-1] == ":tmi.twitch.tv PONG tmi.twitch.tv :are you there"
    text = twitch.ping()
    assert client.hear() == f"PING :{text}"
    client.tell(f"PONG :{text}")
    twitch.wait_pong(text)
    assert not twitch.violations
    client.tell("PONG :other")
    twitch.wait_pong("other")
    assert [violation.kind for violation in twitch.violations] == ["pong"]


def test_a_ping_may_stay_without_answer(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    twitch.behaviour.answers_ping = False
    client.tell("PING :x")
    twitch.wait_for(lambda: twitch.lines[-1].raw == b"PING :x", what="the PING")
    twitch.send("x", "next")
    assert client.hear() == "next"


def test_a_silent_server_reads_and_says_nothing(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.behaviour.silent = True
    client = clients.new(twitch, login=False)
    client.tell(TAGS, "NICK justinfan1", "JOIN #x")
    twitch.wait_for(lambda: len(twitch.joins) == 1, what="the JOIN")
    assert client.hears_nothing()
    assert twitch.members("x") == 0


def test_channels_can_be_mute_suspended_or_banned(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.behaviour.mute_channels = {"mute"}
    twitch.behaviour.closed_channels = {"banned": "msg_banned"}
    client = clients.new(twitch, "open")
    client.tell("JOIN #mute,#banned")
    assert client.hear().startswith("@msg-id=msg_banned :tmi.twitch.tv NOTICE #banned :You are permanently")
    twitch.suspend("open", part=True)
    assert client.hear().startswith("@msg-id=msg_channel_suspended :tmi.twitch.tv NOTICE #open :")
    assert client.hear().endswith(" PART #open")
    assert twitch.members("open") == twitch.members("mute") == 0
    twitch.reopen("open")
    client.tell("JOIN #open")
    assert client.hear().endswith(" JOIN #open")


@pytest.mark.parametrize("reset", [False, True])
def test_connections_are_closed_in_order_or_reset(twitch: FakeTwitch, clients: Clients, reset: bool) -> None:
    stays, goes = clients.new(twitch, "x"), clients.new(twitch, "y")
    twitch.close_members("y", reset=reset)
    if reset:
        with pytest.raises(ConnectionResetError):
            goes.hear()
    else:
        assert goes.hear() == ""
    goes.close()
    twitch.wait_closed(1)
    assert [one.closed_at is not None for one in twitch.history] == [False, True]
    twitch.send("x", "still here")
    assert stays.hear() == "still here"
    twitch.close_all()
    assert stays.hear() == ""


def test_reconnect_is_announced_and_done(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    twitch.reconnect(close_after=0.05)
    later = clients.new(twitch, "x")
    assert client.hear() == ":tmi.twitch.tv RECONNECT"
    assert client.hear() == ""
    twitch.send("x", "to the new one")
    assert later.hear() == "to the new one"


@pytest.mark.parametrize("freezes", [False, True])
def test_one_connection_is_frozen_or_closed_and_its_sibling_goes_on(
    twitch: FakeTwitch, clients: Clients, freezes: bool
) -> None:
    before = time.monotonic()
    goes, stays = clients.new(twitch, "x"), clients.new(twitch, "x")
    assert all(before < one.joined_at["x"] < time.monotonic() for one in twitch.in_channel("x"))
    if freezes:
        twitch.freeze_connection(1)
        twitch.send("x", "before the end")
        assert stays.hear() == "before the end"
        assert goes.hears_nothing()
    twitch.close_connection(1)
    twitch.close_connection(3)
    twitch.send("x", "still here")
    assert stays.hear() == "still here"
    goes.socket.settimeout(5)
    assert goes.socket.recv(100) == b""
    assert [one.number for one in twitch.in_channel("x")] == [2]


def test_lines_are_made_when_they_are_said_and_whether_they_were_heard_is_told(
    twitch: FakeTwitch, clients: Clients
) -> None:
    def say(*lines: bytes) -> list[bool]:
        told: list[bool] = []
        waiting = iter(lines)
        began = time.monotonic()
        twitch.start_saying("x", lambda: next(waiting, None), 50, told.append).result(5)
        assert time.monotonic() - began >= len(lines) / 50
        return told

    assert say(b"for nobody") == [False]
    client = clients.new(twitch, "x")
    assert say(b"one", b"two", b"three") == [True] * 3
    assert [client.hear() for _ in range(3)] == ["one", "two", "three"]
    assert (twitch.sent["x"], twitch.unheard["x"]) == (3, 1)


def test_a_frozen_connection_is_open_and_dead_until_it_thaws(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch, "x")
    twitch.freeze()
    twitch.chat("x", "lost")
    client.tell("PING :1")
    assert client.hears_nothing()
    assert (twitch.members("x"), len(twitch.connections)) == (0, 1)
    fresh = clients.new(twitch, "x")
    twitch.send("x", "for the new one")
    assert fresh.hear() == "for the new one"
    twitch.thaw()
    twitch.wait_joined("x", count=2)
    woken = client.socket
    woken.settimeout(5)
    assert woken.recv(100) == b":tmi.twitch.tv PONG tmi.twitch.tv :1\r\n"


def test_connections_can_be_closed_at_once_or_refused(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.behaviour.close_after_accept = 1
    assert clients.new(twitch, login=False).hear() == ""
    twitch.behaviour.close_after_login = 1
    client = clients.new(twitch, login=False)
    client.tell("NICK justinfan1")
    assert " 376 " in client.hear_until(" 376 ")[-1]
    assert client.hear() == ""
    twitch.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        clients.new(twitch, login=False)
    twitch.accept_connections()
    clients.new(twitch, "x")


@pytest.mark.parametrize("size", [1, 7])
def test_output_is_cut_into_small_writes_and_stays_whole(
    twitch: FakeTwitch, clients: Clients, size: int
) -> None:
    twitch.behaviour.write_bytes = size
    client = clients.new(twitch, "x")
    playing = twitch.start_playing("x", ["a" * 50] * 20)
    client.tell("PING :between")
    heard = [client.hear() for _ in range(21)]
    assert sorted(heard) == [":tmi.twitch.tv PONG tmi.twitch.tv :between", *["a" * 50] * 20]
    playing.result(5)


def test_a_client_that_does_not_read_can_be_dropped(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.behaviour.slow_reader_seconds = 0.1
    clients.new(twitch, "x")
    twitch.play("x", ["a" * 1000] * 20_000)
    twitch.wait_closed(1)
    assert twitch.unheard["x"] > 0


def test_the_join_limit_is_recorded_and_enforced(twitch: FakeTwitch, clients: Clients) -> None:
    client = clients.new(twitch)
    client.tell(*(f"JOIN #c{number}" for number in range(21)))
    client.hear_until("366 tester #c20")
    assert [(one.kind, one.connection) for one in twitch.violations] == [("joins", 1)]
    twitch.behaviour.enforce_limits = True
    client.tell("JOIN #more")
    assert client.hear() == ""


def test_the_login_limit_counts_all_connections(twitch: FakeTwitch, clients: Clients) -> None:
    twitch.behaviour.enforce_limits = True
    for _ in range(20):
        clients.new(twitch)
    assert not twitch.violations
    last = clients.new(twitch, login=False)
    last.tell("NICK justinfan1")
    assert last.hear() == ""
    assert [one.kind for one in twitch.violations] == ["logins"]


def test_tls_works_with_the_authoritys_certificate(tmp_path: Path) -> None:
    context, authority = server_context(tmp_path)
    with FakeTwitch(tls=context) as twitch:
        assert twitch.url == f"ircs://127.0.0.1:{twitch.port}"
        client = Client(twitch, tls=ssl.create_default_context(cafile=authority))
        client.log_in("x")
        twitch.send("x", "secret")
        assert client.hear() == "secret"
        twitch.freeze()
        twitch.thaw()
        twitch.close_all()
        assert client.hear() == ""
        client.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(twitch, tls=ssl.create_default_context())


def test_a_tls_handshake_can_hang(tmp_path: Path) -> None:
    context, authority = server_context(tmp_path)
    with FakeTwitch(tls=context) as twitch:
        twitch.behaviour.hang_handshakes = True
        raw = socket.create_connection(("127.0.0.1", twitch.port), timeout=0.1)
        trusting = ssl.create_default_context(cafile=authority)
        with pytest.raises(TimeoutError):
            trusting.wrap_socket(raw, server_hostname="localhost")
        raw.close()
        twitch.wait_accepted(1)
        twitch.behaviour.hang_handshakes = False
        client = Client(twitch, tls=trusting)
        client.log_in("x")
        client.close()


def test_both_address_families_listen_on_one_port() -> None:
    with FakeTwitch(ipv6=True) as twitch:
        for host in ("127.0.0.1", "::1"):
            client = Client(twitch, host=host)
            client.log_in("x")
            client.close()


def test_waiting_in_vain_tells_what_was_seen(twitch: FakeTwitch, clients: Clients) -> None:
    clients.new(twitch, "x")
    with pytest.raises(
        AssertionError, match=r"not within 0.01 s: 2 connections in #x; seen: 1 connections"
    ) as told:
        twitch.wait_joined("x", count=2, timeout=0.01)
    assert "secret" not in str(told.value)


def test_stopping_ends_everything(tmp_path: Path) -> None:
    context, authority = server_context(tmp_path)
    trusting = ssl.create_default_context(cafile=authority)
    threads = threading.active_count()
    for tls in (None, context):
        twitch = FakeTwitch(tls=tls).start()
        twitch.behaviour.hang_handshakes = 1
        held = Client(twitch)
        half = Client(twitch)
        twitch.wait_accepted(2)
        waiting = twitch.start_inventing(1)
        deaf = Client(twitch, tls=trusting if tls else None)
        deaf.log_in("x")
        unread = twitch.start_playing("x", ["a" * 1000] * 20_000)
        twitch.stop()
        assert waiting.cancelled() and unread.cancelled()
        deaf.close()
        held.close()
        half.close()
        with pytest.raises(AssertionError, match="does not run"):
            twitch.chat("x", "too late")
    gc.collect()
    assert threading.active_count() == threads


def test_it_runs_as_a_program_of_its_own() -> None:
    command = [sys.executable, "-m", "tests.fakes.fake_twitch", "--port", "0", "--per-second", "50"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            found = re.search(r"irc://127\.0\.0\.1:(\d+)", program.stdout.readline())
            assert found
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=5) as client:
                client.sendall(b"NICK justinfan1\r\nJOIN #x\r\n")
                with client.makefile("rb") as lines:
                    heard = (line for line in lines if b" PRIVMSG #x :" in line)
                    assert [next(heard) for _ in range(3)]
        finally:
            program.terminate()
        assert program.wait(5) == 0
