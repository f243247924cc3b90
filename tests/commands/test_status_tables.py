"""What ``make status`` shows of a service."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from commands.status_tables import show, size, span, sparkline
from shared.overview import Overview
from shared.reports import ChannelReport, DeliveredReport, ProducerReport, ReaderReport, TokenReport
from tests.workers.monitor_world import healthy, program, settings, with_program, with_reader
from workers.monitor_facts import Facts
from workers.monitor_history import History
from workers.monitor_overview import overview_of, sample_of


def overview(tmp_path: Path, facts: Facts, **configured: str) -> Overview:
    history = History()
    history.add(sample_of(facts))
    return overview_of(facts, history, settings(tmp_path, **configured))


def with_gaps(facts: Facts, backfilled: int, **gaps: float) -> Facts:
    for channel, seconds in gaps.items():
        report = ChannelReport(True, gap_seconds=seconds, backfilled=backfilled)
        facts = with_reader(facts, f"reader-{channel}", ReaderReport(channels={channel: report}))
    return facts


def shown(what: Overview, height: int | None = None, colours: bool = False) -> str:
    out = StringIO()
    console = Console(
        file=out, width=160, force_terminal=colours, color_system="standard" if colours else None
    )
    console.print(show(what, height))
    return out.getvalue()


def row_of(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()


def test_a_service_that_is_well(tmp_path: Path) -> None:
    text = shown(overview(tmp_path, healthy("xqc", "forsen")))
    assert text.startswith("✓ All is well: 2 channels are read, Kafka takes the messages.\n")
    assert row_of(text, "xqc")[:2] == ["xqc", "joined"]
    assert row_of(text, "producer")[:4] == ["producer", "RUNNING", "10", "min"]
    assert "2 of 2 readers run, 0 restarts" in text
    assert "20 received, 20 delivered, 0 duplicate, 0 waiting, 0 lost, 0 lines rejected" in text
    assert "spool     empty: nothing waits on disk" in text
    assert "token     none: chat is read anonymously" in text
    assert "Kafka     takes messages, embedded, 127.0.0.1:9092, topic twitch-chat-messages" in text


def test_trouble_comes_first_with_what_to_do(tmp_path: Path) -> None:
    out = ReaderReport(channels={"xqc": ChannelReport(trouble="closed by Twitch", received=1_234_567)})
    facts = with_reader(healthy("xqc", "forsen"), "reader-xqc", out)
    lost = DeliveredReport(7, 2, {"spool_full": 3})
    producer = ProducerReport(
        False, "does the broker run?", spooled=5000, spool_bytes=2**30, channels={"xqc": lost}
    )
    facts = replace(facts, producer=producer, token=TokenReport("valid", 1_700_090_000, "bot"))
    text = shown(overview(tmp_path, facts))
    assert text.startswith("✗ Kafka takes no messages, 5,000 wait in the spool (and 1 more problem).\n")
    assert "  #xqc is not read: closed by Twitch\n" in text
    row = row_of(text, "xqc")
    assert row[:3] == ["xqc", "not", "joined"]
    assert "1,234,567" in row
    assert row[-1] == "3"
    assert "Kafka     TAKES NO MESSAGES" in text
    assert "5,000 messages wait on disk and follow in order when Kafka takes them; 10.0% of its bound" in text
    assert "token     valid, bot, 1 d 1 h left" in text


def test_what_is_missing_is_a_line_where_there_is_any(tmp_path: Path) -> None:
    def lines(facts: Facts) -> list[str]:
        text = shown(overview(tmp_path, facts))
        return [line.rstrip() for line in text.splitlines() if line.startswith("missing ")]

    assert lines(healthy("xqc")) == []
    assert lines(with_gaps(healthy("xqc", "forsen", "lirik"), 0, xqc=0.4, forsen=75.0)) == [
        "missing   1 min 15 s of forsen, <1 s of xqc for good"
    ]
    assert lines(with_gaps(healthy("xqc"), 1, xqc=0.0)) == [
        "missing   nothing for good; 1 line fetched later"
    ]
    names = [f"channel{number}" for number in range(8)]
    gaps = {name: 10.0 + number for number, name in enumerate(names)}
    assert lines(with_gaps(healthy(*names), 200, **gaps)) == [
        "missing   17 s of channel7, 16 s of channel6, 15 s of channel5, 14 s of channel4, 13 s of channel3 "
        "and 3 more channels for good; 1,600 lines fetched later"
    ]


def test_events_are_a_line_where_there_is_a_topic_for_them(tmp_path: Path) -> None:
    report = ReaderReport(channels={"xqc": ChannelReport(True, events_received=1500)})
    facts = with_reader(healthy("xqc"), "reader-xqc", report)
    delivered = DeliveredReport(7, events_delivered=1490, events_duplicate=10)
    facts = replace(facts, producer=ProducerReport(True, channels={"xqc": delivered}))
    text = shown(overview(tmp_path, facts, KAFKA_TOPIC_CHAT_EVENTS="all-events"))
    assert "events    1,500 received, 1,490 delivered, 10 duplicate, topic all-events" in text
    assert "events  " not in shown(overview(tmp_path, facts))


def test_readers_are_one_line_but_those_in_trouble(tmp_path: Path) -> None:
    facts = healthy(*(f"channel{number}" for number in range(30)))
    facts = with_program(facts, program("reader-channel7", "BACKOFF"))
    text = shown(overview(tmp_path, facts))
    assert row_of(text, "reader-channel7")[:2] == ["reader-channel7", "BACKOFF"]
    assert text.count("reader-channel") == 1
    assert "29 of 30 readers run" in text


def test_two_hundred_channels_fit_into_a_window_with_those_in_trouble(tmp_path: Path) -> None:
    facts = healthy(*(f"channel{number}" for number in range(200)))
    facts = with_reader(facts, "reader-channel150", ReaderReport(channels={"channel150": ChannelReport()}))
    text = shown(overview(tmp_path, facts), height=40)
    assert len(text.splitlines()) <= 40
    assert row_of(text, "channel150")[1:3] == ["not", "joined"]
    assert "more channels" in text
    assert len(shown(overview(tmp_path, facts)).splitlines()) > 200
    # With every line that there may be.
    more = with_gaps(facts, 3, channel7=4.0)
    text = shown(overview(tmp_path, more, KAFKA_TOPIC_CHAT_EVENTS="events"), height=40)
    assert len(text.splitlines()) <= 40


def test_what_others_write_cannot_command_the_terminal(tmp_path: Path) -> None:
    trouble = "\x1b[2J[bold]boo\r\x9b1m\u202e"
    out = ReaderReport(channels={"xqc": ChannelReport(trouble=trouble)})
    facts = with_reader(healthy("xqc"), "reader-xqc", out)
    facts = replace(facts, token=TokenReport("valid", login="a\x1b]0;title\x07"))
    text = shown(overview(tmp_path, facts))
    assert "[bold]boo" in text
    assert not any(letter in text for letter in "\x1b\r\x9b\u202e\x07")


def test_colours_are_there_where_they_are_wanted(tmp_path: Path) -> None:
    assert "\x1b[32m✓" in shown(overview(tmp_path, healthy("xqc")), colours=True)
    assert "\x1b" not in shown(overview(tmp_path, healthy("xqc")))


def test_without_channels_and_messages_it_says_so(tmp_path: Path) -> None:
    text = shown(overview(tmp_path, healthy()))
    assert text.startswith("! No channel is wanted.\n")
    assert "delivery  no message in the last ten minutes" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_sizes_are_for_people() -> None:
    assert size(42 * 1024**2) == "42 MiB"
    assert size(25 * 1024**3) == "25.0 GiB"


def test_a_sparkline_has_bars_of_half_a_minute() -> None:
    assert sparkline([None] * 60) == " " * 20
    assert sparkline([None] * 30 + [0] * 27 + [1, 2, 5]) == " " * 10 + "▁" * 9 + "█"
    assert sparkline([7] * 60) == "█" * 20
    assert sparkline([0] * 60) == "▁" * 20
