"""Tokens that expire, are revoked and renewed under a running service."""

import json
import os
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import start

LIFE_SECONDS = 5.0
# `make soak-tokens` takes longer.
TRIAL_SECONDS = float(os.environ.get("TOKEN_TRIAL_SECONDS", "30"))
REFUSED_SECONDS = 3.0


@pytest.fixture
def twitch_id() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as fake:
        yield fake


@pytest.fixture
def signed_in(service: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId) -> Service:
    """The service, not started, with a token file whose tokens are good."""
    twitch.behaviour.valid_tokens = twitch_id.is_valid
    service.environment |= {
        "TWITCH_ID_URL": twitch_id.url,
        "TWITCH_CLIENT_ID": twitch_id.client_id,
        "TWITCH_CLIENT_SECRET": twitch_id.client_secret,
    }
    twitch_id.write_file(service.folder / "tokenStore.json")
    return service


def stored_token(service: Service) -> str:
    return str(json.loads((service.folder / "tokenStore.json").read_text())["accessToken"])


def joins(twitch: FakeTwitch, channel: str) -> int:
    with twitch.changed:
        return sum(join.channel == channel for join in twitch.joins)


def log_in_again(twitch: FakeTwitch, channel: str) -> None:
    """Have the channel's reader move to a new connection, and wait until it has."""
    before = joins(twitch, channel)
    twitch.reconnect(close_after=REFUSED_SECONDS + 2, channel=channel)
    wait_until(
        lambda: joins(twitch, channel) > before and twitch.members(channel) == 1,
        lambda: f"a new connection in {channel}; {twitch}",
    )


def refused_seconds(twitch: FakeTwitch) -> list[float]:
    """How long each row of refused logins lasted, from the first one to the accepted one."""
    found, since = [], None
    for login in list(twitch.logins):
        if not login.accepted:
            since = login.at if since is None else since
        elif since is not None:
            found.append(login.at - since)
            since = None
    assert since is None, "the last login was refused"
    return found


