"""How `make doctor` visits Twitch: its turn at the readers' gate, and TLS."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from commands import doctor_twitch
from shared.login_gate import LIMIT, LoginGate
from shared.paths import Paths
from tests.commands.test_doctor_twitch import World, signs
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from workers import twitch_connection


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


@pytest.fixture
def world(tmp_path: Path, twitch: FakeTwitch) -> Iterator[World]:
    yield World(tmp_path, twitch)
    assert twitch.violations == []
    twitch.wait_for(lambda: not twitch.connections, what="no connection left")


def places(world: World) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(world.paths.login_gate.read_text())
    return found


def test_logins_and_joins_take_their_places_at_the_readers_gate(
    world: World, twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.login_gate.WINDOW_SECONDS", 1.5)
    gate = LoginGate(world.paths.login_gate)
    for _ in range(LIMIT):
        gate.reserve("login")
    world.say_when_asked(chat_line("xqc", "hello"))
    assert signs(world.points("xqc")) == "✓✓✓✓✓✓"
    assert world.waited[0].endswith("s for a turn: Twitch allows 20 logins in 10 s")
    taken = places(world)
    assert {kind: len(at) for kind, at in taken.items()} == {"login": LIMIT + 1, "join": 1}
    assert twitch.logins[0].at >= taken["login"][-1]
    assert twitch.joins[0].at >= taken["join"][-1]


def test_a_gate_that_is_full_for_long_is_not_waited_for(
    world: World, twitch: FakeTwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_twitch, "GATE_SECONDS", 5.0)
    gate = LoginGate(world.paths.login_gate)
    for _ in range(LIMIT):
        gate.reserve("login")
    points = world.points("xqc")
    assert signs(points) == "––––––"
    assert "readers are queued for their logins" in points["Twitch"].text
    assert twitch.accepted == 0


def test_joins_whose_turn_does_not_come_in_time_are_not_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_twitch, "GATE_SECONDS", 0.2)
    monkeypatch.setattr(doctor_twitch, "JOINED_SECONDS", 0.5)
    gate = LoginGate(world.paths.login_gate)
    for _ in range(LIMIT - 1):
        gate.reserve("join")
    world.say_when_asked(chat_line("first", "hello"), channel="first")
    points = world.points("first", "second")
    assert signs(points) == "✓✓✓✓✓✓"
    assert points["join"].text == "in #first; the other 1 are not tried"
    assert "Twitch allows 20 JOINs in 10 s" in world.waited[2]
    points = world.points("third")
    assert signs(points) == "✓✓––––"
    assert "readers are queued for their JOINs" in points["join"].text


def test_a_fresh_clone_stays_as_it_is(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("clone")
    (clone / "run").mkdir()
    world.paths = Paths(clone)
    assert signs(world.points("xqc", wait_seconds=0.0)) == "✓✓✓–––"
    assert [path.relative_to(clone) for path in clone.rglob("*")] == [Path("run")]


def test_a_gate_that_cannot_be_used_holds_nothing_up_for_long(world: World) -> None:
    world.paths.login_gate.mkdir()
    world.say_when_asked(chat_line("xqc", "hello"))
    assert signs(world.points("xqc")) == "✓✓✓✓✓✓"


def test_chat_over_tls_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    monkeypatch.setattr(twitch_connection, "_context", client)
    with FakeTwitch(tls=server) as twitch:
        world = World(tmp_path, twitch)
        world.say_when_asked(chat_line("xqc", "hello"))
        points = world.points("xqc")
    assert signs(points) == "✓✓✓✓✓✓"
    assert points["Twitch"].text.endswith(", TLS included")
