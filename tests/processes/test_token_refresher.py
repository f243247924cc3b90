"""A real token-refresher process against a scriptable sign-in."""

import contextlib
import fcntl
import itertools
import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from shared.atomic_file import replace_file
from shared.refused_tokens import RefusedTokens
from shared.token_file import Token
from tests.fakes.fake_twitch_id import FakeTwitchId, Issued
from tests.fakes.slow_line import SlowLine
from tests.processes.refresher_process import RefresherProcess
from tests.processes.service import wait_until


@pytest.fixture
def fake() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as fake:
        yield fake


@pytest.fixture
def refresher(tmp_path: Path, fake: FakeTwitchId) -> Iterator[RefresherProcess]:
    folder = tmp_path / "project"
    folder.mkdir()
    refresher = RefresherProcess(folder, fake)
    try:
        yield refresher
    finally:
        refresher.end()


def report_refused(refresher: RefresherProcess, issued: Issued) -> None:
    """As a reader does."""
    fingerprint = Token(issued.access_token, "tokenStore.json").fingerprint
    RefusedTokens(refresher.folder / "run" / "refused-tokens").report(fingerprint)


@contextlib.contextmanager
def late_answers(refresher: RefresherProcess, fake: FakeTwitchId, seconds: float) -> Iterator[None]:
    """Have everything that the sign-in says arrive so much later."""
    port = urlsplit(fake.url).port
    assert port is not None
    with SlowLine(port, delay_seconds=seconds) as line:
        refresher.settings["TWITCH_ID_URL"] = f"http://127.0.0.1:{line.port}"
        yield


def wait_for_good_file(refresher: RefresherProcess, fake: FakeTwitchId, other_than: Issued) -> None:
    def good() -> bool:
        token = refresher.stored()["accessToken"]
        return fake.is_valid(token) and other_than.access_token not in token

    wait_until(good, lambda: f"a new token in the file, {refresher.log}")


