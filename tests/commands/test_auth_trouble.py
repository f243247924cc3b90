"""``make auth`` when something is wrong: every page and log line says what to do, and nothing is written."""

import json
from html import escape

import httpx
import pytest

from commands.auth_app import MOST_STATES, STATE_SECONDS, States
from tests.commands.conftest import Command, Installation
from tests.fakes.fake_twitch_id import FakeTwitchId

BEGIN_AGAIN = "begin again at /auth"
OLD = {"accessToken": "oauth:abcdefghijklmnopqrstuvwx012345", "refreshToken": "r" * 50}


@pytest.fixture
def server(installation: Installation) -> Command:
    """One that has tokens already, which no failure may touch."""
    installation.token_file.write_text(json.dumps(OLD))
    return installation.serve("--keep")


def check_failed(installation: Installation, answer: httpx.Response, status: int, text: str) -> None:
    """The page says it, nothing was written, and the next sign-in works."""
    assert answer.status_code == status, answer.text
    assert text in answer.text
    assert answer.text.count("<h1>") == 1
    assert installation.tokens == OLD
    installation.twitch_id.behaviour = type(installation.twitch_id.behaviour)()
    assert "Tokens saved successfully." in installation.get().text


@pytest.mark.parametrize("state", ["", "guessed", None])
def test_a_wrong_or_missing_state_gets_nothing(
    installation: Installation, server: Command, twitch_id: FakeTwitchId, state: str | None
) -> None:
    code = installation.new_code(installation.new_state())
    query = {"code": code} if state is None else {"code": code, "state": state}
    answer = installation.callback(**query)
    assert twitch_id.exchanges == []
    assert code not in installation.shown
    check_failed(installation, answer, 400, "This sign-in cannot be used")
    assert BEGIN_AGAIN in server.log


def test_a_state_is_good_once(installation: Installation, server: Command, twitch_id: FakeTwitchId) -> None:
    state = installation.new_state()
    query = {"state": state, "code": installation.new_code(state)}
    assert installation.callback(**query).status_code == 200
    tokens = installation.tokens
    again = installation.callback(**query)
    assert (again.status_code, len(twitch_id.exchanges)) == (400, 1)
    assert "This sign-in cannot be used" in again.text
    assert installation.tokens == tokens
    assert BEGIN_AGAIN in server.log


