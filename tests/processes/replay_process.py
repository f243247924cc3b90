"""The commands of `make record` and `make replay` as real processes."""

import os
from pathlib import Path

from shared.line_file import LineFile, marked_ms
from tests.commands.conftest import Command
from tests.processes.service import copy_project, wait_until


class Replaying:
    """Starts them, one at a time, in an installation of their own; ``settings`` are its environment's."""

    def __init__(self, folder: Path, **settings: str) -> None:
        copy_project(folder)
        self.folder = folder
        self.kept = folder / "kept"
        self.kept.mkdir()
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        self.environment = kept | {"LANG": "C.UTF-8"} | settings
        self._commands: list[Command] = []

    @property
    def files(self) -> list[str]:
        """What was recorded, as arguments."""
        return [str(path) for path in sorted(self.kept.iterdir())]

    @property
    def lines(self) -> list[bytes]:
        """What was recorded so far, without marks."""
        return [raw for path in self.files for raw in LineFile(Path(path)) if marked_ms(raw) is None]

    def start(self, module: str, *arguments: str, **settings: str) -> Command:
        command = Command(module, arguments, self.folder, self.environment | settings)
        self._commands.append(command)
        return command

    def record(self, *channels: str, name: str = "chat.irc.gz", **settings: str) -> Command:
        """Started, and it is in the channels."""
        settings = {"TWITCH_CHANNEL": ",".join(channels), **settings}
        command = self.start("commands.record", str(self.kept / name), **settings)
        command.wait_shown(f"{len(channels)} of {len(channels)} channel")
        return command

    def wait_recorded(self, *texts: bytes) -> None:
        """Wait until there is a line with each of the texts."""
        wait_until(
            lambda: all(any(text in line for line in self.lines) for text in texts),
            lambda: f"{texts!r} in {self.lines!r}",
        )

    def replay(self, *arguments: str, **settings: str) -> str:
        """Run to the end, which is a good one; what it says at the end."""
        command = self.start("commands.replay", *(arguments or self.files), **settings)
        assert command.wait_end() == 0, command.shown
        return command.out

    def end(self) -> None:
        for command in self._commands:
            command.kill()
