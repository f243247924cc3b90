"""The edge to Kafka, and the only importer of kafka-python.

Records go out in the order in which they came, per channel, through every kind of trouble: kafka-python
retries what is on its way without end and idempotently; what it gives up all the same is sent again here,
before anything newer.
"""

import functools
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2
from loguru import logger

from shared.chat_message import ChatRecord
from shared.errors import KafkaUnavailable
from shared.settings import Settings
from shared.timing import Backoff

MAX_RECORDS = 20_000
MAX_BYTES = 32 * 1024 * 1024
_RECORD_OVERHEAD_BYTES = 500
CONNECT_SECONDS = 4.0
PARTITIONS_CHECK_SECONDS = 10.0
# About 24 days: an outage ends by Kafka's return, never by a time-out that would forget messages.
_NO_DELIVERY_TIMEOUT_MS = 2**31 - 1
# Kafka refuses these for what they are; sending them again cannot help.
_REFUSED_FOR_GOOD = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidTimestampError,
    kafka_errors.InvalidRecordError,
)


class Outcome:
    """One record that is done: ``refused`` says why Kafka will never take it, None that Kafka has it."""

    __slots__ = ("record", "refused", "token")

    def __init__(self, record: ChatRecord, token: Any, refused: str | None) -> None:
        self.record = record
        self.token = token
        self.refused = refused


class _Entry:
    __slots__ = ("alone", "index", "reached_kafka", "record", "size", "token")

    def __init__(self, index: int, record: ChatRecord, token: Any) -> None:
        self.index = index
        self.record = record
        self.token = token
        self.size = len(record.value) + _RECORD_OVERHEAD_BYTES
        # Whether it must travel by itself: a batch is refused as a whole for one bad record.
        self.alone = False
        self.reached_kafka = True


