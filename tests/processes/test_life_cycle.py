"""Starts and ends that nobody ordered, and places that cannot be used."""

import ast
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import BIN, ROOT, Service, copy_project, wait_until
from tests.processes.test_main_job import id_of, start

ALWAYS_THERE = ("producer", "channel-sync", "token-refresher", "monitor", "watchdog", "reader-alpha")
STOP_SECONDS = 10.0


def messages(channel: str, count: int, text: str = "message") -> list[bytes]:
    return [chat_line(channel, f"{text} {number}") for number in range(count)]


def ids_of(lines: list[bytes]) -> list[str]:
    return [id_of(line) for line in lines]


def received(service: Service, channel: str) -> int:
    """How many messages the channel's reader says it has read."""
    channels = service.status_of(f"reader-{channel}")["channels"]
    return int(channels[channel].get("received", 0))


def supervisord_of(service: Service) -> psutil.Process:
    return psutil.Process(int((service.folder / "run" / "supervisord.pid").read_text()))


def kill_supervisord(service: Service) -> None:
    """SIGKILL; the workers end by themselves."""
    supervisord_of(service).kill()
    wait_until(lambda: not service.processes(), lambda: f"none left of {service.processes()}", STOP_SECONDS)


def test_a_killed_supervisord_takes_its_workers_along_and_the_next_start_goes_on(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha", "beta")
    service.wait_running(*ALWAYS_THERE, "reader-beta")
    lines = {channel: messages(channel, 20_000) for channel in ("alpha", "beta")}
    playing = [twitch.start_playing(channel, some, per_second=1000) for channel, some in lines.items()]
    wait_until(lambda: min(received(service, one) for one in lines) >= 1000, "a thousand messages read")
    read = {channel: received(service, channel) for channel in lines}
    kill_supervisord(service)
    for one in playing:
        one.cancel()
    service.start()
    service.wait_running(*ALWAYS_THERE, "reader-beta")
    for channel, some in lines.items():
        twitch.wait_joined(channel, timeout=20)
        after = twitch.chat(channel, "after")
        topic.wait_for_ids(channel, {after})
        found = topic.ids(channel)
        assert found == [*ids_of(some[: len(found) - 1]), after]
        assert len(found) > read[channel]
    assert "Traceback" not in service.logs()


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.4, 0.8])
def test_a_supervisord_that_is_killed_while_workers_start_leaves_none_behind(
    service: Service, seconds: float
) -> None:
    service.set_channels(*(f"channel{number}" for number in range(8)))
    service.start()
    # The readers are started as soon as channel-sync runs; how far they are then is what is tried here.
    wait_until(lambda: len(service.processes()) > 6, "workers that start")
    time.sleep(seconds)
    kill_supervisord(service)


