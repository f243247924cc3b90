import errno
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from workers import embedded_kafka

with warnings.catch_warnings():
    # kafka-python reads its schemas by a call that Python has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic
    from kafka.errors import KafkaError

ROOT = Path(embedded_kafka.__file__).parent.parent
DEADLINE_SECONDS = 60.0
SECRETS = {"KAFKA_SASL_PASSWORD": "hush-hush-1", "TWITCH_OAUTH_TOKEN": "hush-hush-2"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.05)


class Project:
    """A copy of what the worker needs, and the workers that were started from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.kafka = root / "run" / "kafka"
        self.data = self.kafka / "data"
        self.started: list[subprocess.Popen[bytes]] = []
        self._log = root / "log"
        (root / "run").mkdir(parents=True)
        for folder in ("shared", "workers"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *before: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Start the worker; ``before`` are the words of a command that shall start it."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "TWITCH_"))}
        own = {"PYTHONPATH": str(self.root), "EMBEDDED_KAFKA_PORT": str(self.port)}
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "workers.embedded_kafka"],
                cwd=self.root,
                env=kept | own | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def log(self) -> str:
        return self._log.read_text()

    def start_and_wait(self, *before: str, **settings: str) -> "subprocess.Popen[bytes]":
        process = self.start(*before, **settings)
        wait_until(lambda: self.is_up(process), "the broker is up")
        return process

    def is_up(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, self.log()
        return "Kafka Server started" in self.log()

    def start_that_fails(self, **settings: str) -> int:
        process = self.start(**settings)
        return process.wait(DEADLINE_SECONDS)

    def produce(self, topic: str, *values: bytes) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.address)
        admin.create_topics([NewTopic(topic, num_partitions=-1, replication_factor=-1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=self.address)
        for value in values:
            producer.send(topic, value, partition=0).get(DEADLINE_SECONDS)
        producer.close()

    def consume(self, topic: str, count: int) -> list[bytes]:
        found: list[bytes] = []
        consumer = KafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest")
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])

        def enough() -> bool:
            try:
                for records in consumer.poll(timeout_ms=200).values():
                    found.extend(record.value for record in records)
            except KafkaError:
                return False
            return len(found) >= count

        try:
            wait_until(enough, f"{count} records of {topic}")
        finally:
            consumer.close()
        return found

    def end(self) -> None:
        for process in self.started:
            # The whole session: the worker's own children and a broker whose parent is gone.
            for member in psutil.process_iter():
                try:
                    if os.getsid(member.pid) == process.pid:
                        member.kill()
                except (ProcessLookupError, psutil.NoSuchProcess):
                    continue
            process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "project")
    yield project
    project.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A broker that runs, in a folder whose name Kafka's configuration could not hold."""
    project = Project(tmp_path_factory.mktemp("running") / "a project, ünïcode")
    try:
        project.start_and_wait(**SECRETS)
        yield project
    finally:
        project.end()


def broker(project: Project) -> psutil.Process:
    return psutil.Process(project.started[0].pid)


def test_the_configuration_is_loopback_only_and_for_one_node() -> None:
    lines = embedded_kafka.server_properties(9092, 40001).splitlines()
    assert "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:40001" in lines
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:9092" in lines
    assert "controller.quorum.voters=1@127.0.0.1:40001" in lines
    assert "auto.create.topics.enable=false" in lines


@pytest.mark.parametrize(
    ("log_level", "threshold", "started"),
    [
        ("debug", "warn", "info"),
        ("info", "warn", "info"),
        ("warning", "warn", "warn"),
        ("critical", "fatal", "fatal"),
    ],
)
def test_the_log_follows_the_level_but_never_floods(log_level: str, threshold: str, started: str) -> None:
    lines = embedded_kafka.log4j_properties(log_level, "text").splitlines()
    assert f"rootLogger.level={threshold}" in lines
    assert f"logger.started.level={started}" in lines


def test_a_cluster_id_is_one_that_kafkas_tool_takes() -> None:
    ids = {embedded_kafka.new_cluster_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]{21}", cluster_id) for cluster_id in ids)


def test_what_is_produced_can_be_consumed(running: Project) -> None:
    running.produce("there-and-back", b"one", "zwö".encode())
    assert running.consume("there-and-back", 2) == [b"one", "zwö".encode()]


def test_a_topic_is_not_made_by_asking_for_it(running: Project) -> None:
    producer = KafkaProducer(bootstrap_servers=running.address, max_block_ms=500)
    with pytest.raises(KafkaError):
        producer.send("nobody-made-it", b"x").get(DEADLINE_SECONDS)
    producer.close()