class KafkaSink:
    """Sends records to one topic and tells what became of each.

    One thread calls the methods; ``wake`` is called from kafka-python's thread when ``collect`` has
    something to give. ``clock`` gives monotonic seconds.
    """

    def __init__(
        self, settings: Settings, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic_chat_messages
        self._wake = wake
        self._clock = clock
        self._producer: KafkaProducer | None = None
        self._partition_count = 0
        self._partitions: dict[str, int] = {}
        self._partitions_checked_at = 0.0
        self._keys: dict[str, bytes] = {}
        # Filled by kafka-python's thread; a deque's append and popleft need no lock.
        self._completions: deque[tuple[_Entry, BaseException | None]] = deque()
        self._next_index = 0
        self._on_their_way = 0
        self._alone_on_its_way = False
        self._failed: list[_Entry] = []
        self._held: deque[_Entry] = deque()
        self._retry_at = 0.0
        self._retry_backoff = Backoff(first=0.2, longest=5.0)
        self._records = 0
        self._bytes = 0
        self._quiet_since = 0.0

    @property
    def connected(self) -> bool:
        """True after a successful ``connect``; kafka-python sees to its connections from then on."""
        return self._producer is not None

    @property
    def pending(self) -> int:
        """Records that were sent and are not done."""
        return self._records

    @property
    def full(self) -> bool:
        """True while no more should be sent: kafka-python itself has no bound."""
        return self._records >= MAX_RECORDS or self._bytes >= MAX_BYTES

    @property
    def has_room(self) -> bool:
        """True while it is half empty: from ``full`` until then nothing should be taken in."""
        return self._records <= MAX_RECORDS // 2 and self._bytes <= MAX_BYTES // 2

    def silent_seconds(self) -> float:
        """For how long Kafka has acknowledged nothing although records wait; 0.0 when none wait."""
        return self._clock() - self._quiet_since if self._records else 0.0

    def connect(self) -> None:
        """Find a broker and the topic, and make the topic when it is missing.

        Blocks for some seconds at most. Raises KafkaUnavailable, whose text says what to do.
        """
        try:
            self._ensure_topic()
            producer = KafkaProducer(**self._connection_options(), **self._producer_options())
            try:
                self._partition_count = _count(producer.partitions_for(self._topic))
            except BaseException:
                producer.close(timeout=0)
                raise
        except (kafka_errors.KafkaError, OSError, ValueError, RuntimeError) as error:
            raise KafkaUnavailable(self._advice(error)) from None
        self._producer = producer
        self._partitions.clear()
        self._quiet_since = self._clock()

    def send(self, record: ChatRecord, token: Any) -> None:
        """Take a record over; ``collect`` gives ``token`` back with the outcome."""
        entry = _Entry(self._next_index, record, token)
        self._next_index += 1
        if not self._records:
            self._quiet_since = self._clock()
        self._records += 1
        self._bytes += entry.size
        if self._held or self._failed or self._alone_on_its_way or self._producer is None:
            self._held.append(entry)
        else:
            self._transmit(entry)

    def collect(self) -> list[Outcome]:
        """What is done since the last call; also sends again what failed, when it is time to."""
        outcomes = []
        completions = self._completions
        while completions:
            entry, error = completions.popleft()
            self._on_their_way -= 1
            if entry.alone:
                self._alone_on_its_way = False
            if error is None:
                outcomes.append(self._done(entry, None))
            elif isinstance(error, _REFUSED_FOR_GOOD) and entry.alone:
                outcomes.append(self._done(entry, _describe(error)))
                if entry.reached_kafka:
                    # An idempotent producer of kafka-python that was refused a batch fails everything from
                    # then on with the same error.
                    self.close(timeout_seconds=0)
            else:
                self._fail(entry, error)
        if self._failed and not self._on_their_way:
            self._hold_failed()
        if self._held and not self._failed and self._clock() >= self._retry_at:
            self._send_held()
        return outcomes

    def due_seconds(self) -> float | None:
        """Seconds until ``collect`` has something to do without being woken; None for no such time."""
        if self._held and not self._on_their_way:
            return max(0.0, self._retry_at - self._clock())
        return None

    def follow_partitions(self) -> None:
        """Notice partitions that were added: Java's partitioner gives keys anew from then on."""
        now = self._clock()
        if self._producer is None or now - self._partitions_checked_at < PARTITIONS_CHECK_SECONDS:
            return
        self._partitions_checked_at = now
        try:
            count = _count(self._producer.partitions_for(self._topic))
        except kafka_errors.KafkaError:
            return
        if count != self._partition_count:
            logger.warning(
                "topic {} has {} partitions now, {} before: channels may change their partition",
                self._topic,
                count,
                self._partition_count,
            )
            self._partition_count = count
            self._partitions.clear()

    def close(self, timeout_seconds: float) -> None:
        """Leave Kafka. What is still on its way is not waited for: flush by ``collect`` first."""
        if self._producer is None:
            return
        try:
            self._producer.close(timeout=timeout_seconds)
        except kafka_errors.KafkaError as error:
            # kafka-python raises here when the broker is away; there is nothing left to save.
            logger.debug("kafka: close: {}", error)
        self._producer = None

    def _ensure_topic(self) -> None:
        # Only the bootstrap knows this limit; without it an absent broker would block half a minute.
        admin = KafkaAdminClient(**self._connection_options())
        try:
            topics = admin.describe_topics([self._topic])
            if topics and not topics[0].get("error_code"):
                return
            settings = self._settings
            retention = settings.kafka_topic_retention_ms
            admin.create_topics(
                {
                    self._topic: {
                        "num_partitions": settings.kafka_topic_partitions,
                        "replication_factor": settings.kafka_replication_factor or -1,
                        "configs": {} if retention is None else {"retention.ms": str(retention)},
                    }
                },
                wait_for_metadata=True,
            )
            logger.info("topic {} created with {} partitions", self._topic, settings.kafka_topic_partitions)
        except kafka_errors.TopicAlreadyExistsError:
            pass
        except kafka_errors.AuthorizationError as error:
            # Whoever may only write must not fail here: the topic may well be there.
            logger.warning("topic {} could not be looked up or created: {}", self._topic, _describe(error))
        finally:
            admin.close()

    def _connection_options(self) -> dict[str, Any]:
        settings = self._settings
        options: dict[str, Any] = {
            "bootstrap_servers": list(settings.kafka_addresses),
            "client_id": settings.kafka_client_id,
            "security_protocol": settings.kafka_security_protocol,
            "bootstrap_timeout_ms": int(CONNECT_SECONDS * 1000),
            "request_timeout_ms": 15_000,
            "reconnect_backoff_max_ms": 1000,
        }
        if settings.kafka_ssl_cafile:
            options["ssl_cafile"] = settings.kafka_ssl_cafile
        if settings.kafka_sasl_mechanism and settings.kafka_security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = settings.kafka_sasl_mechanism
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = settings.kafka_sasl_password
        return options

    def _producer_options(self) -> dict[str, Any]:
        compression = self._settings.kafka_compression
        return {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if compression == "none" else compression,
            "delivery_timeout_ms": _NO_DELIVERY_TIMEOUT_MS,
            "max_block_ms": 2000,
            "batch_size": 128 * 1024,
            "linger_ms": 2,
            "metadata_max_age_ms": 30_000,
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }

    def _transmit(self, entry: _Entry) -> None:
        record = entry.record
        channel = record.channel
        key = self._keys.get(channel)
        if key is None:
            key = self._keys[channel] = channel.encode()
        self._on_their_way += 1
        self._alone_on_its_way = entry.alone
        try:
            if self._producer is None:
                raise kafka_errors.KafkaConnectionError("not connected")
            partition = self._partitions.get(channel)
            if partition is None:
                partition = self._partitions[channel] = (murmur2(key) & 0x7FFFFFFF) % self._partition_count
            future = self._producer.send(
                self._topic,
                value=record.value,
                key=key,
                headers=_headers(record),
                partition=partition,
                timestamp_ms=record.timestamp_ms,
            )
        except (kafka_errors.KafkaError, ValueError, AssertionError) as error:
            if isinstance(error, _REFUSED_FOR_GOOD):
                # It never met another record, so the refusal is its own.
                entry.alone = True
                entry.reached_kafka = False
            self._completed(entry, error)
            return
        future.add_callback(functools.partial(self._completed_well, entry))
        future.add_errback(functools.partial(self._completed, entry))

    def _completed_well(self, entry: _Entry, _metadata: object) -> None:
        self._completed(entry, None)

    def _completed(self, entry: _Entry, error: BaseException | None) -> None:
        self._completions.append((entry, error))
        self._wake()

    def _done(self, entry: _Entry, refused: str | None) -> Outcome:
        self._records -= 1
        self._bytes -= entry.size
        self._quiet_since = self._clock()
        if not self._failed:
            self._retry_backoff.reset()
        return Outcome(entry.record, entry.token, refused)

    def _fail(self, entry: _Entry, error: BaseException) -> None:
        if not self._failed:
            logger.log(
                "DEBUG" if isinstance(error, _REFUSED_FOR_GOOD) else "WARNING",
                "kafka: {}; what it did not take is sent again in order",
                _describe(error),
            )
        entry.alone = isinstance(error, _REFUSED_FOR_GOOD)
        self._failed.append(entry)

    def _hold_failed(self) -> None:
        """Put the failed before the held, in the order in which they came, now that nothing is on its way."""
        self._failed.sort(key=lambda entry: entry.index)
        only_refused = all(entry.alone for entry in self._failed)
        self._held.extendleft(reversed(self._failed))
        self._failed = []
        self._retry_at = self._clock()
        if not only_refused:
            self._retry_at += self._retry_backoff.next_seconds()
        if any(entry.reached_kafka for entry in self._held):
            # A producer that gave records up may be in a state from which it never recovers.
            self.close(timeout_seconds=0)

    def _send_held(self) -> None:
        if self._producer is None:
            try:
                self.connect()
            except KafkaUnavailable as error:
                logger.debug("{}", error)
                self._retry_at = self._clock() + self._retry_backoff.next_seconds()
                return
        while self._held and not self._alone_on_its_way:
            if self._held[0].alone and self._on_their_way:
                return
            self._transmit(self._held.popleft())

    def _advice(self, error: BaseException) -> str:
        addresses = ", ".join(self._settings.kafka_addresses)
        if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
            return (
                f"Kafka at {addresses} refuses the login: check KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD "
                f"and KAFKA_SASL_MECHANISM ({_describe(error)})"
            )
        if self._settings.kafka_is_embedded:
            return (
                f"the embedded Kafka at {addresses} does not answer yet ({_describe(error)}); "
                "see logs/kafka.log"
            )
        protocol = self._settings.kafka_security_protocol
        names = ["KAFKA_BROKERS", "KAFKA_SECURITY_PROTOCOL"]
        # kafka-python reports a refused login or certificate as a bootstrap that took too long.
        if protocol.startswith("SASL"):
            names += ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD", "KAFKA_SASL_MECHANISM"]
        if protocol.endswith("SSL"):
            names.append("KAFKA_SSL_CAFILE")
        return (
            f"Kafka at {addresses} cannot be used ({_describe(error)}): check that the broker runs, and "
            + ", ".join(names)
        )


def _count(partitions: set[int] | None) -> int:
    if not partitions:
        raise kafka_errors.UnknownTopicOrPartitionError("the topic has no partition that can be seen")
    return len(partitions)


def _headers(record: ChatRecord) -> list[tuple[str, bytes]]:
    headers = [("id", record.id.encode())] if record.id else []
    if record.source_id:
        headers.append(("source-id", record.source_id.encode()))
    if record.source_room_id:
        headers.append(("source-room-id", record.source_room_id.encode()))
    return headers


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return text if text.startswith(type(error).__name__) else f"{type(error).__name__}: {text}"
