"""`make tail` as a real process, on a real topic."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.conftest import Command
from tests.commands.test_tail_lines import HOSTILE, SHOWN, UNSAFE
from tests.processes.broker import Broker
from tests.processes.kafka_reader import KafkaReader
from tests.processes.kafka_writer import KafkaWriter, as_json, message
from tests.processes.service import wait_until
from tests.processes.tail_process import READY, Tail


@pytest.fixture
def tail(tmp_path: Path, broker: str, topic: KafkaReader) -> Iterator[Tail]:
    tail = Tail(tmp_path, broker, topic.topic)
    yield tail
    tail.end()


@pytest.fixture
def writer(broker: str, topic: KafkaReader) -> Iterator[KafkaWriter]:
    writer = KafkaWriter(broker, topic.topic)
    yield writer
    writer.close()


def line(channel: str, text: str) -> str:
    return f"00:00:00 #{channel} onche: {text}\n"


def wait_out(command: Command, *lines: str) -> None:
    wait_until(lambda: command.out.count("\n") >= len(lines), lambda: command.shown)
    assert command.out == "".join(lines)


def test_new_messages_are_shown_as_they_come_and_old_ones_are_not(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic()
    writer.say("xqc", "old")
    command = tail.start_ready()
    writer.say("xqc", "one")
    wait_out(command, line("xqc", "one"))
    writer.say("xqc", "two", "three")
    wait_out(command, *(line("xqc", text) for text in ("one", "two", "three")))
    assert command.stop(signal.SIGINT) == 0
    assert command.log.count("\n") == 1


@pytest.mark.parametrize("compression", ["gzip", "lz4", "zstd"])
def test_json_is_the_value_byte_for_byte(
    tail: Tail, topic: KafkaReader, broker: str, compression: str
) -> None:
    writer = KafkaWriter(broker, topic.topic, compression_type=compression, linger_ms=50)
    writer.make_topic()
    texts = ['héllo \\ " 👍', HOSTILE, *(f"text {number}" for number in range(200))]
    writer.say("xqc", *texts)
    writer.close()
    command = tail.start("--json", "--from-beginning", "--limit", str(len(texts)))
    assert command.wait_end() == 0
    assert command.out.encode() == b"".join(as_json(message("xqc", text)) + b"\n" for text in texts)
    assert command.log == ""


def test_so_many_messages_as_asked_for_are_shown(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic(partitions=1)
    writer.say("xqc", *(f"text {number}" for number in range(10)))
    command = tail.start("--from-beginning", "--limit", "3")
    assert command.wait_end() == 0
    assert command.out == "".join(line("xqc", f"text {number}") for number in range(3))


def test_only_the_channels_asked_for_are_shown(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic(partitions=1)
    for channel in ("alpha", "beta", "gamma", "delta"):
        writer.say(channel, "hello")
    command = tail.start("--from-beginning", "--channel", "ALPHA,#beta", "--channel", "Gamma", "--limit", "3")
    assert command.wait_end() == 0
    assert command.out == "".join(line(channel, "hello") for channel in ("alpha", "beta", "gamma"))


def test_what_a_terminal_would_obey_does_not_reach_it(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic()
    writer.say("xqc", HOSTILE)
    text = tail.on_terminal("--from-beginning", "--limit", "1")
    colourless = re.sub(r"\x1b\[[\d;]*m", "", text)
    assert colourless == line("xqc", SHOWN).replace("\n", "\r\n")
    shown = tail.on_terminal("--from-beginning", "--limit", "1", "--json")
    assert not UNSAFE.search(shown.removesuffix("\r\n"))
    assert json.loads(shown) == message("xqc", HOSTILE)


def test_channels_have_colours_on_a_terminal_and_not_with_no_color(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic(partitions=1)
    long = "word " * 200
    for channel, text in (("xqc", long), ("forsen", "[red]b[/]"), ("xqc", ":smile:")):
        writer.say(channel, text)
    arguments = ("--from-beginning", "--limit", "3")
    coloured = tail.on_terminal(*arguments)
    colours = re.findall(r"\x1b\[(38;5;\d+)m#(\w+)\x1b\[0m", coloured)
    assert [channel for _, channel in colours] == ["xqc", "forsen", "xqc"]
    assert colours[0] == colours[2]
    assert colours[0][0] != colours[1][0]
    plain = line("xqc", long) + line("forsen", "[red]b[/]") + line("xqc", ":smile:")
    assert tail.on_terminal(*arguments, NO_COLOR="1") == plain.replace("\n", "\r\n")
    assert "\x1b" not in tail.on_terminal(*arguments, TERM="dumb")


def test_a_topic_that_is_made_later_is_shown_from_its_first_message(tail: Tail, writer: KafkaWriter) -> None:
    command = tail.start()
    command.wait_shown(f"waiting for topic {tail.topic}: it does not exist yet")
    writer.make_topic()
    for number in range(9):
        writer.say(f"channel{number}", "first")
    wait_until(lambda: command.out.count("\n") >= 9, lambda: command.shown)
    assert sorted(command.out.splitlines(True)) == [line(f"channel{number}", "first") for number in range(9)]
    assert command.log.count("\n") == 1


def test_records_of_others_are_left_out_and_said_once(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic(partitions=1)
    writer.write(None, b"a key alone")
    for value in (b"", b"\xff\x1b[31m", b"text", b"[]", b'{"channel_id":"xqc"}'):
        writer.write(value)
    writer.write(as_json(message("xqc", "without a key")))
    writer.write(json.dumps(message("xqc", "over lines"), indent=2).encode(), b"\xff")
    writer.write(b"more")
    writer.say("xqc", "last")
    command = tail.start("--from-beginning", "--limit", "3")
    assert command.wait_end() == 0
    assert command.out == "".join(line("xqc", text) for text in ("without a key", "over lines", "last"))
    assert command.log == (
        "tail: left out: the record at partition 0, offset 0 is no chat message; others like it are left out "
        "without a word\n"
    )


def test_events_are_shown_from_their_own_topic(tail: Tail, broker: str, topic: KafkaReader) -> None:
    name = f"{topic.topic}-events"
    events = KafkaWriter(broker, name)
    command = tail.start("--events", "--channel", "xqc", "--limit", "3", KAFKA_TOPIC_CHAT_EVENTS=name)
    command.wait_shown(f"waiting for topic {name}: it does not exist yet")
    events.make_topic(partitions=1)
    for value in (
        {"type": "privmsg", "channel": "xqc", "timestamp": 0, "user_login": "onche", "text": "hi"},
        {"type": "privmsg", "channel": "forsen", "timestamp": 0, "user_login": "onche", "text": "hi"},
        message("xqc", "of the other topic"),
        {"type": "clearchat.timeout", "channel": "xqc", "timestamp": 1000, "target_user_login": "onche"},
        {"type": "of.tomorrow", "channel": "xqc", "timestamp": 2000, "level": 3},
    ):
        events.write(as_json(value))
    assert command.wait_end() == 0
    assert command.out == (
        "00:00:00 #xqc privmsg onche: hi\n"
        "00:00:01 #xqc clearchat.timeout onche\n"
        "00:00:02 #xqc of.tomorrow level=3\n"
    )
    assert command.log.splitlines()[1:] == [
        "tail: left out: the record at partition 0, offset 2 is no event; others like it are left out "
        "without a word"
    ]
    shown = ("--events", "--from-beginning", "--limit", "4")
    as_lines = tail.start(*shown, "--json", KAFKA_TOPIC_CHAT_EVENTS=name)
    assert as_lines.wait_end() == 0
    assert [json.loads(line)["channel"] for line in as_lines.out.splitlines()] == [
        "xqc", "forsen", "xqc", "xqc",
    ]  # fmt: skip
    coloured = tail.on_terminal(*shown, KAFKA_TOPIC_CHAT_EVENTS=name)
    assert len(re.findall(r"\x1b\[38;5;\d+m#xqc\x1b\[0m", coloured)) == 3
    events.close()


def test_without_a_topic_of_events_it_says_what_to_set(tail: Tail) -> None:
    command = tail.start("--events")
    assert command.wait_end() == 2
    assert command.shown == (
        "tail: KAFKA_TOPIC_CHAT_EVENTS is empty, so there is no topic of events: name one in .env, and "
        "restart the service\n"
    )


def test_it_ends_silently_when_nobody_reads_any_more(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic()
    writer.say("xqc", "one")
    ours, theirs = os.pipe()
    process = tail.start_with(theirs, "--from-beginning")
    os.close(theirs)
    assert os.read(ours, 1000).decode() == line("xqc", "one")
    # Nothing more is written: it sees by itself that the pipe is closed.
    os.close(ours)
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


def test_output_that_cannot_be_written_is_one_line(tail: Tail, writer: KafkaWriter) -> None:
    writer.make_topic()
    writer.say("xqc", "one")
    with Path("/dev/full").open("wb") as full:
        process = tail.start_with(full.fileno(), "--from-beginning")
        assert process.wait(60) == 1
    assert process.stderr.read() == b"tail: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_also_where_a_shell_had_it_ignored(
    tail: Tail, writer: KafkaWriter, number: signal.Signals
) -> None:
    writer.make_topic()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = tail.start()
    finally:
        signal.signal(signal.SIGINT, before)
    command.wait_shown(READY)
    assert command.stop(number) == 0
    assert command.log.count("\n") == 1


def test_a_signal_ends_it_at_once_while_no_broker_answers(tail: Tail) -> None:
    command = tail.start(KAFKA_BROKERS="127.0.0.1:1")
    # kafka-python's own thread: it is connecting.
    wait_until(lambda: command.process.num_threads() > 1, lambda: command.shown)
    assert command.stop(signal.SIGTERM) == 0
    assert command.shown == ""


def test_without_kafka_it_tries_for_a_while_and_says_what_to_do(tail: Tail) -> None:
    command = tail.start(KAFKA_BROKERS="", EMBEDDED_KAFKA_PORT="1")
    assert command.wait_end() == 1
    first, last = command.log.splitlines()
    assert first.startswith("tail: the embedded Kafka at 127.0.0.1:1 does not answer yet")
    assert first.endswith("; trying on")
    assert last.endswith("; is the service running? make run")


def test_a_bad_setting_is_one_line(tail: Tail) -> None:
    command = tail.start(KAFKA_BROKERS="nowhere")
    assert command.wait_end() == 2
    assert command.shown == (
        "tail: KAFKA_BROKERS='nowhere' is not usable: legal is host:port, several separated by commas\n"
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--channel", "no login"], "'no login' is no channel login"),
        (["--channel", "ſ"], "is no channel login"),
        (["--channel", ","], "is no channel login"),
        (["--limit", "0"], "'0' is no number of messages"),
        (["--limit", "-1"], "'-1' is no number of messages"),
    ],
)
def test_a_bad_argument_is_named(tail: Tail, arguments: list[str], what: str) -> None:
    command = tail.start(*arguments)
    assert command.wait_end() == 2
    assert what in command.log


def test_nothing_is_skipped_or_doubled_when_the_broker_is_killed(own: Broker, tmp_path: Path) -> None:
    writer = KafkaWriter(own.address, "tail-outage")
    writer.make_topic()
    tail = Tail(tmp_path, own.address, writer.topic)
    shown: list[str] = []

    def say_and_see(text: str) -> None:
        for number in range(30):
            writer.say(f"channel{number % 5}", f"{text} {number}")
            shown.append(line(f"channel{number % 5}", f"{text} {number}"))
        wait_until(lambda: command.out.count("\n") >= len(shown), lambda: command.shown)
        assert sorted(command.out.splitlines(True)) == sorted(shown)

    try:
        command = tail.start_ready()
        say_and_see("before")
        for outage in ("first", "second"):
            own.kill()
            wait_until(_has(command, "; trying on", outage), lambda: command.shown)
            own.start()
            # Some of them are there before it is connected again.
            say_and_see(outage)
            wait_until(_has(command, "Kafka answers again", outage), lambda: command.shown)
        assert command.stop() == 0
        assert command.log.count("\n") == 5
    finally:
        tail.end()
        writer.close()


def _has(command: Command, text: str, outage: str) -> Callable[[], bool]:
    times = 1 if outage == "first" else 2
    return lambda: command.log.count(text) == times
