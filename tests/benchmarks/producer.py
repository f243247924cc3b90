"""Processor time of the producer per message, from the hand-off to Kafka's acknowledgement.

``python -m tests.benchmarks.producer [CHECKOUT ...]`` compares checkouts in turns, as ratios to the first;
without any it measures this one. A real broker runs meanwhile.
"""

import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from shared.handoff_client import HandoffClient
from tests.processes.broker import Broker
from tests.processes.conftest import free_port
from tests.processes.service import ROOT
from tests.shared.handoff_loop import record

ROUNDS = 3
# As fast as it goes, and at a steady pace where wake-ups count.
LOADS = {"burst of 100,000": (100_000, None), "400 messages/s for 10 s": (4_000, 400.0)}


def measure(checkout: Path, broker: str, count: int, per_second: float | None, topic: str) -> float:
    """Processor seconds of one producer for ``count`` messages."""
    environment = {**os.environ, "KAFKA_BROKERS": broker, "KAFKA_TOPIC_CHAT_MESSAGES": topic}
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.producer"], cwd=checkout, env=environment, stderr=subprocess.DEVNULL
    )
    client = HandoffClient(checkout / "run/handoff.sock", checkout / "run/handoff.key", "reader-benchmark")
    try:
        warm_up = [record(-number - 1) for number in range(100)]
        hand_off(client, warm_up, None)
        before = sum(psutil.Process(process.pid).cpu_times()[:2])
        hand_off(client, [record(number, size=218) for number in range(count)], per_second)
        return float(sum(psutil.Process(process.pid).cpu_times()[:2]) - before)
    finally:
        client.close()
        process.terminate()
        process.wait(20)


def hand_off(client: HandoffClient, records: list, per_second: float | None) -> None:  # type: ignore[type-arg]
    selector = selectors.DefaultSelector()
    began, at = time.monotonic(), 0
    while at < len(records) or client.pending:
        due = len(records) if per_second is None else int((time.monotonic() - began) * per_second)
        for one in records[at : min(due, at + 5_000)]:
            client.put(one)
            at += 1
        client.pump()
        client.on_writable()
        peer = client.peer
        if peer is not None:
            selector.register(peer, selectors.EVENT_READ)
            if selector.select(0.002):
                client.on_readable()
            selector.unregister(peer)
        else:
            time.sleep(0.01)
    selector.close()


def main() -> None:
    checkouts = [Path(name).absolute() for name in sys.argv[1:]] or [ROOT]
    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name), free_port())
        broker.start()
        try:
            for load, (count, per_second) in LOADS.items():
                used: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
                for turn in range(ROUNDS):
                    for place, checkout in enumerate(checkouts):
                        topic = f"b-{count}-{turn}-{place}"
                        used[checkout].append(measure(checkout, broker.address, count, per_second, topic))
                first = min(used[checkouts[0]])
                for checkout in checkouts:
                    best = min(used[checkout])
                    micro = best / count * 1e6
                    print(f"{load}: {checkout}: {micro:.1f} µs a message, {best / first:.2f}", flush=True)
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
