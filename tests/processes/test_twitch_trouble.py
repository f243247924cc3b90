"""Twitch at its worst, seen from the topic: each message once and in order."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import start
from tests.processes.test_reader import ReaderProcess

FIRST = "first"
MEBIBYTE = 1024 * 1024


def numbered(channel: str, count: int, name: str) -> list[bytes]:
    return [chat_line(channel, f"message {number}", id=f"{name}-{number}") for number in range(count)]


def ids_of(count: int, name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(count)]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ReaderProcess]:
    folder = tmp_path / "project"
    folder.mkdir()
    reader = ReaderProcess(folder)
    try:
        yield reader
    finally:
        reader.end()


@pytest.fixture
def two_readers(service: Service, twitch: FakeTwitch, topic: KafkaReader) -> Service:
    service.environment["READERS_PER_CHANNEL"] = "2"
    service.set_channels("alpha")
    service.start()
    twitch.wait_joined("alpha", count=2, timeout=30)
    # Before Kafka is there the producer works otherwise.
    topic.wait_for_ids("alpha", {twitch.chat("alpha", "first", id=FIRST)})
    return service


def wait_replaced(twitch: FakeTwitch, logins: int) -> None:
    """Until so many logins were made and just two connections are in the channel."""
    twitch.wait_logins(logins, timeout=20)
    twitch.wait_for(
        lambda: twitch.members("alpha") == 2 and max(one.connection for one in twitch.joins) == logins,
        20,
        "two connections in the channel, the new one among them",
    )


def test_a_channel_that_never_answers_is_said_and_its_neighbour_is_not_touched(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    twitch.behaviour.mute_channels.add("ghost")
    service.set_channels("alpha", "ghost")
    service.start()
    twitch.wait_joined("alpha", timeout=30)
    twitch.wait_for(lambda: "ghost" in [join.channel for join in twitch.joins], 10, "a JOIN of the mute one")
    service.wait_running("reader-alpha", "reader-ghost")
    before = service.pids()
    flow = Flow(twitch, "alpha", per_second=50)
    wait_until(
        lambda: (
            "not in #ghost: no answer to the JOIN, does the channel exist?; next attempt in"
            in service.log("reader-ghost")
        ),
        service.logs,
    )
    ids = flow.finish()
    topic.wait_for("alpha", len(ids))
    assert topic.ids("alpha") == ids
    assert service.pids() == before
    assert len(twitch.logins) == 2
    assert service.status_of("reader-ghost")["channels"]["ghost"]["joined"] is False


def test_a_burst_and_a_twitch_that_says_everything_twice_are_once_each_and_in_order(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    twitch.play("alpha", numbered("alpha", 20_000, "burst"))
    twitch.behaviour.duplicates = True
    twitch.play("alpha", numbered("alpha", 3_000, "twice"))
    flow = Flow(twitch, "alpha", per_second=200)
    topic.wait_for("alpha", 23_100)
    wanted = ids_of(20_000, "burst") + ids_of(3_000, "twice") + flow.finish()
    topic.wait_for("alpha", len(wanted))
    topic.poll()
    assert topic.ids("alpha") == wanted


def test_overlapping_messages_at_reconnects_are_once_each_and_in_order(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    topic.wait_for_ids("alpha", {twitch.chat("alpha", "first", id=FIRST)})
    flow = Flow(twitch, "alpha", per_second=500)
    for number in range(1, 4):
        topic.wait_for("alpha", number * 200)
        twitch.reconnect(close_after=3.0)
        twitch.wait_logins(number + 1)
        twitch.wait_closed(number)
    topic.wait_for("alpha", len(topic.ids("alpha")) + 200)
    ids = [FIRST, *flow.finish()]
    topic.wait_for("alpha", len(ids))
    topic.poll()
    assert topic.ids("alpha") == ids
    assert service.log("reader-alpha").count("Twitch asks to reconnect") == 3


def test_a_flood_that_cannot_be_read_is_counted_and_costs_neither_log_nor_memory(
    reader: ReaderProcess,
) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        first = twitch.chat("alpha", "before")
        reader.wait_for_ids(first)
        (process,) = (one for one in psutil.Process().children() if "workers.reader" in one.cmdline())
        before = process.memory_info().rss
        broken = [b":a!a@a PRIVMSG #alpha", b":x", b"PRIVMSG #alpha :no sender", b"@" + b"\xff" * 500]
        twitch.send("alpha", *itertools.islice(itertools.cycle(broken), 50_000))
        last = twitch.chat("alpha", "after")
        reader.wait_for_ids(last)
        status = reader.folder / "run" / "status" / "reader-alpha.json"
        wait_until(
            lambda: sum(json.loads(status.read_bytes())["channels"]["alpha"]["rejected"].values()) == 50_000,
            status.read_text,
        )
        assert process.memory_info().rss - before < 30 * MEBIBYTE
        assert reader.ids == [first, last]
        assert "lines could not be read" in reader.log
        assert len(reader.log.splitlines()) < 15
        assert len(twitch.logins) == 1


def test_of_two_readers_one_may_be_killed_or_told_to_reconnect_and_nothing_is_missing(
    two_readers: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    two_readers.wait_running("reader-alpha", "reader-alpha-2", "producer")
    flow = Flow(twitch, "alpha", per_second=100)
    for logins, program in ((3, "reader-alpha"), (4, "reader-alpha-2")):
        psutil.Process(two_readers.pids()[program]).kill()
        wait_replaced(twitch, logins)
    # The oldest connection only.
    twitch.play("alpha", [":tmi.twitch.tv RECONNECT"], rewrite_channel=False, each_member=False)
    wait_replaced(twitch, 5)
    ids = [FIRST, *flow.finish()]
    topic.wait_for_ids("alpha", set(ids))
    topic.poll()
    assert topic.ids("alpha") == ids


def test_what_one_of_two_connections_leaves_out_comes_by_the_other(
    two_readers: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    leaky = twitch.in_channel("alpha")[0]
    twitch.drop_every(5, connection=leaky.number)
    twitch.play("alpha", numbered("alpha", 2_000, "leaky"))
    topic.wait_for_ids("alpha", set(ids_of(2_000, "leaky")))
    topic.poll()
    assert leaky.dropped == 400
    assert sorted(topic.ids("alpha")) == sorted([FIRST, *ids_of(2_000, "leaky")])
