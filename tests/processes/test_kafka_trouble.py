"""The whole service while its broker is killed, frozen, slow, emptied: each message once and in order."""

import itertools
import resource
import signal
import time
from collections import defaultdict
from concurrent.futures import Future

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until

CHANNELS = ("alpha", "beta", "gamma")


@pytest.fixture
def broker(own: Broker) -> str:
    """The fixtures of the whole service use the one that may be broken."""
    return own.address


class Chat:
    """Messages flowing into channels, and what the topic has to hold in the end."""

    def __init__(self, twitch: FakeTwitch, first_number: int = 0) -> None:
        self.ids: dict[str, list[str]] = {}
        self._twitch = twitch
        self._playing: list[Future[None]] = []
        self._number = first_number
        for channel in CHANNELS:
            self.ids[channel] = []

    def play(self, seconds: float, per_second: int = 50) -> "Chat":
        for channel in CHANNELS:
            lines = []
            for _ in range(int(seconds * per_second)):
                self._number += 1
                lines.append(chat_line(channel, f"message {self._number}", id=f"m{self._number}"))
                self.ids[channel].append(f"m{self._number}")
            self._playing.append(self._twitch.start_playing(channel, lines, per_second=per_second))
        return self

    def wait(self) -> None:
        for playing in self._playing:
            playing.result(60)
        self._playing = []

    def assert_in(self, topic: KafkaReader) -> None:
        """Everything is there once and in order."""
        self.wait()
        for channel in CHANNELS:
            topic.wait_for_ids(channel, set(self.ids[channel]))
        topic.poll()
        for channel in CHANNELS:
            assert topic.ids(channel) == self.ids[channel]


def start(service: Service, twitch: FakeTwitch) -> Chat:
    service.set_channels(*CHANNELS)
    service.start()
    for channel in CHANNELS:
        twitch.wait_joined(channel, timeout=30)
    return Chat(twitch)


def producer(service: Service) -> psutil.Process:
    service.wait_running("producer")
    return psutil.Process(service.pids()["producer"])


def spooled(service: Service) -> int:
    try:
        return int(service.status_of("producer").get("spooled", 0))
    except FileNotFoundError:
        return 0


def wait_delivered(service: Service) -> None:
    wait_until(lambda: spooled(service) == 0, lambda: f"empty spool; {service.log('producer')}")


