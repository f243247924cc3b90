"""The client of Twitch's sign-in against a fake one over real HTTP."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from shared.errors import TwitchIdRefused, TwitchIdUnavailable
from shared.twitch_id import DevicePending, Grant, TwitchId
from tests.fakes.certificates import server_context
from tests.fakes.fake_twitch_id import FakeTwitchId

_Result = TypeVar("_Result")
Call = Callable[[TwitchId], Awaitable[_Result]]


@pytest.fixture
def fake() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as fake:
        yield fake


def ask(fake: FakeTwitchId, call: "Call[_Result]", seconds: float = 5.0, url: str | None = None) -> _Result:
    async def run() -> _Result:
        async with TwitchId(url or fake.url, fake.client_id, fake.client_secret, seconds) as twitch_id:
            return await call(twitch_id)

    return asyncio.run(run())


@pytest.mark.parametrize("as_text", [False, True])
def test_a_good_token_is_told_with_what_it_is_good_for(fake: FakeTwitchId, as_text: bool) -> None:
    fake.behaviour.scope_as_text = as_text
    issued = fake.issue(life_seconds=3600, scopes=("chat:read", "chat:edit"))
    validation = ask(fake, lambda twitch_id: twitch_id.validate(issued.access_token))
    assert validation is not None
    assert (validation.client_id, validation.login) == (fake.client_id, fake.login)
    assert validation.scopes == ("chat:read", "chat:edit")
    assert validation.life_seconds is not None
    assert 3590 < validation.life_seconds <= 3600


def test_a_token_in_its_last_second_has_no_life_to_tell(fake: FakeTwitchId) -> None:
    issued = fake.issue(life_seconds=0.9)
    validation = ask(fake, lambda twitch_id: twitch_id.validate(issued.access_token))
    assert validation is not None
    assert validation.life_seconds is None


def test_a_token_that_is_not_good_is_none(fake: FakeTwitchId) -> None:
    assert ask(fake, lambda twitch_id: twitch_id.validate("unknown")) is None


@pytest.mark.parametrize("as_text", [False, True])
def test_a_refresh_gives_new_tokens_and_shows_none(fake: FakeTwitchId, as_text: bool) -> None:
    fake.behaviour.scope_as_text = as_text
    issued = fake.issue()
    grant = ask(fake, lambda twitch_id: twitch_id.refresh(issued.refresh_token))
    assert fake.is_valid(grant.access_token)
    assert grant.refresh_token not in (None, issued.refresh_token)
    assert grant.life_seconds == fake.life_seconds
    assert grant.access_token not in repr(grant)
    assert str(grant.refresh_token) not in repr(grant)


def test_a_refresh_token_that_stays_good_is_not_told_again(fake: FakeTwitchId) -> None:
    fake.behaviour.one_time_refresh_tokens = False
    issued = fake.issue()
    assert ask(fake, lambda twitch_id: twitch_id.refresh(issued.refresh_token)).refresh_token is None


def test_a_used_refresh_token_is_refused_for_good(fake: FakeTwitchId) -> None:
    issued = fake.issue()
    ask(fake, lambda twitch_id: twitch_id.refresh(issued.refresh_token))
    with pytest.raises(TwitchIdRefused, match="Invalid refresh token") as caught:
        ask(fake, lambda twitch_id: twitch_id.refresh(issued.refresh_token))
    assert caught.value.status == 400
    assert issued.refresh_token not in str(caught.value)


@pytest.mark.parametrize("status", [302, 408, 429, 500, 502, 503])
def test_trouble_of_the_server_is_worth_another_try(fake: FakeTwitchId, status: int) -> None:
    fake.behaviour.fail_status = {"token": status, "validate": status}
    with pytest.raises(TwitchIdUnavailable, match=str(status)):
        ask(fake, lambda twitch_id: twitch_id.refresh("r"))
    with pytest.raises(TwitchIdUnavailable, match=str(status)):
        ask(fake, lambda twitch_id: twitch_id.validate("t"))


def answering(content: bytes, status: bytes = b"200 OK") -> Callable[[Call[_Result]], _Result]:
    """Ask a server that says just this."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n" + content)
        writer.close()

    def ask_it(call: Call[_Result]) -> _Result:
        async def run() -> _Result:
            async with (
                await asyncio.start_server(answer, "127.0.0.1", 0) as server,
                TwitchId(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "client") as twitch_id,
            ):
                return await call(twitch_id)

        return asyncio.run(run())

    return ask_it


