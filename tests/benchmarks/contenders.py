"""The designs that are measured side by side, each as a tree of processes."""

import compileall
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import psutil

from tests.benchmarks.names import (
    NAIVE_PYTHON,
    NODE_BATCHED,
    NODE_REPLACED,
    OURS,
    SHARED,
    SHARED_CHANNELS,
)
from tests.processes.service import ROOT, Service, wait_until

PEERS = Path(__file__).parent / "peers"
STOP_SECONDS = 10.0


class Place(Protocol):
    """Where the chat is."""

    irc_port: int
    websocket_port: int


class Order(NamedTuple):
    """What a design is started with."""

    place: Place
    broker: str
    topic: str
    channels: list[str]
    settings: Mapping[str, str]
    """Of this service; the others have none."""


class Running(NamedTuple):
    """A design at work."""

    root: int
    """The process that all others are below."""
    began: float
    """When it was started, in monotonic seconds."""
    stop: Callable[[], None]
    set_channels: Callable[[Sequence[str]], None] | None = None
    """None where channels are for life."""


Start = Callable[[Order], Running]


class Contender(NamedTuple):
    """A design, and how often a full run measures it: slow ones less."""

    start: Start
    rounds: int
    is_ours: bool = False


def ours(project: Path = ROOT, **settings: str) -> Start:
    """This service, or that of another checkout, with its defaults but for these, ids and headers on."""

    def start(order: Order) -> Running:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        service = type("Checkout", (Service,), {"project": project})(
            folder,
            TWITCH_IRC_URL=f"irc://127.0.0.1:{order.place.irc_port}",
            KAFKA_BROKERS=order.broker,
            KAFKA_TOPIC_CHAT_MESSAGES=order.topic,
            **settings,
            **order.settings,
        )

        def stop() -> None:
            try:
                service.shut_down()
            finally:
                service.end()
                shutil.rmtree(folder)

        service.set_channels(*order.channels)
        # As after the first start of an installation.
        compileall.compile_dir(folder, quiet=2)
        began = time.monotonic()
        try:
            service.start()
            pid_file = folder / "run/supervisord.pid"
            # The daemon writes it once it serves; the command has returned before.
            wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), "supervisord is up")
        except BaseException:
            stop()
            raise
        return Running(
            int(pid_file.read_text()), began, stop, lambda channels: service.set_channels(*channels)
        )

    return start


def peer(*command: str) -> Start:
    """One of the programs in ``peers/``."""

    def start(order: Order) -> Running:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=PEERS,
            env={
                **os.environ,
                "TWITCH_IRC_PORT": str(order.place.irc_port),
                "TWITCH_WS_PORT": str(order.place.websocket_port),
                "KAFKA_BROKERS": order.broker,
                "KAFKA_TOPIC": order.topic,
                "CHANNELS": ",".join(order.channels),
                "KAFKAJS_NO_PARTITIONER_WARNING": "1",
            },
            stdout=subprocess.DEVNULL,
        )
        return Running(process.pid, began, lambda: _stop(process))

    return start


def _stop(process: subprocess.Popen[bytes]) -> None:
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def node_is_ready() -> bool:
    """Whether the peers for Node can run; their packages are fetched for that. Says why not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("no node and npm here: its designs are left out", flush=True)
        return False
    if (PEERS / "node_modules").is_dir():
        return True
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=PEERS, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"npm could not fetch the packages, its designs are left out: {done.stderr[-300:]}", flush=True)
    return not done.returncode


def contenders(checkouts: Sequence[Path] = ()) -> dict[str, Contender]:
    """All that can run here, with other checkouts of this service, each under the name of its folder."""
    found = {
        OURS: Contender(ours(), 3, is_ours=True),
        SHARED: Contender(ours(CHANNELS_PER_READER=str(SHARED_CHANNELS)), 2, is_ours=True),
    }
    for path in checkouts:
        found[path.name] = Contender(ours(path), 3, is_ours=True)
    if node_is_ready():
        found[NODE_BATCHED] = Contender(peer("node", "batched.js"), 3)
    found[NAIVE_PYTHON] = Contender(peer(sys.executable, "naive.py"), 2)
    if NODE_BATCHED in found:
        found[NODE_REPLACED] = Contender(peer("node", "replaced.js"), 1)
    return found
