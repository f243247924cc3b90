"""Readers of several channels each, under a real supervisord."""

import json
import urllib.request
from typing import Any

import psutil

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import id_of
from tests.processes.test_status import run


def start(service: Service, twitch: FakeTwitch, size: int, *channels: str) -> None:
    service.environment["CHANNELS_PER_READER"] = str(size)
    service.set_channels(*channels)
    service.start()
    for channel in channels:
        twitch.wait_joined(channel, timeout=30)


def readers(service: Service) -> list[str]:
    return sorted(name for name in service.states() if name.startswith("reader"))


def channel_of(service: Service, program: str, channel: str) -> dict[str, Any]:
    found: dict[str, Any] = service.status_of(program)["channels"].get(channel, {})
    return found


def shown_channels(service: Service) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(f"{service.monitor}/api/status", timeout=10) as answer:
        return {one["name"]: one for one in json.load(answer)["channels"]}


def test_channels_come_and_go_under_load_and_no_program_is_touched(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, 3, "alpha", "beta", "gamma", "delta")
    service.wait_running("readers-1", "readers-2", "producer", "channel-sync")
    assert readers(service) == ["readers-1", "readers-2"]
    assert len(twitch.logins) == 2
    before = service.pids()
    lines = {
        channel: [chat_line(channel, f"message {number}") for number in range(900)]
        for channel in ("alpha", "delta")
    }
    playing = [twitch.start_playing(channel, lines[channel], per_second=150) for channel in lines]
    last = twitch.chat("beta", "last words")
    service.set_channels("alpha", "gamma", "delta", "epsilon")
    twitch.wait_left("beta", timeout=5)
    twitch.wait_joined("epsilon", timeout=5)
    first = twitch.chat("epsilon", "first words")
    for one in playing:
        one.result(30)
    for channel, said in lines.items():
        topic.wait_for(channel, len(said))
        assert topic.ids(channel) == [id_of(line) for line in said]
    topic.wait_for_ids("beta", {last})
    topic.wait_for_ids("epsilon", {first})
    after = service.pids()
    assert {name: after[name] for name in before} == before
    # The place that beta had.
    assert "epsilon" in service.status_of("readers-1")["channels"]
    wait_until(lambda: "beta" not in service.status_of("readers-1")["channels"], "beta is let go")
    assert channel_of(service, "reader-beta", "beta")["received"] == 1
    service.set_channels("alpha", "gamma", "epsilon")
    wait_until(lambda: readers(service) == ["readers-1"], service.logs)
    assert service.pids()["readers-1"] == before["readers-1"]


def test_totals_go_on_when_a_channel_gets_another_reader(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, 1, "alpha", "beta")
    assert readers(service) == ["reader-alpha", "reader-beta"]
    ids = [twitch.chat("alpha", "one of its own")]
    topic.wait_for_ids("alpha", set(ids))
    service.shut_down()
    start(service, twitch, 10, "alpha", "beta")
    assert readers(service) == ["readers-1"]
    ids.append(twitch.chat("alpha", "one of several"))
    topic.wait_for_ids("alpha", set(ids))
    wait_until(lambda: channel_of(service, "readers-1", "alpha")["received"] == 2, service.logs)
    service.set_channels("beta")
    twitch.wait_left("alpha")
    wait_until(lambda: not channel_of(service, "readers-1", "alpha"), "alpha is let go")
    service.set_channels("alpha", "beta")
    twitch.wait_joined("alpha")
    ids.append(twitch.chat("alpha", "again"))
    topic.wait_for_ids("alpha", set(ids))
    wait_until(lambda: channel_of(service, "readers-1", "alpha").get("received") == 3, service.logs)
    service.shut_down()
    start(service, twitch, 1, "alpha", "beta")
    assert readers(service) == ["reader-alpha", "reader-beta"]
    ids.append(twitch.chat("alpha", "one of its own again"))
    topic.wait_for_ids("alpha", set(ids))
    wait_until(lambda: channel_of(service, "reader-alpha", "alpha")["received"] == 4, service.logs)
    assert topic.ids("alpha") == ids
    wait_until(lambda: shown_channels(service)["alpha"]["delivered"] == 4, service.logs)
    shown = shown_channels(service)["alpha"]
    assert (shown["received"], shown["lost"]) == (4, {})


