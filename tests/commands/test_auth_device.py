"""``make auth-device``: the sign-in without a browser, from the first line to the last."""

import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys

import pytest
import segno

from tests.commands.conftest import Command, Installation
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.service import wait_until

SAVED = "Tokens saved successfully."
MODULE = "commands.auth_device"
BLOCKS = "█▀▄"


@pytest.fixture(autouse=True)
def quick(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_interval = 1


def start_public(installation: Installation, **settings: str) -> Command:
    """Without a client secret, as the README says it."""
    return installation.start(MODULE, **{"TWITCH_CLIENT_SECRET": ""} | settings)


def polls_of(twitch_id: FakeTwitchId) -> int:
    return sum(len(device.polls) for device in twitch_id.devices)


def test_a_sign_in_writes_the_tokens_and_says_so(installation: Installation, twitch_id: FakeTwitchId) -> None:
    installation.token_file.write_text(json.dumps({"note": "mine"}))
    command = start_public(installation)
    assert command.wait_end() == 0
    [device], [issued] = twitch_id.devices, twitch_id.issued
    assert device.user_code in command.out
    assert f"https://www.twitch.tv/activate?device-code={device.user_code}\n" in command.out
    assert "good for 30 minutes" in command.out
    assert command.out.splitlines()[-2:] == [
        SAVED,
        "Signed in as testbot with chat:read, see tokenStore.json.",
    ]
    tokens = installation.tokens
    assert tokens["accessToken"] == f"oauth:{issued.access_token}"
    assert tokens["refreshToken"] == issued.refresh_token
    assert tokens["note"] == "mine"
    assert stat.S_IMODE(installation.token_file.stat().st_mode) == 0o600
    assert len(twitch_id.validations) == 1
    assert twitch_id.violations == []


def test_the_qr_code_is_the_address(installation: Installation, twitch_id: FakeTwitchId) -> None:
    command = start_public(installation)
    assert command.wait_end() == 0
    drawn = io.StringIO()
    address = f"https://www.twitch.tv/activate?device-code={twitch_id.devices[0].user_code}"
    segno.make_qr(address).terminal(drawn, compact=True)
    assert drawn.getvalue() in command.out
    assert "\x1b" not in command.out


def test_a_terminal_gets_the_qr_code_in_colours_that_cameras_can_read(installation: Installation) -> None:
    ours, theirs = pty.openpty()
    environment = installation.environment(TWITCH_CLIENT_SECRET="")
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE],
        cwd=installation.folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while SAVED.encode() not in shown:
            shown += os.read(ours, 4096)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
        os.close(ours)
    lines = [line for line in shown.decode().splitlines() if any(block in line for block in BLOCKS)]
    assert len(lines) > 15
    assert all(line.startswith("\x1b[97;40m") and line.endswith("\x1b[0m") for line in lines)


def test_an_output_without_such_letters_gets_no_qr_code(installation: Installation) -> None:
    command = start_public(installation, PYTHONIOENCODING="ascii")
    assert command.wait_end() == 0
    assert SAVED in command.out
    assert not any(block in command.out for block in BLOCKS)
    assert "\\u25" not in command.out