def test_without_a_token_it_waits_and_says_so_once(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    refresher.start()
    refresher.wait_for_state("anonymous")
    began = refresher.status["written_monotonic"]
    wait_until(lambda: refresher.status["written_monotonic"] > began, "another report")
    assert refresher.log.count("no token file, nothing to do") == 1
    assert refresher.status["expires_at"] == 0
    assert fake.requests == []
    # The library for HTTP costs memory that only those pay who sign in.
    assert "httpx" not in Path(f"/proc/{refresher.pid}/maps").read_text()
    assert refresher.stop() == 0
    assert refresher.status["stopped"] is True


def test_a_good_token_is_validated_at_the_start_and_left_alone(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file, other="kept")
    before = refresher.file.read_bytes()
    refresher.start()
    refresher.wait_for_state("valid")
    assert refresher.status["login"] == fake.login
    assert refresher.status["scopes"] == ["chat:read"]
    assert abs(refresher.status["expires_at"] - refresher.stored()["expiresAt"] / 1000) < 3
    assert len(fake.validations) == 1
    assert fake.refreshes == []
    assert refresher.file.read_bytes() == before
    assert f"the token of {fake.login} is good for 4 h 0 min" in refresher.log
    assert issued.access_token not in refresher.log


@pytest.mark.parametrize("one_time", [True, False])
def test_a_token_that_is_not_valid_any_more_is_renewed(
    refresher: RefresherProcess, fake: FakeTwitchId, one_time: bool
) -> None:
    fake.behaviour.one_time_refresh_tokens = one_time
    issued = fake.write_file(refresher.file, note={"mine": True})
    fake.revoke(issued.access_token)
    refresher.start()
    wait_for_good_file(refresher, fake, issued)
    stored = refresher.stored()
    assert stored["note"] == {"mine": True}
    assert (stored["refreshToken"] == issued.refresh_token) is not one_time
    assert stored["accessToken"].startswith("oauth:")
    assert abs(stored["expiresAt"] / 1000 - time.time() - fake.life_seconds) < 10
    assert stat.S_IMODE(refresher.file.stat().st_mode) == 0o600
    refresher.wait_for_state("valid")


def test_a_file_with_a_refresh_token_only_becomes_a_whole_one(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.issue()
    refresher.file.write_text(json.dumps({"refreshToken": issued.refresh_token}))
    refresher.start()
    fake.wait_refreshes(1)
    wait_until(lambda: fake.is_valid(refresher.stored().get("accessToken", "")), "an access token")


def test_short_lives_are_renewed_one_after_the_other_each_before_its_end(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    fake.life_seconds = 2
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_refreshes(5, timeout=30)
    assert refresher.stop() == 0
    assert set(fake.uses.values()) == {1}
    assert fake.violations == []
    # The first one was the file's: it is renewed at once, as its whole life is not known.
    issued = fake.issued[1:]
    for earlier, later in itertools.pairwise(issued):
        left = earlier.expires_at - (later.expires_at - later.life_seconds)
        assert 0 < left < 1
    assert fake.is_valid(refresher.stored()["accessToken"])


def test_a_refused_login_brings_another_token(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    issued = fake.write_file(refresher.file)
    refresher.start()
    refresher.wait_for_state("valid")
    report_refused(refresher, issued)
    wait_for_good_file(refresher, fake, issued)
    assert len(fake.refreshes) == 1
    report_refused(refresher, issued)
    began = refresher.status["written_monotonic"]
    wait_until(lambda: refresher.status["written_monotonic"] > began + 1, "some looks")
    assert len(fake.refreshes) == 1, "a report of an old token is no reason"


def test_what_others_write_is_taken_up(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_validations(1)
    for count in (2, 3):
        issued = fake.write_file(refresher.file)
        began = time.monotonic()
        fake.wait_validations(count)
        assert time.monotonic() - began < 2
        assert fake.validations[-1].access_token == issued.access_token
    refresher.file.unlink()
    refresher.wait_for_log("is gone: the next logins are anonymous")
    refresher.wait_for_state("anonymous")
    fake.write_file(refresher.file)
    fake.wait_validations(4)


def test_what_others_write_is_taken_up_while_twitch_hangs(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    fake.behaviour.hang = {"validate"}
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_validations(1)
    fake.behaviour.hang = set()
    issued = fake.write_file(refresher.file)
    began = time.monotonic()
    fake.wait_validations(2)
    assert time.monotonic() - began < 2
    assert fake.validations[-1].access_token == issued.access_token


@pytest.mark.parametrize("damage", [b"", b"{", b'{"accessToken": "oauth:abc', b"\xff\xfe\x00", b"[]", b"{}"])
def test_a_damaged_file_is_said_kept_and_waited_for(
    refresher: RefresherProcess, fake: FakeTwitchId, damage: bytes
) -> None:
    refresher.file.write_bytes(damage)
    refresher.start()
    refresher.wait_for_state("damaged")
    copy = refresher.folder / "tokenStore.json.damaged"
    assert copy.read_bytes() == damage
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    [line] = [line for line in refresher.log.splitlines() if "ERROR" in line]
    assert "make auth" in line and "tokenStore.json.damaged" in line
    assert "Traceback" not in refresher.log
    assert refresher.file.read_bytes() == damage
    issued = fake.write_file(refresher.file)
    refresher.wait_for_state("valid")
    assert fake.validations[-1].access_token == issued.access_token


@pytest.mark.parametrize("trouble", ["503", "garbage", "away"])
def test_trouble_of_twitch_is_said_once_and_gone_through(
    refresher: RefresherProcess, fake: FakeTwitchId, trouble: str
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    if trouble == "503":
        fake.behaviour.fail_times = {"validate": 2, "token": 2}
    elif trouble == "garbage":
        fake.behaviour.garbage = {"validate", "token"}
    else:
        refresher.settings["TWITCH_ID_URL"] = "http://127.0.0.1:1"
    refresher.start()
    refresher.wait_for_log("next attempt in")
    if trouble == "away":
        assert "http://127.0.0.1:1 cannot be reached" in refresher.log
        assert refresher.stop() == 0
        return
    if trouble == "garbage":
        fake.wait_for(lambda: len(fake.requests) >= 3, "three attempts")
        fake.behaviour.garbage = set()
    wait_for_good_file(refresher, fake, issued)
    assert fake.uses[issued.refresh_token] in (1, 3)
    assert refresher.log.count("next attempt in") <= 2
    assert "Traceback" not in refresher.log
    pauses = [later.at - earlier.at for earlier, later in itertools.pairwise(fake.requests)]
    assert pauses[0] > 0.7 and pauses[1] > 1.5


def test_a_sign_in_that_hangs_is_asked_again_and_the_worker_goes_on_reporting(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    fake.behaviour.hang = {"token"}
    refresher.start()
    fake.wait_for(lambda: [one.endpoint for one in fake.requests].count("token") == 1, "a refresh")
    began = refresher.status["written_monotonic"]
    refresher.wait_for_log("gives no answer in 10 s")
    assert refresher.status["written_monotonic"] - began > 4
    fake.behaviour.hang = set()
    wait_for_good_file(refresher, fake, issued)


def test_refused_for_good_is_one_clear_error_and_a_new_sign_in_helps(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke_all()
    refresher.start()
    refresher.wait_for_state("refused")
    assert refresher.log.count("ERROR") == 1
    [line] = [line for line in refresher.log.splitlines() if "ERROR" in line]
    assert "Invalid refresh token" in line and "make auth" in line
    report_refused(refresher, issued)
    fake.wait_validations(2)
    assert refresher.runs
    assert len(fake.refreshes) == 1
    assert refresher.log.count("ERROR") == 1
    fake.write_file(refresher.file)
    refresher.wait_for_state("valid")


def test_a_wrong_client_is_said_with_the_settings_to_check(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    refresher.settings["TWITCH_CLIENT_SECRET"] = "wrong-secret-recognisable"
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    refresher.start()
    refresher.wait_for_log("check TWITCH_CLIENT_ID and TWITCH_CLIENT_SECRET")
    assert "recognisable" not in refresher.log


@pytest.mark.parametrize("missing", ["TWITCH_CLIENT_ID", "refreshToken"])
def test_what_is_missing_for_a_renewal_is_named(
    refresher: RefresherProcess, fake: FakeTwitchId, missing: str
) -> None:
    issued = fake.write_file(refresher.file, **({"refreshToken": None} if missing == "refreshToken" else {}))
    if missing == "TWITCH_CLIENT_ID":
        refresher.settings[missing] = ""
    refresher.start()
    refresher.wait_for_state("valid")
    [line] = [line for line in refresher.log.splitlines() if "WARNING" in line]
    assert missing in line and "cannot be renewed" in line
    fake.revoke(issued.access_token)
    report_refused(refresher, issued)
    refresher.wait_for_state("invalid")
    assert fake.refreshes == []
    assert refresher.log.count("ERROR") == 1
    assert "make auth" in refresher.log


def test_a_fixed_token_is_validated_and_the_file_left_alone(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    in_file = fake.write_file(refresher.file)
    fixed = fake.issue()
    refresher.settings["TWITCH_OAUTH_TOKEN"] = f"oauth:{fixed.access_token}"
    refresher.start()
    refresher.wait_for_state("valid")
    assert [one.access_token for one in fake.validations] == [fixed.access_token]
    fake.revoke(fixed.access_token)
    report_refused(refresher, fixed)
    refresher.wait_for_state("invalid")
    assert "TWITCH_OAUTH_TOKEN is not valid" in refresher.log
    assert in_file.access_token in refresher.file.read_text()
    assert fake.refreshes == []


def test_doubts_about_a_good_token_are_said(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    refresher.settings |= {"TWITCH_USERNAME": "somebodyelse"}
    fake.write_file(refresher.file, fake.issue(scopes=("user:read:email",)))
    refresher.start()
    refresher.wait_for_state("valid")
    assert f"TWITCH_USERNAME is somebodyelse, but the token is {fake.login}'s" in refresher.log
    assert "lacks the scope chat:read" in refresher.log


def test_a_file_open_to_others_is_closed_and_said(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    fake.write_file(refresher.file)
    refresher.file.chmod(0o664)
    refresher.start()
    refresher.wait_for_state("valid")
    assert stat.S_IMODE(refresher.file.stat().st_mode) == 0o600
    assert refresher.log.count("its mode is 0600 now") == 1


def test_with_a_fixed_token_the_file_is_closed_to_others_too(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    fake.write_file(refresher.file)
    refresher.file.chmod(0o644)
    refresher.settings["TWITCH_OAUTH_TOKEN"] = fake.issue().access_token
    refresher.start()
    refresher.wait_for_state("valid")
    assert stat.S_IMODE(refresher.file.stat().st_mode) == 0o600


def test_a_proxy_that_forbids_is_no_refusal_of_twitchs(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    fake.behaviour.fail_status = {"token": 403}
    refresher.start()
    fake.wait_for(lambda: [one.endpoint for one in fake.requests].count("token") == 2, "another attempt")
    fake.behaviour.fail_status = {}
    wait_for_good_file(refresher, fake, issued)


def test_a_refresh_token_is_not_spent_while_the_disk_is_full(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    refresher.settings["LOG_LEVEL"] = "info"
    refresher.start(file_size_limit=8192)
    refresher.wait_for_log("cannot be written")
    assert fake.refreshes == []
    assert issued.access_token in refresher.file.read_text()
    refresher.lift_file_size_limit()
    wait_for_good_file(refresher, fake, issued)
    assert set(fake.uses.values()) == {1}


def test_the_file_is_whole_at_every_moment_of_two_hundred_refreshes(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    fake.behaviour.expires_in_whole_seconds = False
    fake.life_seconds = 0.11
    fake.write_file(refresher.file)
    refresher.start()
    seen: dict[str, str] = {}
    looks = 0
    end = time.monotonic() + 90
    while len(seen) < 200:
        assert time.monotonic() < end, f"{len(seen)} pairs seen, {refresher.log[-2000:]}"
        stored = refresher.stored()
        seen[stored["accessToken"]] = stored["refreshToken"]
        looks += 1
        time.sleep(0.001)
    issued = {f"oauth:{one.access_token}": one.refresh_token for one in fake.issued}
    assert seen.items() <= issued.items(), "each access token with the refresh token that it came with"
    assert looks > len(seen)
    assert set(fake.uses.values()) == {1}
    assert stat.S_IMODE(refresher.file.stat().st_mode) == 0o600
    others = {path.name for path in refresher.folder.iterdir() if "tokenStore" in path.name}
    assert others <= {"tokenStore.json", "tokenStore.json.lock", f".tokenStore.json.{refresher.pid}.new"}


def test_two_refreshers_of_one_file_never_use_a_refresh_token_twice(
    tmp_path: Path, fake: FakeTwitchId, refresher: RefresherProcess
) -> None:
    (tmp_path / "other").mkdir()
    other = RefresherProcess(tmp_path / "other", fake, TWITCH_TOKEN_FILE=str(refresher.file))
    fake.behaviour.expires_in_whole_seconds = False
    fake.life_seconds = 2
    fake.write_file(refresher.file)
    try:
        for one in (refresher, other):
            one.start()
            one.wait_for_log("taken up")
        began = time.monotonic()
        before = len(fake.refreshes)
        fake.wait_refreshes(before + 6, timeout=30)
        # Neither renews what the other one has renewed just now.
        assert time.monotonic() - began > 5 * fake.life_seconds / 2
        for one in (refresher, other):
            assert one.log.count("taken up") + one.log.count("was renewed") >= 5
    finally:
        other.end()
    assert set(fake.uses.values()) == {1}
    assert fake.violations == []


def test_a_stop_while_another_process_has_the_lock_begins_nothing(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    lock = refresher.file.with_name("tokenStore.json.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refresher.start()
        refresher.wait_for_log("another process holds tokenStore.json.lock")
        by_hand = fake.write_file(refresher.file)
        began = time.monotonic()
        fake.wait_for(lambda: fake.validations[-1].access_token == by_hand.access_token, "taken up")
        assert time.monotonic() - began < 2
        fake.revoke(by_hand.access_token)
        report_refused(refresher, by_hand)
        refresher.wait_for_state("renewing")
        assert refresher.stop() == 0
    assert fake.refreshes == []
    assert "sign in anew" not in refresher.log


EDITS = {
    "another access token": lambda stored: {**stored, "accessToken": "oauth:" + "x" * 30},
    "no access token": lambda stored: {**stored, "accessToken": ""},
    "another key": lambda stored: {**stored, "mine": 1},
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_that_leaves_the_spent_refresh_token_does_not_lose_its_successor(
    refresher: RefresherProcess, fake: FakeTwitchId, edit: str
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    with late_answers(refresher, fake, seconds=1.0):
        refresher.start()
        fake.wait_refreshes(1)
        replace_file(refresher.file, json.dumps(EDITS[edit](refresher.stored())).encode())
        refresher.wait_for_log("the token was renewed")
    assert refresher.stored()["refreshToken"] == fake.issued[-1].refresh_token
    assert fake.is_valid(refresher.stored()["accessToken"])
    assert set(fake.uses.values()) == {1}


def test_an_access_token_alone_that_is_put_there_meanwhile_is_another_sign_in(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    with late_answers(refresher, fake, seconds=1.0):
        refresher.start()
        fake.wait_refreshes(1)
        by_hand = fake.issue()
        replace_file(refresher.file, json.dumps({"accessToken": by_hand.access_token}).encode())
        refresher.wait_for_log("was changed meanwhile")
        refresher.wait_for_state("valid")
    assert refresher.stored() == {"accessToken": by_hand.access_token}


@pytest.mark.parametrize("mended", [True, False])
def test_a_file_damaged_while_the_answer_is_on_its_way_does_not_lose_it(
    refresher: RefresherProcess, fake: FakeTwitchId, mended: bool
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    whole = refresher.file.read_bytes()
    with late_answers(refresher, fake, seconds=1.0):
        refresher.start()
        fake.wait_refreshes(1)
        refresher.file.write_bytes(b"{")
        refresher.wait_for_log("is being edited")
        if mended:
            refresher.file.write_bytes(whole)
        refresher.wait_for_log("the token was renewed")
    assert refresher.stored()["refreshToken"] == fake.issued[-1].refresh_token
    assert set(fake.uses.values()) == {1}


def test_after_a_refusal_for_good_nothing_is_promised(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file, fake.issue(life_seconds=600))
    fake.behaviour.refuse_refresh = "Invalid refresh token"
    refresher.start()
    refresher.wait_for_state("refused")
    report_refused(refresher, issued)
    fake.wait_validations(2)
    fake.revoke(issued.access_token)

    def asked_again() -> bool:
        # As a reader does with each refusal: one that comes too soon is not heeded.
        report_refused(refresher, issued)
        return len(fake.validations) >= 3

    wait_until(asked_again, lambda: f"a third validation; {refresher.log}")
    assert "it is renewed" not in refresher.log
    assert refresher.status["state"] == "refused"


def test_an_answer_that_is_on_its_way_at_the_stop_is_stored(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    with late_answers(refresher, fake, seconds=1.5):
        report_refused(refresher, issued)
        refresher.start()
        refresher.wait_for_state("valid")
        report_refused(refresher, issued)
        fake.wait_refreshes(1)
        assert refresher.stop() == 0
    assert refresher.stored()["refreshToken"] == fake.issued[-1].refresh_token
    assert "the token was renewed" in refresher.log


def test_a_stop_while_twitch_hangs_is_quick_and_in_order(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    fake.behaviour.hang = {"validate"}
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_for(lambda: len(fake.requests) == 1, "a validation")
    began = time.monotonic()
    assert refresher.stop() == 0
    assert time.monotonic() - began < 3
    assert "Traceback" not in refresher.log


def test_a_change_of_hands_while_the_answer_is_on_its_way_counts(
    refresher: RefresherProcess, fake: FakeTwitchId
) -> None:
    issued = fake.write_file(refresher.file)
    fake.revoke(issued.access_token)
    with late_answers(refresher, fake, seconds=1.0):
        refresher.start()
        fake.wait_refreshes(1)
        by_hand = fake.write_file(refresher.file)
        refresher.wait_for_state("valid")
    assert by_hand.refresh_token == refresher.stored()["refreshToken"]
    assert "was changed meanwhile" in refresher.log


def test_no_secret_is_in_log_status_or_command_line(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    fake.life_seconds = 2
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_refreshes(3)
    fake.behaviour.refuse_refresh = "Invalid refresh token"
    refresher.wait_for_state("refused")
    shown = refresher.log + " ".join(psutil.Process(refresher.pid).cmdline())
    shown += "".join(path.read_text() for path in (refresher.folder / "run" / "status").iterdir())
    shown += "".join(path.name for path in (refresher.folder / "run").rglob("*"))
    for issued in fake.issued:
        assert issued.access_token not in shown
        assert issued.refresh_token not in shown
    assert fake.client_secret not in shown


def test_a_frozen_refresher_loses_nothing(refresher: RefresherProcess, fake: FakeTwitchId) -> None:
    fake.life_seconds = 2
    fake.write_file(refresher.file)
    refresher.start()
    fake.wait_refreshes(2)
    refresher.signal(signal.SIGSTOP)
    token = refresher.stored()["accessToken"]
    wait_until(lambda: not fake.is_valid(token), "the token's end")
    refresher.signal(signal.SIGCONT)
    wait_until(lambda: fake.is_valid(refresher.stored()["accessToken"]), "another token")
    assert fake.violations == []
