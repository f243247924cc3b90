"""The systemd unit: systemd takes it, and what it starts runs as a user of its own."""

import configparser
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.conftest import free_port
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import BIN, ROOT, Service, wait_until
from tests.test_deploy import DEPLOY, run, tool


def unit(folder: Path) -> str:
    """The unit's text, of a project in ``folder`` with the supervisord of the tests."""
    text = (DEPLOY / "twitch-ingest.service").read_text()
    return text.replace("/opt/twitch-ingest/.venv/bin", str(BIN)).replace("/opt/twitch-ingest", str(folder))


def unit_values(folder: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    # systemd's names are case-sensitive.
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(unit(folder))
    return parser["Service"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd")
    path = tmp_path / "twitch-ingest.service"
    path.write_text(unit(ROOT))
    assert run(analyze, "verify", "--man=no", str(path)) == ""


def user_of_the_service() -> int | None:
    """Somebody who is not root and may run this Python; None for whoever runs the tests."""
    nobody = 65534
    if os.geteuid() != 0:
        return None
    try:
        subprocess.run([sys.executable, "-c", ""], user=nobody, group=nobody, extra_groups=[], check=True)
    except OSError:
        return None
    return nobody


@pytest.fixture
def folder_of_all() -> Iterator[Path]:
    """pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="twitch-ingest-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "project"


def test_what_the_unit_starts_runs_as_another_user_and_ends_in_order_when_its_main_process_is_asked(
    folder_of_all: Path,
) -> None:
    port = free_port()
    with FakeTwitch() as twitch:
        service = Service(
            folder_of_all,
            TWITCH_IRC_URL=twitch.url,
            EMBEDDED_KAFKA_PORT=str(port),
            MONITOR_PORT=str(free_port()),
        )
        service.set_channels("alpha")
        values, user = unit_values(service.folder), user_of_the_service()
        if user is not None:
            for path in (service.folder, *service.folder.rglob("*")):
                os.chown(path, user, user)
        process = subprocess.Popen(
            values["ExecStart"].split(),
            cwd=values["WorkingDirectory"],
            env=service.environment | {"HOME": str(service.folder)},
            umask=int(values["UMask"], 8),
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        topic = KafkaReader(f"127.0.0.1:{port}", "twitch-chat-messages")
        try:
            wait_until(lambda: "ready, connected to Kafka" in service.log("producer"), service.logs, 60)
            twitch.wait_joined("alpha")
            wanted = twitch.chat("alpha", "hello")
            topic.wait_for("alpha", 1)
            assert topic.ids("alpha") == [wanted]
            assert {one.uids().real for one in service.processes()} == {
                os.geteuid() if user is None else user
            }
            process.send_signal(signal.SIGTERM)
            assert process.wait(int(values["TimeoutStopSec"])) == 0
            assert service.processes() == []
            assert "stopped, everything handed off" in service.log("reader-alpha")
            assert "stopped, everything delivered" in service.log("producer")
            assert "Traceback" not in service.logs()
        finally:
            topic.close()
            service.end()
