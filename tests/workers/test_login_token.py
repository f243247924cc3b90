"""With what a reader logs in, what it does after a refusal, and what it says."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import log_setup, settings
from shared.paths import Paths
from shared.refused_tokens import RefusedTokens
from workers.login_token import LoginToken


class Case:
    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.paths.prepare()
        self.log = io.StringIO()
        log_setup.set_up("reader-alpha", stream=self.log)

    def reader(self, **values: str) -> LoginToken:
        return LoginToken(settings.load(self.paths, values), self.paths)

    def store(self, token: str) -> None:
        (self.paths.root / "tokenStore.json").write_text(json.dumps({"accessToken": f"oauth:{token}"}))

    def reported(self) -> list[str]:
        return sorted(path.name for path in self.paths.refused_tokens.glob("*"))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    yield Case(tmp_path)
    log_setup.set_up("tests")


LONG = "abcdefghij0123456789abcdefghi"


def test_without_credentials_it_is_anonymous_and_says_so_once(case: Case) -> None:
    token = case.reader()
    for _ in range(3):
        nick, password = token.login()
        assert nick.startswith("justinfan")
        assert password is None
    assert case.log.getvalue().count("no token, reading anonymously") == 1


@pytest.mark.parametrize("prefix", ["", "oauth:", "OAuth:"])
def test_the_fixed_token_comes_first_with_its_prefix_or_without(case: Case, prefix: str) -> None:
    case.store("thefilesone")
    token = case.reader(TWITCH_OAUTH_TOKEN=prefix + LONG, TWITCH_USERNAME="MyBot")
    assert token.login() == ("mybot", f"oauth:{LONG}")


def test_a_placeholder_leads_to_the_file(case: Case) -> None:
    case.store(LONG)
    assert case.reader(TWITCH_OAUTH_TOKEN="oauth:your_token_here").login()[1] == f"oauth:{LONG}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"accessToken": "your_token_here"}', "is a placeholder"),
        ('{"accessToken": 5}', "is no text"),
        ("{", "is no JSON object"),
        ("{}", "holds no accessToken"),
    ],
)
def test_a_file_without_a_usable_token_is_said_and_chat_is_read_anonymously(
    case: Case, content: str, said: str
) -> None:
    (case.paths.root / "tokenStore.json").write_text(content)
    token = case.reader()
    assert token.login()[1] is None
    token.login()
    assert case.log.getvalue().count(said) == 1
    assert "reading anonymously" in case.log.getvalue()


def test_a_short_token_is_called_out_and_used(case: Case) -> None:
    assert case.reader(TWITCH_OAUTH_TOKEN="oauth:abc123").login()[1] == "oauth:abc123"
    assert "has 6 characters, Twitch's have 30: is it whole?" in case.log.getvalue()
    assert "abc123" not in case.log.getvalue()


def test_every_login_takes_the_token_of_the_moment(case: Case) -> None:
    token = case.reader()
    for secret in ("first" * 6, "second" * 5):
        case.store(secret)
        assert token.login()[1] == f"oauth:{secret}"


def test_a_refusal_asks_for_another_token_and_waits_for_it(case: Case) -> None:
    case.store("first" * 6)
    token = case.reader()
    token.login()
    assert not token.waits
    token.refused("Login authentication failed", 1.0)
    assert token.waits
    assert not token.renewed()
    [fingerprint] = case.reported()
    reports = RefusedTokens(case.paths.refused_tokens)
    assert reports.take(fingerprint)
    assert not reports.take(fingerprint)
    case.store("second" * 5)
    assert token.renewed()
    assert not token.renewed()
    assert token.login()[1] == "oauth:" + "second" * 5
    token.accepted()
    assert not token.waits


def test_an_attempt_that_fails_for_another_reason_waits_for_no_token(case: Case) -> None:
    case.store("first" * 6)
    token = case.reader()
    token.login()
    token.refused("Login authentication failed", 1.0)
    assert token.waits
    token.login()
    assert not token.waits
    case.store("second" * 5)
    assert not token.renewed()


def test_while_the_file_is_damaged_or_gone_the_pause_runs_on(case: Case) -> None:
    case.store("first" * 6)
    token = case.reader()
    token.login()
    token.refused("no", 1.0)
    (case.paths.root / "tokenStore.json").write_text("{")
    assert not token.renewed()
    (case.paths.root / "tokenStore.json").unlink()
    assert not token.renewed()


def test_three_refused_fresh_tokens_are_the_accounts_fault(case: Case) -> None:
    token = case.reader()
    for number in range(1, 5):
        case.store(f"token{number}" * 5)
        token.login()
        token.refused("Login authentication failed", 1.0)
        at_fault = case.log.getvalue().count("the account or the scope is at fault")
        assert at_fault == max(0, number - 2)


def test_the_same_token_refused_again_and_again_is_no_fresh_one(case: Case) -> None:
    case.store("first" * 6)
    token = case.reader()
    for _ in range(4):
        token.login()
        token.refused("Login authentication failed", 1.0)
    assert "each time with a fresh token" not in case.log.getvalue()
    assert "make auth" in case.log.getvalue()
    assert len(case.reported()) == 1


def test_an_accepted_login_ends_the_story(case: Case) -> None:
    token = case.reader()
    for number in range(1, 6):
        case.store(f"token{number}" * 5)
        token.login()
        token.refused("Login authentication failed", 1.0)
        if number == 2:
            token.accepted()
    assert case.log.getvalue().count("the account or the scope is at fault") == 1


def test_a_refused_fixed_token_names_its_setting(case: Case) -> None:
    token = case.reader(TWITCH_OAUTH_TOKEN=LONG)
    token.login()
    token.refused("Login authentication failed", 1.0)
    assert "put a new one into TWITCH_OAUTH_TOKEN and restart" in case.log.getvalue()
    assert LONG not in case.log.getvalue()


def test_a_refused_anonymous_login_asks_for_nothing(case: Case) -> None:
    token = case.reader()
    token.login()
    token.refused("Login unsuccessful", 1.0)
    assert not token.waits
    assert case.reported() == []
