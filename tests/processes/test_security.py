"""What others on the machine can reach, read and see of a running service."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.conftest import free_port
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, copy_project, wait_until

SECRETS = {
    "TWITCH_OAUTH_TOKEN": "oauth:token0recognisable1",
    "TWITCH_CLIENT_SECRET": "client-secret-recognisable",
    "KAFKA_SASL_PASSWORD": 'sasl "password" \\recognisable/ ünd %s',
}
IN_FILE = "filetoken0recognisable2"
RECOGNISABLE = "recognisable"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
PROGRAMS = ("kafka", "producer", "reader-alpha", "channel-sync", "token-refresher", "monitor", "watchdog")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with a broker of its own, after a message, a reconnect and a restart."""
    port = free_port()
    with FakeTwitch() as twitch:
        service = Service(
            tmp_path_factory.mktemp("service"),
            TWITCH_IRC_URL=twitch.url,
            TWITCH_USERNAME="mybot",
            EMBEDDED_KAFKA_PORT=str(port),
            LOG_LEVEL="trace",
            **SECRETS,
        )
        tokens = service.folder / "tokenStore.json"
        tokens.write_text(json.dumps({"accessToken": IN_FILE}))
        tokens.chmod(0o600)
        service.set_channels("alpha")
        topic = KafkaReader(f"127.0.0.1:{port}", "twitch-chat-messages")
        try:
            service.start()
            service.wait_running(*PROGRAMS)
            twitch.wait_joined("alpha", timeout=30)
            twitch.chat("alpha", "hello")
            twitch.close_all()
            wait_until(lambda: "ready, connected" in service.log("producer"), service.logs, 60)
            topic.wait_for("alpha", 1)
            assert [login.password for login in twitch.logins][:1] == [SECRETS["TWITCH_OAUTH_TOKEN"]]
            twitch.wait_joined("alpha", timeout=30)
            yield service
        finally:
            topic.close()
            service.end()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_every_program_listens_on_loopback_only(embedded: Service) -> None:
    listening = {
        process.pid: [
            one.laddr for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN
        ]
        for process in embedded.processes()
    }
    assert listening[embedded.pids()["kafka"]]
    assert {address.ip for addresses in listening.values() for address in addresses} <= LOOPBACK


def test_supervisord_is_reached_by_its_unix_socket_only(embedded: Service) -> None:
    supervisord = psutil.Process(int((embedded.folder / "run" / "supervisord.pid").read_text()))
    assert supervisord.net_connections("inet") == []
    sockets = {one.laddr for one in supervisord.net_connections("unix") if one.laddr}
    assert any(str(path).startswith(str(embedded.folder / "run" / "supervisor.sock")) for path in sockets)


def test_the_folder_run_is_closed_and_so_is_every_secret_and_socket_in_it(embedded: Service) -> None:
    run = embedded.folder / "run"
    assert mode_of(run) == 0o700
    found = {path.name: path for path in run.rglob("*")}
    assert {"handoff.key", "handoff.sock", "supervisor.sock"} <= found.keys()
    for path in found.values():
        if stat.S_ISSOCK(path.lstat().st_mode) or path.suffix == ".key":
            assert mode_of(path) in (0o600, 0o700), path
        assert mode_of(path) & 0o022 == 0, path
    assert mode_of(embedded.folder / "tokenStore.json") == 0o600


def test_no_secret_is_in_a_log_or_in_a_file_of_run(embedded: Service) -> None:
    files = [path for name in ("logs", "run") for path in (embedded.folder / name).rglob("*")]
    read = {path: path.read_bytes() for path in files if path.is_file()}
    assert b"PASS" not in read[embedded.folder / "logs" / "reader-alpha.log"]
    assert len(read) > 10
    showing = [path for path, content in read.items() if RECOGNISABLE.encode() in content]
    assert showing == []


def test_no_secret_is_in_a_command_line_and_java_is_given_none(embedded: Service) -> None:
    processes = embedded.processes()
    assert len(processes) >= len(PROGRAMS) + 1
    shown = [process.name() + "\n".join(process.cmdline()) for process in processes]
    assert not any(RECOGNISABLE in text for text in shown)
    java = psutil.Process(embedded.pids()["kafka"])
    assert not any(RECOGNISABLE in value for value in java.environ().values())


CRASH = """
import sys, threading
from shared.worker import run_worker

def fail(text):
    raise ValueError(text)

def body(settings, paths, stop):
    token, password = settings.twitch_oauth_token, settings.kafka_sasl_password
    bare = token.removeprefix("oauth:")
    texts = {
        "nothing": "with nothing",
        "values": f"of {token} {password} {settings.twitch_client_secret}",
        "bare": f"of {bare}",
        "represented": repr([bare, password, {"password": password}]),
        "settings": f"of {settings}",
    }
    if sys.argv[1] == "thread":
        threading.Thread(target=fail, args=[texts["values"]]).start()
    raise {"key": KeyError}.get(sys.argv[1], ValueError)(texts.get(sys.argv[1], password))

run_worker("crash", body)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("how", ["nothing", "values", "bare", "represented", "settings", "key", "thread"])
def test_a_crash_shows_no_secret_not_even_of_its_own_message(
    tmp_path: Path, how: str, log_format: str
) -> None:
    copy_project(tmp_path)
    (tmp_path / "crash.py").write_text(CRASH)
    done = subprocess.run(
        [sys.executable, "crash.py", how],
        cwd=tmp_path,
        env=os.environ | SECRETS | {"LOG_LEVEL": "trace", "LOG_FORMAT": log_format},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert ("KeyError" if how == "key" else "ValueError") in done.stdout
    assert RECOGNISABLE not in done.stdout
    assert "***" in done.stdout or how in ("nothing", "settings")
    if log_format == "json":
        assert all(json.loads(line)["program"] == "crash" for line in done.stdout.splitlines())