def test_the_secret_is_not_sent_where_there_is_one(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.start(MODULE)
    assert command.wait_end() == 0
    assert not any("client_secret" in one.fields for one in twitch_id.requests)


@pytest.mark.parametrize("client_id", ["", "your_client_id"])
def test_a_missing_client_id_is_said_and_exit_2(
    installation: Installation, twitch_id: FakeTwitchId, client_id: str
) -> None:
    command = start_public(installation, TWITCH_CLIENT_ID=client_id)
    assert command.wait_end() == 2
    line = command.shown.splitlines()[-1]
    for text in ("TWITCH_CLIENT_ID is not set", "https://dev.twitch.tv/console/apps", ".env"):
        assert text in line
    assert twitch_id.requests == []


def check_failed(installation: Installation, command: Command, *texts: str) -> None:
    """One line says what happened and what to do, and nothing is written."""
    assert command.wait_end() == 1
    line = command.log.splitlines()[-1]
    for text in texts:
        assert text in line
    assert SAVED not in command.out
    assert not installation.token_file.exists()


def test_who_denies_is_told_that_nothing_was_changed(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.device_denied = True
    check_failed(installation, start_public(installation), "not allowed at Twitch", "make auth-device")


def test_a_code_that_nobody_enters_expires(installation: Installation, twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_pending = -1
    twitch_id.behaviour.device_life = 3
    check_failed(installation, start_public(installation), "the code has expired", "make auth-device")
    assert polls_of(twitch_id) >= 1
    assert twitch_id.violations == []


def test_a_client_that_twitch_refuses_is_told_with_the_settings_name(installation: Installation) -> None:
    command = start_public(installation, TWITCH_CLIENT_ID="other00000000000000000000000000")
    check_failed(installation, command, "invalid client", "TWITCH_CLIENT_ID", "Public")


def test_a_twitch_that_is_away_at_the_begin_is_said(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.refuse_connections()
    check_failed(installation, start_public(installation), "cannot be reached", "make auth-device")


def test_trouble_on_the_way_is_said_once_and_waited_out(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.fail_times = {"token": 2}
    command = start_public(installation)
    assert command.wait_end() == 0
    assert SAVED in command.out
    assert command.log.count("trying on until the code expires") == 1
    assert len([one for one in twitch_id.requests if one.endpoint == "token" and one.status == 503]) == 2


def test_it_asks_less_often_when_twitch_wants_that(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.device_slow_down = 1
    twitch_id.behaviour.device_pending = 0
    command = start_public(installation)
    assert command.wait_end() == 0
    [device] = twitch_id.devices
    first, second = device.polls
    assert second - first >= 5.5
    assert twitch_id.violations == []


@pytest.mark.parametrize("ignored", [False, True], ids=["in the foreground", "in the background"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_one_line(
    installation: Installation, twitch_id: FakeTwitchId, number: signal.Signals, ignored: bool
) -> None:
    twitch_id.behaviour.device_pending = -1
    # What a shell does to a command that it starts in the background, and what the command inherits.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        command = start_public(installation)
    finally:
        signal.signal(signal.SIGINT, before)
    wait_until(lambda: polls_of(twitch_id) > 0, lambda: command.shown)
    assert command.stop(number) == 1
    assert command.log == "not signed in\n"
    assert not installation.token_file.exists()


def test_tokens_that_cannot_be_checked_are_written_all_the_same(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.fail_status = {"validate": 503}
    command = start_public(installation)
    assert command.wait_end() == 0
    assert SAVED in command.out
    assert "could not be checked" in command.shown
    assert twitch_id.is_valid(installation.tokens["accessToken"])


def test_a_signal_while_the_tokens_are_checked_does_not_throw_them_away(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.hang = {"validate"}
    command = start_public(installation)
    twitch_id.wait_validations(1, timeout=60)
    assert command.stop() == 0
    assert SAVED in command.out
    assert twitch_id.is_valid(installation.tokens["accessToken"])


def test_new_tokens_that_twitch_does_not_take_are_not_written(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    twitch_id.behaviour.fail_status = {"validate": 401}
    check_failed(installation, start_public(installation), "the new token is not valid")


def test_a_file_that_cannot_be_written_is_said(installation: Installation) -> None:
    command = start_public(installation, TWITCH_TOKEN_FILE="missing/tokens.json")
    check_failed(installation, command, "tokens.json", "cannot be written", "No such file or directory")


def test_what_makes_the_tokens_useless_is_said(installation: Installation) -> None:
    command = start_public(installation, TWITCH_USERNAME="other_one", TWITCH_SCOPES="chat:edit")
    assert command.wait_end() == 0
    assert "TWITCH_USERNAME is other_one, but the token is testbot's" in command.log
    assert "the token lacks the scope chat:read" in command.log
