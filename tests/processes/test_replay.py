"""`make replay` as a real process: into a real topic, of what was really recorded."""

import gzip
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader
from tests.processes.kafka_writer import KafkaWriter
from tests.processes.replay_process import Replaying
from tests.processes.service import Service, wait_until

SAMPLE = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "xqcow-2019-09-15.irc.gz"
OLD = [
    chat_line("alpha", f"text {number}", id=f"old-{number}", tmi_sent_ts=1000 + number) for number in range(9)
]


@pytest.fixture
def events(broker: str, topic: KafkaReader) -> Iterator[KafkaReader]:
    events = KafkaReader(broker, f"{topic.topic}-events")
    yield events
    events.close()


@pytest.fixture
def replaying(
    tmp_path: Path, broker: str, topic: KafkaReader, events: KafkaReader, twitch: FakeTwitch
) -> Iterator[Replaying]:
    folder = tmp_path / "replaying"
    folder.mkdir()
    replaying = Replaying(
        folder,
        KAFKA_BROKERS=broker,
        KAFKA_TOPIC_CHAT_MESSAGES=topic.topic,
        KAFKA_TOPIC_CHAT_EVENTS=events.topic,
        KAFKA_TOPIC_RETENTION_MS="-1",
        TWITCH_IRC_URL=twitch.url,
    )
    yield replaying
    replaying.end()


def keep(replaying: Replaying, lines: list[bytes], name: str = "lines.irc") -> str:
    path = replaying.kept / name
    path.write_bytes(b"".join(line + b"\r\n" for line in lines))
    return str(path)


def as_written(record: Any) -> tuple[Any, ...]:
    return record.partition, record.key, record.value, record.timestamp, tuple(record.headers)


def everything(reader: KafkaReader) -> dict[str, list[tuple[Any, ...]]]:
    """All records of the topic, by channel; the last ones wait to be read when nothing comes any more."""
    for _ in range(5):
        reader.poll()
    return {
        channel: [as_written(one) for one in found] for channel, found in reader.by_channel.items() if found
    }


def shift(lines: list[bytes]) -> list[bytes]:
    """Of another hour."""
    return [line.replace(b"tmi-sent-ts=1", b"tmi-sent-ts=2").replace(b"id=old", b"id=new") for line in lines]


