"""Tries Kafka out, for `make doctor`. Everything here blocks, for some 15 s at most; run it in a thread."""

import contextlib
import functools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from shared.errors import KafkaUnavailable, ServiceError
from shared.settings import Settings
from shared.timing import Deadline
from workers.kafka_client import (
    connection_options,
    describe,
    looking_options,
    open_client,
    or_unavailable,
)

# One broker that hangs is met by two requests: the one that it does not answer, and the removal.
REQUEST_SECONDS = 4.0
# What Kafka allows less its own suffix of a topic.
_LONGEST_TOPIC = 249
# Should the removal fail, the broker empties it.
_SCRATCH_RETENTION_MS = 3_600_000
_KEY, _VALUE, _HEADERS = b"doctor", b'{"text":"a trial of make doctor"}', [("id", b"trial")]

_Result = TypeVar("_Result")


class KafkaNotAllowed(ServiceError):
    """Kafka answers, and does not let this user do that. Nothing is broken; retrying does not help."""


@dataclass(frozen=True)
class TopicFacts:
    """How a topic is set up. ``retention_ms`` is -1 for ever, None where this user may not see it."""

    partitions: int
    replication: int
    retention_ms: int | None


def reach(settings: Settings) -> int:
    """How many brokers there are. Raises KafkaUnavailable."""

    def work(admin: Any) -> int:
        return len(admin.describe_cluster()["brokers"])

    return _with_admin(settings, work)


def describe_topic(settings: Settings, topic: str) -> TopicFacts | None:
    """How the topic is set up; None when there is none.

    Raises KafkaUnavailable, and KafkaNotAllowed when this user may not look it up.
    """
    return _with_admin(settings, functools.partial(_describe, topic=topic))


def write_and_read_back(settings: Settings, topic: str) -> float:
    """Write a record and read it back, in a topic made for that and removed; gives the seconds between.

    That topic's name begins with ``topic``, as rights may go by the beginning of a name. Raises
    KafkaUnavailable when that does not work, and KafkaNotAllowed when this user may not make topics, or not
    use what it has made. The topic is removed whatever happens, for which the caller must let this function
    come to its end; where it cannot be removed the error's text has its name.
    """
    return _with_admin(settings, functools.partial(_try_scratch_topic, settings, topic))


def _with_admin(settings: Settings, work: Callable[[Any], _Result]) -> _Result:
    def with_admin() -> _Result:
        admin = open_client(KafkaAdminClient, _options(settings))
        try:
            return work(admin)
        finally:
            admin.close()

    return or_unavailable(settings, with_admin)


def _options(settings: Settings) -> dict[str, Any]:
    return connection_options(settings) | {"request_timeout_ms": int(REQUEST_SECONDS * 1000)}


def _describe(admin: Any, topic: str) -> TopicFacts | None:
    found = admin.describe_topics([topic])[0]
    error = kafka_errors.for_code(found["error_code"])
    if error is kafka_errors.UnknownTopicOrPartitionError:
        return None
    if issubclass(error, kafka_errors.AuthorizationError):
        raise KafkaNotAllowed(f"this user may not look up topic {topic}: allow DESCRIBE on it")
    if error is not kafka_errors.NoError:
        raise error(topic)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    configs = admin.describe_configs([resource], config_filter="all").get("topic", {}).get(topic, {})
    retention = configs.get("retention.ms", {}).get("value")
    partitions = found["partitions"]
    return TopicFacts(
        partitions=len(partitions),
        replication=min(len(partition["replica_nodes"]) for partition in partitions),
        retention_ms=None if retention is None else int(retention),
    )


def _try_scratch_topic(settings: Settings, topic: str, admin: Any) -> float:
    suffix = f".doctor-{secrets.token_hex(4)}"
    scratch = topic[: _LONGEST_TOPIC - len(suffix)] + suffix
    with _scratch_topic(settings, admin, scratch):
        admin.wait_for_topics([scratch], timeout_ms=int(REQUEST_SECONDS * 1000))
        try:
            return _round_trip(settings, scratch)
        except kafka_errors.AuthorizationError:
            raise KafkaNotAllowed(f"this user may make topic {scratch}, and not write and read it") from None


