"""Following a real topic: each record once and in order, whatever becomes of the topic."""

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import settings
from shared.errors import KafkaUnavailable
from shared.paths import Paths
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader
from tests.processes.kafka_writer import KafkaWriter
from tests.processes.service import wait_until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient, TopicPartition

    from workers.kafka_follow import KafkaFollower


class Follower:
    """What a follower has given, as the values in their order."""

    def __init__(self, broker: str, topic: str, from_beginning: bool = False) -> None:
        names = {"KAFKA_BROKERS": broker}
        self.follower = KafkaFollower(settings.load(Paths(Path("/")), names), topic, from_beginning)
        self.values: list[str] = []

    def poll(self) -> int:
        """How many there are now."""
        self.values += [(one.value or b"").decode() for one in self.follower.poll()]
        return len(self.values)

    def misses_the_topic(self) -> bool:
        self.poll()
        return not self.follower.topic_exists

    def expect(self, *values: str) -> None:
        """All of these in this order, and when they are there nothing else."""

        wait_until(lambda: self.poll() >= len(values), lambda: f"{values}, there are {self.values}", 60)
        self.poll()
        assert self.values == list(values)


@pytest.fixture
def writer(broker: str, topic: KafkaReader) -> Iterator[KafkaWriter]:
    writer = KafkaWriter(broker, topic.topic)
    yield writer
    writer.close()


@pytest.fixture
def follower(broker: str, topic: KafkaReader) -> Iterator[Follower]:
    follower = Follower(broker, topic.topic)
    yield follower
    follower.follower.close()


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


def write(writer: KafkaWriter, *values: str, partition: int = 0) -> None:
    for value in values:
        writer.write(value.encode(), partition=partition)


def test_from_the_end_is_what_comes_after_the_first_contact(writer: KafkaWriter, follower: Follower) -> None:
    writer.make_topic()
    write(writer, "old")
    follower.poll()
    assert follower.follower.topic_exists
    write(writer, "new")
    follower.expect("new")


def test_more_records_than_one_answer_holds_come_all_and_in_order(writer: KafkaWriter) -> None:
    writer.make_topic(partitions=1)
    values = [f"{number} {'x' * 5000}" for number in range(700)]
    write(writer, *values)
    follower = Follower(writer.broker, writer.topic, from_beginning=True)
    follower.expect(*values)
    follower.follower.close()


def test_watching_a_topic_does_not_make_it(writer: KafkaWriter, follower: Follower) -> None:
    follower.poll()
    follower.poll()
    assert not follower.follower.topic_exists
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = KafkaAdminClient(bootstrap_servers=writer.broker)
        assert writer.topic not in admin.list_topics()
        admin.close()
    assert follower.follower._consumer._cluster.config["allow_auto_create_topics"] is False


def test_partitions_that_are_added_are_read_from_their_beginning(
    writer: KafkaWriter, follower: Follower
) -> None:
    writer.make_topic(partitions=1)
    write(writer, "old")
    follower.poll()
    writer.add_partitions(2)
    write(writer, *numbers(0, 50), partition=1)
    follower.expect(*numbers(0, 50))
    write(writer, "more", partition=0)
    follower.expect(*numbers(0, 50), "more")


@pytest.mark.parametrize("records", [3, 30])
def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    writer: KafkaWriter, follower: Follower, records: int
) -> None:
    writer.make_topic(partitions=1)
    follower.poll()
    write(writer, *numbers(0, 10))
    follower.expect(*numbers(0, 10))
    # Less, and more, than the old one had.
    writer.remove_topic()
    wait_until(follower.misses_the_topic, "the topic is gone")
    writer.make_topic(partitions=1)
    write(writer, *numbers(100, 100 + records))
    follower.expect(*numbers(0, 10), *numbers(100, 100 + records))


def test_it_goes_on_behind_what_kafka_has_deleted(writer: KafkaWriter, follower: Follower) -> None:
    writer.make_topic(partitions=1)
    follower.poll()
    write(writer, "first")
    follower.expect("first")
    # As an outage does.
    follower.follower.close()
    write(writer, *numbers(0, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = KafkaAdminClient(bootstrap_servers=writer.broker)
        admin.delete_records({TopicPartition(writer.topic, 0): 15})
        admin.close()
    follower.expect("first", *numbers(14, 20))


def test_it_goes_on_at_the_end_where_kafka_has_lost_its_newest_records(
    writer: KafkaWriter, follower: Follower
) -> None:
    writer.make_topic(partitions=1)
    write(writer, *numbers(0, 10))
    follower.poll()
    # It has seen more than there is now.
    follower.follower.close()
    follower.follower._next[0] = 50
    follower.poll()
    write(writer, "new")
    follower.expect("new")


def test_without_a_broker_it_says_so_leaves_nothing_behind_and_keeps_its_place(own: Broker) -> None:
    writer = KafkaWriter(own.address, "follow-outage")
    writer.make_topic(partitions=1)
    follower = Follower(own.address, writer.topic)
    follower.poll()
    write(writer, "before")
    follower.expect("before")
    own.freeze()
    with pytest.raises(KafkaUnavailable, match="no answer for 4 s"):
        while True:
            follower.poll()
    threads = threading.active_count()
    for _ in range(2):
        with pytest.raises(KafkaUnavailable, match="KAFKA_BROKERS"):
            follower.poll()
    assert threading.active_count() == threads
    own.thaw()
    write(writer, "after")

    def is_back() -> bool:
        # After so long the cluster has to take the broker in again, and says until then that it has none.
        try:
            return follower.poll() == 2
        except KafkaUnavailable:
            return False

    wait_until(is_back, lambda: str(follower.values), 60)
    follower.expect("before", "after")
    follower.follower.close()
    writer.close()
