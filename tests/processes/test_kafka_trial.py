"""What `make doctor` finds out about Kafka, on a real broker."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared import settings
from shared.errors import KafkaUnavailable
from shared.paths import Paths
from shared.settings import Settings
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient
    from kafka import errors as kafka_errors

    from workers import kafka_trial


def configured(broker: str, **more: str) -> Settings:
    return settings.load(Paths(Path("/")), {"KAFKA_BROKERS": broker} | more)


def describe(configured: Settings) -> object:
    return kafka_trial.describe_topic(configured, "trial")


def write_and_read_back(configured: Settings) -> object:
    return kafka_trial.write_and_read_back(configured, "trial")


def scratch_topics(broker: str, topic: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = KafkaAdminClient(bootstrap_servers=broker)
        found = [name for name in admin.list_topics() if name.startswith(f"{topic}.doctor-")]
        admin.close()
    return found


def test_a_broker_that_answers_is_counted(broker: str) -> None:
    assert kafka_trial.reach(configured(broker)) == 1


@pytest.mark.parametrize("attempt", [kafka_trial.reach, describe, write_and_read_back])
def test_no_broker_is_one_line_that_names_the_setting(attempt: Callable[[Settings], object]) -> None:
    with pytest.raises(KafkaUnavailable, match="KAFKA_BROKERS") as caught:
        attempt(configured("127.0.0.1:1"))
    assert "\n" not in str(caught.value)


def test_a_topic_is_described(broker: str, topic: KafkaReader) -> None:
    assert kafka_trial.describe_topic(configured(broker), topic.topic) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = KafkaAdminClient(bootstrap_servers=broker)
        plan = {"num_partitions": 5, "replication_factor": 1, "configs": {"retention.ms": "86400000"}}
        admin.create_topics({topic.topic: plan}, wait_for_metadata=True)
        admin.close()
    expected = kafka_trial.TopicFacts(partitions=5, replication=1, retention_ms=86_400_000)
    assert kafka_trial.describe_topic(configured(broker), topic.topic) == expected


@pytest.mark.parametrize("compression", ["none", "gzip", "lz4", "zstd"])
def test_a_record_makes_the_round_and_its_topic_is_removed(broker: str, compression: str) -> None:
    topic = f"trial-{compression}"
    seconds = kafka_trial.write_and_read_back(
        configured(broker, KAFKA_COMPRESSION=compression, KAFKA_REPLICATION_FACTOR="1"), topic
    )
    assert seconds > 0
    assert scratch_topics(broker, topic) == []


def test_the_longest_name_of_a_topic_has_room_for_the_trial(broker: str) -> None:
    assert kafka_trial.write_and_read_back(configured(broker), "t" * 249) > 0


def test_a_replication_factor_beyond_the_brokers_is_named(broker: str) -> None:
    with pytest.raises(KafkaUnavailable, match="too few brokers for KAFKA_REPLICATION_FACTOR=3"):
        write_and_read_back(configured(broker, KAFKA_REPLICATION_FACTOR="3"))


@pytest.mark.parametrize(
    ("error", "seen_as"),
    [(kafka_errors.KafkaTimeoutError("late"), KafkaUnavailable), (KeyboardInterrupt(), KeyboardInterrupt)],
)
@pytest.mark.parametrize("step", ["making the topic", "reading"])
def test_the_topic_is_removed_also_when_it_fails_or_is_interrupted(
    broker: str,
    topic: KafkaReader,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    seen_as: type[BaseException],
    step: str,
) -> None:
    before: list[str] = []

    def fail(*_: Any) -> None:
        before.extend(scratch_topics(broker, topic.topic))
        raise error

    def make_and_fail(admin: Any, topics: dict[str, Any]) -> None:
        make(admin, topics)
        fail()

    make = KafkaAdminClient.create_topics
    if step == "reading":
        monkeypatch.setattr(kafka_trial, "_first_record", fail)
    else:
        monkeypatch.setattr(KafkaAdminClient, "create_topics", make_and_fail)
    with pytest.raises(seen_as):
        kafka_trial.write_and_read_back(configured(broker), topic.topic)
    assert len(before) == 1
    assert scratch_topics(broker, topic.topic) == []


def test_another_record_than_was_written_is_told(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = kafka_trial._first_record
    monkeypatch.setattr(kafka_trial, "_first_record", lambda consumer: read(consumer)._replace(headers=[]))
    with pytest.raises(KafkaUnavailable, match="another record than was written"):
        write_and_read_back(configured(broker))


def test_a_topic_that_cannot_be_removed_is_named(own: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    def freeze(*_: Any) -> None:
        own.freeze()
        raise kafka_errors.KafkaTimeoutError("late")

    monkeypatch.setattr(kafka_trial, "_first_record", freeze)
    with pytest.raises(
        KafkaUnavailable, match=r"topic frozen\.doctor-[0-9a-f]{8}, made for a trial, could not"
    ):
        kafka_trial.write_and_read_back(configured(own.address), "frozen")
    own.thaw()