def test_a_worker_whose_supervisord_has_gone_before_it_began_does_not_begin() -> None:
    done = subprocess.run(
        [str(ROOT / "supervisor" / "start-worker"), "-c", "print('begun')"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "start-worker: supervisord has gone, or did not start this\n"


def test_what_the_readers_still_hold_when_supervisord_is_killed_arrives_after_the_next_start(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    service.wait_running(*ALWAYS_THERE)
    before = twitch.chat("alpha", "before")
    topic.wait_for("alpha", 1)
    producer = psutil.Process(service.pids()["producer"])
    producer.suspend()
    lines = messages("alpha", 3000)
    twitch.play("alpha", lines)
    wait_until(lambda: received(service, "alpha") == 3001, "everything read")
    supervisord_of(service).kill()
    producer.resume()
    wait_until(lambda: not service.processes(), lambda: f"none left of {service.processes()}", STOP_SECONDS)
    service.start()
    twitch.wait_joined("alpha", timeout=20)
    after = twitch.chat("alpha", "after")
    topic.wait_for_ids("alpha", {after})
    assert topic.ids("alpha") == [before, *ids_of(lines), after]


def test_a_second_supervisord_says_that_one_runs_and_leaves_it_alone(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    service.wait_running(*ALWAYS_THERE)
    before = supervisord_of(service).pid, service.pids()
    second = subprocess.run(
        [str(BIN / "supervisord"), "-c", "supervisord.conf"],
        env=service.environment,
        cwd=service.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert second.returncode != 0
    assert "already" in second.stdout + second.stderr
    third = subprocess.run(
        [sys.executable, "-m", "commands.run"],
        env=service.environment,
        cwd=service.folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert third.returncode == 1
    assert third.stdout + third.stderr == (
        f"the service already runs in {service.folder}: supervisorctl shutdown stops it\n"
    )
    assert (supervisord_of(service).pid, service.pids()) == before
    wanted = twitch.chat("alpha", "hello")
    topic.wait_for("alpha", 1)
    assert topic.ids("alpha") == [wanted]


@pytest.mark.parametrize("kind", ["a file", "a dangling link"])
@pytest.mark.parametrize("module", [("workers.producer",), ("workers.reader", "alpha"), ("commands.run",)])
def test_a_folder_run_that_cannot_be_used_is_one_line(
    tmp_path: Path, kind: str, module: tuple[str, ...]
) -> None:
    copy_project(tmp_path)
    (tmp_path / "run").rmdir()
    if kind == "a file":
        (tmp_path / "run").write_text("in the way")
    else:
        (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=tmp_path,
        env=os.environ | {"KAFKA_BROKERS": "127.0.0.1:1", "TWITCH_IRC_URL": "irc://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(tmp_path / "run") in done.stderr


def test_status_files_that_cannot_be_written_keep_nobody_from_working(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    service.wait_running(*ALWAYS_THERE)
    before = service.pids()
    status = service.folder / "run" / "status"
    status.rename(status.with_name("status-before"))
    status.write_text("in the way")
    ids = [twitch.chat("alpha", "while nothing can be written")]
    topic.wait_for("alpha", 1)
    assert service.pids() == before
    for program in ("reader-alpha", "producer"):
        psutil.Process(before[program]).kill()
        wait_until(lambda: service.pids().get(program, 0) not in (0, before[program]), program)  # noqa: B023
    twitch.wait_joined("alpha", timeout=20)
    ids.append(twitch.chat("alpha", "after a start without it"))
    topic.wait_for("alpha", 2)
    assert topic.ids("alpha") == ids
    service.shut_down()
    assert "Traceback" not in service.logs()
    assert "stopped, everything handed off" in service.log("reader-alpha")


def test_a_reader_whose_small_files_find_no_room_reads_and_hands_off(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    service.wait_running("reader-alpha", "producer")
    reader = service.pids()["reader-alpha"]
    resource.prlimit(reader, resource.RLIMIT_FSIZE, (0, 0))
    ids = [twitch.chat("alpha", f"message {number}") for number in range(20)]
    topic.wait_for("alpha", 20)
    twitch.close_all()
    wait_until(lambda: "the login gate cannot be used" in service.log("reader-alpha"), service.logs)
    twitch.wait_joined("alpha", timeout=20)
    ids.append(twitch.chat("alpha", "after another login"))
    topic.wait_for("alpha", 21)
    assert topic.ids("alpha") == ids
    assert service.pids()["reader-alpha"] == reader
    assert "Traceback" not in service.log("reader-alpha")


def test_a_stop_in_the_middle_of_a_burst_loses_nothing_that_was_read(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    service.wait_running(*ALWAYS_THERE)
    lines = messages("alpha", 20_000)
    playing = twitch.start_playing("alpha", lines, per_second=5_000)
    topic.wait_for("alpha", 2000)
    service.shut_down()
    playing.cancel()
    assert "stopped, everything handed off" in service.log("reader-alpha")
    assert "stopped, everything delivered" in service.log("producer")
    service.start()
    twitch.wait_joined("alpha", timeout=20)
    after = twitch.chat("alpha", "after")
    topic.wait_for_ids("alpha", {after})
    found = topic.ids("alpha")
    assert 2000 < len(found) < len(lines)
    assert found == [*ids_of(lines[: len(found) - 1]), after]


WALL_CLOCK = {"time.time", "time.time_ns", "time.ctime", "time.localtime", "datetime.now", "datetime.utcnow"}
STAMPS = {
    "shared/status_file.py": "when the file was written, for people and other programs",
    "shared/token_store.py": "when a token expires, for the token file",
    "workers/kafka_trial.py": "of the trial's record, for its timestamp",
    "workers/kafka_sink.py": "how old a record is by its timestamp, as the broker sees it",
    "workers/monitor_sources.py": "when the service was looked at, for people and other programs",
    "workers/token_refresher.py": "when a token expires, for the status file",
    "workers/delivery.py": "how old a record is by the stamp that its reader, another process, gave it",
    "workers/absence.py": "from when to when something is missing, for people and other programs",
    "workers/backfill.py": "the same, and which stamps to ask a service on the network for",
    "workers/recent_messages.py": "how far ahead a date is that a server has given",
    "workers/twitch_session.py": "until when a channel was read, for the same",
    "workers/twitch_connection.py": "when a message was received, for the record's timestamp",
}


def wall_clock_of(path: Path) -> set[str]:
    """Every use of the wall clock in a module, also under a name of its own."""
    tree = ast.parse(path.read_text())
    imported = {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime")
        for name in node.names
    }
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {one for one in imported | used if any(one.endswith(name) for name in WALL_CLOCK)}


def test_no_interval_goes_by_the_wall_clock_which_may_jump() -> None:
    users = {
        str(path.relative_to(ROOT))
        for folder in ("shared", "workers", "supervisor")
        for path in (ROOT / folder).glob("*.py")
        if wall_clock_of(path)
    }
    assert users == set(STAMPS)
