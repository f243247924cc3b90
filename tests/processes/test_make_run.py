"""``make run``'s command, with a broker of its own, as a new user has it."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.conftest import free_port
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until


def test_everything_runs_in_the_foreground_with_its_own_broker_and_ctrl_c_stops_it(
    tmp_path: Path, twitch: FakeTwitch
) -> None:
    port = free_port()
    service = Service(tmp_path, TWITCH_IRC_URL=twitch.url, EMBEDDED_KAFKA_PORT=str(port))
    output = tmp_path / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "commands.run"],
            cwd=tmp_path,
            env=service.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    topic = KafkaReader(f"127.0.0.1:{port}", "twitch-chat-messages")
    try:
        wait_until(lambda: "ready, connected to Kafka" in output.read_text(), output.read_text, 60)
        twitch.wait_joined("xqc")
        wanted = twitch.chat("xqc", "hello")
        topic.wait_for("xqc", 1)
        assert topic.ids("xqc") == [wanted]
        assert service.states()["kafka"] == "RUNNING"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        text = output.read_text()
        assert "channels.txt made from channels.example.txt" in text
        assert "reader-xqc: stopped, everything handed off" in text
        assert "producer: stopped, everything delivered" in text
        assert "Traceback" not in text
        wait_until(lambda: not service.processes(), "no process left")
    finally:
        topic.close()
        service.end()