@pytest.mark.parametrize("status", [b"400 Bad Request", b"403 Forbidden", b"404 Not Found"])
def test_a_refusal_that_is_not_twitchs_is_worth_another_try(status: bytes) -> None:
    with pytest.raises(TwitchIdUnavailable, match=status[:3].decode()):
        answering(b"<html>proxy</html>", status)(lambda twitch_id: twitch_id.refresh("r"))


@pytest.mark.parametrize(
    ("fields", "refresh_token", "life"),
    [
        (b"", None, 14400.0),
        (b',"expires_in":"100","refresh_token":"r"', "r", 100.0),
        (b',"expires_in":[1],"refresh_token":5', None, 14400.0),
        (b',"expires_in":-1,"refresh_token":""', None, 14400.0),
        (b',"expires_in":1e300,"refresh_token":"two words"', None, 14400.0),
        (b',"expires_in":null,"scope":{"odd":1}', None, 14400.0),
    ],
)
def test_what_can_be_used_of_an_odd_answer_is(fields: bytes, refresh_token: str | None, life: float) -> None:
    content = b'{"access_token":"a1"' + fields + b"}"
    grant = answering(content)(lambda twitch_id: twitch_id.refresh("r"))
    assert (grant.access_token, grant.refresh_token, grant.life_seconds) == ("a1", refresh_token, life)


@pytest.mark.parametrize("token", ["", "two words", "line\\nend", "gr\u00fc\u00df"])
def test_what_is_no_token_is_not_taken_for_one(token: str) -> None:
    with pytest.raises(TwitchIdUnavailable):
        answering(f'{{"access_token":"{token}"}}'.encode())(lambda twitch_id: twitch_id.refresh("r"))


@pytest.mark.parametrize("expires_in", [b"1e300", b"-5", b"0", b'"soon"', b"[]", b"null"])
def test_a_life_that_makes_no_sense_is_not_told(expires_in: bytes) -> None:
    content = (
        b'{"client_id":"c","login":"bot\\u001b[2J\\nx","scopes":["a\\u0007"],"expires_in":'
        + expires_in
        + b"}"
    )
    validation = answering(content)(lambda twitch_id: twitch_id.validate("t"))
    assert validation is not None
    assert validation.life_seconds is None
    assert (validation.login, validation.scopes) == ("bot[2Jx", ("a",))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://nowhere.invalid", "http://127.0.0.1:1"])
def test_variables_of_proxies_change_nothing(
    fake: FakeTwitchId, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    assert ask(fake, lambda twitch_id: twitch_id.validate("unknown")) is None


def test_a_connection_that_is_cut_has_its_reason_said() -> None:
    with pytest.raises(TwitchIdUnavailable, match=r"cannot be reached \(.+\)"):
        answering(b"", b"200 OK\r\nContent-Length: 5")(lambda twitch_id: twitch_id.refresh("r"))


def test_an_answer_that_is_something_else_is_worth_another_try(fake: FakeTwitchId) -> None:
    fake.behaviour.garbage = {"token", "validate"}
    with pytest.raises(TwitchIdUnavailable, match="something else"):
        ask(fake, lambda twitch_id: twitch_id.refresh("r"))
    with pytest.raises(TwitchIdUnavailable, match="something else"):
        ask(fake, lambda twitch_id: twitch_id.validate("t"))


@pytest.mark.parametrize("how", ["hang", "hang_after", "dribble"])
def test_a_server_that_never_comes_to_an_end_is_given_up_in_time(fake: FakeTwitchId, how: str) -> None:
    getattr(fake.behaviour, how).add("validate")
    issued = fake.issue()
    began = time.monotonic()
    with pytest.raises(TwitchIdUnavailable, match="no answer in 1 s"):
        ask(fake, lambda twitch_id: twitch_id.validate(issued.access_token), seconds=1.0)
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://nowhere.invalid", "http://[::1", "https://", "http://xn--a"]
)
def test_a_server_that_is_not_there_is_one_line_without_the_token(fake: FakeTwitchId, url: str) -> None:
    with pytest.raises(TwitchIdUnavailable) as caught:
        ask(fake, lambda twitch_id: twitch_id.refresh("secret-refresh"), url=url)
    assert "\n" not in str(caught.value)
    assert "secret-refresh" not in str(caught.value)


