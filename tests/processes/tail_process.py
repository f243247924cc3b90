"""The command of `make tail` as a real process."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import psutil

from tests.commands.conftest import Command
from tests.processes.service import copy_project

READY = "no new message has arrived yet"


class Tail:
    """Starts `make tail`'s command in an installation of its own."""

    def __init__(self, folder: Path, broker: str, topic: str) -> None:
        copy_project(folder)
        self.folder = folder
        self.topic = topic
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
        self.environment = kept | {
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "xterm-256color",
            "KAFKA_BROKERS": broker,
            "KAFKA_TOPIC_CHAT_MESSAGES": topic,
        }
        self._commands: list[Command] = []
        self._processes: list[psutil.Popen] = []

    def start(self, *arguments: str, **settings: str) -> Command:
        command = Command("commands.tail", arguments, self.folder, self.environment | settings)
        self._commands.append(command)
        return command

    def start_ready(self, *arguments: str) -> Command:
        """Started, and it knows where the topic ends now."""
        command = self.start(*arguments)
        command.wait_shown(READY)
        return command

    def start_with(self, output: int, *arguments: str, **settings: str) -> psutil.Popen:
        """Started with that standard output."""
        process = psutil.Popen(
            [sys.executable, "-m", "commands.tail", *arguments],
            cwd=self.folder,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
        )
        self._processes.append(process)
        return process

    def on_terminal(self, *arguments: str, **settings: str) -> str:
        """All that it prints on a terminal until it ends by itself."""
        ours, theirs = pty.openpty()
        process = self.start_with(theirs, *arguments, **settings)
        os.close(theirs)
        printed = b""
        try:
            while chunk := os.read(ours, 65536):
                printed += chunk
        except OSError:
            # That is how a terminal ends on Linux.
            pass
        os.close(ours)
        assert process.wait(60) == 0
        return printed.decode()

    def end(self) -> None:
        for command in self._commands:
            command.kill()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
