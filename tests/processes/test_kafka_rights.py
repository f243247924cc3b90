"""What somebody is told who may not do everything with Kafka, on a real broker with access rules."""

import time
import warnings
from typing import Any

import msgspec
import pytest
from loguru import logger

from shared import settings
from shared.errors import KafkaUnavailable
from shared.paths import Paths
from shared.seen_ids import key_of
from shared.settings import Settings
from tests.processes.test_kafka_security import SecureBroker, secure
from tests.processes.test_kafka_sink import collect, connect, record

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient
    from kafka.admin import (
        ACL,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ResourcePattern,
        ResourceType,
    )

    from workers import kafka_tail, kafka_trial
    from workers.kafka_follow import KafkaFollower
    from workers.kafka_sink import KafkaSink

__all__ = ["secure"]


def as_writer(secure: SecureBroker, topic: str, **more: str) -> Settings:
    """The settings of somebody without any right that was not given."""
    names = {
        "KAFKA_BROKERS": f"127.0.0.1:{secure.sasl}",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "writer",
        "KAFKA_SASL_PASSWORD": "writer-password",
        "KAFKA_TOPIC_CHAT_MESSAGES": topic,
    }
    return settings.load(Paths(secure.folder), names | more)


def admin_of(secure: SecureBroker) -> Any:
    return KafkaAdminClient(
        bootstrap_servers=f"127.0.0.1:{secure.ssl}", security_protocol="SSL", ssl_cafile=str(secure.cafile)
    )


def test_who_may_not_make_topics_is_told_so_and_can_be_told_apart(secure: SecureBroker) -> None:
    configured = as_writer(secure, "forbidden")
    assert kafka_trial.reach(configured) == 1
    with pytest.raises(kafka_trial.KafkaNotAllowed, match="may not make topics"):
        kafka_trial.write_and_read_back(configured, "forbidden")


def test_a_topic_that_may_not_be_looked_up_is_told_apart_from_none(secure: SecureBroker) -> None:
    with pytest.raises(kafka_trial.KafkaNotAllowed, match="allow DESCRIBE"):
        kafka_trial.describe_topic(as_writer(secure, "forbidden"), "forbidden")


def test_a_retention_that_may_not_be_seen_is_none(secure: SecureBroker) -> None:
    secure.allow_to_write("writer", "described")
    expected = kafka_trial.TopicFacts(partitions=3, replication=1, retention_ms=None)
    assert kafka_trial.describe_topic(as_writer(secure, "described"), "described") == expected


def test_who_may_make_topics_and_not_remove_them_learns_which_one_is_left(secure: SecureBroker) -> None:
    admin = admin_of(secure)
    pattern = ResourcePattern(ResourceType.TOPIC, "kept.", ACLResourcePatternType.PREFIXED)
    operations = (ACLOperation.CREATE, ACLOperation.DESCRIBE, ACLOperation.READ, ACLOperation.WRITE)
    allow = ACLPermissionType.ALLOW
    admin.create_acls([ACL("User:writer", "*", operation, allow, pattern) for operation in operations])
    with pytest.raises(kafka_trial.KafkaNotAllowed, match=r"remove topic kept\.doctor-\w+ by hand"):
        kafka_trial.write_and_read_back(as_writer(secure, "kept"), "kept")
    assert [name for name in admin.list_topics() if name.startswith("kept.")]
    admin.close()


def test_a_wrong_password_is_one_line_that_does_not_show_it(secure: SecureBroker) -> None:
    configured = as_writer(secure, "forbidden", KAFKA_SASL_PASSWORD="wrong-password")
    with pytest.raises(KafkaUnavailable, match="KAFKA_SASL_PASSWORD") as caught:
        kafka_trial.reach(configured)
    assert "wrong-password" not in str(caught.value)


@pytest.mark.parametrize(
    ("may_describe", "setting"), [(True, "KAFKA_TOPIC_CHAT_MESSAGES"), (False, "KAFKA_TOPIC_CHAT_EVENTS")]
)
def test_a_topic_that_may_not_be_read_cannot_be_followed(
    secure: SecureBroker, may_describe: bool, setting: str
) -> None:
    topic = f"unreadable-{may_describe}".lower()
    if may_describe:
        secure.allow_to_write("writer", topic)
    follower = KafkaFollower(as_writer(secure, "another", **{setting: topic}), topic)
    end = time.monotonic() + 30
    with pytest.raises(KafkaUnavailable, match=f"may not read topic {topic}: allow READ.* and {setting}$"):
        while time.monotonic() < end:
            follower.poll()
    follower.close()


@pytest.mark.parametrize("forbidden", ["messages", "events"])
def test_of_two_topics_the_one_that_may_be_read_is_read_back(secure: SecureBroker, forbidden: str) -> None:
    topics = {kind: f"{kind}-without-{forbidden}" for kind in ("messages", "events")}
    (readable,) = (topic for kind, topic in topics.items() if kind != forbidden)
    for topic in topics.values():
        secure.allow_to_write("writer", topic)
    admin = admin_of(secure)
    pattern = ResourcePattern(ResourceType.TOPIC, readable)
    admin.create_acls([ACL("User:writer", "*", ACLOperation.READ, ACLPermissionType.ALLOW, pattern)])
    admin.close()
    configured = as_writer(secure, topics["messages"], KAFKA_TOPIC_CHAT_EVENTS=topics["events"])
    sink = KafkaSink(configured, lambda: None)
    connect(sink)
    for one in (record(1), msgspec.structs.replace(record(1), type="privmsg")):
        sink.send(one, None)
    collect(sink, 2)
    sink.close(1)
    lines: list[str] = []
    handler = logger.add(lines.append, level="WARNING", format="{message}")
    found = kafka_tail.read_tail(configured, {topic: {0: 0, 1: 0, 2: 0} for topic in topics.values()})
    logger.remove(handler)
    key = key_of("xqc", "id-1", is_event=forbidden == "messages")
    assert found.keys == {key}
    assert found.uncounted == {key: "xqc"}
    assert found.ends.keys() == {readable}
    assert len(lines) == 1
    assert lines[0].startswith(f"topic {topics[forbidden]} may not be read")