def test_a_reader_logs_in_with_the_renewed_token_after_reconnect(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    start(signed_in, twitch, "alpha")
    signed_in.wait_running("token-refresher")
    first = stored_token(signed_in)
    twitch_id.wait_validations(1)
    twitch_id.revoke(first)
    twitch_id.write_file(signed_in.folder / "tokenStore.json", twitch_id.issue(life_seconds=2))
    twitch_id.wait_refreshes(1)
    wait_until(
        lambda: len(twitch_id.issued) == 3 and twitch_id.issued[-1].access_token in stored_token(signed_in),
        "a renewed token",
    )
    log_in_again(twitch, "alpha")
    assert [login.password for login in twitch.logins] == [first, stored_token(signed_in)]


def test_a_token_that_is_revoked_over_night_costs_seconds(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId, topic: KafkaReader
) -> None:
    start(signed_in, twitch, "alpha", "beta")
    signed_in.wait_running("token-refresher")
    twitch_id.wait_validations(1)
    refresher = signed_in.pids()["token-refresher"]
    twitch_id.revoke(stored_token(signed_in))
    twitch.close_all()
    for channel in ("alpha", "beta"):
        twitch.wait_joined(channel)
        topic.wait_for_ids(channel, {twitch.chat(channel, "after")})
    assert len(twitch_id.refreshes) == 1, "two readers that are refused are one reason"
    assert max(refused_seconds(twitch)) < REFUSED_SECONDS
    assert signed_in.pids()["token-refresher"] == refresher


def test_a_start_with_a_token_that_expired_while_everything_was_down(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    twitch_id.revoke(stored_token(signed_in))
    start(signed_in, twitch, "alpha")
    assert twitch_id.is_valid(twitch.logins[-1].password or "")
    assert refused_seconds(twitch) == [] or max(refused_seconds(twitch)) < REFUSED_SECONDS


def test_an_account_that_twitch_refuses_is_named_after_three_fresh_tokens(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    twitch.behaviour.valid_tokens = set()
    signed_in.set_channels("alpha")
    signed_in.start()
    # One that is slow to be renewed may be tried once more, which is no fresh one.
    wait_until(lambda: "each time with a fresh token" in signed_in.log("reader-alpha"), signed_in.logs)
    refused = {login.password for login in twitch.logins}
    assert len(refused) >= 3
    assert "the account or the scope is at fault" in signed_in.log("reader-alpha")
    assert set(twitch_id.uses.values()) == {1}
    twitch.behaviour.valid_tokens = twitch_id.is_valid
    twitch.wait_joined("alpha", timeout=30)


def test_a_sign_in_that_is_refused_for_good_leaves_a_calm_service_that_a_new_one_mends(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    twitch_id.revoke_all()
    signed_in.set_channels("alpha")
    signed_in.start()
    wait_until(lambda: "Invalid refresh token" in signed_in.log("token-refresher"), signed_in.logs)
    twitch.wait_logins(3)
    process = psutil.Process(signed_in.pids()["token-refresher"])
    twitch_id.write_file(signed_in.folder / "tokenStore.json")
    written = time.monotonic()
    twitch.wait_joined("alpha")
    assert time.monotonic() - written < REFUSED_SECONDS
    assert process.is_running()
    assert signed_in.log("token-refresher").count("ERROR") == 1
    assert len(twitch_id.refreshes) == 1


def test_a_shutdown_waits_for_an_answer_of_twitchs_while_the_others_stop(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId
) -> None:
    start(signed_in, twitch, "alpha")
    signed_in.wait_running("token-refresher", "producer")
    twitch_id.wait_validations(1)
    twitch_id.behaviour.hang = {"token"}
    twitch_id.write_file(signed_in.folder / "tokenStore.json", twitch_id.issue(life_seconds=1))
    twitch_id.wait_refreshes(1)
    signed_in.shut_down()
    assert "stopped while the token was renewed" in signed_in.log("token-refresher")
    assert "SIGKILL" not in (signed_in.folder / "logs" / "supervisord.log").read_text()


def test_a_token_of_five_seconds_serves_readers_that_log_in_again_and_again(
    signed_in: Service, twitch: FakeTwitch, twitch_id: FakeTwitchId, topic: KafkaReader
) -> None:
    twitch_id.life_seconds = LIFE_SECONDS
    twitch_id.write_file(signed_in.folder / "tokenStore.json")
    start(signed_in, twitch, "alpha", "beta", "gamma")
    signed_in.wait_running("token-refresher")
    twitch_id.wait_refreshes(1)
    flows = {channel: Flow(twitch, channel, per_second=50) for channel in ("alpha", "beta", "gamma")}
    end = time.monotonic() + TRIAL_SECONDS
    rounds = 0
    while time.monotonic() < end:
        next_at = time.monotonic() + 1.2
        rounds += 1
        if rounds % 3 == 0:
            twitch_id.revoke(stored_token(signed_in))
        log_in_again(twitch, "alpha" if rounds % 2 else "beta")
        wait_until(lambda at=next_at: time.monotonic() >= at, "the next round")  # type: ignore[misc]
    said = {channel: flow.finish() for channel, flow in flows.items()}
    for channel, ids in said.items():
        topic.wait_for(channel, len(ids))
        assert topic.ids(channel) == ids
    refused = refused_seconds(twitch)
    print(f"{rounds} logins anew, {len(refused)} of them refused at first, for {max(refused):.2f} s at most")
    print(f"{len(twitch_id.refreshes)} refreshes")
    assert len(refused) >= rounds // 4
    assert max(refused) < REFUSED_SECONDS
    assert len(twitch_id.refreshes) >= TRIAL_SECONDS / LIFE_SECONDS
    assert set(twitch_id.uses.values()) == {1}
    assert twitch_id.violations == []
    assert not [one for one in twitch.violations if one.kind != "pong"]
    assert "Traceback" not in signed_in.logs()
