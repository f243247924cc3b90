"""The points of `make doctor` about Twitch's chat, against a fake Twitch."""

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from commands import doctor_visit
from commands.doctor_point import Point
from commands.doctor_twitch import POINTS, Look
from shared import settings
from shared.paths import Paths
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.service import ROOT
from workers import join_schedule, twitch_connection

TOKEN = "abcdefghij0123456789klmnopqrst"
SCHEMA = ROOT / "schema" / "chat-message.schema.json"


class World:
    """A folder that has had a service, and what doctor says of Twitch there."""

    def __init__(self, folder: Path, twitch: FakeTwitch) -> None:
        self.twitch = twitch
        self.paths = Paths(folder)
        self.paths.prepare()
        self.schema = folder / "schema" / SCHEMA.name
        self.schema.parent.mkdir()
        self.schema.write_bytes(SCHEMA.read_bytes())
        self.waited: list[str] = []
        self.on_wait: Callable[[str], None] = lambda _text: None

    def points(self, *channels: str, wait_seconds: float = 10.0, **environment: str) -> dict[str, Point]:
        @contextlib.contextmanager
        def waiting(text: str) -> Iterator[None]:
            self.waited.append(text)
            self.on_wait(text)
            yield

        configured = settings.load(self.paths, {"TWITCH_IRC_URL": self.twitch.url} | environment)
        found = list(Look(configured, self.paths, channels, wait_seconds, waiting).points())
        assert tuple(point.name for point in found) == POINTS
        return {point.name: point for point in found}

    def say_when_asked(self, *lines: str | bytes, channel: str = "xqc") -> None:
        """Say that in the channel as soon as a message is waited for."""

        def say(text: str) -> None:
            if text.startswith("waiting up to"):
                self.twitch.send(channel, *lines)

        self.on_wait = say


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


@pytest.fixture
def world(tmp_path: Path, twitch: FakeTwitch) -> Iterator[World]:
    yield World(tmp_path, twitch)
    assert twitch.violations == []
    twitch.wait_for(lambda: not twitch.connections, what="no connection left")


def signs(points: dict[str, Point]) -> str:
    return "".join(point.sign for point in points.values())


def test_all_is_well_where_chat_is_spoken(world: World, twitch: FakeTwitch) -> None:
    world.say_when_asked(chat_line("xqc", "Kappa hello", emotes="25:0-4"))
    points = world.points("xqc", "forsen")
    assert signs(points) == "✓✓✓✓✓✓"
    assert points["Twitch"].text.startswith(f"{twitch.url} is reached in ")
    assert points["login"].text == f"accepted as {twitch.logins[0].nick}, anonymously"
    assert points["join"].text == "in #forsen, #xqc"
    assert points["message"].text == "received in #xqc"
    assert points["format"].text == "the record fits schema/chat-message.schema.json"
    assert points["clock"].text.endswith(" s after Twitch's time of the message")
    assert world.waited[-1] == "waiting up to 10 s for a message in #forsen, #xqc"


def test_the_login_is_the_token_of_the_moment(world: World, twitch: FakeTwitch) -> None:
    twitch.behaviour.valid_tokens = {TOKEN}
    world.say_when_asked(chat_line("xqc", "hello"))
    points = world.points("xqc", TWITCH_OAUTH_TOKEN=TOKEN, TWITCH_USERNAME="testbot")
    assert signs(points) == "✓✓✓✓✓✓"
    assert points["login"].text == "accepted as testbot"
    assert [login.password for login in twitch.logins] == [f"oauth:{TOKEN}"]


def test_the_accounts_own_message_does_not_count(world: World) -> None:
    world.say_when_asked(
        chat_line("xqc", "mine", "testbot"), chat_line("xqc", "hers", "ronni", tmi_sent_ts=7)
    )
    points = world.points("xqc", TWITCH_OAUTH_TOKEN=TOKEN, TWITCH_USERNAME="testbot")
    assert signs(points) == "✓✓✓✓✓✗"