@contextlib.contextmanager
def _scratch_topic(settings: Settings, admin: Any, topic: str) -> Iterator[None]:
    """A topic while the context lasts."""
    _make(settings, admin, topic)
    try:
        yield
    finally:
        _remove(admin, topic)


def _make(settings: Settings, admin: Any, topic: str) -> None:
    replication = settings.kafka_replication_factor
    plan = {
        "num_partitions": 1,
        "replication_factor": replication or -1,
        "configs": {"retention.ms": str(_SCRATCH_RETENTION_MS)},
    }
    try:
        admin.create_topics({topic: plan})
    except kafka_errors.AuthorizationError:
        raise KafkaNotAllowed("this user may not make topics, so nothing was written") from None
    except kafka_errors.PolicyViolationError:
        raise KafkaNotAllowed("a policy of this Kafka allows no topic for a trial") from None
    except kafka_errors.InvalidReplicationFactorError:
        number = (
            f"KAFKA_REPLICATION_FACTOR={replication}" if replication else "its default replication factor"
        )
        raise KafkaUnavailable(
            f"Kafka has too few brokers for {number}: set KAFKA_REPLICATION_FACTOR to their number at most"
        ) from None
    except BaseException:
        # Who gets no answer, or does not wait for it, does not know whether it was made.
        _remove(admin, topic)
        raise


def _remove(admin: Any, topic: str) -> None:
    try:
        admin.delete_topics([topic])
    except kafka_errors.UnknownTopicOrPartitionError:
        # It was asked for, and never made.
        pass
    except kafka_errors.AuthorizationError:
        raise KafkaNotAllowed(
            f"this user may make topics, and not remove them: remove topic {topic} by hand"
        ) from None
    except (kafka_errors.KafkaError, OSError) as error:
        raise KafkaUnavailable(
            f"topic {topic}, made for a trial, could not be removed ({describe(error)}): remove it by hand"
        ) from None


def _round_trip(settings: Settings, topic: str) -> float:
    with contextlib.ExitStack() as stack:
        consumer = open_client(KafkaConsumer, looking_options(settings) | _options(settings))
        stack.callback(consumer.close)
        partition = TopicPartition(topic, 0)
        # What both ask the broker at first is no part of the way there and back.
        consumer.partitions_for_topic(topic)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        producer = open_client(KafkaProducer, _options(settings) | _producer_options(settings))
        stack.callback(_close_producer, producer)
        producer.partitions_for(topic)
        timestamp_ms = time.time_ns() // 1_000_000
        began = time.monotonic()
        sending = producer.send(topic, _VALUE, _KEY, _HEADERS, partition=0, timestamp_ms=timestamp_ms)
        sending.get(timeout=REQUEST_SECONDS)
        record = _first_record(consumer)
        seconds = time.monotonic() - began
    read = (record.key, record.value, list(record.headers), record.timestamp)
    if read != (_KEY, _VALUE, _HEADERS, timestamp_ms):
        raise KafkaUnavailable(f"Kafka gives back another record than was written: {read!r}"[:300])
    return seconds


def _producer_options(settings: Settings) -> dict[str, Any]:
    compression = settings.kafka_compression
    return {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if compression == "none" else compression,
        "delivery_timeout_ms": int(2 * REQUEST_SECONDS * 1000),
        "max_block_ms": int(REQUEST_SECONDS * 1000),
        "metrics_enabled": False,
    }


def _first_record(consumer: Any) -> Any:
    deadline = Deadline(REQUEST_SECONDS)
    while not deadline.passed():
        for records in consumer.poll(timeout_ms=int(deadline.left_seconds() * 1000)).values():
            return records[0]
    raise kafka_errors.KafkaTimeoutError("what was written cannot be read back")


def _close_producer(producer: Any) -> None:
    # It raises while the record is on its way, and then another error has come first.
    with contextlib.suppress(kafka_errors.KafkaError):
        producer.close(timeout=0)
