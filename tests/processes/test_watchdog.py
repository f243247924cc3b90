"""The watchdog over real workers: whom it restarts, and whom it leaves alone."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, copy_project, wait_until

WITHIN_SECONDS = 30.0
# A worker whose waiting kept it from reporting would be killed at the sixth at the latest.
LOOKS = 6
HANGING = ("reader-alpha", "producer")
WORKING = ("channel-sync", "watchdog", "reader-beta")


@pytest.fixture
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose Twitch and Kafka are not there."""
    folder = tmp_path_factory.mktemp("waiting")
    service = Service(folder, TWITCH_IRC_URL="irc://127.0.0.1:1", KAFKA_BROKERS="127.0.0.1:1")
    try:
        yield service
    finally:
        service.end()


def test_workers_that_hang_are_restarted_and_those_that_wait_are_left_alone(
    service: Service, waiting: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    waiting.set_channels("gamma")
    waiting.start()
    service.set_channels("alpha", "beta")
    service.start()
    everybody = (*HANGING, *WORKING)
    service.wait_running(*everybody)
    waiting.wait_running("producer", "reader-gamma", "channel-sync", "watchdog")
    topic_has(topic, twitch, "before")
    before, waiting_before = service.pids(), waiting.pids()

    stopped_at = time.monotonic()
    for program in HANGING:
        os.kill(before[program], signal.SIGSTOP)
    wait_until(
        lambda: all(service.pids().get(name, before[name]) != before[name] for name in HANGING),
        service.logs,
        WITHIN_SECONDS,
    )
    service.wait_running(*everybody)
    took = time.monotonic() - stopped_at
    assert took < WITHIN_SECONDS
    print(f"running again after {took:.1f} s")
    after = service.pids()
    assert {name: after[name] for name in WORKING} == {name: before[name] for name in WORKING}
    for program in HANGING:
        line = rf"WARNING .*{program} \(pid {before[program]}\) has not reported for \d+ s, it is killed"
        assert re.search(line, service.log("watchdog"))
    wait_until(
        lambda: service.status_of("watchdog")["kills"] == {"reader-alpha": 1, "producer": 1},
        lambda: str(service.status_of("watchdog")),
    )
    assert service.status_of("watchdog")["restarts"] == {"reader-alpha": 1, "producer": 1}
    twitch.wait_joined("alpha")
    topic_has(topic, twitch, "after")

    wait_until(
        lambda: waiting.status_of("watchdog")["looks"] >= LOOKS,
        lambda: str(waiting.status_of("watchdog")),
        40,
    )
    assert waiting.pids() == waiting_before
    assert waiting.status_of("watchdog")["kills"] == {}
    assert not waiting.status_of("producer")["kafka_accepts"]


def topic_has(topic: KafkaReader, twitch: FakeTwitch, text: str) -> None:
    for channel in ("alpha", "beta"):
        twitch.wait_joined(channel)
        topic.wait_for_ids(channel, {twitch.chat(channel, text)})


def test_events_that_come_together_are_answered_though_supervisord_never_answers(tmp_path: Path) -> None:
    copy_project(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "run" / "supervisor.sock"))
        silent.listen()
        process = subprocess.Popen(
            [sys.executable, "supervisor/watchdog.py"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "LOG_LEVEL": "debug"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        # supervisord itself waits for READY before each; this is harsher.
        events = b"ver:3.0 eventname:TICK_5 len:6\nwhen:5ver:3.0 eventname:OTHER len:0\n"
        output, log = process.communicate(events, timeout=20)
    assert output.decode() == "READY\n" + "RESULT 2\nOKREADY\n" * 2
    assert b"supervisord could not be asked for its programs: timed out" in log
    assert b"Traceback" not in log
    assert process.returncode == 0