def test_ten_channels_at_most_are_joined(world: World, twitch: FakeTwitch) -> None:
    channels = [f"channel{number:02}" for number in range(25)]
    world.say_when_asked(chat_line("channel03", "hello"), channel="channel03")
    points = world.points(*channels)
    assert signs(points) == "✓✓✓✓✓✓"
    assert [join.channel for join in twitch.joins] == channels[:10]
    assert points["join"].text.endswith("#channel09; the other 15 are not tried")


def test_a_twitch_that_cannot_be_reached_is_told(world: World, twitch: FakeTwitch) -> None:
    twitch.refuse_connections()
    points = world.points("xqc")
    assert signs(points) == "✗–––––"
    assert points["Twitch"].text == f"{twitch.url}: cannot connect (Connection refused)"
    assert "TWITCH_IRC_URL" in points["Twitch"].remedy
    assert points["clock"].text == "needs a connection"


def test_a_twitch_that_swallows_connections_costs_some_seconds_only(
    world: World, twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_visit, "CONNECT_SECONDS", 0.3)
    twitch.behaviour.hang_handshakes = 1
    points = world.points("xqc", TWITCH_IRC_URL=f"ircs://127.0.0.1:{twitch.port}")
    assert signs(points) == "✗–––––"
    assert points["Twitch"].text.endswith(": no connection in 0 s")
    twitch.close_all()


