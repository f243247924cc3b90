"""Where ``make auth`` listens, whom it answers, and what every answer carries."""

import errno
import socket
from html.parser import HTMLParser

import httpx
import pytest

from commands.auth_address import RedirectAddress, why_not
from shared.errors import SettingsError
from tests.commands.conftest import Installation
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.conftest import free_port

DEFAULT = "http://localhost:3000/auth/callback"


def listening(installation: Installation, uri: str) -> set[str]:
    installation.twitch_id.redirect_uri = uri
    command = installation.serve(TWITCH_REDIRECT_URI=uri)
    return {one.laddr.ip for one in command.process.net_connections("tcp")}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def test_localhost_is_loopback_only(installation: Installation) -> None:
    expected = {"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"}
    assert listening(installation, f"{installation.url}/auth/callback") == expected


@pytest.mark.parametrize(
    ("host", "ip"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.9", "127.0.0.9"),
        pytest.param("[::1]", "::1", marks=needs_ipv6),
    ],
)
def test_an_address_is_that_one_alone(installation: Installation, host: str, ip: str) -> None:
    url = f"http://{host}:{installation.port}"
    assert listening(installation, f"{url}/back") == {ip}
    assert "Tokens saved successfully." in installation.get(f"{url}/auth").text


@pytest.mark.parametrize(
    ("uri", "host", "port", "path", "origin"),
    [
        (DEFAULT, "localhost", 3000, "/auth/callback", "http://localhost:3000"),
        ("http://LocalHost/a%20b", "localhost", 80, "/a b", "http://localhost:80"),
        ("http://localhost:8080", "localhost", 8080, "/", "http://localhost:8080"),
        ("http://127.0.0.1:1/auth/", "127.0.0.1", 1, "/auth/", "http://127.0.0.1:1"),
        ("http://[::1]:3000/c?x=1", "::1", 3000, "/c", "http://[::1]:3000"),
    ],
)
def test_a_legal_redirect_uri_is_read(uri: str, host: str, port: int, path: str, origin: str) -> None:
    address = RedirectAddress.parse(uri)
    assert (address.host, address.port, address.path) == (host, port, path)
    assert (address.uri, address.origin) == (uri, origin)


@pytest.mark.parametrize(
    "uri",
    [
        "https://localhost:3000/auth/callback",
        "http://chat.example/auth/callback",
        "http://0.0.0.0:3000/auth/callback",
        "http://[::]:3000/auth/callback",
        "http://192.168.1.5:3000/auth/callback",
        "http://localhost.evil.example/auth/callback",
        "http://localhost:0/auth/callback",
        "http://localhost:3000/auth",
        "http://localhost:3000/%61uth",
        "http://user@localhost:3000/auth/callback",
        "http://localhost:3000/auth/callback#here",
    ],
)
def test_what_cannot_lead_here_is_not_legal(uri: str) -> None:
    with pytest.raises(SettingsError) as found:
        RedirectAddress.parse(uri)
    for text in ("TWITCH_REDIRECT_URI", uri, "http://localhost:PORT/PATH", "make auth-device", "ssh -L"):
        assert text in str(found.value)


@pytest.mark.parametrize("uri", ["https://localhost:3000/auth/callback", "ftp://nowhere"])
def test_a_setting_that_is_not_legal_is_one_line_and_exit_2(installation: Installation, uri: str) -> None:
    command = installation.start("commands.auth", TWITCH_REDIRECT_URI=uri)
    assert command.wait_end() == 2
    [line] = command.shown.splitlines()
    assert "TWITCH_REDIRECT_URI" in line


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_port_in_use_is_one_line_and_exit_1(installation: Installation, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        other.bind((host, installation.port))
        other.listen()
        command = installation.start("commands.auth")
        assert command.wait_end() == 1
    [line] = command.shown.splitlines()
    assert f"port {installation.port} is in use" in line
    assert "TWITCH_REDIRECT_URI" in line


@pytest.mark.parametrize(("number", "text"), [(errno.EACCES, "not permitted"), (errno.EIO, "broken")])
def test_other_reasons_name_the_port_too(number: int, text: str) -> None:
    line = why_not(RedirectAddress.parse("http://localhost/back"), OSError(number, "broken"))
    assert line.startswith("port 80 ")
    assert text in line
    assert "another port in TWITCH_REDIRECT_URI" in line


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3000", "localhost.evil.example", "[::1"])
def test_a_name_that_only_leads_here_is_not_served(
    installation: Installation, twitch_id: FakeTwitchId, host: str
) -> None:
    installation.serve()
    for path in ("/auth", "/auth/callback?code=x&state=y", "/?error=redirect_mismatch"):
        answer = installation.get(path, headers={"Host": host}, follow_redirects=False)
        assert answer.status_code == 400
        assert "This address is not served" in answer.text
    assert twitch_id.requests == []


def test_a_forwarded_port_is_served(installation: Installation) -> None:
    installation.serve()
    for host in (f"localhost:{free_port()}", "127.0.0.1", "[::1]:80"):
        assert installation.get(headers={"Host": host}, follow_redirects=False).status_code == 303


class Outline(HTMLParser):
    """The elements of a page, and the texts of its title and heading."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        tag = self.elements[-1][0] if self.elements else ""
        self.texts[tag] = self.texts.get(tag, "") + data


def check_page(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!doctype html>")
    outline = Outline(answer.text)
    tags = [tag for tag, _ in outline.elements]
    assert not {"script", "img", "link", "form", "iframe"} & set(tags)
    assert (tags.count("h1"), tags.count("title")) == (1, 1)
    assert ("html", {"lang": "en"}) in outline.elements
    assert outline.texts["title"].strip()
    assert any(found.get("name") == "viewport" for _, found in outline.elements)
    for _, found in outline.elements:
        assert "style" not in found
        assert not any(name.startswith("on") for name in found)


def test_every_answer_has_the_headers_that_protect_it(installation: Installation) -> None:
    installation.serve("--keep")
    query = {"state": "x", "code": "y"}
    answers = [
        installation.get("/auth", follow_redirects=False),
        installation.get("/auth"),
        installation.get("/", follow_redirects=False),
        installation.get("/nothing"),
        installation.get("/nothing", headers={"Host": "evil.example"}),
        installation.callback(**query),
        installation.callback(error="access_denied"),
        installation.callback(error="redirect_mismatch"),
        installation.callback(error="other"),
        installation.http.post(installation.url),
        installation.http.head(f"{installation.url}/auth/callback", params=query),
    ]
    assert [answer.status_code for answer in answers] == [
        303,
        200,
        303,
        404,
        400,
        400,
        400,
        400,
        400,
        405,
        405,
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "script-src" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers
        if answer.text:
            check_page(answer)
