"""From Twitch's write to a Kafka consumer's read, with one and with two readers per channel.

``python -m tests.benchmarks.latency``
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.broker import Broker
from tests.processes.conftest import free_port
from tests.processes.service import Service

CHANNELS = tuple(f"channel{number}" for number in range(5))
PER_SECOND = 20.0
SECONDS = 20


def stamped(channel: str, count: int) -> Iterator[bytes]:
    for _ in range(count):
        yield chat_line(channel, str(time.monotonic_ns()))


def milliseconds(consumer: Any, count: int) -> list[float]:
    found: list[float] = []
    end = time.monotonic() + 60
    while len(found) < count and time.monotonic() < end:
        for records in consumer.poll(timeout_ms=100).values():
            now = time.monotonic_ns()
            found += [(now - int(json.loads(record.value)["message"])) / 1e6 for record in records]
    return found


def measure(broker: str, readers: int) -> list[float]:
    topic = f"latency-{readers}"
    count = int(PER_SECOND * SECONDS)
    with tempfile.TemporaryDirectory() as name, FakeTwitch() as twitch:
        service = Service(
            Path(name),
            TWITCH_IRC_URL=twitch.url,
            KAFKA_BROKERS=broker,
            KAFKA_TOPIC_CHAT_MESSAGES=topic,
            READERS_PER_CHANNEL=str(readers),
        )
        try:
            service.set_channels(*CHANNELS)
            service.start()
            for channel in CHANNELS:
                twitch.wait_joined(channel, count=readers, timeout=60)
                twitch.chat(channel, "0")
            consumer = KafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest")
            while not consumer.partitions_for_topic(topic):
                time.sleep(0.1)
            consumer.assign([TopicPartition(topic, number) for number in range(3)])
            milliseconds(consumer, len(CHANNELS))
            playing = [
                twitch.start_playing(channel, stamped(channel, count), PER_SECOND) for channel in CHANNELS
            ]
            found = milliseconds(consumer, count * len(CHANNELS))
            for one in playing:
                one.result(10)
            consumer.close()
            return found
        finally:
            service.end()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        broker = Broker(Path(name), free_port())
        broker.start()
        try:
            for readers in (1, 2):
                found = measure(broker.address, readers)
                cuts = statistics.quantiles(found, n=100)
                print(
                    f"{readers} reader(s): median {cuts[49]:.1f} ms, 95 % {cuts[94]:.1f}, "
                    f"99 % {cuts[98]:.1f}, {len(found)} messages",
                    flush=True,
                )
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