def test_a_certificate_that_is_refused_is_told(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FakeTwitch(tls=context) as twitch:
        points = World(tmp_path, twitch).points("xqc")
    assert signs(points) == "✗–––––"
    assert "certificate refused" in points["Twitch"].text
    assert "SSL_CERT_FILE" in points["Twitch"].remedy


def test_a_silent_twitch_is_told(world: World, twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twitch_connection, "LOGIN_SECONDS", 0.3)
    twitch.behaviour.silent = True
    points = world.points("xqc")
    assert signs(points) == "✓✗––––"
    assert points["login"].text == "not taken: no answer to the login"
    assert points["join"].text == "needs the login"


def test_a_connection_that_is_closed_at_once_is_told(world: World, twitch: FakeTwitch) -> None:
    twitch.behaviour.close_after_accept = 1
    points = world.points("xqc")
    assert points["login"].sign == "✗" or points["Twitch"].sign == "✗"
    assert "clock" in points
    assert points["clock"].sign == "–"


def test_a_refused_token_is_told_with_what_to_do(world: World, twitch: FakeTwitch) -> None:
    twitch.behaviour.valid_tokens = set()
    points = world.points("xqc", TWITCH_OAUTH_TOKEN=TOKEN)
    assert signs(points) == "✓✗––––"
    assert points["login"].text == "Twitch refuses it: Login authentication failed"
    assert "put a new one into TWITCH_OAUTH_TOKEN" in points["login"].remedy
    assert "chat:read is needed" in points["login"].remedy
    # It was no reader's: the token-refresher has nothing to do.
    assert not world.paths.refused_tokens.exists()


def test_a_refused_anonymous_login_is_told(world: World, twitch: FakeTwitch) -> None:
    twitch.refuse_logins(text="Login unsuccessful")
    points = world.points("xqc")
    assert signs(points) == "✓✗––––"
    assert points["login"].text == "Twitch refuses it: Login unsuccessful"
    assert "anonymous" in points["login"].remedy


def test_without_channels_nothing_is_joined(world: World, twitch: FakeTwitch) -> None:
    points = world.points()
    assert signs(points) == "✓✓––––"
    assert points["join"].text == "there is no channel to join"
    assert twitch.joins == []


def test_a_channel_that_does_not_exist_is_named_and_the_others_go_on(
    world: World, twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join_schedule, "ANSWER_SECONDS", 0.3)
    twitch.behaviour.mute_channels.add("xqcc")
    world.say_when_asked(chat_line("forsen", "hello"), channel="forsen")
    points = world.points("xqcc", "forsen")
    assert signs(points) == "✓✓✗✓✓✓"
    assert points["join"].text == "not in #xqcc: no answer to the JOIN, does the channel exist?"
    assert points["join"].notes == ("in #forsen",)
    assert "channel list" in points["join"].remedy


def test_a_channel_that_is_closed_is_told_in_twitchs_words(world: World, twitch: FakeTwitch) -> None:
    twitch.suspend("xqc")
    points = world.points("xqc")
    assert signs(points) == "✓✓✗–––"
    assert points["join"].text.startswith("not in #xqc: ")
    assert "suspended" in points["join"].text
    assert points["message"].text == "needs a channel"


def test_a_connection_that_ends_after_the_login_is_told(world: World, twitch: FakeTwitch) -> None:
    twitch.behaviour.close_after_login = 1
    points = world.points("xqc")
    assert signs(points) == "✓✓✗–––"
    assert points["join"].text == "the connection has ended meanwhile: closed by Twitch"


def test_a_quiet_chat_is_no_failure(world: World) -> None:
    points = world.points("xqc", wait_seconds=0.1)
    assert signs(points) == "✓✓✓–––"
    assert points["message"].text == "no message in 0.1 s, is the chat quiet?"
    assert "--wait" in points["message"].remedy
    assert points["clock"].text == "needs a message"


def test_a_connection_that_ends_while_a_message_is_waited_for_is_told(
    world: World, twitch: FakeTwitch
) -> None:
    world.on_wait = lambda text: twitch.close_all() if text.startswith("waiting up to") else None
    points = world.points("xqc")
    assert signs(points) == "✓✓✓✗––"
    assert points["message"].text == "the connection has ended meanwhile: closed by Twitch"


def test_a_line_that_cannot_be_read_is_told(world: World) -> None:
    world.say_when_asked(":x!x@x PRIVMSG #xqc")
    points = world.points("xqc")
    assert signs(points) == "✓✓✓✓✗–"
    assert points["format"].text == "the line could not be read (no_text)"


def test_a_record_that_does_not_fit_the_schema_is_told(world: World) -> None:
    schema = json.loads(world.schema.read_text())
    schema["properties"]["emotes"]["minItems"] = 1
    world.schema.write_text(json.dumps(schema))
    world.say_when_asked(chat_line("xqc", "no emote"))
    points = world.points("xqc")
    assert signs(points) == "✓✓✓✓✗✓"
    assert points["format"].text == "the record does not fit its schema: $.emotes"


@pytest.mark.parametrize("content", [None, "{not json", '{"type": 5}'])
def test_a_schema_that_cannot_be_used_is_told(world: World, content: str | None) -> None:
    if content is None:
        world.schema.unlink()
    else:
        world.schema.write_text(content)
    world.say_when_asked(chat_line("xqc", "hello"))
    points = world.points("xqc")
    assert signs(points) == "✓✓✓✓✗✓"
    assert "schema/chat-message.schema.json cannot be used" in points["format"].text
    assert points["format"].remedy.endswith("git checkout schema/chat-message.schema.json")


@pytest.mark.parametrize("hours, side", [(1, "before"), (-1, "after")])
def test_a_clock_that_is_an_hour_off_is_told(world: World, hours: int, side: str) -> None:
    sent_ms = time.time_ns() // 1_000_000 + hours * 3_600_000
    world.say_when_asked(chat_line("xqc", "hello", tmi_sent_ts=sent_ms))
    points = world.points("xqc")
    assert signs(points) == "✓✓✓✓✓✗"
    seconds, rest = points["clock"].text.split(" ", 1)
    assert abs(int(seconds) - 3600) < 60
    assert rest == f"s {side} Twitch's time of the message"
    assert "NTP" in points["clock"].remedy


def test_a_message_without_a_time_says_nothing_of_the_clock(world: World) -> None:
    world.say_when_asked(chat_line("xqc", "hello", tmi_sent_ts=None))
    assert signs(world.points("xqc")) == "✓✓✓✓✓–"
