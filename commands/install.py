"""What ``make setup`` installs with: pip, with its progress in one line, and its errors without the noise.

``python commands/install.py FILE`` installs what a requirements file names into the virtual environment of
that python. It runs when nothing is installed yet, so it needs the standard library only.
"""

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import NoReturn

REDRAW_SECONDS = 0.2
PLAIN_SECONDS = 10.0
"""Where there is no terminal a line comes so often."""
END_SECONDS = 3.0
"""pip may take so long to tidy up when it is stopped."""
ERROR_LINES = 15
EXIT_WRONG_PLACE = 2
EXIT_BY_SIGNAL = 128
_NAMED_BYTES = 1e6
"""A download of so many bytes is named while it lasts."""

_UNITS = {"bytes": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_DOWNLOAD = re.compile(r"Downloading (\S+) \(([\d.]+) (bytes|kB|MB|GB)\)")
_COLLECTING = re.compile(r"Collecting ([\w.-]+)")
_NOISE = re.compile(
    r"Collecting |Downloading |Using cached |Requirement already |Looking in |Processing |Obtaining |"
    r"Getting requirements |Preparing metadata|Installing |Attempting uninstall|Found existing|Uninstalling |"
    r"Successfully |Saved |File was already|WARNING: Retrying |\[notice\]|\s*━"
)
_ADVICE = (
    (r"No space left|Disk quota", "the disk is full: make room, also where TMPDIR is, and run it again"),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "the certificate is refused: if a proxy opens TLS, set PIP_CERT to the file of its authority",
    ),
    (
        r"Failed to establish|Connection\w*Error|ConnectTimeout|ReadTimeout|Timed? ?out|timed out|ProxyError|"
        r"Max retries|IncompleteRead|ProtocolError|resolution",
        "the network: is there one? Behind a proxy set HTTPS_PROXY, for an index of your own PIP_INDEX_URL",
    ),
    (r"Permission denied|Read-only file system", "the virtual environment cannot be written: who owns it?"),
    (r"No module named pip", "the virtual environment is half made: `make clean`, and run it again"),
    (
        r"Failed (to build|building)|subprocess-exited-with-error|metadata-generation-failed",
        "there is no ready-made package for this machine or this Python: try another Python 3.11 or newer "
        "with make PYTHON=…, or install a compiler",
    ),
    (
        r"No matching distribution|Could not find a version",
        "the package index does not have it, or not for this Python: is PIP_INDEX_URL right? Try another "
        "Python 3.11 or newer with make PYTHON=…",
    ),
)


class Progress:
    """What pip's lines have told so far. Pure."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=400)
        """The last ones."""
        self.to_install = 0
        """How many packages pip is installing; 0 while it fetches."""
        self.installed = 0
        """How many it says to have installed in the end."""
        self._collected: set[str] = set()
        self._bytes = 0.0
        self._on_its_way: tuple[str, float] | None = None
        self._retrying = False

    def take(self, line: str) -> None:
        """Add a line of pip's."""
        line = line.rstrip()
        # pip's own bar comes when a download is over.
        if not line or "━" in line:
            return
        self.lines.append(line)
        self._retrying = line.startswith("WARNING: Retrying")
        if self._on_its_way is not None and not self._retrying:
            self._bytes += self._on_its_way[1]
            self._on_its_way = None
        text = line.strip()
        if found := _DOWNLOAD.match(text):
            self._on_its_way = found[1].partition("-")[0], float(found[2]) * _UNITS[found[3]]
        elif found := _COLLECTING.match(text):
            self._collected.add(found[1].lower())
        elif text.startswith("Installing collected packages:"):
            self.to_install = text.count(",") + 1
        elif text.startswith("Successfully installed"):
            self.installed = len(text.split()) - 2

    def text(self, in_place: int, seconds: float) -> str:
        """One line for people; ``in_place`` packages have reached their place."""
        if self.to_install:
            done = min(in_place, self.to_install)
            return f"installing … {done} of {_packages(self.to_install)}, {seconds:.0f} s"
        if not self._collected:
            return f"looking what is there … {seconds:.0f} s"
        text = f"fetching … {_packages(len(self._collected))}, {self._bytes / 1e6:.0f} MB, {seconds:.0f} s"
        if self._retrying:
            return f"{text}: no answer from the network, trying again"
        if self._on_its_way is not None and self._on_its_way[1] >= _NAMED_BYTES:
            name, size = self._on_its_way
            return f"{text}, now {name} ({size / 1e6:.0f} MB)"
        return text

    def errors(self) -> list[str]:
        """What a person needs of pip's lines after a failure."""
        useful = [line for line in self.lines if not _NOISE.match(line.strip())]
        retries = [line for line in self.lines if line.startswith("WARNING: Retrying")]
        # Each says the same; the last is enough.
        return (retries[-1:] + useful)[-ERROR_LINES:]

    def advice(self, file: str) -> str:
        """What to do after a failure with the requirements file ``file``, in one line."""
        text = "\n".join(self.lines)
        for pattern, advice in _ADVICE:
            if re.search(pattern, text):
                return advice
        return f"the whole of what pip says is shown by: {sys.executable} -m pip install -r {file}"