class ProcessorTime:
    """The share of a core that a process takes from here on."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._used, self._began = sum(process.cpu_times()[:2]), time.monotonic()

    def share(self) -> float:
        used: float = sum(self._process.cpu_times()[:2]) - self._used
        return used / (time.monotonic() - self._began)


def test_a_broker_that_is_not_there_at_the_start_is_waited_for_with_messages_on_disk(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    own.kill()
    chat = start(service, twitch)
    chat.play(2).wait()
    wait_until(lambda: spooled(service) == 300, lambda: f"300 messages in the spool, {spooled(service)}")
    wait_until(lambda: service.status_of("reader-alpha")["pending"] == 0, "nothing left in the reader")
    wait_until(lambda: "check that the broker runs" in service.log("producer"), "what to do")
    own.start()
    chat.play(1)
    chat.assert_in(topic)
    wait_delivered(service)
    assert "Traceback" not in service.logs()


def test_a_broker_that_is_killed_under_load_costs_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(8, per_second=30)
    topic.wait_for("alpha", 10)
    own.kill()
    processor_time = ProcessorTime(producer(service))
    wait_until(lambda: spooled(service) > 450, "messages in the spool")
    # A busy loop takes all of it.
    assert processor_time.share() < 0.2
    own.start()
    chat.assert_in(topic)
    wait_delivered(service)


def test_a_frozen_broker_costs_nothing_and_no_processor_time(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(14, per_second=30)
    topic.wait_for("alpha", 10)
    processor_time = ProcessorTime(producer(service))
    own.freeze()
    wait_until(lambda: spooled(service) > 600, "messages in the spool", 15)
    assert processor_time.share() < 0.2
    own.thaw()
    chat.assert_in(topic)
    wait_delivered(service)


def test_a_slow_broker_costs_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    topic.wait_for_ids("alpha", {twitch.chat("alpha", "first")})
    chat.ids["alpha"].insert(0, topic.ids("alpha")[0])
    chat.play(6, per_second=200)
    own.slow_down(8).join()
    chat.assert_in(topic)
    wait_delivered(service)


def test_a_topic_that_is_deleted_is_made_again_and_filled(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(1)
    chat.assert_in(topic)
    admin = own.admin()
    admin.delete_topics([topic.topic])
    admin.close()
    anew = KafkaReader(own.address, topic.topic)
    try:
        after = Chat(twitch, first_number=10_000)
        after.play(8)
        after.wait()
        for channel in CHANNELS:
            anew.wait_for_ids(channel, {after.ids[channel][-1]})
        wait_delivered(service)
        anew.poll()
        for channel in CHANNELS:
            # What the old topic still took went with it.
            found = anew.ids(channel)
            assert found == after.ids[channel][-len(found) :]
            assert len(found) > 200
    finally:
        anew.close()


def test_partitions_that_are_added_may_move_a_channel_once_and_lose_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(1)
    chat.assert_in(topic)
    admin = own.admin()
    admin.create_partitions({topic.topic: 7})
    admin.close()
    wait_until(lambda: "7 partitions now, 3 before" in service.log("producer"), "the warning", 30)
    chat.play(1)
    chat.wait()
    for channel in CHANNELS:
        topic.wait_for_ids(channel, set(chat.ids[channel]))
    for channel in CHANNELS:
        # Partitions are read side by side, so the order is looked at in each.
        moves: defaultdict[int, list[str]] = defaultdict(list)
        for record in topic.by_channel[channel]:
            moves[record.partition].append(dict(record.headers)["id"].decode())
        assert len(moves) <= 2
        parts = sorted(moves.values(), key=lambda ids: chat.ids[channel].index(ids[0]))
        assert [one for part in parts for one in part] == chat.ids[channel]


def test_a_producer_that_is_killed_again_and_again_doubles_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    chat = start(service, twitch)
    chat.play(10, per_second=100)
    for count in (100, 300, 500):
        topic.wait_for("alpha", count)
        killed = producer(service)
        killed.send_signal(signal.SIGKILL)
        wait_until(lambda: service.pids().get("producer") not in (None, killed.pid), "another producer")  # noqa: B023
    chat.assert_in(topic)


def test_a_producer_that_is_killed_while_the_broker_is_frozen_doubles_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(9, per_second=100)
    topic.wait_for("alpha", 100)
    own.freeze()
    wait_until(lambda: spooled(service) > 200, "messages in the spool")
    killed = producer(service)
    killed.send_signal(signal.SIGKILL)
    wait_until(lambda: service.pids().get("producer") not in (None, killed.pid), "another producer")
    wait_until(lambda: spooled(service) > 600, "more messages in the spool")
    own.thaw()
    chat.assert_in(topic)
    wait_delivered(service)


def test_a_stop_while_the_broker_is_away_loses_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(1)
    chat.assert_in(topic)
    own.kill()
    chat.play(2, per_second=100)
    chat.wait()
    wait_until(lambda: service.status_of("reader-gamma")["channels"]["gamma"]["received"] == 250, "all read")
    began = time.monotonic()
    service.shut_down()
    assert time.monotonic() - began < 10
    assert "are in the spool" in service.log("producer")
    own.start()
    service.start()
    chat.assert_in(topic)


def test_a_reader_that_stops_without_a_producer_leaves_its_rest_in_the_spool(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    chat = start(service, twitch)
    chat.play(1)
    chat.assert_in(topic)
    service.control("stop", "producer")
    chat.play(1)
    chat.wait()
    wait_until(lambda: service.status_of("reader-gamma")["pending"] == 50, "messages in the reader")
    service.set_channels("alpha", "beta")
    wait_until(lambda: "50 messages left in the spool" in service.log("reader-gamma"), "the rest left")
    service.control("start", "producer")
    chat.assert_in(topic)


def test_a_full_disk_during_an_outage_leaves_messages_with_the_readers(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    chat = start(service, twitch)
    chat.play(1)
    chat.assert_in(topic)
    process = producer(service)
    own.kill()
    # Every write of these fails from here on, as on a full disk.
    small = [process.pid, service.pids()["watchdog"]]
    for pid in small:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    chat.play(2)
    chat.wait()
    wait_until(lambda: "is the disk full" in service.log("producer"), lambda: service.log("producer"))
    assert service.status_of("reader-alpha")["pending"] == 100
    for pid in small:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: spooled(service) == 300, lambda: f"300 in the spool, {spooled(service)}")
    own.start()
    chat.assert_in(topic)
    assert producer(service).pid == process.pid


def test_memory_and_descriptors_stay_bounded_in_an_outage_of_many_messages(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, own: Broker
) -> None:
    service.environment["SPOOL_MAX_BYTES"] = str(2 * 1024 * 1024)
    chat = start(service, twitch)
    chat.play(0.2)
    chat.assert_in(topic)
    process = producer(service)
    own.kill()
    before = process.memory_info().rss
    lines = [chat_line("alpha", "x" * 400, id=f"flood-{number}") for number in range(30_000)]
    twitch.play("alpha", lines)

    def lost() -> int:
        report = service.status_of("producer")["channels"].get("alpha", {})
        return int(report.get("lost", {}).get("spool_full", 0))

    wait_until(
        lambda: service.status_of("reader-alpha")["pending"] == 0 and lost() > 0,
        "all in the spool or counted",
        60,
    )
    wait_until(lambda: lost() + spooled(service) == 30_000, lambda: f"{lost()} + {spooled(service)}")
    used = sum(one.stat().st_size for one in (service.folder / "run").glob("spool.sqlite3*"))
    assert used < 2.3 * 1024 * 1024
    assert process.memory_info().rss - before < 100 * 1024 * 1024
    assert "SPOOL_MAX_BYTES is reached" in service.log("producer")
    own.start()
    topic.wait_for_ids("alpha", {"flood-29999"})
    kept = [int(one.removeprefix("flood-")) for one in topic.ids("alpha") if one.startswith("flood")]
    # What was on its way, then, behind what was dropped, the newest.
    assert kept == sorted(set(kept))
    assert len(kept) == 30_000 - lost()
    gaps = [second - first for first, second in itertools.pairwise(kept) if second - first > 1]
    assert kept[0] == 0
    assert len(gaps) == 1
