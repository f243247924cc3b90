"""A project whose requirements lie in a folder of wheels, a terminal, and a package index that hangs."""

import contextlib
import fcntl
import os
import pty
import shutil
import socket
import subprocess
import termios
import zipfile
from pathlib import Path

from tests.processes.service import ROOT

SECONDS = 60.0


def make_wheel(folder: Path, name: str, requires: str = "") -> None:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    contents = {
        f"{name}.py": "",
        f"{name}-1.0.dist-info/METADATA": metadata,
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-1.0.dist-info/RECORD"
    contents[record] = "".join(f"{path},,\n" for path in [*contents, record])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in contents.items():
            wheel.writestr(path, content)


class Project:
    """A folder with the Makefile, and with requirements of two packages that lie in ``wheels``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "commands").mkdir()
        shutil.copy(ROOT / "commands" / "install.py", folder / "commands")
        shutil.copy(ROOT / "Makefile", folder)
        for name in ("requirements-embedded.txt", "requirements-dev.txt", "constraints.txt"):
            (folder / name).touch()
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        make_wheel(self.wheels, "first_one")
        make_wheel(self.wheels, "second_one", requires="first_one")
        self.require("second_one")

    @property
    def packages(self) -> Path:
        (found,) = (self.folder / ".venv" / "lib").glob("python*/site-packages")
        return found

    @property
    def command(self) -> list[str]:
        """The installation alone."""
        return [str(self.folder / ".venv" / "bin" / "python"), "commands/install.py", "requirements.txt"]

    def require(self, line: str) -> None:
        (self.folder / "requirements.txt").write_text(f"{line}\n")

    def environment(self, **more: str) -> dict[str, str]:
        """Packages come from ``wheels`` only, whatever the machine's own settings of pip are."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            **more,
        }

    def run(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run it, or the installation, without a terminal."""
        done = subprocess.run(
            command or self.command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def start(self, **environment: str) -> "subprocess.Popen[str]":
        """Start the installation without a terminal."""
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


class Terminal:
    """A command on a terminal of its own, 100 columns wide."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (30, 100))
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # So that a Ctrl-C reaches it.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def press_ctrl_c(self) -> None:
        os.write(self._ours, b"\x03")

    def read_to_the_end(self) -> str:
        shown = b""
        # The terminal says EIO when the last process has left it.
        with contextlib.suppress(OSError):
            while part := os.read(self._ours, 65536):
                shown += part
        os.close(self._ours)
        self.process.wait(SECONDS)
        text = shown.decode().replace("\r\n", "\n")
        assert "Traceback" not in text
        return text


class SilentIndex:
    """A package index that takes requests and never answers."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/simple"

    def wait_asked(self) -> socket.socket:
        asker, _ = self._listener.accept()
        asker.settimeout(SECONDS)
        assert asker.recv(65536).startswith(b"GET ")
        return asker

    def close(self) -> None:
        self._listener.close()