def test_a_certificate_that_nobody_vouches_for_is_refused(fake: FakeTwitchId, tmp_path: Path) -> None:
    context, _authority = server_context(tmp_path)

    async def run() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with TwitchId(f"https://127.0.0.1:{port}", "client") as twitch_id:
                with pytest.raises(TwitchIdUnavailable, match="certificate verify failed"):
                    await twitch_id.validate("token")

    asyncio.run(run())
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


def test_more_than_an_answer_is_not_read(fake: FakeTwitchId) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        except OSError:
            writer.close()

    async def run() -> None:
        async with (
            await asyncio.start_server(flood, "127.0.0.1", 0) as server,
            TwitchId(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "client") as twitch_id,
        ):
            with pytest.raises(TwitchIdUnavailable, match="more than an answer"):
                await twitch_id.validate("token")

    asyncio.run(run())


def test_a_code_is_traded_in_once(fake: FakeTwitchId) -> None:
    async def address(twitch_id: TwitchId) -> str:
        return twitch_id.authorize_url(fake.redirect_uri, "chat:read chat:edit", "st&te=")

    where = ask(fake, address)
    answer = httpx.get(where)
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["state"] == ["st&te="]
    grant = ask(fake, lambda twitch_id: twitch_id.exchange(query["code"][0], fake.redirect_uri))
    validation = ask(fake, lambda twitch_id: twitch_id.validate(grant.access_token))
    assert validation is not None
    assert validation.scopes == ("chat:read", "chat:edit")
    with pytest.raises(TwitchIdRefused):
        ask(fake, lambda twitch_id: twitch_id.exchange(query["code"][0], fake.redirect_uri))


def test_a_device_signs_in_without_a_secret(fake: FakeTwitchId) -> None:
    fake.behaviour.device_pending = 1
    fake.behaviour.device_interval = 1

    async def sign_in(twitch_id: TwitchId) -> list[Grant | DevicePending]:
        device = await twitch_id.begin_device("chat:read")
        assert device.user_code in device.verification_uri
        assert device.device_code not in repr(device)
        answers = [await twitch_id.poll_device(device, "chat:read")]
        await asyncio.sleep(device.interval_seconds)
        return [*answers, await twitch_id.poll_device(device, "chat:read")]

    pending, grant = ask(fake, sign_in)
    assert pending == DevicePending()
    assert isinstance(grant, Grant)
    assert fake.is_valid(grant.access_token)
    assert all("client_secret" not in request.fields for request in fake.requests)


def test_a_device_that_asks_too_often_is_told(fake: FakeTwitchId) -> None:
    fake.behaviour.device_slow_down = 1

    async def ask_once(twitch_id: TwitchId) -> Grant | DevicePending:
        return await twitch_id.poll_device(await twitch_id.begin_device("chat:read"), "chat:read")

    assert ask(fake, ask_once) == DevicePending(slow_down=True)


def test_a_public_client_sends_no_secret() -> None:
    with FakeTwitchId(client_secret="") as fake:
        issued = fake.issue()
        grant = ask(fake, lambda twitch_id: twitch_id.refresh(issued.refresh_token))
        assert fake.is_valid(grant.access_token)
