"""``make auth`` in a real browser, with JavaScript switched off, on a phone's screen."""

from pathlib import Path

import pytest

from tests.commands.browser import Browser, find_browser
from tests.commands.conftest import Installation
from tests.fakes.fake_twitch_id import FakeTwitchId

ALLOW = "a"
CANCEL = "a + a"
LIGHT, DARK = "rgb(244, 242, 248)", "rgb(20, 18, 24)"


def check_look(browser: Browser, background: str = LIGHT) -> None:
    """The style sheet is let in, and nothing is wider than the screen."""
    assert browser.style_of("body", "background-color") == background
    assert browser.overflow() <= 0
    # The browser tells of answers that are errors; that is all.
    assert not any("Content Security Policy" in warning for warning in browser.warnings)


def test_a_machine_without_a_browser_skips_these_tests_but_not_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        find_browser()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_browser()


def test_a_user_denies_thinks_better_of_it_and_is_signed_in(
    installation: Installation, twitch_id: FakeTwitchId, tmp_path: Path
) -> None:
    twitch_id.behaviour.approve = "page"
    command = installation.serve()
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"{installation.url}/auth")
        browser.click(CANCEL)
        assert "You did not allow it" in browser.text_of("h1")
        check_look(browser)
        assert not installation.token_file.exists()
        browser.click(".button")
        browser.click(ALLOW)
        assert "Tokens saved successfully." in browser.text_of("h1")
        for text in ("testbot", "chat:read", "tokenStore.json"):
            assert text in browser.text_of("main")
        check_look(browser)
        assert command.wait_end() == 0
    assert twitch_id.is_valid(installation.tokens["accessToken"])
    assert len(twitch_id.exchanges) == 1


def test_the_longest_pages_fit_a_phone_in_the_dark_too(
    installation: Installation, twitch_id: FakeTwitchId, tmp_path: Path
) -> None:
    installation.serve("--keep")
    twitch_id.redirect_uri = f"{installation.url}/{'very-long-path-' * 10}"
    with Browser(tmp_path / "profile", dark=True) as browser:
        browser.open(f"{installation.url}/auth")
        assert "redirect URI mismatch" in browser.text_of("h1")
        assert twitch_id.redirect_uri in browser.text_of("main")
        check_look(browser, DARK)
        browser.open(f"{installation.url}/auth/callback?error=x&error_description={'W' * 300}")
        assert "W" * 300 in browser.text_of("main")
        check_look(browser, DARK)


@pytest.mark.parametrize("size", [(320, 568), (1280, 800)])
def test_missing_settings_fit_small_and_large_screens(
    installation: Installation, tmp_path: Path, size: tuple[int, int]
) -> None:
    installation.serve(TWITCH_CLIENT_ID="", TWITCH_CLIENT_SECRET="")
    with Browser(tmp_path / "profile", size) as browser:
        browser.open(installation.url)
        assert "TWITCH_CLIENT_SECRET" in browser.text_of("main")
        check_look(browser)
