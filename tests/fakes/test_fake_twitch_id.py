"""The fake sign-in does what the other tests count on."""

import asyncio
import contextlib
import gc
import html
import http.client
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from shared.errors import TwitchIdRefused, TwitchIdUnavailable
from shared.twitch_id import DevicePending, Grant, TwitchId
from tests.fakes.fake_twitch import FakeTwitch
from tests.fakes.fake_twitch_id import DEVICE_GRANT, Behaviour, FakeTwitchId

ROOT = Path(__file__).parent.parent.parent
CALLBACK = "http://localhost:3000/auth/callback"
FORM = "application/x-www-form-urlencoded"
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    headers: http.client.HTTPMessage

    @property
    def fields(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.content)
        return decoded

    @property
    def refusal(self) -> tuple[int, str]:
        assert self.fields["status"] == self.status
        return self.status, self.fields["message"]

    @property
    def location(self) -> tuple[str, dict[str, str]]:
        """The address without its query, and the query."""
        assert self.status == 302
        address, _, query = self.headers["Location"].partition("?")
        return address, {name: texts[0] for name, texts in parse_qs(query).items()}


@pytest.fixture
def twitch_id() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as server:
        yield server


def ask(
    server: FakeTwitchId,
    method: str,
    target: str,
    body: str | None = None,
    timeout: float = 5.0,
    **headers: str,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)
    finally:
        connection.close()


def post(server: FakeTwitchId, path: str, fields: dict[str, str], timeout: float = 5.0) -> Answer:
    return ask(server, "POST", f"/oauth2/{path}", urlencode(fields), timeout, **{"Content-Type": FORM})


def with_client(server: FakeTwitchId, **fields: str) -> dict[str, str]:
    return {"client_id": server.client_id, "client_secret": server.client_secret, **fields}


def refresh(server: FakeTwitchId, refresh_token: str, timeout: float = 5.0) -> Answer:
    fields = with_client(server, grant_type="refresh_token", refresh_token=refresh_token)
    return post(server, "token", fields, timeout)


def exchange(server: FakeTwitchId, code: str, redirect_uri: str = CALLBACK) -> Answer:
    fields = with_client(server, grant_type="authorization_code", code=code, redirect_uri=redirect_uri)
    return post(server, "token", fields)


def validate(server: FakeTwitchId, access_token: str, scheme: str = "OAuth") -> Answer:
    return ask(server, "GET", "/oauth2/validate", Authorization=f"{scheme} {access_token}")


def authorize(server: FakeTwitchId, **other: str) -> Answer:
    fields = {
        "response_type": "code",
        "client_id": server.client_id,
        "redirect_uri": CALLBACK,
        "scope": "chat:read chat:edit",
        "state": "a state",
    }
    return ask(server, "GET", f"/oauth2/authorize?{urlencode(fields | other)}")


def begin_device(server: FakeTwitchId) -> dict[str, Any]:
    answer = post(server, "device", {"client_id": server.client_id, "scopes": "chat:read"})
    assert answer.status == 200
    return answer.fields


def poll(server: FakeTwitchId, device_code: str) -> Answer:
    fields = {"scopes": "chat:read", "device_code": device_code, "grant_type": DEVICE_GRANT}
    return post(server, "token", fields | {"client_id": server.client_id})


def of_the_service(
    server: FakeTwitchId, calls: Callable[[TwitchId], Awaitable[_Result]], seconds: float = 5.0
) -> _Result:
    """What ``calls`` gives, made with the service's own client."""

    async def run() -> _Result:
        async with TwitchId(server.url, server.client_id, server.client_secret, seconds) as client:
            return await calls(client)

    return asyncio.run(run())


