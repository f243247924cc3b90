"""From what the workers tell to what people are told."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from shared.overview import Events, Overview, Problem
from shared.reports import (
    LOST_REASONS,
    ChannelReport,
    DeliveredReport,
    ProducerReport,
    ReaderReport,
    SyncReport,
    TokenReport,
    WatchdogReport,
)
from shared.status_file import Head
from tests.workers.monitor_world import (
    NOW,
    healthy,
    program,
    settings,
    silent,
    with_program,
    with_reader,
    without_report,
)
from workers.monitor_facts import Facts, Usage
from workers.monitor_history import History
from workers.monitor_overview import losses_of, overview_of, sample_of
from workers.monitor_problems import problems_of

OUT = ReaderReport("not joined", channels={"xqc": ChannelReport(trouble="closed by Twitch", received=10)})


def seen(tmp_path: Path, facts: Facts, history: History | None = None, **values: str) -> Overview:
    history = history or History()
    history.add(sample_of(facts))
    return overview_of(facts, history, settings(tmp_path, **values))


def test_a_service_without_trouble_is_well_and_ready(tmp_path: Path) -> None:
    overview = seen(tmp_path, healthy("xqc", "forsen"))
    assert overview.well
    assert overview.sentence == "All is well: 2 channels are read, Kafka takes the messages."
    assert overview.problems == []
    assert (overview.ready, overview.not_ready) == (True, [])
    assert [(one.name, one.state, one.trouble) for one in overview.channels] == [
        ("xqc", "joined", ""),
        ("forsen", "joined", ""),
    ]
    totals = overview.totals
    assert (totals.received, totals.delivered, totals.lost, totals.pending) == (20, 20, 0, 0)
    assert overview.kafka.addresses == ["127.0.0.1:9092"]
    assert {one.state for one in overview.workers} == {"RUNNING"}


Change = Callable[[Facts], Facts]
TROUBLE: list[tuple[str, Change, str, str, str]] = [
    (
        "supervisord away",
        lambda facts: replace(facts, programs=None),
        "bad",
        "supervisord does not answer, workers that end are not restarted",
        "start the service",
    ),
    (
        "a worker that does not stay up",
        lambda facts: with_program(
            without_report(facts, "token-refresher"), program("token-refresher", "BACKOFF")
        ),
        "bad",
        "token-refresher does not stay up (BACKOFF)",
        "logs/token-refresher.log",
    ),
    (
        "a worker that somebody stopped",
        lambda facts: with_program(facts, program("kafka", "STOPPED")),
        "bad",
        "kafka is stopped",
        "supervisorctl start kafka",
    ),
    (
        "a worker that hangs",
        lambda facts: silent(facts, "channel-sync", 13.0),
        "bad",
        "channel-sync hangs, it has not reported for 13 s",
        "the watchdog restarts it",
    ),
    (
        "Kafka away",
        lambda facts: replace(
            facts, producer=ProducerReport(False, "check that the broker runs", spooled=1234)
        ),
        "bad",
        "Kafka takes no messages, 1,234 wait in the spool",
        "check that the broker runs",
    ),
    (
        "Kafka silent",
        lambda facts: replace(facts, producer=ProducerReport(False)),
        "bad",
        "Kafka takes no messages",
        "the broker does not answer",
    ),
    (
        "no producer",
        lambda facts: with_program(
            replace(facts, heads={**facts.heads, "producer": Head(77, NOW - 1.0, stopped=True)}),
            program("producer", "STOPPED"),
        ),
        "bad",
        "producer is stopped",
        "supervisorctl start producer",
    ),
    (
        "a channel that is out",
        lambda facts: with_reader(facts, "reader-xqc", OUT),
        "bad",
        "#xqc is not read",
        "closed by Twitch",
    ),
    (
        "a reader that waits for its turn",
        lambda facts: with_reader(
            facts, "reader-xqc", ReaderReport(channels={"xqc": ChannelReport(trouble="waiting for its turn")})
        ),
        "warning",
        "#xqc is not read",
        "waiting for its turn",
    ),
    (
        "a reader that somebody stopped",
        lambda facts: with_program(without_report(facts, "reader-xqc"), program("reader-xqc", "STOPPED")),
        "bad",
        "#xqc is not read",
        "the reader is stopped: supervisorctl start reader-xqc",
    ),
    (
        "a reader that hangs",
        lambda facts: silent(facts, "reader-xqc", 30.0),
        "bad",
        "#xqc is not read",
        "the reader has not reported for 30 s",
    ),
    (
        "a reader that was killed",
        lambda facts: replace(facts, gone=frozenset({"reader-xqc"})),
        "bad",
        "#xqc is not read",
        "the reader has ended",
    ),
    (
        "a full spool",
        lambda facts: replace(
            facts, producer=replace_struct(facts.producer, spooled=5, spool_bytes=9 * 10737418240 // 10)
        ),
        "bad",
        "the spool is at 90% of SPOOL_MAX_BYTES",
        "raise SPOOL_MAX_BYTES",
    ),
    (
        "a full disk",
        lambda facts: replace(facts, disk_free_bytes=300 * 1024**2),
        "warning",
        "only 300 MiB are free",
        "make room",
    ),
    (
        "a sign-in that has ended",
        lambda facts: replace(facts, token=TokenReport("refused", login="bot")),
        "bad",
        "the token cannot be renewed: readers that are in stay in, others are refused",
        "make auth",
    ),
    (
        "a token that has expired",
        lambda facts: replace(facts, token=TokenReport("valid", expires_at=1_699_999_000)),
        "warning",
        "the token has expired",
        "logs/token-refresher.log",
    ),
    (
        "an empty channel list",
        lambda facts: replace(facts, sync=SyncReport([], in_line=True), readers={}),
        "warning",
        "no channel is wanted",
        "channel list",
    ),
]


def replace_struct(report: ProducerReport, spooled: int, spool_bytes: int) -> ProducerReport:
    return ProducerReport(
        report.kafka_accepts, spooled=spooled, spool_bytes=spool_bytes, channels=report.channels
    )


@pytest.mark.parametrize(
    ("name", "change", "severity", "text", "advice"), TROUBLE, ids=[one[0] for one in TROUBLE]
)
def test_each_trouble_is_named_with_what_to_do(
    tmp_path: Path, name: str, change: Change, severity: str, text: str, advice: str
) -> None:
    overview = seen(tmp_path, change(healthy("xqc")))
    assert not overview.well
    found = [problem for problem in overview.problems if text in problem.text]
    assert [problem.severity for problem in found] == [severity], overview.problems
    assert advice in found[0].advice
    first = overview.problems[0].text
    assert overview.sentence.startswith(first[0].upper() + first[1:])


def test_the_worst_is_named_first_and_the_others_are_counted(tmp_path: Path) -> None:
    facts = replace(healthy("xqc"), disk_free_bytes=0, token=TokenReport("invalid"))
    facts = replace(facts, producer=ProducerReport(False))
    overview = seen(tmp_path, facts)
    assert [problem.severity for problem in overview.problems] == ["bad", "bad", "warning"]
    assert overview.sentence == "Kafka takes no messages (and 2 more problems)."


def test_many_channels_that_are_out_are_one_problem(tmp_path: Path) -> None:
    names = [f"channel{number}" for number in range(12)]
    facts = healthy(*names)
    for name in names[:9]:
        facts = with_reader(
            facts, f"reader-{name}", ReaderReport(channels={name: ChannelReport(trouble="why")})
        )
    (problem,) = seen(tmp_path, facts).problems
    assert problem == Problem(
        "bad",
        "channels",
        "9 of 12 channels are not read: #channel0, #channel1, #channel2, #channel3, #channel4 and 4 more",
        "why",
    )


def test_what_has_just_been_started_is_no_alarm(tmp_path: Path) -> None:
    facts = with_program(without_report(healthy("xqc"), "reader-xqc"), program("reader-xqc", uptime=1.0))
    facts = with_program(replace(facts, producer=ProducerReport(False)), program("kafka", uptime=2.0))
    overview = seen(tmp_path, facts)
    assert [(one.severity, one.subject) for one in overview.problems] == [
        ("warning", "kafka"),
        ("warning", "channel xqc"),
    ]
    assert overview.problems[1].advice == "the reader is starting"
    assert not overview.ready


def test_messages_lost_in_the_last_ten_minutes_are_a_problem_and_older_ones_a_number(tmp_path: Path) -> None:
    facts, history = healthy("xqc"), History()
    lost = DeliveredReport(10, lost={"spool_full": 1000})
    facts = replace(facts, producer=ProducerReport(True, channels={"xqc": lost}))
    overview = seen(tmp_path, facts, history)
    assert overview.well
    assert overview.totals.lost == 1000
    assert overview.channels[0].lost == {"spool_full": 1000}
    more = replace(facts, now=NOW + 10.0, heads={n: Head(77, NOW + 9.0) for n in facts.heads})
    more = replace(
        more, producer=ProducerReport(True, channels={"xqc": DeliveredReport(10, lost={"spool_full": 1001})})
    )
    (problem,) = seen(tmp_path, more, history).problems
    assert problem.text == "1 message of #xqc was lost in the last ten minutes (spool_full)"
    assert problem.advice == "bring Kafka back, or raise SPOOL_MAX_BYTES"


@pytest.mark.parametrize("reason", LOST_REASONS)
def test_for_every_kind_of_loss_there_is_something_to_do(tmp_path: Path, reason: str) -> None:
    (problem,) = problems_of(healthy("xqc"), settings(tmp_path), losses_of_one(reason), {})
    assert problem.advice not in ("", "see the logs")


def losses_of_one(reason: str) -> Counter[tuple[str, str]]:
    return Counter({("xqc", reason): 3})


def test_two_readers_of_a_channel_are_one_channel(tmp_path: Path) -> None:
    facts = healthy("xqc", copies=2)
    second = ReaderReport(
        "not joined",
        pending=4,
        channels={
            "xqc": ChannelReport(
                trouble="why",
                received=8,
                last_ms=7,
                reconnects=3,
                offline_seconds=9.0,
                gap_seconds=9.0,
                backfilled=2,
                events_received=20,
                lost={"outbox_full": 1},
                rejected={"malformed": 2},
                emotes_rejected=5,
            )
        },
    )
    facts = with_reader(facts, "reader-xqc-2", second)
    overview = seen(tmp_path, facts, KAFKA_TOPIC_CHAT_EVENTS="events", READERS_PER_CHANNEL="2")
    (channel,) = overview.channels
    assert (channel.state, channel.trouble) == ("joined", "")
    assert (channel.received, channel.pending, channel.reconnects) == (18, 4, 3)
    # The other reader was there all the time.
    assert channel.offline_seconds == channel.gap_seconds == 0.0
    assert (channel.backfilled, channel.events) == (2, Events(20, 0, 0))
    assert channel.last_message_ms == 1_699_999_999_000
    assert (channel.lost, channel.rejected, channel.emotes_rejected) == (
        {"outbox_full": 1},
        {"malformed": 2},
        5,
    )
    assert overview.problems == []
    assert overview.not_ready == ["reader-xqc-2 is not in #xqc: why"]


def test_what_two_readers_read_is_not_counted_twice_in_the_rate(tmp_path: Path) -> None:
    history = History()
    for second in range(30):
        facts = replace(healthy("xqc", copies=2), now=NOW + second)
        for reader in ("reader-xqc", "reader-xqc-2"):
            report = ReaderReport(channels={"xqc": ChannelReport(True, received=10 * second)})
            facts = with_reader(facts, reader, report)
        overview = seen(tmp_path, facts, history)
    assert overview.channels[0].per_second == pytest.approx(10.0)
    assert overview.totals.per_second == pytest.approx(10.0)
    assert overview.channels[0].history[-2:] == [100, 100]


def test_each_channel_of_a_reader_of_several_is_shown_for_itself(tmp_path: Path) -> None:
    history = History()
    for second in range(30):
        channels = {
            "xqc": ChannelReport(True, received=10 * second, pending=3),
            "forsen": ChannelReport(trouble="why", received=second, pending=0),
        }
        facts = replace(healthy("xqc", "forsen"), now=NOW + second)
        facts = replace(
            facts,
            readers={"readers-1": ReaderReport("not joined", 3, channels)},
            heads={name: Head(77, NOW + second - 1.0) for name in (*facts.heads, "readers-1")},
            programs={**(facts.programs or {}), "readers-1": program("readers-1")},
            sync=msgspec.structs.replace(facts.sync, groups={"xqc": 1, "forsen": 1}),
        )
        overview = seen(tmp_path, facts, history, BACKFILL_URL="http://x")
    xqc, forsen = overview.channels
    assert (xqc.state, xqc.pending) == ("joined", 3)
    assert (forsen.state, forsen.pending) == ("not joined", 0)
    assert xqc.per_second == pytest.approx(10.0)
    assert forsen.per_second == pytest.approx(1.0)
    assert xqc.history[-1] == 100
    assert forsen.history[-1] == 10
    assert overview.totals.pending == 3
    assert [problem.subject for problem in overview.problems] == ["channel forsen"]
    assert overview.not_ready == ["readers-1 is not in #forsen: why"]


def test_what_a_dead_reader_held_is_not_pending(tmp_path: Path) -> None:
    report = ReaderReport(pending=7, channels={"xqc": ChannelReport(True)})
    facts = replace(with_reader(healthy("xqc"), "reader-xqc", report), gone=frozenset({"reader-xqc"}))
    overview = seen(tmp_path, facts)
    assert overview.channels[0].pending == 0
    assert overview.channels[0].state == "no reader"


def test_workers_show_what_they_take_and_how_often_they_were_started_again(tmp_path: Path) -> None:
    facts = silent(healthy("xqc"), "reader-xqc", 20.0)
    facts = replace(
        facts, usage={77: Usage(1.5, 42_000_000)}, watchdog=WatchdogReport(restarts={"producer": 4})
    )
    workers = {one.name: one for one in seen(tmp_path, facts).workers}
    assert workers["reader-xqc"].state == "HANGS"
    assert (workers["producer"].restarts, workers["monitor"].restarts) == (4, 0)
    assert (workers["producer"].cpu_percent, workers["producer"].memory_bytes) == (1.5, 42_000_000)
    assert workers["kafka"].uptime_seconds == 600.0


def test_without_supervisord_the_workers_are_those_that_have_told_something(tmp_path: Path) -> None:
    overview = seen(tmp_path, replace(healthy("xqc"), programs=None))
    assert {one.state for one in overview.workers} == {"UNKNOWN"}
    assert "reader-xqc" in {one.name for one in overview.workers}
    assert overview.ready


def test_the_tokens_life_is_what_is_left_of_it(tmp_path: Path) -> None:
    assert seen(tmp_path, healthy()).token.remaining_seconds is None
    facts = replace(healthy(), token=TokenReport("valid", 1_700_003_600, "bot", ["chat:read"]))
    token = seen(tmp_path, facts).token
    assert (token.state, token.login, token.remaining_seconds) == ("valid", "bot", 3600.0)


def test_the_reasons_for_not_being_ready_are_named(tmp_path: Path) -> None:
    facts = replace(with_reader(healthy("xqc"), "reader-xqc", OUT), producer=ProducerReport(False, "why not"))
    facts = replace(facts, sync=SyncReport(["xqc"], in_line=False))
    assert seen(tmp_path, facts).not_ready == [
        "channel-sync has not brought the readers in line with the channel list yet",
        "Kafka takes no messages: why not",
        "reader-xqc is not in #xqc: closed by Twitch",
    ]
    assert seen(tmp_path, without_report(healthy(), "channel-sync")).not_ready == [
        "channel-sync does not tell which channels are wanted"
    ]


def test_losses_of_which_nobody_knows_the_channel_are_counted(tmp_path: Path) -> None:
    producer = ProducerReport(True, channels={"": DeliveredReport(lost={"spool_damaged": 3})})
    facts = replace(healthy("xqc"), producer=producer)
    assert losses_of(facts) == {("", "spool_damaged"): 3}
    assert seen(tmp_path, facts).totals.lost == 3
