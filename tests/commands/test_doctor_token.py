"""The points of `make doctor` about the token, against a fake sign-in of Twitch."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.doctor_point import Point
from commands.doctor_token import POINTS, look, secrets_of
from shared import settings, twitch_id
from shared.paths import Paths
from shared.settings import Settings
from tests.fakes.fake_twitch_id import FakeTwitchId


class World:
    """A folder with a token file, and what doctor says of it."""

    def __init__(self, folder: Path, twitch_id: FakeTwitchId) -> None:
        self.file = folder / "tokenStore.json"
        self.waited: list[str] = []
        self.twitch_id = twitch_id
        self._paths = Paths(folder)

    def settings(self, **environment: str) -> Settings:
        fixed = {"TWITCH_ID_URL": self.twitch_id.url, "TWITCH_CLIENT_ID": self.twitch_id.client_id}
        return settings.load(self._paths, fixed | environment)

    def points(self, **environment: str) -> dict[str, Point]:
        @contextlib.contextmanager
        def waiting(text: str) -> Iterator[None]:
            self.waited.append(text)
            yield

        found = list(look(self.settings(**environment), waiting))
        assert tuple(point.name for point in found) == POINTS
        return {point.name: point for point in found}


@pytest.fixture
def world(tmp_path: Path, twitch_id: FakeTwitchId) -> Iterator[World]:
    yield World(tmp_path, twitch_id)
    assert twitch_id.refreshes == []


def signs(points: dict[str, Point]) -> str:
    return "".join(point.sign for point in points.values())


def test_without_a_token_chat_is_read_anonymously_and_that_is_well(world: World) -> None:
    points = world.points()
    assert signs(points) == "✓–––"
    assert points["token"].text == "no token: chat is read anonymously"
    assert world.twitch_id.requests == []


def test_a_good_token_is_told_with_its_life_account_and_scopes(world: World) -> None:
    world.twitch_id.write_file(world.file, world.twitch_id.issue(2.5 * 3600, ["chat:read", "chat:edit"]))
    points = world.points(TWITCH_USERNAME="testbot")
    assert signs(points) == "✓✓✓✓"
    assert points["token"].text == "from tokenStore.json"
    assert points["valid"].text == "for another 2 h 30 min, of the account testbot"
    assert points["scopes"].text == "chat:read chat:edit"
    assert world.waited == [f"asking {world.twitch_id.url} about the token"]


def test_a_token_that_is_not_valid_is_renewed_by_the_service_if_it_can_be(world: World) -> None:
    issued = world.twitch_id.write_file(world.file)
    world.twitch_id.revoke(issued.access_token)
    points = world.points()
    assert signs(points) == "✓✗–✓"
    assert points["valid"].text == "Twitch says that the token of tokenStore.json is not valid"
    assert "token-refresher renews it" in points["valid"].remedy
    assert "make auth" in points["valid"].remedy
    assert world.twitch_id.refreshes == []


def test_a_token_that_has_expired_and_cannot_be_renewed_needs_a_new_sign_in(world: World) -> None:
    world.twitch_id.write_file(world.file, world.twitch_id.issue(0.0), refreshToken=None)
    points = world.points()
    assert signs(points) == "✓✗–✗"
    assert points["valid"].remedy.startswith("sign in anew with `make auth`")
    assert points["renewal"].text == "tokenStore.json holds no refreshToken: the token cannot be renewed"
    assert "make auth" in points["renewal"].remedy


def test_without_a_client_id_it_cannot_be_renewed(world: World) -> None:
    world.twitch_id.write_file(world.file)
    points = world.points(TWITCH_CLIENT_ID="")
    assert signs(points) == "✓✓✓✗"
    assert "TWITCH_CLIENT_ID is empty" in points["renewal"].text
    assert ".env" in points["renewal"].remedy


def test_a_token_of_another_application_cannot_be_renewed(world: World) -> None:
    world.twitch_id.write_file(world.file)
    points = world.points(TWITCH_CLIENT_ID="another")
    assert signs(points) == "✓✓✓✗"
    assert "another application's" in points["renewal"].text


def test_a_missing_scope_is_named(world: World) -> None:
    world.twitch_id.write_file(world.file, world.twitch_id.issue(scopes=["chat:edit"]))
    points = world.points()
    assert signs(points) == "✓✓✗✓"
    assert points["scopes"].text.startswith("chat:edit: chat:read is missing")
    assert "TWITCH_SCOPES" in points["scopes"].remedy


def test_the_token_of_another_account_than_the_named_one_is_told(world: World) -> None:
    world.twitch_id.write_file(world.file)
    points = world.points(TWITCH_USERNAME="someone")
    assert signs(points) == "✓✗✓✓"
    assert points["valid"].text == "the token is testbot's, but TWITCH_USERNAME is someone"
    assert points["valid"].remedy == "set TWITCH_USERNAME=testbot, or leave it empty"


def test_a_fixed_token_counts_and_is_never_renewed(world: World) -> None:
    world.twitch_id.write_file(world.file)
    issued = world.twitch_id.issue()
    points = world.points(TWITCH_OAUTH_TOKEN=f"oauth:{issued.access_token}")
    assert signs(points) == "✓✓✓–"
    assert points["token"].text == "from TWITCH_OAUTH_TOKEN"
    assert "never renewed" in points["renewal"].text
    world.twitch_id.revoke(issued.access_token)
    points = world.points(TWITCH_OAUTH_TOKEN=f"oauth:{issued.access_token}")
    assert signs(points) == "✓✗––"
    assert "put a new one into TWITCH_OAUTH_TOKEN" in points["valid"].remedy


@pytest.mark.parametrize("content", ["", "{not json", '{"accessToken": "your_token_here"}', "{}", "[1]"])
def test_a_file_without_tokens_is_told(world: World, content: str) -> None:
    world.file.write_text(content)
    points = world.points()
    assert signs(points) == "✗–––"
    assert "tokenStore.json" in points["token"].text
    assert "chat is read anonymously meanwhile" in points["token"].text
    assert "mend tokenStore.json, or sign in anew" in points["token"].remedy
    assert world.twitch_id.requests == []


def test_a_refresh_token_alone_is_for_the_service_to_use(world: World) -> None:
    issued = world.twitch_id.issue()
    world.file.write_text(json.dumps({"refreshToken": issued.refresh_token}))
    points = world.points()
    assert signs(points) == "✗––✓"
    assert "token-refresher" in points["token"].remedy


def test_a_doubtful_token_is_told_with_its_doubt(world: World) -> None:
    points = world.points(TWITCH_OAUTH_TOKEN="short")
    assert signs(points) == "✓✗––"
    assert "has 5 characters" in points["token"].notes[0]


def test_a_sign_in_that_is_away_is_no_fault_of_the_token(world: World) -> None:
    world.twitch_id.write_file(world.file)
    world.twitch_id.refuse_connections()
    points = world.points()
    assert signs(points) == "✓✗–✓"
    assert "cannot be reached" in points["valid"].text
    assert "TWITCH_ID_URL" in points["valid"].remedy


def test_a_sign_in_that_hangs_costs_some_seconds_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twitch_id.TwitchId.__init__, "__defaults__", ("", 0.3))
    world.twitch_id.write_file(world.file)
    world.twitch_id.behaviour.hang.add("validate")
    points = world.points()
    assert signs(points) == "✓✗–✓"
    assert "gives no answer" in points["valid"].text


def test_what_must_not_be_shown_is_known(world: World) -> None:
    assert secrets_of(world.settings()) == ()
    issued = world.twitch_id.write_file(world.file)
    assert secrets_of(world.settings()) == (issued.access_token, issued.refresh_token)
    assert secrets_of(world.settings(TWITCH_OAUTH_TOKEN="oauth:abc")) == ("abc",)
