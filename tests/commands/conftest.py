"""The sign-in commands as real processes, each in a copy of the project, against a fake sign-in of Twitch."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.conftest import free_port
from tests.processes.service import copy_project, wait_until

PATIENCE_SECONDS = 60.0


class Command:
    """One run of ``python -m <module>``; ``shown`` is all that it has printed."""

    def __init__(self, module: str, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]):
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = psutil.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """Standard error so far, which has the log."""
        return self._err.read_text()

    @property
    def shown(self) -> str:
        """Both."""
        return self.out + self.log

    def wait_shown(self, text: str) -> None:
        """Wait until the text was printed."""
        wait_until(
            lambda: text in self.shown or self.process.poll() is not None,
            lambda: f"{text!r} in {self.shown}",
            PATIENCE_SECONDS,
        )
        assert text in self.shown, f"ended with {self.process.wait(0)}: {self.shown}"

    def wait_end(self) -> int:
        """Wait until it has ended by itself; the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        assert isinstance(code, int)
        assert "Traceback" not in self.shown, self.shown
        return code

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait_end()

    def kill(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.kill()
        self.process.wait(10)


class Installation:
    """A copy of the project whose Twitch is the fake one; everything that it shows is kept in ``shown``."""

    def __init__(self, folder: Path, twitch_id: FakeTwitchId) -> None:
        copy_project(folder)
        self.folder = folder
        self.twitch_id = twitch_id
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        twitch_id.redirect_uri = f"{self.url}/auth/callback"
        self.http = httpx.Client(follow_redirects=True, trust_env=False, timeout=PATIENCE_SECONDS)
        self.http.event_hooks["response"].append(self._keep)
        self._pages: list[str] = []
        self._commands: list[Command] = []
        self._settings = {
            "TWITCH_ID_URL": twitch_id.url,
            "TWITCH_CLIENT_ID": twitch_id.client_id,
            "TWITCH_CLIENT_SECRET": twitch_id.client_secret,
            "TWITCH_REDIRECT_URI": twitch_id.redirect_uri,
            "LOG_LEVEL": "trace",
        }

    @property
    def token_file(self) -> Path:
        """Where the tokens are written to."""
        return self.folder / "tokenStore.json"

    @property
    def tokens(self) -> Any:
        """What the token file holds."""
        return json.loads(self.token_file.read_text())

    @property
    def shown(self) -> str:
        """Every page and all that was printed."""
        return "\n".join([*self._pages, *(command.shown for command in self._commands)])

    def environment(self, **settings: str) -> dict[str, str]:
        """That of a command; ``settings`` go before those of the fake."""
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        return kept | {"LANG": "C.UTF-8"} | self._settings | settings

    def start(self, module: str, *arguments: str, **settings: str) -> Command:
        """Start a command; ``settings`` as in ``environment``."""
        command = Command(module, arguments, self.folder, self.environment(**settings))
        self._commands.append(command)
        return command

    def serve(self, *arguments: str, **settings: str) -> Command:
        """Start the sign-in server and wait until it serves."""
        command = self.start("commands.auth", *arguments, **settings)
        command.wait_shown("to the letter: ")
        return command

    def get(self, path: str = "/auth", **more: Any) -> httpx.Response:
        """Go there as a browser does, redirects included."""
        return self.http.get(path if "://" in path else self.url + path, **more)

    def callback(self, **query: str) -> httpx.Response:
        """Come back from Twitch."""
        return self.get("/auth/callback", params=query)

    def new_state(self) -> str:
        """Begin a sign-in and stop before Twitch; the state that it has."""
        answer = self.get(follow_redirects=False)
        assert answer.status_code == 303, answer.text
        return httpx.URL(answer.headers["location"]).params["state"]

    def new_code(self, state: str) -> str:
        """What Twitch would have the browser bring."""
        twitch_id = self.twitch_id
        query = {
            "response_type": "code",
            "client_id": twitch_id.client_id,
            "redirect_uri": twitch_id.redirect_uri,
            "scope": "chat:read",
            "state": state,
        }
        url = f"{twitch_id.url}/oauth2/authorize"
        answer = self.http.get(url, params=query, follow_redirects=False)
        return httpx.URL(answer.headers["location"]).params["code"]

    def end(self) -> None:
        """Leave nothing behind, and look whether a secret was shown."""
        self.http.close()
        for command in self._commands:
            command.kill()
        shown = self.shown
        twitch_id = self.twitch_id
        tokens = [text for pair in twitch_id.issued for text in (pair.access_token, pair.refresh_token)]
        codes = [exchange.code for exchange in twitch_id.exchanges]
        devices = [device.device_code for device in twitch_id.devices]
        states = [one.fields.get("state", "") for one in twitch_id.requests if one.endpoint == "authorize"]
        for secret in filter(None, (twitch_id.client_secret, *tokens, *codes, *devices, *states)):
            assert secret not in shown

    def _keep(self, answer: httpx.Response) -> None:
        # Twitch's own pages are none of ours.
        if answer.url.port == self.port:
            self._pages.append(answer.read().decode())


@pytest.fixture
def twitch_id() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as twitch_id:
        yield twitch_id


@pytest.fixture
def installation(tmp_path: Path, twitch_id: FakeTwitchId) -> Iterator[Installation]:
    installation = Installation(tmp_path, twitch_id)
    try:
        yield installation
    finally:
        installation.end()
