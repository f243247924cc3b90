"""``python -m workers.token_refresher`` in a folder of its own, against a fake sign-in."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.service import copy_project, wait_until


class RefresherProcess:
    """Not started yet; ``settings`` are its environment's."""

    def __init__(self, folder: Path, fake: FakeTwitchId, **settings: str) -> None:
        copy_project(folder)
        self.folder = folder
        self.file = folder / "tokenStore.json"
        self.settings = {
            "TWITCH_ID_URL": fake.url,
            "TWITCH_CLIENT_ID": fake.client_id,
            "TWITCH_CLIENT_SECRET": fake.client_secret,
            "LOG_LEVEL": "trace",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, file_size_limit: int | None = None) -> None:
        """``file_size_limit`` in bytes makes the disk look full; ``lift_file_size_limit`` ends that."""

        def limit() -> None:
            if file_size_limit is not None:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, hard))

        with (self.folder / "refresher.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.token_refresher"],
                cwd=self.folder,
                env={**os.environ, **self.settings},
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=limit,
            )

    def lift_file_size_limit(self) -> None:
        hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self.folder / "refresher.log").read_text()

    @property
    def status(self) -> dict[str, Any]:
        path = self.folder / "run" / "status" / "token-refresher.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def stored(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def wait_for_log(self, text: str, count: int = 1, seconds: float = 20.0) -> None:
        wait_until(
            lambda: self.log.count(text) >= count, lambda: f"{count} times {text!r} in {self.log}", seconds
        )

    def wait_for_state(self, state: str) -> None:
        wait_until(lambda: self.status.get("state") == state, lambda: f"{state}, is {self.status} {self.log}")

    @property
    def runs(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        assert self._process is not None
        self.signal(signal.SIGTERM)
        return self._process.wait(10)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