def test_what_was_recorded_is_replayed_as_the_service_wrote_it_and_nothing_twice(
    service: Service, replaying: Replaying, topic: KafkaReader, events: KafkaReader, twitch: FakeTwitch
) -> None:
    service.environment["KAFKA_TOPIC_CHAT_EVENTS"] = events.topic
    service.set_channels("alpha", "beta")
    service.start()
    twitch.wait_joined("alpha", timeout=60)
    twitch.wait_joined("beta", timeout=60)
    command = replaying.record("alpha", "beta")
    room = "12345678"
    source = {"source_id": "original", "source_room_id": "87654321", "room_id": room}
    for number in range(20):
        twitch.chat("alpha", f"text {number}", id=f"alpha-{number}")
        twitch.chat("beta", "\x01ACTION waves Kappa\x01", id=f"beta-{number}", emotes="25:6-10", **source)
    # Both have to receive the notice, which has no time, within the same ten seconds.
    wait_until(lambda: 500 < time.time_ns() // 1_000_000 % 10_000 < 8_000, "the middle of ten seconds")
    ago = time.time_ns() // 1_000_000
    twitch.send(
        "alpha",
        f"@ban-duration=5;room-id=1;target-user-id=2;tmi-sent-ts={ago} :tmi.twitch.tv CLEARCHAT #alpha :r",
        "@msg-id=slow_on :tmi.twitch.tv NOTICE #alpha :This room is in slow mode.",
        f"@msg-id=raid;id=a-raid;login=r;tmi-sent-ts={ago} :tmi.twitch.tv USERNOTICE #alpha",
    )
    twitch.chat("alpha", "the last one", id="last")
    replaying.wait_recorded(b"id=last")
    assert command.stop() == 0
    topic.wait_for("alpha", 21)
    topic.wait_for("beta", 20)
    events.wait_for_ids("alpha", {"last"})
    live_messages, live_events = everything(topic), everything(events)
    summary = replaying.replay()
    assert "0 messages and 0 events added" in summary
    assert everything(topic) == live_messages
    assert everything(events) == live_events
    # The state of the rooms that Twitch told the readers at their joins is nobody's replay.
    live_events = _without_joins(live_events)
    # The same into topics that are empty.
    others = KafkaReader(topic._broker, f"{topic.topic}-2"), KafkaReader(topic._broker, f"{topic.topic}-2e")
    elsewhere = {"KAFKA_TOPIC_CHAT_MESSAGES": others[0].topic, "KAFKA_TOPIC_CHAT_EVENTS": others[1].topic}
    try:
        assert "41 messages and " in replaying.replay(**elsewhere)
        others[0].wait_for("alpha", 21)
        others[0].wait_for("beta", 20)
        assert everything(others[0]) == live_messages
        others[1].wait_for_ids("alpha", {"last"})
        assert _without_joins(everything(others[1])) == live_events
        assert "0 messages and 0 events added" in replaying.replay(**elsewhere)
        assert everything(others[0]) == live_messages
    finally:
        for other in others:
            other.close()


def _without_joins(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """For what does not tell its time that of the receipt counts, which is the recorder's own."""
    return {
        channel: [
            (one[4] if b'"timestamp_derived":true' in one[2] else one)
            for one in records
            if b'"type":"roomstate"' not in one[2]
        ]
        for channel, records in found.items()
    }


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not part of the project")
def test_the_sample_is_replayed_in_order_once_and_warns_of_a_retention_that_would_delete_it(
    replaying: Replaying, topic: KafkaReader, events: KafkaReader
) -> None:
    assert replaying.replay(str(SAMPLE)) == (
        "replay: 5,000 lines read, 4,933 messages and 5,000 events added, 0 already there, 0 rejected\n"
    )
    topic.wait_for("xqcow", 4933)
    events.wait_for("xqcow", 5000)
    with gzip.open(SAMPLE) as file:
        ids = [
            line.partition(b";id=")[2].partition(b";")[0].decode() for line in file if b" PRIVMSG " in line
        ]
    assert topic.ids("xqcow") == ids
    record = topic.by_channel["xqcow"][0]
    assert record.timestamp == 1568505600501
    assert replaying.replay(str(SAMPLE), str(SAMPLE)) == (
        "replay: 10,000 lines read, 0 messages and 0 events added, 9,933 already there, 0 rejected, "
        "9,933 doubled in the files\n"
    )
    assert len(everything(topic)["xqcow"]) == 4933
    assert len(everything(events)["xqcow"]) == 5000


def test_a_topic_that_deletes_old_records_is_warned_of_once(replaying: Replaying) -> None:
    file = keep(replaying, OLD)
    command = replaying.start("commands.replay", file, file, KAFKA_TOPIC_RETENTION_MS="604800000")
    assert command.wait_end() == 0
    assert command.log.count("\n") == 1
    assert "keeps records for 168 hours, and some of these are older" in command.log
    assert "9 messages and 9 events added" in command.out


def test_only_what_is_missing_is_added_wherever_the_rest_stands(
    replaying: Replaying, topic: KafkaReader
) -> None:
    settings = {"KAFKA_TOPIC_CHAT_EVENTS": ""}
    replaying.replay(keep(replaying, OLD[3:5]), **settings)
    replaying.replay(keep(replaying, shift(OLD) * 2), **settings)
    assert replaying.replay(keep(replaying, OLD), **settings) == (
        "replay: 9 lines read, 7 messages added, 2 already there, 0 rejected\n"
    )
    topic.wait_for("alpha", 18)
    added = [f"old-{number}" for number in (0, 1, 2, 5, 6, 7, 8)]
    assert topic.ids("alpha") == ["old-3", "old-4", *(f"new-{number}" for number in range(9)), *added]


def test_lines_without_ids_or_times_are_not_added_twice_either(
    replaying: Replaying, topic: KafkaReader
) -> None:
    lines = [
        chat_line("alpha", "no time, and none before", id="a", tmi_sent_ts=None),
        chat_line("alpha", "no id", id=None, tmi_sent_ts=2000),
        chat_line("alpha", "no time", id="b", tmi_sent_ts=None),
        b":recorder.local RECEIVED 3000",
        chat_line("alpha", "nothing", id=None, tmi_sent_ts=None),
        chat_line("alpha", "nothing", id=None, tmi_sent_ts=None),
        chat_line("alpha", "the year 2099", id="c", tmi_sent_ts=4_070_908_800_000),
        b":tmi.twitch.tv PRIVMSG #alpha :nobody",
    ]
    settings = {"KAFKA_TOPIC_CHAT_EVENTS": ""}
    assert replaying.replay(keep(replaying, lines), **settings) == (
        "replay: 7 lines read, 4 messages added, 0 already there, 1 rejected (1 no_login), "
        "1 doubled in the files, 1 lines without any time left out\n"
    )
    assert "0 messages added, 4 already there" in replaying.replay(**settings)
    topic.wait_for("alpha", 4)
    found = [
        (record.timestamp, value["timestamp"])
        for record, value in zip(topic.by_channel["alpha"], topic.values("alpha"), strict=True)
    ]
    assert found == [(2000, 2000), (2000, 2000), (3000, 3000), (3000, 4_070_908_800_000)]


def test_mirrored_messages_are_left_out_where_the_files_have_the_original(
    replaying: Replaying, topic: KafkaReader
) -> None:
    def mirrored(message_id: str, source_room: str) -> bytes:
        return chat_line(
            "alpha", "x", id=message_id, room_id="1", source_id="s", source_room_id=source_room, tmi_sent_ts=5
        )

    first = keep(replaying, [mirrored("of-2", "2"), mirrored("of-3", "3")], "first.irc")
    own = chat_line("beta", "x", id="own", room_id="2", source_id="s", source_room_id="2", tmi_sent_ts=5)
    second = keep(replaying, [own], "second.irc")
    assert "2 messages added" in replaying.replay(
        first, second, SHARED_CHAT="once", KAFKA_TOPIC_CHAT_EVENTS=""
    )
    topic.wait_for("alpha", 1)
    topic.wait_for("beta", 1)
    assert topic.ids("alpha") == ["of-3"]


def test_own_messages_are_left_out_as_the_service_does(replaying: Replaying, topic: KafkaReader) -> None:
    lines = [b":tmi.twitch.tv 001 bot :Welcome, GLHF!", chat_line("alpha", "I", "bot", tmi_sent_ts=5), *OLD]
    assert "9 messages and 9 events added" in replaying.replay(keep(replaying, lines))


def test_a_file_that_was_cut_off_is_replayed_up_to_the_cut_with_a_warning(
    replaying: Replaying, topic: KafkaReader
) -> None:
    path = replaying.kept / "cut.irc.gz"
    path.write_bytes(gzip.compress(b"".join(line + b"\r\n" for line in OLD))[:-12])
    empty = replaying.kept / "empty.irc.gz"
    empty.write_bytes(b"")
    command = replaying.start("commands.replay", *replaying.files)
    assert command.wait_end() == 0
    first, second = command.log.splitlines()
    assert first.startswith(f"replay: {path} was cut off: its last line or part is missing; the ")
    assert second == f"replay: {empty} has no lines"
    topic.wait_for("alpha", 1)
    assert topic.ids("alpha")[0] == "old-0"


@pytest.mark.parametrize(
    ("name", "said"),
    [("gone.irc", "does not exist"), (".", "is a folder"), ("../../dev/null", "is no file")],
)
def test_what_is_no_file_is_one_line(replaying: Replaying, name: str, said: str) -> None:
    path = Path("/dev/null") if "null" in name else replaying.kept / name
    command = replaying.start("commands.replay", keep(replaying, OLD), str(path))
    assert command.wait_end() == 2
    assert command.shown.count("\n") == 1
    assert command.shown.startswith(f"replay: {path} {said}")


def test_without_kafka_it_says_that_the_service_has_to_run(replaying: Replaying) -> None:
    command = replaying.start(
        "commands.replay", keep(replaying, OLD), KAFKA_BROKERS="", EMBEDDED_KAFKA_PORT="1"
    )
    assert command.wait_end() == 1
    assert command.shown.count("\n") == 1
    assert command.shown.startswith("replay: the embedded Kafka at 127.0.0.1:1 does not answer yet")
    assert command.shown.endswith("; is the service running? make run\n")


def test_while_messages_wait_in_the_spool_nothing_is_replayed(replaying: Replaying) -> None:
    folder = replaying.folder / "run" / "status"
    folder.mkdir()
    (folder / "producer.json").write_text('{"pid":1,"written_monotonic":1,"spooled":3}')
    command = replaying.start("commands.replay", keep(replaying, OLD))
    assert command.wait_end() == 1
    assert command.shown.startswith("replay: 3 messages of the service wait in its spool")


def many_lines(count: int) -> list[bytes]:
    return [
        chat_line(
            f"channel{number % 3}",
            f"text {number}",
            id=f"id-{number}",
            tmi_sent_ts=1_700_000_000_000 + number,
        )
        for number in range(count)
    ]


def test_through_the_death_of_the_broker_everything_arrives_once_and_in_order(
    own: Broker, replaying: Replaying
) -> None:
    count = 60_000
    topic = KafkaReader(own.address, "replay-outage")
    writer = KafkaWriter(own.address, topic.topic)
    writer.make_topic()
    writer.close()
    path = keep(replaying, many_lines(count))
    settings = {
        "KAFKA_BROKERS": own.address,
        "KAFKA_TOPIC_CHAT_MESSAGES": topic.topic,
        "KAFKA_TOPIC_CHAT_EVENTS": "",
    }
    try:
        topic.poll()
        command = replaying.start("commands.replay", path, **settings)
        topic.wait_for("channel0", 1)
        own.kill()
        command.wait_shown("trying on")
        own.start()
        assert command.wait_end() == 0
        assert f"{count:,} messages added" in command.out
        for channel in range(3):
            wanted = [f"id-{number}" for number in range(channel, count, 3)]
            topic.wait_for(f"channel{channel}", len(wanted))
            assert topic.ids(f"channel{channel}") == wanted
    finally:
        topic.close()


def test_ctrl_c_ends_it_in_order_and_running_it_again_adds_only_what_is_missing(
    replaying: Replaying, topic: KafkaReader
) -> None:
    count = 60_000
    path = keep(replaying, many_lines(count))
    # Looking for the topic all the time.
    topic.poll()
    command = replaying.start("commands.replay", path, KAFKA_TOPIC_CHAT_EVENTS="")
    topic.wait_for("channel0", 1)
    assert command.stop(signal.SIGINT) == 1
    assert command.out.count("\n") == 1
    added = int(command.out.partition(" lines read, ")[2].partition(" messages added")[0].replace(",", ""))
    assert 0 < added < count
    assert "it was ended early" in command.out
    assert "run it again to add what is missing" in command.out
    assert f"{count - added:,} messages added, {added:,} already there" in replaying.replay(
        path, KAFKA_TOPIC_CHAT_EVENTS=""
    )
    for channel in range(3):
        wanted = [f"id-{number}" for number in range(channel, count, 3)]
        topic.wait_for(f"channel{channel}", len(wanted))
        assert topic.ids(f"channel{channel}") == wanted
