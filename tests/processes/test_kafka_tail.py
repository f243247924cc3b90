"""What is read back from a real topic."""

import functools
import threading
import time
import warnings
from pathlib import Path

import msgspec
import pytest

from shared import settings
from shared.paths import Paths
from shared.reports import Offsets
from shared.seen_ids import key_of
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import wait_until
from tests.processes.test_kafka_sink import collect, connect, record, sink_for
from workers import kafka_tail
from workers.kafka_client import ensure_topics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import errors as kafka_errors

    from workers.kafka_sink import KafkaSink


def tail(folder: Path, topic: KafkaReader, broker: str, counted: Offsets) -> kafka_tail.Tail:
    names = {"KAFKA_BROKERS": broker, "KAFKA_TOPIC_CHAT_MESSAGES": topic.topic}
    return kafka_tail.read_tail(settings.load(Paths(folder), names), counted)


def read(folder: Path, topic: KafkaReader, broker: str) -> set[str]:
    return tail(folder, topic, broker, {}).keys


def test_the_newest_of_every_partition_are_read_back(
    tmp_path: Path, topic: KafkaReader, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_for(tmp_path, topic, broker)
    connect(sink)
    # Nothing to read is no reason to wait.
    began = time.monotonic()
    assert read(tmp_path, topic, broker) == set()
    assert time.monotonic() - began < 5
    channels = [f"channel{number}" for number in range(9)]
    for number in range(300):
        for channel in channels:
            sink.send(record(number, channel), None)
    collect(sink, 2700)
    sink.close(1)
    everything = {key_of(channel, f"id-{number}") for channel in channels for number in range(300)}
    assert read(tmp_path, topic, broker) == everything
    monkeypatch.setattr(kafka_tail, "RECORDS_PER_PARTITION", 20)
    newest = read(tmp_path, topic, broker)
    assert len(newest) == 60
    assert all(key.split("-")[1] >= "280" for key in newest)
    monkeypatch.setattr(kafka_tail, "RECORDS_AT_MOST", 30)
    assert len(read(tmp_path, topic, broker)) == 30


def test_what_is_behind_the_counted_offsets_is_told_with_its_channel(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    sink = sink_for(tmp_path, topic, broker)
    connect(sink)
    for number in range(10):
        sink.send(record(number), None)
    collect(sink, 10)
    counted = sink.counted[topic.topic]
    (partition,) = counted.keys() - {one for one, end in counted.items() if not end}
    assert counted[partition] == 10
    for number in range(10, 13):
        sink.send(record(number), None)
    collect(sink, 3)
    sink.close(1)
    found = tail(tmp_path, topic, broker, {topic.topic: {partition: 10}})
    assert found.uncounted == {key_of("xqc", f"id-{number}"): "xqc" for number in (10, 11, 12)}
    assert found.counted == {key_of("xqc", f"id-{number}") for number in range(10)}
    assert found.ends == sink.counted
    assert found.ends[topic.topic][partition] == 13
    # Of a partition that nobody counted in nothing is known.
    found = tail(tmp_path, topic, broker, {topic.topic: {partition + 1: 0}})
    assert found.uncounted == {}
    assert found.counted == set()


def test_both_topics_are_read_back_and_an_event_is_not_taken_for_its_message(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    names = {
        "KAFKA_BROKERS": broker,
        "KAFKA_TOPIC_CHAT_MESSAGES": topic.topic,
        "KAFKA_TOPIC_CHAT_EVENTS": f"{topic.topic}-events",
        "KAFKA_TOPIC_PARTITIONS": "2",
    }
    configured = settings.load(Paths(tmp_path), names)
    sink = KafkaSink(configured, lambda: None)
    connect(sink)
    nobodys = msgspec.structs.replace(record(3, ""), type="whisper")
    for one in (record(1), msgspec.structs.replace(record(2), type="clearmsg"), nobodys):
        sink.send(one, None)
    collect(sink, 3)
    sink.close(1)
    assert sink.counted.keys() == {topic.topic, f"{topic.topic}-events"}
    found = kafka_tail.read_tail(configured, {f"{topic.topic}-events": {0: 0, 1: 0}})
    message, event = key_of("xqc", "id-1"), key_of("xqc", "id-2", is_event=True)
    # What concerns no channel has an empty key.
    assert found.keys == {message, event, key_of("", "id-3", is_event=True)}
    assert found.uncounted == {event: "xqc", key_of("", "id-3", is_event=True): ""}
    assert found.ends == sink.counted


def test_attempts_that_find_no_broker_leave_nothing_behind(tmp_path: Path) -> None:
    configured = settings.load(Paths(tmp_path), {"KAFKA_BROKERS": "127.0.0.1:1"})
    threads = threading.active_count()
    for _ in range(2):
        for attempt in (ensure_topics, functools.partial(kafka_tail.read_tail, counted={})):
            with pytest.raises(kafka_errors.KafkaError):
                attempt(configured)
    wait_until(lambda: threading.active_count() <= threads, lambda: str(threading.enumerate()))
