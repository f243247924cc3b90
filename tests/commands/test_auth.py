"""``make auth`` when all goes well: what is written, shown and logged, and how the server ends."""

import json
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from html import escape

import pytest

from tests.commands.conftest import Installation
from tests.fakes.fake_twitch_id import FakeTwitchId

SAVED = "Tokens saved successfully."
OLD_TOKEN = "oauth:abcdefghijklmnopqrstuvwx012345"


def test_a_sign_in_writes_the_tokens_says_so_and_ends_the_server(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.serve()
    answer = installation.get()
    assert answer.status_code == 200
    assert SAVED in answer.text
    for text in ("testbot", "chat:read", "tokenStore.json", "the sign-in server has ended"):
        assert text in answer.text
    assert command.wait_end() == 0
    assert "signed in as testbot with chat:read, the tokens are in tokenStore.json" in command.log
    assert len(command.log.splitlines()) == 1
    [issued], [exchange], [validation] = twitch_id.issued, twitch_id.exchanges, twitch_id.validations
    assert exchange.redirect_uri == twitch_id.redirect_uri
    assert validation.access_token == issued.access_token
    tokens = installation.tokens
    assert tokens["accessToken"] == f"oauth:{issued.access_token}"
    assert tokens["refreshToken"] == issued.refresh_token
    assert tokens["expiresAt"] > 1_700_000_000_000
    assert stat.S_IMODE(installation.token_file.stat().st_mode) == 0o600


def test_the_first_lines_say_where_it_runs_and_what_must_be_registered(installation: Installation) -> None:
    command = installation.serve()
    running, where, registered = command.out.splitlines()
    assert running == f"Twitch auth server running on {installation.url}"
    assert f"{installation.url}/auth " in where
    assert "Ctrl-C" in where
    assert "https://dev.twitch.tv/console/apps" in registered
    assert registered.endswith(f" {installation.url}/auth/callback")


def test_twitch_is_asked_for_the_scopes_of_the_settings(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    installation.serve(TWITCH_SCOPES="chat:read user:read:chat")
    assert "chat:read user:read:chat" in installation.get().text
    [asked] = [one.fields for one in twitch_id.requests if one.endpoint == "authorize"]
    assert asked["scope"] == "chat:read user:read:chat"
    assert asked["redirect_uri"] == twitch_id.redirect_uri
    assert len(asked["state"]) >= 32


def test_the_root_leads_to_the_sign_in_and_other_paths_to_nothing(installation: Installation) -> None:
    installation.serve("--keep")
    root = installation.get("/", follow_redirects=False)
    assert (root.status_code, root.headers["location"]) == (303, "/auth")
    assert installation.get("/favicon.ico").status_code == 404


def test_the_root_may_be_the_callback(installation: Installation, twitch_id: FakeTwitchId) -> None:
    twitch_id.redirect_uri = installation.url
    command = installation.serve(TWITCH_REDIRECT_URI=installation.url)
    assert "This sign-in cannot be used" in installation.get("/").text
    assert SAVED in installation.get().text
    assert command.wait_end() == 0


def test_keys_of_others_stay_in_the_file(installation: Installation) -> None:
    installation.token_file.write_text(json.dumps({"accessToken": OLD_TOKEN, "note": ["mine", 1]}))
    installation.token_file.chmod(0o644)
    command = installation.serve()
    installation.get()
    assert command.wait_end() == 0
    assert installation.tokens["note"] == ["mine", 1]
    assert installation.tokens["accessToken"] != OLD_TOKEN
    assert stat.S_IMODE(installation.token_file.stat().st_mode) == 0o600


def test_a_damaged_file_is_kept_beside_the_new_one(installation: Installation) -> None:
    installation.token_file.write_text('{"accessToken": "oauth:abc')
    command = installation.serve()
    page = installation.get().text
    assert SAVED in page
    assert "tokenStore.json.damaged" in page
    assert command.wait_end() == 0
    copy = installation.folder / "tokenStore.json.damaged"
    assert copy.read_text() == '{"accessToken": "oauth:abc'
    assert installation.tokens["refreshToken"]


def test_with_keep_it_runs_on_and_a_second_sign_in_works(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.serve("--keep")
    assert "The sign-in server runs on." in installation.get().text
    first = installation.tokens
    assert SAVED in installation.get().text
    assert installation.tokens != first
    assert twitch_id.issued[1].access_token in installation.tokens["accessToken"]
    assert command.stop() == 0
    assert "not signed in" not in command.shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_a_sign_in_ends_it_with_one_line(
    installation: Installation, number: signal.Signals
) -> None:
    command = installation.serve()
    installation.new_state()
    assert command.stop(number) == 1
    assert command.log == "not signed in\n"


def test_a_signal_does_not_wait_for_a_twitch_that_hangs(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.hang = {"token"}
    command = installation.serve()
    with ThreadPoolExecutor(1) as browser:
        answer = browser.submit(installation.get)
        twitch_id.wait_for(lambda: bool(twitch_id.exchanges), "the exchange")
        assert command.stop() == 1
        assert "The sign-in was broken off" in answer.result().text
    assert command.log == "not signed in\n"
    assert not installation.token_file.exists()


def test_tokens_that_cannot_be_checked_are_written_all_the_same(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.fail_status = {"validate": 503}
    command = installation.serve()
    answer = installation.get()
    assert answer.status_code == 200
    assert SAVED in answer.text
    assert "could not be checked" in answer.text
    assert command.wait_end() == 0
    assert "could not be checked" in command.log
    assert twitch_id.is_valid(installation.tokens["accessToken"])


def test_what_makes_the_tokens_useless_is_said_on_the_page_and_in_the_log(
    installation: Installation,
) -> None:
    command = installation.serve(
        TWITCH_OAUTH_TOKEN=OLD_TOKEN, TWITCH_USERNAME="Other_One", TWITCH_SCOPES="chat:edit"
    )
    page = installation.get().text
    assert SAVED in page
    assert command.wait_end() == 0
    for text in (
        "TWITCH_OAUTH_TOKEN is set and is used before the token file",
        "TWITCH_USERNAME is other_one, but the token is testbot's",
        "the token lacks the scope chat:read",
    ):
        assert escape(text) in page
        assert text in command.log
    assert OLD_TOKEN not in installation.shown


def test_a_username_in_other_letters_is_no_warning(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.login = "TestBot"
    command = installation.serve(TWITCH_USERNAME="testBOT")
    installation.get()
    assert command.wait_end() == 0
    assert "WARNING" not in command.log


def test_no_secret_is_in_the_command_line(installation: Installation, twitch_id: FakeTwitchId) -> None:
    command = installation.serve()
    line = " ".join(command.process.cmdline())
    assert line.endswith("-m commands.auth")
    assert twitch_id.client_secret not in line
