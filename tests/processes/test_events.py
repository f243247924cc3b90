"""The topic of events, through the whole service."""

import itertools
import re
import signal
from collections.abc import Iterator
from typing import Any

import msgspec
import psutil
import pytest

from shared.chat_message import ChatParser
from shared.event_line import to_line
from shared.irc_line import IrcLine, parse_line
from shared.twitch_events import Event
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.fakes.fake_twitch_lines import aimed_at
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import sample_lines, start
from tests.shared.event_lines import EXAMPLES

_decode: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


@pytest.fixture
def events(service: Service, topic: KafkaReader, broker: str) -> Iterator[KafkaReader]:
    events = KafkaReader(broker, f"{topic.topic}-events")
    service.environment["KAFKA_TOPIC_CHAT_EVENTS"] = events.topic
    yield events
    events.close()


def parsed(raw: bytes) -> IrcLine:
    line = parse_line(raw)
    assert line is not None
    return line


def said(line: IrcLine) -> tuple[str, dict[str, str], list[str]]:
    return line.command, line.tags, line.params


def retold(events: KafkaReader, channel: str) -> list[tuple[str, dict[str, str], list[str]]]:
    """The lines that a consumer gets out of the events of a channel."""
    found = [_decode.decode(record.value) for record in events.by_channel[channel]]
    return [said(parsed(to_line(event))) for event in found if event.id != "end"]


def types(events: KafkaReader, channel: str) -> list[str]:
    return [value["type"] for value in events.values(channel)]


def headers(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_real_chat_and_every_command_come_out_typed_and_whole(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, events: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    lines = [aimed_at("alpha", raw) for raw in sample_lines()]
    # Some have the same id, and would count as one.
    examples = [
        aimed_at("alpha", re.sub(rb"(?<=[@;])id=[^; ]+", b"id=example-%d" % number, example.line.encode()))
        for number, example in enumerate(EXAMPLES)
        if example.line.encode() not in sample_lines()
    ]
    twitch.play("alpha", [*lines, *examples, chat_line("alpha", "the end", id="end")])
    topic.wait_for_ids("alpha", {"end"})
    events.wait_for_ids("alpha", {"end"})

    sent = [parsed(raw) for raw in (*lines, *examples)]
    to_nobody = [line for line in sent if not any(param == "#alpha" for param in line.params)]
    in_alpha = [said(line) for line in sent if line not in to_nobody]
    found = retold(events, "alpha")
    # The channel's state comes with the join.
    joined = [one for one in found[:3] if one[0] in ("ROOMSTATE", "USERSTATE")]
    assert found[len(joined) :] == in_alpha
    assert {one[0] for one in in_alpha} >= {
        "PRIVMSG",
        "USERNOTICE",
        "CLEARCHAT",
        "CLEARMSG",
        "NOTICE",
        "ROOMSTATE",
        "USERSTATE",
    }
    events.wait_for("", len(to_nobody))
    assert {one[0] for one in retold(events, "")} >= {"GLOBALUSERSTATE", "WHISPER"}

    for record in events.by_channel["alpha"]:
        event = _decode.decode(record.value)
        value = msgspec.json.decode(record.value)
        assert headers(record)["id"] == event.id
        assert headers(record)["type"] == value["type"]
        assert record.timestamp == event.timestamp
    assert len({record.partition for record in events.by_channel["alpha"]}) == 1
    # The first topic is as it would be without the second.
    parser = ChatParser()
    chat = [parser.read(line, 0) for line in sent if line.command == "PRIVMSG"]
    values = [record.value for record in chat if record is not None]
    assert [record.value for record in topic.by_channel["alpha"]][:-1] == values
    assert {name for record in topic.by_channel["alpha"] for name, _ in record.headers} <= {
        "id",
        "source-id",
        "source-room-id",
    }


def test_a_killed_producer_leaves_each_event_there_once_and_in_order(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, events: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    flow = Flow(twitch, "alpha", per_second=400)
    for seen in (1, 800):
        topic.wait_for("alpha", seen)
        service.wait_running("producer")
        psutil.Process(service.pids()["producer"]).send_signal(signal.SIGKILL)
    topic.wait_for("alpha", 1400)
    ids = flow.finish()
    topic.wait_for_ids("alpha", set(ids))
    events.wait_for_ids("alpha", set(ids))
    assert topic.ids("alpha") == ids
    messages = [value["id"] for value in events.values("alpha") if value["type"] == "privmsg"]
    assert messages == ids

    def counted() -> bool:
        told = service.status_of("producer")["channels"]["alpha"]
        others = len(events.by_channel["alpha"]) - len(ids)
        return bool(told["delivered"] == len(ids) and told["events_delivered"] == len(ids) + others)

    wait_until(counted, lambda: str(service.status_of("producer")["channels"]))


def test_two_readers_give_every_event_once_also_those_without_an_id(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, events: KafkaReader
) -> None:
    service.environment["READERS_PER_CHANNEL"] = "2"
    start(service, twitch, "alpha")
    wait_until(lambda: len(twitch.joins) == 2, "both in the channel")
    wait_until(
        lambda: all(
            service.status_of(f"reader-alpha{copy}")["channels"]["alpha"]["joined"] for copy in ("", "-2")
        ),
        "both say so",
    )
    lines = list(
        itertools.chain.from_iterable(
            (
                chat_line("alpha", f"text {number}", id=f"id-{number}"),
                f"@room-id=1;target-user-id={number};tmi-sent-ts=17000000000{number:02}"
                f" :tmi.twitch.tv CLEARCHAT #alpha :user{number}".encode(),
            )
            for number in range(50)
        )
    )
    twitch.send("alpha", *lines)
    twitch.chat("alpha", "the end", id="end")
    events.wait_for_ids("alpha", {"end"})
    topic.wait_for_ids("alpha", {"end"})
    found = [kind for kind in types(events, "alpha") if kind in ("privmsg", "clearchat.ban")]
    assert found == ["privmsg", "clearchat.ban"] * 50 + ["privmsg"]


def test_once_takes_a_mirrored_message_only_while_its_own_channel_is_not_read(
    service: Service, twitch: FakeTwitch, topic: KafkaReader, events: KafkaReader
) -> None:
    service.environment["SHARED_CHAT"] = "once"
    start(service, twitch, "alpha", "beta")

    def room(channel: str) -> str:
        channels = service.status_of(f"reader-{channel}")["channels"]
        return str(channels[channel].get("room_id", "")) if channels[channel].get("joined") else ""

    wait_until(lambda: bool(room("alpha") and room("beta")), "both know their rooms")
    mirrored = {"source_room_id": room("beta"), "source_id": "original", "room_id": room("alpha")}
    twitch.chat("beta", "hello", id="original", room_id=room("beta"), source_room_id=room("beta"))
    twitch.chat("alpha", "hello", id="copy", **mirrored)
    twitch.chat("alpha", "hello", id="from elsewhere", **mirrored | {"source_room_id": "4711"})
    twitch.chat("alpha", "hello", id="own")
    topic.wait_for_ids("alpha", {"own"})
    topic.wait_for_ids("beta", {"original"})
    assert topic.ids("alpha") == ["from elsewhere", "own"]
    service.set_channels("alpha")
    wait_until(lambda: "reader-beta" not in service.states(), "beta is not read any more")
    twitch.chat("alpha", "hello", id="copy of another", **mirrored)
    topic.wait_for_ids("alpha", {"copy of another"})
    assert headers(topic.by_channel["alpha"][-1])["source-room-id"] == mirrored["source_room_id"]
    events.wait_for_ids("alpha", {"copy of another"})
    assert "copy" not in events.ids("alpha")