def test_of_two_readers_of_the_same_channels_one_may_be_killed(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    service.environment["READERS_PER_CHANNEL"] = "2"
    service.set_channels("alpha", "beta")
    service.environment["CHANNELS_PER_READER"] = "5"
    service.start()
    for channel in ("alpha", "beta"):
        twitch.wait_joined(channel, count=2, timeout=30)
    service.wait_running("readers-1", "readers-1-2")
    lines = {
        channel: [chat_line(channel, f"message {number}") for number in range(900)]
        for channel in ("alpha", "beta")
    }
    playing = [twitch.start_playing(channel, lines[channel], per_second=150) for channel in lines]
    killed = service.pids()["readers-1"]
    psutil.Process(killed).kill()
    wait_until(lambda: service.pids().get("readers-1", killed) != killed, "readers-1 again")
    for one in playing:
        one.result(30)
    for channel, said in lines.items():
        topic.wait_for(channel, len(said))
        assert topic.ids(channel) == [id_of(line) for line in said]
    service.set_channels("beta", "gamma")
    twitch.wait_joined("gamma", count=2)
    twitch.wait_left("alpha")
    assert readers(service) == ["readers-1", "readers-1-2"]


def test_each_channel_is_shown_for_itself_and_a_stop_hands_everything_off(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    twitch.behaviour.closed_channels["beta"] = "msg_channel_suspended"
    service.environment["CHANNELS_PER_READER"] = "5"
    service.set_channels("alpha", "beta", "gamma")
    service.start()
    for channel in ("alpha", "gamma"):
        twitch.wait_joined(channel, timeout=30)
    service.wait_running("readers-1", "producer", "monitor")
    # Nothing is taken over while it does not run.
    service.control("stop", "producer")
    ids = {channel: [twitch.chat(channel, str(n)) for n in range(count)] for channel, count in
           (("alpha", 3), ("gamma", 5))}  # fmt: skip
    wait_until(
        lambda: (
            [shown_channels(service)[name]["pending"] for name in ("alpha", "beta", "gamma")] == [3, 0, 5]
        ),
        lambda: str(shown_channels(service)),
    )
    shown = shown_channels(service)
    assert [shown[name]["received"] for name in ("alpha", "beta", "gamma")] == [3, 0, 5]
    assert [shown[name]["state"] for name in shown] == ["joined", "not joined", "joined"]
    assert "suspended" in shown["beta"]["trouble"]
    # One that is wanted no more is not let go before all of it is durable.
    service.set_channels("beta", "gamma")
    twitch.wait_left("alpha")
    service.shut_down()
    assert channel_of(service, "readers-1", "alpha")["received"] == 3
    service.start()
    for channel, said in ids.items():
        topic.wait_for(channel, len(said))
        assert topic.ids(channel) == said


def test_status_counts_them_as_readers(service: Service, twitch: FakeTwitch) -> None:
    start(service, twitch, 2, "alpha", "beta", "gamma")
    service.wait_running("readers-1", "readers-2", "monitor")

    def shown() -> str:
        return run(service.folder, service.environment).stdout

    # The monitor asks supervisord once in a while.
    wait_until(lambda: "2 of 2 readers run" in shown(), shown)


def test_a_smaller_number_counts_from_the_next_start_and_totals_go_on(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    channels = ("alpha", "beta", "gamma")
    start(service, twitch, 3, *channels)
    service.wait_running("readers-1", "channel-sync", "producer")
    ids = {channel: {twitch.chat(channel, f"said in {channel}")} for channel in channels}
    for channel in channels:
        topic.wait_for_ids(channel, ids[channel])
    wait_until(
        lambda: all(channel_of(service, "readers-1", one).get("received") == 1 for one in channels),
        service.logs,
    )
    # While they run no two readers shall have one channel, so nothing is moved.
    env = service.folder / ".env"
    del service.environment["CHANNELS_PER_READER"]
    service.shut_down()
    env.write_text("CHANNELS_PER_READER=3\n")
    service.start()
    for channel in channels:
        twitch.wait_joined(channel)
    service.wait_running("readers-1", "channel-sync")
    running = service.pids()["readers-1"]
    env.write_text("CHANNELS_PER_READER=2\n")
    service.control("restart", "channel-sync")
    wait_until(lambda: "until the whole service is restarted" in service.log("channel-sync"), service.logs)
    service.set_channels(*channels, "delta")
    twitch.wait_joined("delta")
    assert service.pids()["readers-1"] == running
    assert service.status_of("readers-1")["channels"].keys() == set(channels)
    service.shut_down()
    service.start()
    for channel in (*channels, "delta"):
        twitch.wait_joined(channel)
        ids.setdefault(channel, set()).add(twitch.chat(channel, "again"))
        topic.wait_for_ids(channel, ids[channel])

    def received() -> dict[str, int]:
        return {
            channel: total.get("received", 0)
            for program in ("readers-1", "readers-2")
            for channel, total in service.status_of(program)["channels"].items()
        }

    wait_until(lambda: received() == {"alpha": 2, "beta": 2, "gamma": 2, "delta": 1}, lambda: str(received()))
    assert [len(service.status_of(f"readers-{number}")["channels"]) for number in (1, 2)] == [2, 2]


def test_a_file_that_somebody_has_edited_is_mended(service: Service, twitch: FakeTwitch) -> None:
    start(service, twitch, 2, "alpha", "beta")
    group = service.folder / "run" / "groups" / "1.txt"
    # Empty it says nothing.
    group.write_text("")

    def gamma_is_joined() -> bool:
        # It may be mended before it is seen.
        if "gamma" not in group.read_text():
            group.write_text("alpha\ngamma\n")
        return bool(twitch.members("gamma"))

    wait_until(gamma_is_joined, service.logs)
    twitch.wait_left("gamma", timeout=20)
    twitch.wait_joined("beta")
    assert [join.channel for join in twitch.joins].count("alpha") == 1
    assert [join.channel for join in twitch.joins].count("beta") >= 2
    assert group.read_text() == "alpha\nbeta\n"
