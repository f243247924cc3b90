"""Where things live below the project's root."""

import contextlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Every path that more than one process knows; ``root`` is the folder of ``supervisord.conf``."""

    root: Path

    @classmethod
    def of_project(cls) -> "Paths":
        """The paths of the checkout that this code runs from."""
        return cls(root=Path(__file__).absolute().parent.parent)

    @property
    def run(self) -> Path:
        """State of this run, mode 0700."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One log file per supervised program."""
        return self.root / "logs"

    @property
    def programs(self) -> Path:
        """Sections that channel-sync writes and supervisord includes."""
        return self.run / "programs"

    @property
    def groups(self) -> Path:
        """Which channels a reader of several has: a file per reader, which channel-sync writes."""
        return self.run / "groups"

    @property
    def status(self) -> Path:
        """One status file per worker."""
        return self.run / "status"

    @property
    def kafka(self) -> Path:
        """Data of the embedded broker."""
        return self.run / "kafka"

    @property
    def handoff_socket(self) -> Path:
        """Where the producer takes messages in."""
        return self.run / "handoff.sock"

    @property
    def handoff_key(self) -> Path:
        """Secret of the hand-off, mode 0600."""
        return self.run / "handoff.key"

    @property
    def spool(self) -> Path:
        """Messages that Kafka does not take now."""
        return self.run / "spool.sqlite3"

    @property
    def login_gate(self) -> Path:
        """Times of the latest logins and JOINs of all readers."""
        return self.run / "login-gate"

    @property
    def fetch_gate(self) -> Path:
        """Time of the next request to the recent-messages service."""
        return self.run / "fetch-gate"

    @property
    def refused_tokens(self) -> Path:
        """Reports of readers whose login was refused, for the token-refresher."""
        return self.run / "refused-tokens"

    @property
    def supervisor_socket(self) -> Path:
        """supervisord's XML-RPC, as ``supervisord.conf`` says."""
        return self.run / "supervisor.sock"

    def prepare(self) -> None:
        """Make the folders of ``run/`` and close them to others. Raises OSError when that is not allowed."""
        for folder in (self.run, self.programs, self.groups):
            folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(OSError):
            # Without it workers cannot tell about themselves, but they can work.
            self.status.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        self.run.chmod(0o700)