def test_the_broker_took_the_place_of_the_worker_and_knows_no_secret(running: Project) -> None:
    process = broker(running)
    assert process.name() == "java"
    environment = Path(f"/proc/{process.pid}/environ").read_text()
    assert not any(name in environment or secret in environment for name, secret in SECRETS.items())
    assert set(process.environ()) <= {"PATH", "HOME", "TZ", "LC_ALL"}
    assert not any(secret in word for word in process.cmdline() for secret in SECRETS.values())


def test_the_broker_listens_on_loopback_only(running: Project) -> None:
    listening = [one.laddr for one in broker(running).net_connections("tcp") if one.status == "LISTEN"]
    assert running.port in {address.port for address in listening}
    assert len(listening) == 2
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_a_start_logs_a_few_lines_that_a_person_wants(running: Project) -> None:
    lines = running.log().splitlines()
    assert all(re.match(r"\S+ \S+ INFO     kafka: ", line) for line in lines)
    assert "starting Apache Kafka" in lines[0]
    assert "Kafka Server started" in lines[-1]
    assert len(lines) <= 10


def test_the_folder_is_closed_to_others(running: Project) -> None:
    assert running.kafka.stat().st_mode & 0o777 == 0o700


def test_a_second_broker_on_the_same_data_ends_with_a_clear_line(running: Project) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "workers.embedded_kafka"],
        cwd=running.root,
        env=os.environ | {"PYTHONPATH": str(running.root), "EMBEDDED_KAFKA_PORT": str(free_port())},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert second.returncode == 1
    assert "another embedded Kafka of this project runs" in second.stderr.splitlines()[-1]


def test_records_survive_a_kill_and_data_is_not_formatted_again(project: Project) -> None:
    first = project.start_and_wait()
    project.produce("kept", b"1", b"2", b"3")
    identity = (project.data / "meta.properties").read_text()
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = project.start_and_wait(LOG_FORMAT="json")
    assert project.consume("kept", 3) == [b"1", b"2", b"3"]
    assert (project.data / "meta.properties").read_text() == identity
    assert all(line.startswith('{"time"') and line.endswith("}") for line in project.log().splitlines())
    second.terminate()
    # Java's exit code after an ordered stop.
    assert second.wait(DEADLINE_SECONDS) == 128 + signal.SIGTERM
    assert (project.data / ".kafka_cleanshutdown").exists()


def test_half_formatted_data_heals_and_a_foreign_lock_gives_a_clear_line(project: Project) -> None:
    for left in (project.data, project.kafka / "new"):
        left.mkdir(parents=True)
        (left / "bootstrap.checkpoint").write_bytes(b"half")
        (left / "meta.properties.tmp").write_bytes(b"")
    process = project.start_and_wait()
    process.terminate()
    process.wait(DEADLINE_SECONDS)
    assert not (project.kafka / "new").exists()
    # As a broker holds it that somebody started by hand.
    with (project.data / ".lock").open("a+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        assert project.start_that_fails() == 1
    assert "Failed to acquire lock on file .lock" in project.log()
    assert len(project.log().splitlines()) <= 6


def test_the_broker_ends_with_its_parent(project: Project) -> None:
    # A parent as supervisord is one; the shell stays because it has something left to do.
    parent = project.start_and_wait("/bin/sh", "-c", '"$@"; exit 0', "sh")
    (child,) = psutil.Process(parent.pid).children()
    assert child.name() == "java"
    parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the broker is gone")


def test_data_without_its_identity_is_refused_and_left_as_it_is(project: Project) -> None:
    records = project.data / "kept-0" / "00000000000000000000.log"
    records.parent.mkdir(parents=True)
    records.write_bytes(b"records")
    assert project.start_that_fails() == 1
    assert "holds records, but its meta.properties is missing or damaged" in project.log().splitlines()[-1]
    assert records.read_bytes() == b"records"


def test_a_taken_port_ends_the_worker_with_the_settings_name(project: Project) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", project.port))
        other.listen()
        assert project.start_that_fails() == 1
    last = project.log().splitlines()[-1]
    assert f"port {project.port} cannot be used ({os.strerror(errno.EADDRINUSE)})" in last
    assert "EMBEDDED_KAFKA_PORT" in last


def test_a_bad_setting_ends_the_worker_with_code_2(project: Project) -> None:
    assert project.start_that_fails(EMBEDDED_KAFKA_PORT="70000") == 2
    assert "EMBEDDED_KAFKA_PORT='70000' is not usable" in project.log()
