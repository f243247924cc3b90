"""How to reach Kafka: the options of every client, the topic, and what to do about a failure."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.net import KafkaNetClient
from loguru import logger

from shared.errors import KafkaUnavailable
from shared.settings import Settings

CONNECT_SECONDS = 4.0
REQUEST_SECONDS = 15.0

_Client = TypeVar("_Client")
_Result = TypeVar("_Result")


def connection_options(settings: Settings) -> dict[str, Any]:
    """The options that producer, consumer and admin client share."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.kafka_addresses),
        "client_id": settings.kafka_client_id,
        "security_protocol": settings.kafka_security_protocol,
        # Only the bootstrap knows this limit; without it an absent broker would block half a minute.
        "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
        "request_timeout_ms": int(REQUEST_SECONDS * 1000),
        "reconnect_backoff_max_ms": 1000,
    }
    if settings.kafka_ssl_cafile:
        options["ssl_cafile"] = settings.kafka_ssl_cafile
    if settings.kafka_sasl_mechanism and settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password
    return options


def looking_options(settings: Settings) -> dict[str, Any]:
    """The options of a consumer that looks through topics and leaves no trace of it."""
    return connection_options(settings) | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "max_poll_records": 5000,
        "metrics_enabled": False,
    }


def open_client(kind: Callable[..., _Client], options: dict[str, Any]) -> _Client:
    """A client of kafka-python. Raises what it raises.

    One that finds no broker would leave a thread and three descriptors behind at every attempt.
    """
    parts: list[KafkaNetClient] = []

    def part(**more: Any) -> KafkaNetClient:
        parts.append(KafkaNetClient(**more))
        return parts[-1]

    try:
        return kind(**options, kafka_client=part)
    except BaseException:
        for one in parts:
            one.close()
        raise


def ensure_topics(settings: Settings) -> None:
    """Make those topics that are missing. Blocks for some seconds. Raises what kafka-python raises."""
    admin = open_client(KafkaAdminClient, connection_options(settings))
    try:
        for topic in settings.topics:
            _ensure_topic(admin, topic, settings)
    finally:
        admin.close()


def _ensure_topic(admin: KafkaAdminClient, topic: str, settings: Settings) -> None:
    retention = settings.kafka_topic_retention_ms
    try:
        topics = admin.describe_topics([topic])
        if topics and not topics[0].get("error_code"):
            return
        admin.create_topics(
            {
                topic: {
                    "num_partitions": settings.kafka_topic_partitions,
                    "replication_factor": settings.kafka_replication_factor or -1,
                    "configs": {} if retention is None else {"retention.ms": str(retention)},
                }
            },
            wait_for_metadata=True,
        )
        logger.info("topic {} created with {} partitions", topic, settings.kafka_topic_partitions)
    except kafka_errors.TopicAlreadyExistsError:
        pass
    except kafka_errors.AuthorizationError as error:
        # Whoever may only write must not fail here: the topic may well be there.
        logger.warning("topic {} could not be looked up or created: {}", topic, describe(error))


def or_unavailable(settings: Settings, work: Callable[[], _Result]) -> _Result:
    """What ``work`` gives; KafkaUnavailable, whose text says what to do, for what kafka-python raises."""
    try:
        return work()
    except (kafka_errors.KafkaError, OSError, ValueError, RuntimeError) as error:
        raise KafkaUnavailable(_advice(settings, error)) from None


def in_thread(work: Callable[[], _Result], wake: Callable[[], None]) -> "Future[_Result]":
    """Run ``work``, which blocks, beside the loop; ``wake`` is called from its thread at the end."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - the loop gets it with the result
            future.set_exception(error)
        wake()

    # A daemon: an attempt that hangs must not hold up the end of the process.
    threading.Thread(target=run, name="kafka", daemon=True).start()
    return future


def count_partitions(partitions: set[int] | None) -> int:
    """How many there are. Raises UnknownTopicOrPartitionError for none."""
    if not partitions:
        raise kafka_errors.UnknownTopicOrPartitionError("the topic has no partition that can be seen")
    return len(partitions)


def describe(error: BaseException) -> str:
    """An error of kafka-python in one line."""
    if isinstance(error, kafka_errors.MetadataEmptyBrokerList):
        # Its text is the whole answer. A broker that was away for over nine seconds gives it at first.
        return "the cluster has no broker that is ready"
    text = " ".join(str(error).split())[:300]
    return text if text.startswith(type(error).__name__) else f"{type(error).__name__}: {text}"


def _advice(settings: Settings, error: BaseException) -> str:
    addresses = ", ".join(settings.kafka_addresses)
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return (
            f"Kafka at {addresses} refuses the login: check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD "
            f"and KAFKA_SASL_MECHANISM ({describe(error)})"
        )
    if settings.kafka_is_embedded:
        return (
            f"the embedded Kafka at {addresses} does not answer yet ({describe(error)}); see logs/kafka.log"
        )
    protocol = settings.kafka_security_protocol
    names = ["KAFKA_BROKERS", "KAFKA_SECURITY_PROTOCOL"]
    # kafka-python reports a refused login or certificate as a bootstrap that took too long.
    if protocol.startswith("SASL"):
        names += ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM"]
    if protocol.endswith("SSL"):
        names.append("KAFKA_SSL_CAFILE")
    return (
        f"Kafka at {addresses} cannot be used ({describe(error)}): check that the broker runs, and "
        + ", ".join(names)
    )
