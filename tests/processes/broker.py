"""A real broker that a test may kill, freeze, slow down and start again on the same data."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import psutil

from tests.processes.kafka_reader import broker_answers
from tests.processes.service import copy_project, wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient


class Broker:
    """The embedded broker in a folder of its own, without supervisord."""

    def __init__(self, folder: Path, port: int) -> None:
        copy_project(folder)
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self.start_soon()
        wait_until(lambda: broker_answers(self.address), self.log, 60)

    def start_soon(self) -> None:
        with (self._folder / "kafka.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.embedded_kafka"],
                cwd=self._folder,
                env={**os.environ, "EMBEDDED_KAFKA_PORT": str(self._port), "KAFKA_BROKERS": ""},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def log(self) -> str:
        return (self._folder / "kafka.log").read_text()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def stop(self) -> None:
        if self.runs:
            assert self._process is not None
            self.thaw()
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                psutil.Process(self._process.pid).kill()
                self._process.wait()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def slow_down(self, seconds: float) -> threading.Thread:
        """Let it run a tenth of the time only, for so long; the thread ends with it awake."""

        def run() -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self.freeze()
                time.sleep(0.45)
                self.thaw()
                time.sleep(0.05)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def admin(self) -> Any:
        return KafkaAdminClient(bootstrap_servers=self.address)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
