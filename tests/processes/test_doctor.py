"""`make doctor` over the real service: what is well is said to be so, and what is broken is named."""

import re
from collections.abc import Iterator

import pytest

from tests.commands.conftest import Command
from tests.fakes.fake_recent_messages import FakeRecentMessages
from tests.fakes.fake_twitch import FakeTwitch
from tests.fakes.fake_twitch_id import FakeTwitchId
from tests.processes.broker import Broker
from tests.processes.conftest import free_port
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import start

EVERYBODY = ("producer", "channel-sync", "token-refresher", "watchdog", "monitor")
LINE = re.compile(r"^([✓✗–]) (.{12}) (.*)$")


class Doctor:
    """Runs the command in the folder of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._commands: list[Command] = []

    def start(self, *arguments: str, **settings: str) -> Command:
        environment = self._service.environment | {"LANG": "C.UTF-8", "LOG_LEVEL": "trace"} | settings
        command = Command("commands.doctor", arguments, self._service.folder, environment)
        self._commands.append(command)
        return command

    def look(self, wait_seconds: float = 0.2, **settings: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """The exit code, and by point its sign and all of its text."""
        command = self.start("--wait", str(wait_seconds), **settings)
        code = command.wait_end()
        points: dict[str, tuple[str, str]] = {}
        name = ""
        for line in command.out.splitlines():
            if found := LINE.match(line):
                name = found[2].strip()
                points[name] = (found[1], found[3])
            elif line.startswith(" "):
                points[name] = (points[name][0], f"{points[name][1]}\n{line.strip()}")
        return code, points

    def end(self) -> None:
        for command in self._commands:
            command.kill()


@pytest.fixture
def doctor(service: Service) -> Iterator[Doctor]:
    doctor = Doctor(service)
    yield doctor
    doctor.end()


@pytest.fixture
def twitch_id() -> Iterator[FakeTwitchId]:
    with FakeTwitchId() as twitch_id:
        yield twitch_id


@pytest.fixture
def kept() -> Iterator[FakeRecentMessages]:
    with FakeRecentMessages() as kept:
        yield kept


def failed(points: dict[str, tuple[str, str]]) -> set[str]:
    return {name for name, (sign, _text) in points.items() if sign == "✗"}


def test_a_service_that_works_gets_nothing_but_good_marks_and_is_not_disturbed(
    service: Service,
    doctor: Doctor,
    twitch: FakeTwitch,
    topic: KafkaReader,
    twitch_id: FakeTwitchId,
    kept: FakeRecentMessages,
) -> None:
    service.environment |= {
        "TWITCH_ID_URL": twitch_id.url,
        "TWITCH_CLIENT_ID": twitch_id.client_id,
        "KAFKA_TOPIC_CHAT_EVENTS": f"{topic.topic}-events",
        "BACKFILL_URL": kept.url,
    }
    issued = twitch_id.write_file(service.folder / "tokenStore.json")
    twitch.behaviour.valid_tokens = twitch_id.is_valid
    start(service, twitch, "xqc", "forsen")
    service.wait_running(*EVERYBODY, "reader-xqc", "reader-forsen")
    wait_until(lambda: "ready, connected to Kafka" in service.log("producer"), service.logs)
    pids = service.pids()
    flow = Flow(twitch, "xqc", per_second=20)
    code, points = doctor.look(30)
    said = flow.finish()
    assert {name: sign for name, (sign, _text) in points.items()} == dict.fromkeys(points, "✓")
    assert code == 0
    assert len(points) == 23
    assert "KAFKA_TOPIC_RETENTION_MS=-1  (environment)" in points["settings"][1]
    assert points["channels"][1] == "2 channels in channels.txt: xqc, forsen"
    assert points["topic"][1] == f"{topic.topic}: 3 partitions, 1 copy of each, kept for ever"
    assert points["events topic"][1] == (f"{topic.topic}-events: 3 partitions, 1 copy of each, kept for ever")
    assert points["backfill"][1] == "127.0.0.1 answers for #xqc"
    assert points["valid"][1].endswith(", of the account testbot")
    assert points["login"][1] == "accepted as twitchingest"
    assert points["join"][1] == "in #forsen, #xqc"
    assert points["message"][1] == "received in #xqc"
    assert points["workers"][1] == "all 7 programs of supervisord are RUNNING"
    assert points["file modes"][1] == "run is 0700, tokenStore.json is 0600"
    # Readers went on: nobody was restarted, and each message is there once and in order.
    topic.wait_for("xqc", len(said))
    assert topic.ids("xqc") == said
    assert service.pids() == pids
    assert len(twitch.logins) == 3
    assert twitch.violations == []
    assert twitch_id.refreshes == []
    assert issued.access_token not in service.logs()


def test_a_worker_that_is_stopped_and_a_reader_that_is_missing_are_named(
    service: Service, doctor: Doctor, twitch: FakeTwitch
) -> None:
    start(service, twitch, "xqc")
    service.wait_running(*EVERYBODY, "reader-xqc")
    service.control("stop", "monitor")
    code, points = doctor.look()
    assert code == 1
    assert failed(points) == {"workers"}
    assert points["workers"][1].startswith("1 of 6 programs do not run\nmonitor is STOPPED (")
    assert points["workers"][1].endswith("): supervisorctl start monitor")
    # A channel that channel-sync has not been told of.
    code, points = doctor.look(TWITCH_CHANNEL="forsen")
    assert "reader-forsen is missing: see logs/channel-sync.log" in points["workers"][1]


def test_a_topic_that_is_missing_while_the_producer_runs_is_a_failure(
    service: Service, doctor: Doctor, twitch: FakeTwitch
) -> None:
    start(service, twitch, "xqc")
    service.wait_running(*EVERYBODY, "reader-xqc")
    code, points = doctor.look(KAFKA_TOPIC_CHAT_MESSAGES="another-topic")
    assert code == 1
    assert failed(points) == {"topic"}
    assert points["topic"][1].startswith("another-topic does not exist\n→ ")
    assert "logs/producer.log" in points["topic"][1]
    assert points["round trip"][0] == "✓"


def test_without_the_service_a_broker_is_tried_all_the_same(
    service: Service, doctor: Doctor, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    service.set_channels("xqc")
    code, points = doctor.look()
    assert code == 1
    assert failed(points) == {"workers"}
    assert points["broker"][1].endswith(" answers, 1 broker")
    assert points["topic"] == (
        "–",
        f"{topic.topic} does not exist yet\n→ the service makes it when it starts: make run",
    )
    assert points["round trip"][1].startswith("a record was written and read back in ")
    assert "supervisord does not run; make run starts the service" in points["workers"][1]
    assert "supervisord -c supervisord.conf" in points["workers"][1]


def test_a_broker_that_is_away_and_one_that_is_frozen_cost_some_seconds_only(
    service: Service, doctor: Doctor, own: Broker
) -> None:
    service.set_channels("xqc")
    code, points = doctor.look(KAFKA_BROKERS=f"127.0.0.1:{free_port()}")
    assert code == 1
    assert failed(points) == {"broker", "workers"}
    assert "check that the broker runs, and KAFKA_BROKERS" in points["broker"][1]
    assert points["topic"] == ("–", "needs a broker that answers")
    own.freeze()
    code, points = doctor.look(KAFKA_BROKERS=own.address)
    assert code == 1
    assert failed(points) == {"broker", "workers"}
    assert "check that the broker runs, and KAFKA_BROKERS" in points["broker"][1]


def test_the_embedded_broker_runs_with_the_service(service: Service, doctor: Doctor) -> None:
    service.set_channels("xqc")
    code, points = doctor.look(KAFKA_BROKERS="", EMBEDDED_KAFKA_PORT=str(free_port()))
    assert code == 1
    assert failed(points) == {"broker", "workers"}
    assert points["broker"][1].endswith("→ it runs with the service: make run")


def test_what_takes_long_is_told_and_ctrl_c_ends_it_at_once(
    service: Service, doctor: Doctor, twitch: FakeTwitch
) -> None:
    service.set_channels("xqc")
    command = doctor.start("--wait", "600")
    command.wait_shown("waiting up to 600 s for a message in #xqc …")
    assert "✓ join " in command.out
    assert "message" not in command.out
    assert command.stop() == 1
    assert command.log.splitlines()[-1] == "doctor: stopped before the end"
    assert all("TRACE" not in line and "DEBUG" not in line for line in command.log.splitlines())
    twitch.wait_for(lambda: not twitch.connections, what="no connection left")