def test_a_state_is_good_for_ten_minutes_and_ten_at_a_time() -> None:
    now = 0.0
    states = States(lambda: now)
    early, late = states.new(), states.new()
    now = STATE_SECONDS
    assert states.use(early)
    now += 1
    assert not states.use(late)
    many = [states.new() for _ in range(MOST_STATES + 1)]
    assert len(set(many)) == MOST_STATES + 1
    assert [states.use(state) for state in many] == [False] + [True] * MOST_STATES


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 405),
        ("POST", {}, 405),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}, 403),
        ("GET", {"Purpose": "prefetch"}, 403),
        ("GET", {"Sec-Fetch-Dest": "image"}, 403),
        ("GET", {"Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_only_a_visit_uses_the_state_and_the_code_up(
    installation: Installation,
    server: Command,
    twitch_id: FakeTwitchId,
    method: str,
    headers: dict[str, str],
    status: int,
) -> None:
    state = installation.new_state()
    query = {"state": state, "code": installation.new_code(state)}
    url = f"{installation.url}/auth/callback"
    answer = installation.http.request(method, url, params=query, headers=headers)
    assert (answer.status_code, twitch_id.exchanges) == (status, [])
    assert installation.get("/auth/callback", params=query, headers={"Sec-Fetch-Dest": "document"}).is_success
    assert server.process.is_running()


def test_who_denies_is_told_that_nothing_was_changed(
    installation: Installation, server: Command, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.approve = "deny"
    check_failed(installation, installation.get(), 400, "You did not allow it")
    assert "not allowed at Twitch" in server.log


def test_an_error_of_twitch_is_shown_but_no_html_in_it_and_is_one_line_in_the_log(
    installation: Installation, server: Command
) -> None:
    evil = "<script>alert(1)</script>\r\n2026 forged'\" {0} {text}"
    answer = installation.callback(error="server<b>error", error_description=evil)
    assert "<script>" not in answer.text
    assert "<b>" not in answer.text
    assert "server&lt;b&gt;error" in answer.text
    check_failed(installation, answer, 400, escape("<script>alert(1)</script>"))
    [line] = [line for line in server.log.splitlines() if "forged" in line]
    assert " ERROR " in line


@pytest.mark.parametrize("path", ["/auth/callback/", "/", ""])
def test_another_registered_uri_is_named_when_twitch_sends_the_browser_there(
    installation: Installation, server: Command, twitch_id: FakeTwitchId, path: str
) -> None:
    mine = twitch_id.redirect_uri
    twitch_id.redirect_uri = installation.url + path
    answer = installation.get()
    twitch_id.redirect_uri = mine
    for text in ("redirect URI mismatch", mine, "to the letter", installation.url + (path or "/")):
        assert text in answer.text
        assert text in server.log
    check_failed(installation, answer, 400, "Parameter redirect_uri does not match registered URI")


def test_a_mismatch_that_comes_at_the_exchange_is_one_too(
    installation: Installation, server: Command, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.refuse_code = "Parameter redirect_uri does not match registered URI"
    answer = installation.get()
    check_failed(installation, answer, 400, "redirect URI mismatch")
    for text in (twitch_id.redirect_uri, "to the letter"):
        assert text in answer.text
        assert text in server.log
    assert "redirect URI mismatch" in server.log
    assert "Registered seems" not in answer.text


def test_a_code_that_twitch_refuses_is_told_with_its_reason(
    installation: Installation, server: Command, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.refuse_code = "Invalid authorization <code>"
    check_failed(installation, installation.get(), 400, "Invalid authorization &lt;code&gt;")
    assert "Invalid authorization <code>" in server.log


def test_a_wrong_client_secret_is_told_with_the_settings_name(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.serve(TWITCH_CLIENT_SECRET="wrong0secret0000000000000000")
    answer = installation.get()
    assert answer.status_code == 400
    for text in ("invalid client secret", "TWITCH_CLIENT_SECRET"):
        assert text in answer.text
        assert text in command.log
    assert "wrong0secret" not in installation.shown
    assert not installation.token_file.exists()


@pytest.mark.parametrize("kind", ["503", "garbage", "hang"])
def test_a_twitch_in_trouble_means_try_again(
    installation: Installation, server: Command, twitch_id: FakeTwitchId, kind: str
) -> None:
    behaviour = twitch_id.behaviour
    behaviour.fail_status = {"token": 503} if kind == "503" else {}
    behaviour.garbage, behaviour.hang = ({"token"} if kind == name else set() for name in ("garbage", "hang"))
    check_failed(installation, installation.get(), 503, "Try again")
    assert "try again at /auth" in server.log


def test_new_tokens_that_twitch_does_not_take_are_not_written(
    installation: Installation, server: Command, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.fail_status = {"validate": 401}
    check_failed(installation, installation.get(), 400, "the new token is not valid")
    assert "the new token is not valid" in server.log


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"TWITCH_CLIENT_SECRET": ""}, ["TWITCH_CLIENT_SECRET"]),
        ({"TWITCH_CLIENT_ID": "your_client_id"}, ["TWITCH_CLIENT_ID"]),
        (
            {"TWITCH_CLIENT_ID": "", "TWITCH_CLIENT_SECRET": "<secret>"},
            ["TWITCH_CLIENT_ID", "TWITCH_CLIENT_SECRET"],
        ),
    ],
)
def test_missing_settings_are_named_and_the_server_stays_up(
    installation: Installation, twitch_id: FakeTwitchId, settings: dict[str, str], names: list[str]
) -> None:
    command = installation.serve(**settings)
    line = f"{' and '.join(names)} must be set in .env first"
    assert line in command.log
    for _ in range(2):
        answer = installation.get(follow_redirects=False)
        assert answer.status_code == 500
        for text in (*names, ".env", "make auth-device", twitch_id.redirect_uri):
            assert text in answer.text
    assert command.log.count(line) == 3
    assert twitch_id.requests == []


def test_a_bug_shows_a_page_without_traceback_and_a_log_without_secrets(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    module = installation.folder / "shared" / "token_store.py"
    bug = "\n\ndef _bug(self, *tokens):\n    raise ValueError(tokens)\n\nTokenStore.write = _bug\n"
    module.write_text(module.read_text() + bug)
    command = installation.serve()
    answer = installation.get()
    assert answer.status_code == 500
    assert "An unexpected error" in answer.text
    assert "ValueError" not in answer.text
    assert "ValueError" in command.log
    assert "***" in command.log
    assert twitch_id.issued
    command.process.terminate()
    assert command.process.wait(30) == 1
