"""``make run``: everything in the foreground, with the logs of all workers; Ctrl-C stops it in order."""

import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from shared.errors import EXIT_FAILED
from shared.paths import Paths
from shared.stopping import Stop, end_with_parent

LOOK_SECONDS = 0.25
_CHUNK_BYTES = 256 * 1024


class LogFollower:
    """Prints what is added to the workers' log files, as ``tail -F`` does; supervisord's own stays apart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = {path: path.stat().st_size for path in self._paths()}
        self._inodes = {path: path.stat().st_ino for path in self._at}

    def print_new(self) -> None:
        """Print the whole lines that have come since the last call."""
        for path in self._paths():
            try:
                found = path.stat()
                at = self._at.get(path, 0)
                if found.st_ino != self._inodes.get(path, found.st_ino) or found.st_size < at:
                    # Rotated: the rest of the old file is in the first backup.
                    self._print(path.with_name(path.name + ".1"), at)
                    at = 0
                self._inodes[path] = found.st_ino
                self._at[path] = self._print(path, at) if found.st_size > at else at
            except OSError:
                continue

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.log") if path.stem != "supervisord")

    def _print(self, path: Path, at: int) -> int:
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(at)
            while lines := file.read(_CHUNK_BYTES):
                whole = lines[: lines.rfind(b"\n") + 1]
                if not whole:
                    break
                sys.stdout.write(whole.decode("utf-8", "replace"))
                at += len(whole)
                file.seek(at)
        sys.stdout.flush()
        return at


def runs_already(paths: Paths) -> bool:
    """Whether a supervisord serves this folder."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(paths.supervisor_socket))
        except OSError:
            return False
    return True


def prepare(paths: Paths) -> None:
    """Make what a start needs. Raises OSError when that is not allowed."""
    paths.prepare()
    channels = paths.root / "channels.txt"
    if not channels.exists():
        shutil.copy(paths.root / "channels.example.txt", channels)
        print("channels.txt made from channels.example.txt, edit it to choose channels", flush=True)


def start_daemon(paths: Paths) -> "subprocess.Popen[bytes]":
    """Start supervisord, which ends with this process."""
    command = [
        str(Path(sys.executable).with_name("supervisord")),
        "--nodaemon",
        "--silent",
        "--configuration",
        str(paths.root / "supervisord.conf"),
    ]
    # In a session of its own: the terminal's Ctrl-C shall reach this process only, which passes it on.
    return subprocess.Popen(
        command,
        cwd=paths.root,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )


def stop_in_order(daemon: "subprocess.Popen[bytes]", follower: LogFollower) -> None:
    """Have supervisord stop everything, and show what the workers say meanwhile."""
    print("stopping in order …", flush=True)
    os.kill(daemon.pid, signal.SIGTERM)
    while True:
        try:
            daemon.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            follower.print_new()
        else:
            return


def main() -> int:
    """Run supervisord until it ends or a signal asks to stop; its exit code, 0 after an ordered stop."""
    paths = Paths.of_project()
    if runs_already(paths):
        print(f"the service already runs in {paths.root}: supervisorctl shutdown stops it", file=sys.stderr)
        return EXIT_FAILED
    try:
        prepare(paths)
    except OSError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED
    stop = Stop()
    stop.on_signals()
    follower = LogFollower(paths.logs)
    daemon = start_daemon(paths)
    selector = selectors.DefaultSelector()
    selector.register(stop, selectors.EVENT_READ)
    while daemon.poll() is None and not stop.requested:
        selector.select(LOOK_SECONDS)
        follower.print_new()
    if daemon.poll() is None:
        stop_in_order(daemon, follower)
    follower.print_new()
    if not stop.requested:
        print("supervisord ended by itself, see logs/supervisord.log", file=sys.stderr)
        return daemon.returncode or EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
