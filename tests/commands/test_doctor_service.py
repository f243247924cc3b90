"""The point of `make doctor` about supervisord's programs."""

from pathlib import Path

import pytest

from commands.doctor_point import BAD, GOOD
from commands.doctor_service import Service
from shared import settings, supervisord
from shared.errors import SupervisordUnavailable
from shared.paths import Paths
from shared.reader_groups import write_groups
from shared.supervisord import Program


def program(name: str, state: str = "RUNNING", description: str = "pid 7, uptime 0:01:00") -> Program:
    runs = state in ("RUNNING", "STARTING")
    return Program(name, state, 7 if runs else None, 60.0 if runs else None, description)


class World:
    """A supervisord that tells what was set."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = Paths(folder)
        self._monkeypatch = monkeypatch

    def service(self, *programs: Program) -> Service:
        self._monkeypatch.setattr(supervisord, "programs", lambda _path: list(programs))
        return Service(self.paths)

    def settings(self, **environment: str) -> settings.Settings:
        return settings.load(self.paths, environment)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_all_that_run_is_well(world: World) -> None:
    service = world.service(program("producer"), program("kafka"), program("reader-xqc"))
    point = service.workers(world.settings(), ["xqc"])
    assert (point.sign, point.text) == (GOOD, "all 3 programs of supervisord are RUNNING")
    assert service.runs("producer")
    assert not service.runs("monitor")


def test_each_that_does_not_run_is_named_with_what_to_do(world: World) -> None:
    service = world.service(
        program("producer", "BACKOFF", "Exited too quickly (process log may have details)"),
        program("monitor", "STOPPED", "Nov 24 08:49 PM"),
        program("kafka", "STARTING", ""),
        program("watchdog"),
    )
    point = service.workers(world.settings(), [])
    assert (point.sign, point.text) == (BAD, "3 of 4 programs do not run")
    assert point.notes == (
        "producer is BACKOFF (Exited too quickly (process log may have details)): see logs/producer.log",
        "monitor is STOPPED (Nov 24 08:49 PM): supervisorctl start monitor",
        "kafka is STARTING: wait some seconds, and look again",
    )


def test_programs_that_channel_sync_has_not_added_are_named(world: World) -> None:
    service = world.service(program("producer"), program("reader-xqc"))
    point = service.workers(world.settings(READERS_PER_CHANNEL="2"), ["xqc"])
    assert (point.sign, point.text) == (BAD, "2 of 4 programs do not run")
    assert point.notes == (
        "reader-xqc-2 is missing: see logs/channel-sync.log",
        "kafka is missing: see logs/channel-sync.log",
    )
    external = world.settings(KAFKA_BROKERS="kafka:9092")
    assert service.workers(external, ["xqc"]).sign == GOOD
    assert service.workers(None, ["xqc"]).sign == GOOD


def test_readers_of_several_channels_are_wanted_once(world: World) -> None:
    world.paths.prepare()
    write_groups(world.paths.groups, {1: ("xqc", "forsen"), 2: ("zackrawrr",)})
    service = world.service(program("readers-1"), program("readers-1-2"), program("readers-2"))
    names = {"KAFKA_BROKERS": "kafka:9092", "READERS_PER_CHANNEL": "2", "CHANNELS_PER_READER": "2"}
    point = service.workers(world.settings(**names), ["forsen", "xqc", "zackrawrr"])
    assert point.notes == ("readers-2-2 is missing: see logs/channel-sync.log",)
    # One that channel-sync has given no reader yet.
    point = service.workers(world.settings(**names | {"READERS_PER_CHANNEL": "1"}), ["xqc", "new"])
    assert point.notes == ("reader-new is missing: see logs/channel-sync.log",)


def test_a_long_list_of_them_is_shortened(world: World) -> None:
    service = world.service(*(program(f"reader-c{number}", "FATAL", "") for number in range(40)))
    point = service.workers(None, [])
    assert point.text == "40 of 40 programs do not run"
    assert len(point.notes) == 6
    assert point.notes[-1] == "and 35 more"


def test_a_supervisord_that_tells_nothing_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def programs(_path: Path) -> list[Program]:
        raise SupervisordUnavailable("supervisord does not answer (timed out); is it just starting?")

    monkeypatch.setattr(supervisord, "programs", programs)
    service = Service(world.paths)
    assert not service.runs("producer")
    point = service.workers(world.settings(), ["xqc"])
    assert (point.sign, point.text) == (BAD, service.trouble)
    assert "logs/supervisord.log" in point.remedy