class Display:
    """Shows the progress: on a terminal a line that is drawn anew, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown = ""
        self._next = 0.0 if self._terminal else PLAIN_SECONDS

    def show(self, text: str, seconds: float, changed: bool) -> None:
        """Show ``text`` when it is time; ``changed`` says that something else is done from now on."""
        if self._terminal:
            text = text[: _columns() - 1]
            if text != self._shown:
                sys.stdout.write("\r" + text.ljust(len(self._shown)))
            self._shown = text
        elif seconds >= self._next or changed:
            self._next = seconds + PLAIN_SECONDS
            sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def end(self, text: str = "") -> None:
        """Take the line away, and leave ``text`` in its place."""
        if self._shown:
            sys.stdout.write("\r" + " " * len(self._shown) + "\r")
            self._shown = ""
        sys.stdout.write(f"{text}\n" if text else "")
        sys.stdout.flush()


def forget_half_installed(packages: Path) -> None:
    """Have pip install again what a killed pip has left, which it would take for installed.

    pip writes ``INSTALLER`` when the package's files and commands are in place.
    """
    for folder in packages.glob("*.dist-info"):
        if not (folder / "INSTALLER").exists():
            shutil.rmtree(folder)


def count_since(packages: Path, began: float) -> int:
    """How many packages came into the folder since ``began``, seconds of Unix time."""
    count = 0
    for folder in packages.glob("*.dist-info"):
        # Another one may be on its way out.
        with contextlib.suppress(OSError):
            count += folder.stat().st_mtime >= began
    return count


def install(file: str, display: Display) -> int:
    """Install what the requirements file names; pip's exit code, after its errors where it failed."""
    packages = Path(sysconfig.get_path("purelib"))
    forget_half_installed(packages)
    began = time.monotonic()
    progress = Progress()
    process = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "-r",
            file,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # The terminal's Ctrl-C shall reach this process only, which passes it on to pip and what pip runs.
        process_group=0,
    )
    try:
        _follow(process, progress, display, packages)
        code = process.wait()
    finally:
        _end(process)
    display.end()
    if code:
        print(*progress.errors(), sep="\n", file=sys.stderr)
        print(f"{file} could not be installed; {progress.advice(file)}", file=sys.stderr)
    elif progress.installed:
        are = "is" if progress.installed == 1 else "are"
        print(f"{_packages(progress.installed)} {are} there after {time.monotonic() - began:.0f} s")
    else:
        print(f"all that {file} names is there already")
    return code if code >= 0 else EXIT_BY_SIGNAL - code


def _follow(process: "subprocess.Popen[bytes]", progress: Progress, display: Display, packages: Path) -> None:
    """Show what pip does until it closes its output."""
    assert process.stdout is not None
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    began, clock, rest, installing = time.time(), time.monotonic(), b"", False
    while True:
        if selector.select(REDRAW_SECONDS):
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                progress.take(rest.decode("utf-8", "replace"))
                return
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                progress.take(line.decode("utf-8", "replace"))
        in_place = count_since(packages, began) if progress.to_install else 0
        changed = bool(progress.to_install) and not installing
        installing = installing or changed
        seconds = time.monotonic() - clock
        display.show(progress.text(in_place, seconds), seconds, changed)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop pip, and what it runs, where it still does."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)


def _packages(count: int) -> str:
    return f"{count} package{'' if count == 1 else 's'}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _on_signal(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(EXIT_BY_SIGNAL + number)


def main() -> int:
    """Install; pip's exit code, or 128 and the number of the signal that stopped it."""
    if len(sys.argv) != 2 or sys.prefix == sys.base_prefix:
        print(
            "this is `make setup`'s: PYTHON_OF_A_VIRTUAL_ENVIRONMENT commands/install.py FILE",
            file=sys.stderr,
        )
        return EXIT_WRONG_PLACE
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    display = Display()
    try:
        return install(sys.argv[1], display)
    except SystemExit:
        display.end()
        print("stopped, the next `make setup` goes on with it", file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())
