"""What is told of times that nobody heard, of what was fetched afterwards, and of events."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.overview import Events, Problem
from shared.reports import ChannelReport, DeliveredReport, ProducerReport, ReaderReport
from shared.status_file import Head
from tests.workers.monitor_world import healthy, settings, with_reader
from tests.workers.test_monitor_overview import losses_of_one, seen
from workers.monitor_facts import Facts
from workers.monitor_history import History
from workers.monitor_problems import problems_of


def test_gaps_and_what_was_fetched_afterwards_are_numbers_of_the_channel_and_of_the_whole(
    tmp_path: Path,
) -> None:
    facts = healthy("xqc", "forsen")
    for reader, gap_seconds, backfilled in (("reader-xqc", 12.5, 3), ("reader-forsen", 0.5, 40)):
        channel = reader.removeprefix("reader-")
        report = ChannelReport(True, gap_seconds=gap_seconds, backfilled=backfilled)
        facts = with_reader(facts, reader, ReaderReport(channels={channel: report}))
    overview = seen(tmp_path, facts)
    assert [(one.gap_seconds, one.backfilled) for one in overview.channels] == [(12.5, 3), (0.5, 40)]
    assert (overview.totals.gap_seconds, overview.totals.backfilled) == (13.0, 43)
    assert (overview.well, overview.ready) == (True, True)


def with_gap(facts: Facts, seconds: float, after: float, *channels: str) -> Facts:
    """The same service so many seconds later, when these channels turn out to lack something."""
    now = facts.now + after
    later = replace(facts, now=now, heads={name: Head(77, now - 1.0) for name in facts.heads})
    for channel in channels:
        report = ReaderReport(channels={channel: ChannelReport(True, gap_seconds=seconds)})
        later = with_reader(later, f"reader-{channel}", report)
    return later


@pytest.mark.parametrize(
    ("readers", "url", "advice"),
    [
        (
            "1",
            "",
            "set BACKFILL_URL to have such a time fetched afterwards; with READERS_PER_CHANNEL=2 one reader "
            "hears what the other one misses",
        ),
        (
            "1",
            "http://localhost/",
            "logs/reader-xqc.log says why it could not be fetched; with READERS_PER_CHANNEL=2 one reader "
            "hears what the other one misses",
        ),
        ("2", "", "set BACKFILL_URL to have such a time fetched afterwards"),
        ("2", "http://localhost/", "logs/reader-xqc.log says why it could not be fetched"),
    ],
)
def test_a_gap_is_a_warning_for_ten_minutes_that_says_what_would_help(
    tmp_path: Path, readers: str, url: str, advice: str
) -> None:
    names = {"READERS_PER_CHANNEL": readers, "BACKFILL_URL": url}
    history = History()
    assert seen(tmp_path, healthy("xqc"), history, **names).well
    facts = with_gap(healthy("xqc"), 45.0, 10.0, "xqc")
    overview = seen(tmp_path, facts, history, **names)
    text = "45 s are missing for good in #xqc"
    assert overview.problems == [Problem("warning", "channel xqc", text, advice)]
    assert (overview.sentence, overview.ready, overview.not_ready) == (f"{text}.", True, [])
    for number in range(130):
        overview = seen(tmp_path, with_gap(facts, 45.0, 5.0 * number, "xqc"), history, **names)
    assert overview.well
    assert overview.channels[0].gap_seconds == 45.0


def test_what_a_connection_made_anew_costs_is_no_problem(tmp_path: Path) -> None:
    history = History()
    seen(tmp_path, healthy("xqc"), history)
    assert seen(tmp_path, with_gap(healthy("xqc"), 29.0, 10.0, "xqc"), history).well


def test_gaps_of_many_channels_are_one_problem(tmp_path: Path) -> None:
    names, history = [f"channel{number}" for number in range(7)], History()
    seen(tmp_path, healthy(*names), history)
    (problem,) = seen(tmp_path, with_gap(healthy(*names), 7200.0, 10.0, *names), history).problems
    assert problem.subject == "messages"
    assert problem.text == (
        "up to 2 h 0 min are missing for good in 7 channels: #channel0, #channel1, #channel2, #channel3, "
        "#channel4 and 2 more"
    )


def test_events_are_counted_where_there_is_a_topic_for_them(tmp_path: Path) -> None:
    facts = healthy("xqc")
    report = ReaderReport(channels={"xqc": ChannelReport(True, received=10, events_received=15)})
    channels = {
        "xqc": DeliveredReport(10, events_delivered=13, events_duplicate=2),
        # Such as what an account is told of itself.
        "": DeliveredReport(events_delivered=1),
    }
    facts = with_reader(
        replace(facts, producer=ProducerReport(True, channels=channels)), "reader-xqc", report
    )
    overview = seen(tmp_path, facts, KAFKA_TOPIC_CHAT_EVENTS="events")
    assert overview.kafka.events_topic == "events"
    assert overview.channels[0].events == Events(15, 13, 2)
    assert overview.totals.events == Events(15, 14, 2)
    assert (overview.channels[0].received, overview.channels[0].delivered) == (10, 10)
    overview = seen(tmp_path, facts)
    assert (overview.kafka.events_topic, overview.channels[0].events, overview.totals.events) == (
        None,
        None,
        None,
    )
    assert seen(tmp_path, healthy(), KAFKA_TOPIC_CHAT_EVENTS="events").totals.events == Events(0, 0, 0)


def test_events_that_lost_their_topic_are_called_events(tmp_path: Path) -> None:
    lost = losses_of_one("no_topic")
    (problem,) = problems_of(healthy("xqc"), settings(tmp_path), lost, {})
    assert problem.text == "3 events of #xqc were lost in the last ten minutes (no_topic)"
