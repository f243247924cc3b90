"""`make doctor`'s command as a real process, in a copy of the project that was never started."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Command, Installation
from tests.fakes.fake_twitch import FakeTwitch
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.service import wait_until

MODULE = "commands.doctor"
NOBODY = "127.0.0.1:1"
NAMES = (
    "python", "packages", "settings", "channels", "broker", "topic", "round trip", "token", "valid", "scopes",
    "renewal", "Twitch", "login", "join", "message", "format", "clock", "backfill", "workers", "file modes",
    "disk space",
)  # fmt: skip


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


def start(installation: Installation, *arguments: str, **settings: str) -> Command:
    nobody = {"KAFKA_BROKERS": NOBODY, "TWITCH_IRC_URL": f"irc://{NOBODY}", "PYTHONDONTWRITEBYTECODE": "1"}
    return installation.start(MODULE, *arguments, **nobody | settings)


def names_of(command: Command) -> tuple[str, ...]:
    return tuple(line[2:14].strip() for line in command.out.splitlines() if line[:2] in ("✓ ", "✗ ", "– "))


def line_of(command: Command, name: str) -> str:
    [line] = [line for line in command.out.splitlines() if line[2:14] == f"{name:12}"]
    return line


def files_of(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.name not in ("stdout.txt", "stderr.txt")
    }


def test_a_fresh_clone_gets_clear_lines_and_stays_as_it_is(installation: Installation) -> None:
    for name in ("run", "logs"):
        (installation.folder / name).rmdir()
    before = files_of(installation.folder)
    command = start(installation)
    assert command.wait_end() == 1
    assert names_of(command) == NAMES
    signs = "".join(line_of(command, name)[0] for name in NAMES)
    assert signs == "✓✓✓✗✗––✓–––✗––––––✗–✓"
    assert "→ cp channels.example.txt channels.txt, and edit it" in command.out
    assert command.out.splitlines()[-1] == "4 points failed, 12 could not be tried"
    assert [line for line in command.log.splitlines() if not line.endswith(" …")] == []
    assert files_of(installation.folder) == before


def test_a_bad_setting_is_named_and_leaves_only_what_needs_none(installation: Installation) -> None:
    (installation.folder / ".env").write_text("SPOOL_MAX_BYTES=lots\nTWITCH_OAUTH_TOKEN=abcdefghijklmnop\n")
    command = start(installation)
    assert command.wait_end() == 2
    assert names_of(command) == NAMES
    signs = "".join(line_of(command, name)[0] for name in NAMES)
    assert signs == "✓✓✗–––––––––––––––✗✗✓"
    assert "SPOOL_MAX_BYTES='lots' is not usable: legal is bytes" in line_of(command, "settings")
    assert line_of(command, "clock").endswith("needs settings that are usable")
    assert "→ chmod 600 .env" in command.out
    assert "abcdefghijklmnop" not in command.shown
    assert command.log == ""


def test_a_package_of_another_version_is_named(installation: Installation) -> None:
    requirements = installation.folder / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("jsonschema==", "jsonschema==0."))
    (installation.folder / ".env").write_text("SPOOL_MAX_BYTES=lots\n")
    command = start(installation)
    command.wait_end()
    assert line_of(command, "packages").startswith("✗ packages     jsonschema is ")
    assert "-m pip install -r requirements.txt" in command.out


def test_a_package_that_is_missing_is_a_line_and_no_traceback(installation: Installation) -> None:
    (installation.folder / "rich.py").write_text("raise ModuleNotFoundError(\"No module named 'rich'\")\n")
    (installation.folder / "requirements.txt").write_text("rich-that-is-missing==15.0.0\n")
    command = start(installation)
    assert command.wait_end() == 1
    assert "rich-that-is-missing is missing, requirements.txt has 15.0.0" in command.out
    assert "pip install" in command.out
    assert command.out.splitlines()[-1] == "the rest cannot be tried: No module named 'rich'"


def test_what_twitch_says_can_neither_control_the_terminal_nor_show_a_secret(
    installation: Installation, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    issued = twitch_id.write_file(installation.token_file)
    twitch.refuse_logins(
        text=f"Login unsuccessful \x1b[2J\x07oauth:{issued.access_token} {issued.refresh_token}"
    )
    command = start(installation, TWITCH_IRC_URL=twitch.url)
    assert command.wait_end() == 1
    assert "Twitch refuses it: Login unsuccessful �[2J�oauth:*** ***" in line_of(command, "login")
    assert "\x1b" not in command.shown
    # Also the client secret: the fixture looks for it and for the tokens.
    assert "TWITCH_CLIENT_SECRET=***  (environment)" in command.out
    assert twitch_id.refreshes == []


def test_an_output_without_such_letters_gets_others(installation: Installation) -> None:
    (installation.folder / ".env").write_text("SPOOL_MAX_BYTES=lots\n")
    command = start(installation, PYTHONIOENCODING="ascii")
    assert command.wait_end() == 2
    assert "ok python       3." in command.out
    assert "XX settings     SPOOL_MAX_BYTES='lots'" in command.out
    assert "-- clock " in command.out


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "3601"])
def test_a_time_that_is_none_is_refused(installation: Installation, wait: str) -> None:
    command = start(installation, "--wait", wait)
    assert command.wait_end() == 2
    assert "is no number of seconds, 0 to 3600" in command.log


def test_the_help_tells_of_the_option_and_the_exit_codes(installation: Installation) -> None:
    command = start(installation, "--help")
    assert command.wait_end() == 0
    assert "--wait SECONDS" in command.out
    assert "Exit codes: 0" in command.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_one_line_also_where_it_was_ignored(
    installation: Installation, twitch: FakeTwitch, number: signal.Signals
) -> None:
    (installation.folder / "channels.txt").write_text("xqc\n")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = start(installation, "--wait", "600", TWITCH_IRC_URL=twitch.url)
    finally:
        signal.signal(signal.SIGINT, before)
    command.wait_shown("waiting up to 600 s for a message in #xqc …")
    assert command.stop(number) == 1
    assert command.log.splitlines()[-1] == "doctor: stopped before the end"


class Terminal:
    """A run of the command on a terminal."""

    def __init__(self, installation: Installation, *arguments: str, **settings: str) -> None:
        self._ours, theirs = pty.openpty()
        nobody = {"KAFKA_BROKERS": NOBODY, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *arguments],
            cwd=installation.folder,
            env=installation.environment(**nobody | settings),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = b""

    def read_until(self, text: str) -> None:
        def has_shown() -> bool:
            self.shown += os.read(self._ours, 4096)
            return text.encode() in self.shown

        wait_until(has_shown, lambda: f"{text!r} in {self.shown!r}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        os.close(self._ours)


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_colours_and_transient_lines(
    installation: Installation, twitch: FakeTwitch, no_colour: bool
) -> None:
    (installation.folder / "channels.txt").write_text("xqc\n")
    settings = {"TWITCH_IRC_URL": twitch.url} | ({"NO_COLOR": "1"} if no_colour else {})
    terminal = Terminal(installation, "--wait", "600", **settings)
    try:
        terminal.read_until("waiting up to 600 s for a message in #xqc …")
        assert (b"\x1b[32m\xe2\x9c\x93" in terminal.shown) == (not no_colour)
        assert b"\x1b[2K" in terminal.shown
        twitch.chat("xqc", "hello")
        terminal.read_until("could not be tried")
        assert terminal.process.wait(30) == 1
    finally:
        terminal.end()


def test_a_terminal_that_can_take_nothing_back_gets_plain_lines(
    installation: Installation, twitch: FakeTwitch
) -> None:
    (installation.folder / "channels.txt").write_text("xqc\n")
    terminal = Terminal(installation, "--wait", "600", TWITCH_IRC_URL=twitch.url, TERM="dumb")
    try:
        terminal.read_until("waiting up to 600 s for a message in #xqc …\r\n")
        assert b"\x1b" not in terminal.shown
    finally:
        terminal.end()
