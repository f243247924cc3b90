"""How ``make auth`` stores the tokens where that is difficult: nothing is lost silently."""

import fcntl
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.commands.conftest import Command, Installation
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.service import wait_until

OLD = {"accessToken": "oauth:abcdefghijklmnopqrstuvwx012345", "refreshToken": "r" * 50}


def test_a_file_that_cannot_be_written_is_said_before_the_user_goes_to_twitch(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.serve(TWITCH_TOKEN_FILE="missing/tokens.json")
    answer = installation.get(follow_redirects=False)
    assert answer.status_code == 500
    for text in ("tokens.json", "cannot be written", "No such file or directory"):
        assert text in answer.text
        assert text in command.log
    assert twitch_id.requests == []


def test_a_full_disk_leaves_the_file_as_it_was_and_is_said(installation: Installation) -> None:
    server = installation.serve()
    installation.token_file.write_text(json.dumps(OLD | {"others": "x" * 200_000}))
    before = installation.token_file.read_bytes()
    state = installation.new_state()
    server.process.rlimit(psutil.RLIMIT_FSIZE, (100_000, psutil.RLIM_INFINITY))
    answer = installation.callback(state=state, code=installation.new_code(state))
    assert answer.status_code == 500
    for text in ("tokenStore.json", "cannot be written", "File too large"):
        assert text in answer.text
        assert text in server.log
    assert installation.token_file.read_bytes() == before
    server.process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    assert installation.get().status_code == 200
    assert len(installation.tokens["others"]) == 200_000


@pytest.mark.parametrize(
    ("make", "reason", "is_there"),
    [(Path.mkdir, "no file", Path.is_dir), (os.mkfifo, "no file", Path.is_fifo)],
)
def test_what_is_no_file_is_not_replaced(
    installation: Installation,
    make: Callable[[Path], None],
    reason: str,
    is_there: Callable[[Path], bool],
) -> None:
    command = installation.serve()
    state = installation.new_state()
    make(installation.token_file)
    answer = installation.callback(state=state, code=installation.new_code(state))
    assert answer.status_code == 500
    for text in ("tokenStore.json", "cannot be written", reason):
        assert text in answer.text
        assert text in command.log
    assert is_there(installation.token_file)


def test_it_waits_for_another_program_that_has_the_file(
    installation: Installation, twitch_id: FakeTwitchId
) -> None:
    command = installation.serve()
    lock = installation.folder / "tokenStore.json.lock"
    with lock.open("w") as held, ThreadPoolExecutor(1) as browser:
        fcntl.flock(held, fcntl.LOCK_EX)
        answer = browser.submit(installation.get)
        twitch_id.wait_validations(1)
        wait_until(lambda: _opens(command, str(lock)), "the lock opened")
        assert not installation.token_file.exists()
        fcntl.flock(held, fcntl.LOCK_UN)
        assert answer.result().status_code == 200
    assert command.wait_end() == 0


def _opens(command: Command, path: str) -> bool:
    return path in [file.path for file in command.process.open_files()]