def test_a_token_is_validated_until_it_expires_or_is_revoked(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue(scopes=("chat:read", "chat:edit"))
    assert re.fullmatch("[a-z0-9]{30}", issued.access_token)
    assert re.fullmatch("[a-z0-9]{50}", issued.refresh_token)
    before = time.monotonic()
    found = validate(twitch_id, issued.access_token).fields
    expires_in = found.pop("expires_in")
    assert isinstance(expires_in, int) and 14390 <= expires_in < 14400
    assert found == {
        "client_id": twitch_id.client_id,
        "login": "testbot",
        "scopes": ["chat:read", "chat:edit"],
        "user_id": "12345",
    }
    twitch_id.revoke(issued.access_token)
    assert validate(twitch_id, issued.access_token).refusal == (401, "invalid access token")
    expired = twitch_id.issue(life_seconds=0)
    assert validate(twitch_id, expired.access_token).status == 401
    assert [(one.access_token, one.ok, one.reason) for one in twitch_id.validations] == [
        (issued.access_token, True, ""),
        (issued.access_token, False, "invalid access token"),
        (expired.access_token, False, "invalid access token"),
    ]
    assert before <= twitch_id.validations[0].at <= time.monotonic()
    twitch_id.wait_validations(3)
    assert [(one.endpoint, one.status) for one in twitch_id.requests] == [
        ("validate", 200),
        ("validate", 401),
        ("validate", 401),
    ]


def test_the_wrong_scheme_is_not_valid(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    assert validate(twitch_id, issued.access_token, scheme="Basic").status == 401
    assert ask(twitch_id, "GET", "/oauth2/validate").status == 401


def test_tokens_are_known_with_and_without_their_prefix(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    assert twitch_id.is_valid(issued.access_token)
    assert twitch_id.is_valid(f"oauth:{issued.access_token}")
    assert not twitch_id.is_valid("unknown")
    assert not twitch_id.is_valid(issued.refresh_token)
    assert not twitch_id.is_valid(twitch_id.issue(life_seconds=-1).access_token)
    twitch_id.revoke(f"oauth:{issued.access_token}")
    assert not twitch_id.is_valid(issued.access_token)
    assert refresh(twitch_id, issued.refresh_token).status == 200


def test_a_refresh_gives_new_tokens_and_ends_the_old_refresh_token(twitch_id: FakeTwitchId) -> None:
    old = twitch_id.issue(scopes=("chat:edit",))
    twitch_id.life_seconds = 60
    answer = refresh(twitch_id, old.refresh_token).fields
    new = twitch_id.issued[-1]
    assert answer == {
        "access_token": new.access_token,
        "expires_in": 60,
        "refresh_token": new.refresh_token,
        "scope": ["chat:edit"],
        "token_type": "bearer",
    }
    assert new.refresh_token != old.refresh_token
    assert twitch_id.is_valid(old.access_token) and twitch_id.is_valid(new.access_token)
    assert twitch_id.violations == []
    refused = refresh(twitch_id, old.refresh_token)
    assert refused.status == 400
    assert refused.fields == {"error": "Bad Request", "status": 400, "message": "Invalid refresh token"}
    assert [violation.kind for violation in twitch_id.violations] == ["refresh_token_reused"]
    assert [(one.refresh_token, one.ok, one.reason) for one in twitch_id.refreshes] == [
        (old.refresh_token, True, ""),
        (old.refresh_token, False, "Invalid refresh token"),
    ]
    assert twitch_id.uses == {old.refresh_token: 2}


def test_an_unknown_refresh_token_is_refused_and_no_violation(twitch_id: FakeTwitchId) -> None:
    assert refresh(twitch_id, "unknown").refusal == (400, "Invalid refresh token")
    assert twitch_id.violations == []


def test_refresh_tokens_may_stay_good(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.one_time_refresh_tokens = False
    old = twitch_id.issue()
    for _ in range(2):
        answer = refresh(twitch_id, old.refresh_token).fields
        assert "refresh_token" not in answer
        assert twitch_id.is_valid(answer["access_token"])
    assert {one.refresh_token for one in twitch_id.issued} == {old.refresh_token}
    assert twitch_id.violations == []
    twitch_id.revoke_all()
    assert refresh(twitch_id, old.refresh_token).status == 400
    assert not any(twitch_id.is_valid(one.access_token) for one in twitch_id.issued)


def test_only_the_registered_client_gets_tokens(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    fields = with_client(twitch_id, grant_type="refresh_token", refresh_token=issued.refresh_token)
    assert post(twitch_id, "token", fields | {"client_id": "x"}).refusal == (400, "invalid client")
    wrong = post(twitch_id, "token", fields | {"client_secret": "x"})
    assert wrong.refusal == (403, "invalid client secret")
    del fields["client_secret"]
    assert post(twitch_id, "token", fields).refusal == (400, "missing client secret")
    twitch_id.client_secret = ""
    assert post(twitch_id, "token", fields).status == 200
    assert [one.ok for one in twitch_id.refreshes] == [False, False, False, True]
    fields["grant_type"] = "password"
    assert post(twitch_id, "token", fields).refusal == (400, "invalid grant type")


def test_what_is_posted_in_the_address_or_as_no_form_does_not_count(twitch_id: FakeTwitchId) -> None:
    fields = with_client(twitch_id, grant_type="refresh_token", refresh_token=twitch_id.issue().refresh_token)
    assert ask(twitch_id, "POST", f"/oauth2/token?{urlencode(fields)}").status == 400
    assert ask(twitch_id, "POST", "/oauth2/token", urlencode(fields)).status == 400
    assert post(twitch_id, "token", fields).status == 200


def test_unknown_paths_are_not_found(twitch_id: FakeTwitchId) -> None:
    assert ask(twitch_id, "GET", "/oauth2/tokens").status == 404
    assert ask(twitch_id, "GET", "/oauth2/token?a=b").status == 404
    assert [(one.endpoint, one.status) for one in twitch_id.requests] == [
        ("/oauth2/tokens", 404),
        ("/oauth2/token", 404),
    ]


def test_a_code_is_given_to_the_browser_and_traded_in_once(twitch_id: FakeTwitchId) -> None:
    address, query = authorize(twitch_id).location
    code = query.pop("code")
    assert (address, query) == (CALLBACK, {"scope": "chat:read chat:edit", "state": "a state"})
    answer = exchange(twitch_id, code)
    assert answer.fields["scope"] == ["chat:read", "chat:edit"]
    assert twitch_id.is_valid(answer.fields["access_token"])
    assert exchange(twitch_id, code).refusal == (400, "Invalid authorization code")
    assert [(one.code, one.redirect_uri, one.ok) for one in twitch_id.exchanges] == [
        (code, CALLBACK, True),
        (code, CALLBACK, False),
    ]


def test_the_redirect_uri_is_compared_to_the_letter(twitch_id: FakeTwitchId) -> None:
    mismatch = "Parameter redirect_uri does not match registered URI"
    twitch_id.redirect_uri = "http://localhost:4000/back?a=b"
    assert authorize(twitch_id).location == (
        "http://localhost:4000/back",
        {"a": "b", "error": "redirect_mismatch", "error_description": mismatch, "state": "a state"},
    )
    _, query = authorize(twitch_id, redirect_uri=twitch_id.redirect_uri).location
    other = f"{twitch_id.redirect_uri}/"
    assert exchange(twitch_id, query["code"], other).refusal == (400, mismatch)
    twitch_id.redirect_uri = other
    assert exchange(twitch_id, query["code"], other).refusal == (400, mismatch)


def test_an_unknown_client_gets_a_page_and_no_redirect(twitch_id: FakeTwitchId) -> None:
    answer = authorize(twitch_id, client_id="x")
    assert answer.status == 400
    assert b"invalid client" in answer.content
    assert answer.headers.get_content_type() == "text/html"


def test_the_user_may_be_shown_a_page_or_cancel(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.approve = "page"
    page = authorize(twitch_id).content.decode()
    links = {text: html.unescape(link) for link, text in re.findall('<a href="(.*?)">(.*?)</a>', page)}
    assert set(links) == {"Authorize", "Cancel"}
    assert all(link.startswith(f"{twitch_id.url}/oauth2/authorize?") for link in links.values())
    targets = {text: ask(twitch_id, "GET", link.removeprefix(twitch_id.url)) for text, link in links.items()}
    assert exchange(twitch_id, targets["Authorize"].location[1]["code"]).status == 200
    denied = {
        "error": "access_denied",
        "error_description": "The user denied you access",
        "state": "a state",
    }
    assert targets["Cancel"].location == (CALLBACK, denied)
    assert "error_description=The+user+denied+you+access" in targets["Cancel"].headers["Location"]
    twitch_id.behaviour.approve = "deny"
    assert authorize(twitch_id).location == (CALLBACK, denied)


def test_grants_can_be_refused(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.refuse_refresh = "no refresh"
    twitch_id.behaviour.refuse_code = "no code"
    issued = twitch_id.issue()
    assert refresh(twitch_id, issued.refresh_token).refusal == (400, "no refresh")
    code = authorize(twitch_id).location[1]["code"]
    assert exchange(twitch_id, code).refusal == (400, "no code")
    twitch_id.behaviour = Behaviour()
    assert refresh(twitch_id, issued.refresh_token).status == 200
    assert exchange(twitch_id, code).status == 200


def test_a_device_is_granted_after_its_polls(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_pending = 2
    twitch_id.behaviour.device_interval = 0
    found = begin_device(twitch_id)
    code = found.pop("device_code")
    user_code = found.pop("user_code")
    assert re.fullmatch("[A-Z]{8}", user_code)
    assert found == {
        "verification_uri": f"https://www.twitch.tv/activate?device-code={user_code}",
        "expires_in": 1800,
        "interval": 0,
    }
    for _ in range(2):
        answer = poll(twitch_id, code)
        assert answer.status == 400
        assert answer.fields == {"status": 400, "message": "authorization_pending"}
    granted = poll(twitch_id, code).fields
    assert granted["scope"] == ["chat:read"]
    assert twitch_id.is_valid(granted["access_token"])
    assert poll(twitch_id, code).refusal == (400, "invalid device code")
    assert poll(twitch_id, "unknown").refusal == (400, "invalid device code")
    device = twitch_id.devices[0]
    assert (device.device_code, device.user_code, len(device.polls), device.granted) == (
        code,
        user_code,
        4,
        True,
    )
    assert twitch_id.violations == []


def test_a_device_can_wait_for_ever_be_denied_or_expire(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_pending = -1
    code = begin_device(twitch_id)["device_code"]
    assert [poll(twitch_id, code).refusal[1] for _ in range(5)] == ["authorization_pending"] * 5
    twitch_id.behaviour.device_denied = True
    assert poll(twitch_id, code).refusal == (400, "access_denied")
    twitch_id.behaviour.device_life = 0.0
    late = begin_device(twitch_id)
    assert late["expires_in"] == 0
    assert poll(twitch_id, late["device_code"]).refusal == (400, "invalid device code")


def test_a_device_that_polls_too_soon_is_recorded(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_pending = -1
    twitch_id.behaviour.device_interval = 60
    code = begin_device(twitch_id)["device_code"]
    poll(twitch_id, code)
    assert twitch_id.violations == []
    poll(twitch_id, code)
    assert [violation.kind for violation in twitch_id.violations] == ["polled_too_soon"]
    assert "instead of 60 s" in twitch_id.violations[0].text


def test_a_device_that_is_told_to_slow_down_has_a_longer_interval(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.device_pending = 0
    twitch_id.behaviour.device_interval = 0
    twitch_id.behaviour.device_slow_down = 1
    code = begin_device(twitch_id)["device_code"]
    assert poll(twitch_id, code).refusal == (400, "slow_down")
    assert poll(twitch_id, code).status == 200
    assert ["instead of 5 s" in violation.text for violation in twitch_id.violations] == [True]


@pytest.mark.parametrize("missing", ["client_id", "scopes"])
def test_a_device_must_say_who_asks_and_what_for(twitch_id: FakeTwitchId, missing: str) -> None:
    fields = {"client_id": twitch_id.client_id, "scopes": "chat:read"}
    del fields[missing]
    assert post(twitch_id, "device", fields).status == 400
    assert twitch_id.devices == []


def test_an_endpoint_can_fail_for_a_time_or_a_number_of_times(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    twitch_id.behaviour.fail_status = {"token": 500}
    assert refresh(twitch_id, issued.refresh_token).refusal == (500, "Internal Server Error")
    assert validate(twitch_id, issued.access_token).status == 200
    twitch_id.behaviour.fail_status.clear()
    twitch_id.behaviour.fail_times["token"] = 2
    statuses = [refresh(twitch_id, issued.refresh_token).status for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert [one.ok for one in twitch_id.refreshes] == [False, False, False, True]
    assert twitch_id.uses == {issued.refresh_token: 4}
    assert twitch_id.violations == []


@pytest.mark.parametrize("when", ["hang", "hang_after"])
def test_an_endpoint_can_hang_before_or_after_its_work(twitch_id: FakeTwitchId, when: str) -> None:
    issued = twitch_id.issue()
    getattr(twitch_id.behaviour, when).add("token")
    with pytest.raises(TimeoutError):
        refresh(twitch_id, issued.refresh_token, timeout=0.2)
    twitch_id.wait_refreshes(1)
    assert [one.ok for one in twitch_id.refreshes] == [when == "hang_after"]
    assert [one.status for one in twitch_id.requests] == [None]
    assert len(twitch_id.issued) == (2 if when == "hang_after" else 1)
    twitch_id.behaviour = Behaviour()
    assert refresh(twitch_id, issued.refresh_token).status == (400 if when == "hang_after" else 200)


def test_an_answer_can_dribble(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.dribble = {"validate"}
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", twitch_id.port), timeout=5) as client:
        client.sendall(b"GET /oauth2/validate HTTP/1.1\r\n\r\n")
        assert b"".join(client.recv(1) for _ in range(3)) == b"HTT"
    assert time.monotonic() - began >= 0.4
    assert twitch_id.requests[0].status == 401


def test_an_endpoint_can_answer_with_a_page(twitch_id: FakeTwitchId) -> None:
    twitch_id.behaviour.garbage = {"token", "device"}
    issued = twitch_id.issue()
    answer = refresh(twitch_id, issued.refresh_token)
    assert answer.status == 200
    assert answer.content.startswith(b"<!DOCTYPE html>")
    assert post(twitch_id, "device", {}).content == answer.content
    assert [one.ok for one in twitch_id.refreshes] == [False]
    twitch_id.behaviour.garbage.clear()
    assert refresh(twitch_id, issued.refresh_token).status == 200


def test_scopes_can_be_text_and_lives_broken_numbers(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue(scopes=("chat:read", "chat:edit"))
    twitch_id.life_seconds = 1.5
    twitch_id.behaviour.scope_as_text = True
    twitch_id.behaviour.expires_in_whole_seconds = False
    assert validate(twitch_id, issued.access_token).fields["scopes"] == "chat:read chat:edit"
    answer = refresh(twitch_id, issued.refresh_token).fields
    assert (answer["scope"], answer["expires_in"]) == ("chat:read chat:edit", 1.5)
    twitch_id.behaviour.expires_in_whole_seconds = True
    assert refresh(twitch_id, answer["refresh_token"]).fields["expires_in"] == 1


def test_the_token_file_is_as_the_service_writes_it(twitch_id: FakeTwitchId, tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    path = tmp_path / "tokenStore.json"
    path.symlink_to(real)
    before = time.time()
    issued = twitch_id.write_file(path, twitch_id.issue(life_seconds=100), note="kept")
    found = json.loads(path.read_text())
    expires_at = found.pop("expiresAt")
    assert isinstance(expires_at, int) and (before + 99) * 1000 < expires_at <= (time.time() + 100) * 1000
    assert found == {
        "accessToken": f"oauth:{issued.access_token}",
        "refreshToken": issued.refresh_token,
        "note": "kept",
    }
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    other = twitch_id.write_file(path, expiresAt=None)
    assert other != issued
    assert json.loads(path.read_text())["expiresAt"] is None
    assert sorted(tmp_path.iterdir()) == [real, path]


def test_the_services_own_client_gets_on_with_it(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    twitch_id.behaviour.device_interval = 1
    code = authorize(twitch_id).location[1]["code"]

    async def calls(client: TwitchId) -> list[Grant]:
        found = await client.validate(issued.access_token)
        assert found is not None and found.login == "testbot"
        assert await client.validate("wrong") is None
        device = await client.begin_device("chat:read")
        assert await client.poll_device(device, "chat:read") == DevicePending()
        granted = await client.poll_device(device, "chat:read")
        assert isinstance(granted, Grant)
        twitch_id.refuse_connections()
        with pytest.raises(TwitchIdUnavailable):
            await client.refresh(issued.refresh_token)
        twitch_id.accept_connections()
        with pytest.raises(TwitchIdRefused, match="Invalid refresh token"):
            await client.refresh("wrong")
        return [
            granted,
            await client.refresh(issued.refresh_token),
            await client.exchange(code, CALLBACK),
        ]

    grants = of_the_service(twitch_id, calls)
    assert [grant.access_token for grant in grants] == [one.access_token for one in twitch_id.issued[1:]]
    assert all(grant.life_seconds == 14400 for grant in grants)


def test_the_chat_takes_the_tokens_that_were_issued(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()

    def log_in() -> str:
        with (
            socket.create_connection(("127.0.0.1", chat.port), timeout=5) as client,
            client.makefile("rb") as lines,
        ):
            client.sendall(f"PASS oauth:{issued.access_token}\r\nNICK tester\r\n".encode())
            return lines.readline().decode()

    with FakeTwitch() as chat:
        chat.behaviour.valid_tokens = twitch_id.is_valid
        assert " 001 " in log_in()
        twitch_id.revoke(issued.access_token)
        assert "Login authentication failed" in log_in()


def test_waiting_in_vain_tells_what_was_seen(twitch_id: FakeTwitchId) -> None:
    refresh(twitch_id, "unknown")
    expected = r"not within 0.01 s: 2 refreshes; seen: 1 requests, the last \['token 400'\]; 1 refreshes"
    with pytest.raises(AssertionError, match=expected):
        twitch_id.wait_refreshes(2, timeout=0.01)


def test_what_is_waited_for_may_come_from_anywhere(twitch_id: FakeTwitchId) -> None:
    with ThreadPoolExecutor() as others:
        waiting = others.submit(twitch_id.wait_for, lambda: len(twitch_id.issued) == 1, "a pair of tokens")
        twitch_id.issue()
        waiting.result(5)
        answers = list(others.map(lambda _: refresh(twitch_id, twitch_id.issue().refresh_token), range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len(twitch_id.refreshes) == 50


def test_a_refused_connection_costs_no_token(twitch_id: FakeTwitchId) -> None:
    issued = twitch_id.issue()
    url = twitch_id.url
    for _ in range(2):
        twitch_id.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            validate(twitch_id, issued.access_token)
    for _ in range(2):
        twitch_id.accept_connections()
        assert validate(twitch_id, issued.access_token).status == 200
    assert twitch_id.url == url


def test_a_port_that_is_taken_is_an_error(twitch_id: FakeTwitchId) -> None:
    other = FakeTwitchId(port=twitch_id.port)
    with pytest.raises(OSError, match="Address already in use"):
        other.start()
    other.stop()


def test_it_listens_on_ipv6_too() -> None:
    with FakeTwitchId("::1") as server:
        parts = urlsplit(server.url)
        assert (parts.hostname, parts.port) == ("::1", server.port)
        socket.create_connection(("::1", server.port), timeout=5).close()


def test_stopping_ends_everything() -> None:
    threads = threading.active_count()
    # What other tests left behind is not looked for here.
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        start_and_stop()
        gc.collect()
    assert [str(one.message) for one in warned] == []
    assert threading.active_count() == threads


def start_and_stop() -> None:
    server = FakeTwitchId().start()
    server.behaviour.hang = {"device"}
    server.behaviour.dribble = {"token"}
    clients = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(4)]
    # One says nothing, one half of a request, one hangs, one is in the middle of its answer.
    clients[1].sendall(b"POST /oauth2/device HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf")
    clients[2].sendall(b"POST /oauth2/device HTTP/1.1\r\n\r\n")
    clients[3].sendall(b"POST /oauth2/token HTTP/1.1\r\n\r\n")
    server.wait_for(lambda: len(server.requests) == 2, "the two whole requests")
    server.stop()
    for client in clients:
        with client, contextlib.suppress(ConnectionResetError):
            assert len(client.recv(1000)) < 10
    server.stop()
    with pytest.raises(AssertionError, match="does not run"):
        server.accept_connections()
    # Connections that the server has hardly seen when it ends.
    for _ in range(20):
        with FakeTwitchId() as short_lived:
            client = socket.create_connection(("127.0.0.1", short_lived.port), timeout=5)
        client.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_as_a_program_of_its_own(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tests.fakes.fake_twitch_id", "--port", "0", "--life", "77"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            told = "".join(program.stdout.readline() for _ in range(4))
            found = re.search(r"TWITCH_ID_URL=http://127\.0\.0\.1:(\d+)\n", told)
            assert found
            server = FakeTwitchId(port=int(found[1]))
            for text in (server.client_id, server.client_secret, server.redirect_uri):
                assert text in told
            code = authorize(server).location[1]["code"]
            assert exchange(server, code).fields["expires_in"] == 77
            taken = subprocess.run(
                [*command[:-3], found[1]], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
            )
            assert taken.returncode == 1
            assert re.fullmatch(rf"cannot listen on 127\.0\.0\.1:{found[1]}: .*in use.*\n", taken.stderr)
        finally:
            program.send_signal(number)
        assert program.wait(10) == 0
