"""The edge to Kafka on the real broker."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import settings
from shared.errors import KafkaUnavailable
from shared.paths import Paths
from shared.record import Record
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient

    from workers.kafka_connection import KafkaConnection
    from workers.kafka_sink import KafkaSink, Outcome
    from workers.kafka_wakeups import GatheringClient


def record(number: int, channel: str = "xqc", size: int = 200, days_ago: int = 0) -> Record:
    now = time.time_ns() // 1_000_000
    written = now - days_ago * 24 * 3600 * 1000
    return Record(channel, f"id-{number}", written, now, "", "", b'"' + b"x" * size + b'"')


def wake() -> None:
    """These tests look again and again."""


def sink_for(
    folder: Path, topic: KafkaReader, broker: str, compression: str = "none", **more: Any
) -> KafkaSink:
    names = {
        "KAFKA_BROKERS": broker,
        "KAFKA_TOPIC_CHAT_MESSAGES": topic.topic,
        "KAFKA_COMPRESSION": compression,
    }
    configured = settings.load(Paths(folder), names)
    return KafkaSink(configured, wake, connection=KafkaConnection(configured, wake, **more))


def connect(sink: KafkaSink) -> None:
    """Raises KafkaUnavailable when the first attempt fails."""
    end = time.monotonic() + 30
    while not sink.connected:
        assert time.monotonic() < end
        sink.collect()
        if sink.trouble:
            raise KafkaUnavailable(sink.trouble)
        time.sleep(0.005)


def collect(sink: KafkaSink, count: int, until: Callable[[], bool] = lambda: False) -> list[Outcome]:
    outcomes: list[Outcome] = []
    end = time.monotonic() + 30
    while len(outcomes) < count and not until():
        assert time.monotonic() < end, f"{len(outcomes)} of {count} done"
        outcomes += sink.collect()
        time.sleep(0.005)
    return outcomes


def test_an_event_goes_to_its_own_topic_with_its_type_and_javas_partition_there(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    names = {
        "KAFKA_BROKERS": broker,
        "KAFKA_TOPIC_CHAT_MESSAGES": topic.topic,
        "KAFKA_TOPIC_CHAT_EVENTS": f"{topic.topic}-events",
    }
    sink = KafkaSink(settings.load(Paths(tmp_path), names), wake)
    connect(sink)
    sink.send(Record("forsen", "a", 1234567890123, 5, "b", "77", b'{"type":"privmsg"}', "privmsg"), None)
    sink.send(Record("forsen", "a", 1234567890123, 5, "b", "77", b"{}"), None)
    collect(sink, 2)
    sink.close(1)
    events = KafkaReader(broker, f"{topic.topic}-events")
    for reader, kind, value in ((events, [("type", b"privmsg")], b'{"type":"privmsg"}'), (topic, [], b"{}")):
        reader.wait_for("forsen", 1)
        (found,) = reader.by_channel["forsen"]
        assert found.headers == [("id", b"a"), *kind, ("source-id", b"b"), ("source-room-id", b"77")]
        assert found.value == value
        assert found.timestamp == 1234567890123
        # Kafka's own tool puts "forsen" there, of three.
        assert found.partition == 1
    events.close()


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_records_arrive_with_key_headers_timestamp_and_javas_partition(
    tmp_path: Path, topic: KafkaReader, broker: str, compression: str
) -> None:
    sink = sink_for(tmp_path, topic, broker, compression)
    connect(sink)
    mirrored = Record("xqc", "a", 1234567890123, 5, "b", "77", b"{}")
    sink.send(mirrored, "token")
    sink.send(Record("forsen", "", 1234567890124, 5, "", "", b"{}"), "other")
    outcomes = collect(sink, 2)
    assert {outcome.token for outcome in outcomes} == {"token", "other"}
    assert all(outcome.refused is None for outcome in outcomes)
    topic.wait_for("xqc", 1)
    topic.wait_for("forsen", 1)
    first = topic.by_channel["xqc"][0]
    assert (first.timestamp, first.value) == (1234567890123, b"{}")
    assert first.headers == [("id", b"a"), ("source-id", b"b"), ("source-room-id", b"77")]
    assert topic.by_channel["forsen"][0].headers == []
    # Computed with org.apache.kafka.common.utils.Utils.murmur2 for 3 partitions.
    assert first.partition == {"xqc": _murmur2_partition(b"xqc", 3)}["xqc"]
    sink.close(1)


def test_a_record_too_large_is_refused_by_itself_and_the_rest_goes_on_in_order(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = KafkaAdminClient(bootstrap_servers=broker)
        admin.create_topics({topic.topic: {"num_partitions": 1, "configs": {"max.message.bytes": "2000"}}})
        admin.close()
    sink = sink_for(tmp_path, topic, broker)
    connect(sink)
    for number in range(60):
        sink.send(record(number, size=5000 if number in (20, 40) else 300), number)
    outcomes = collect(sink, 60)
    refused = {outcome.token for outcome in outcomes if outcome.refused}
    assert refused == {20, 40}
    topic.wait_for("xqc", 58)
    assert topic.ids("xqc") == [f"id-{number}" for number in range(60) if number not in refused]
    sink.close(1)


def test_a_record_over_the_clients_own_limit_is_refused_too(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    sink = sink_for(tmp_path, topic, broker)
    connect(sink)
    sink.send(record(1, size=1_200_000), 1)
    sink.send(record(2), 2)
    assert {outcome.token: outcome.refused is None for outcome in collect(sink, 2)} == {1: False, 2: True}
    sink.close(1)


def test_what_is_sent_together_goes_out_in_one_request(
    tmp_path: Path, topic: KafkaReader, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    send = GatheringClient.send

    def counted(client: GatheringClient, node_id: Any, request: Any, **more: Any) -> Any:
        asked.append(type(request).__name__)
        return send(client, node_id, request, **more)

    monkeypatch.setattr(GatheringClient, "send", counted)
    sink = sink_for(tmp_path, topic, broker, producer_options={"metadata_max_age_ms": 600_000})
    connect(sink)
    channels = [f"channel{number}" for number in range(12)]
    for round_ in range(2):
        asked.clear()
        with sink.together():
            for channel in channels:
                sink.send(record(round_, channel), None)
                # The other thread gets its turn.
                time.sleep(0.005)
        collect(sink, len(channels))
    assert asked == ["ProduceRequest"]
    sink.close(1)
    for channel in channels:
        topic.wait_for(channel, 2)
    assert len({topic.by_channel[channel][0].partition for channel in channels}) > 1


def test_what_kafka_python_gives_up_is_sent_again_and_is_there_once(tmp_path: Path, own: Broker) -> None:
    """Away for longer than the delivery time-out; the frozen broker still has the requests and takes them."""
    topic = KafkaReader(own.address, "given-up")
    sink = sink_for(
        tmp_path,
        topic,
        own.address,
        replace_after_seconds=0.0,
        producer_options={"delivery_timeout_ms": 2500, "request_timeout_ms": 1000},
    )
    connect(sink)
    sink.send(record(0), 0)
    collect(sink, 1)
    own.freeze()
    for number in range(1, 200):
        sink.send(record(number), number)
    collect(sink, 1000, until=lambda: bool(sink._failed) or not sink.connected)
    for number in range(200, 300):
        sink.send(record(number), number)
    own.thaw()

    def look_after() -> bool:
        # Having given up one batch kafka-python sometimes never gets around to the others.
        sink.look_after()
        return False

    collect(sink, 299, until=look_after)
    topic.wait_for("xqc", 300)
    topic.poll()
    assert topic.ids("xqc") == [f"id-{number}" for number in range(300)]
    sink.close(1)
    topic.close()


def test_a_connection_over_which_nothing_is_taken_is_made_anew_and_nothing_is_there_twice(
    tmp_path: Path, topic: KafkaReader, broker: str
) -> None:
    sink = sink_for(tmp_path, topic, broker, replace_after_seconds=0.0)
    connect(sink)
    for number in range(50):
        sink.send(record(number), number)
    collect(sink, 50)
    producer = sink._connection.producer
    assert producer is not None
    # From here on its batches end nowhere.
    producer._sender._create_produce_requests = lambda _batches: {}
    for number in range(50, 100):
        sink.send(record(number), number)

    def given_up() -> bool:
        sink.look_after()
        return not sink.connected

    assert collect(sink, 50, until=given_up) == []
    collect(sink, 50)
    topic.wait_for("xqc", 100)
    topic.poll()
    assert topic.ids("xqc") == [f"id-{number}" for number in range(100)]
    sink.close(1)


def test_records_of_the_day_before_are_there_once_and_in_order_when_the_broker_dies_under_them(
    tmp_path: Path, own: Broker
) -> None:
    topic = KafkaReader(own.address, "old-records")
    sink = sink_for(tmp_path, topic, own.address)
    count = 20_000
    connect(sink)
    topic.poll()
    for number in range(count):
        sink.send(record(number, days_ago=2), number)
    topic.wait_for("xqc", 1)
    own.kill()
    own.start_soon()
    looked_at = 0.0

    def look() -> bool:
        nonlocal looked_at
        if time.monotonic() >= looked_at + 1:
            looked_at = time.monotonic()
            sink.look_after()
        return False

    collect(sink, count, until=look)
    topic.wait_for("xqc", count)
    topic.poll()
    assert topic.ids("xqc") == [f"id-{number}" for number in range(count)]
    sink.close(1)
    topic.close()


def test_no_broker_is_one_line_that_names_the_setting(tmp_path: Path, topic: KafkaReader) -> None:
    sink = sink_for(tmp_path, topic, "127.0.0.1:1")
    with pytest.raises(KafkaUnavailable, match="KAFKA_BROKERS") as caught:
        connect(sink)
    assert "\n" not in str(caught.value)


def _murmur2_partition(key: bytes, partitions: int) -> int:
    """Java's murmur2, written anew from its source for the comparison."""
    multiplier, mask = 0x5BD1E995, 0xFFFFFFFF
    value = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * multiplier & mask
        value = value * multiplier & mask ^ ((word ^ word >> 24) * multiplier & mask)
    rest = key[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions
