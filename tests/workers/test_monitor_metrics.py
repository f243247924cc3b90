"""The metrics as Prometheus reads them."""

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from shared.reports import (
    BUCKET_SECONDS,
    LOST_REASONS,
    ChannelReport,
    DeliveredReport,
    ProducerReport,
    ReaderReport,
    TokenReport,
)
from tests.workers.monitor_world import healthy, settings, with_reader
from workers.monitor_facts import Facts
from workers.monitor_history import History
from workers.monitor_metric_table import METRICS, Moment
from workers.monitor_metrics import exposition
from workers.monitor_overview import losses_of, overview_of, sample_of

# What is promised to others: names and labels.
CONTRACT = {
    "twitch_messages_received_total": ("channel",),
    "twitch_messages_delivered_total": ("channel",),
    "twitch_messages_duplicate_total": ("channel",),
    "twitch_messages_lost_total": ("channel", "reason"),
    "twitch_lines_rejected_total": ("channel", "reason"),
    "twitch_reader_joined": ("channel",),
    "twitch_reader_reconnects_total": ("channel",),
    "twitch_reader_offline_seconds_total": ("channel",),
    "twitch_reader_gap_seconds_total": ("channel",),
    "twitch_messages_backfilled_total": ("channel",),
    "twitch_last_message_timestamp_seconds": ("channel",),
    "twitch_handoff_pending_messages": ("channel",),
    "twitch_spool_messages": (),
    "twitch_token_expires_timestamp_seconds": (),
}


EVENTS = {
    "twitch_events_received_total": ("channel",),
    "twitch_events_delivered_total": ("channel",),
    "twitch_events_duplicate_total": ("channel",),
}


def moment_of(tmp_path: Path, facts: Facts, events: str = "") -> Moment:
    """``events`` is their topic."""
    history = History()
    history.add(sample_of(facts))
    configured = settings(tmp_path, KAFKA_TOPIC_CHAT_EVENTS=events)
    return Moment(overview_of(facts, history, configured), facts.producer, losses_of(facts))


def busy() -> Facts:
    report = ReaderReport(
        pending=4,
        channels={
            "xqc": ChannelReport(
                True, received=12, last_ms=1_699_999_999_500, reconnects=3, offline_seconds=9.5,
                lost={"outbox_full": 1}, rejected={"malformed": 2}, emotes_rejected=5,
                gap_seconds=7.5, backfilled=6, events_received=21,
            )
        },
    )  # fmt: skip
    facts = with_reader(healthy("xqc", "forsen"), "reader-xqc", report)
    buckets = [0] * (len(BUCKET_SECONDS) + 1)
    buckets[BUCKET_SECONDS.index(0.1)], buckets[-1] = 6, 1
    producer = ProducerReport(
        True,
        spooled=7,
        spool_bytes=4096,
        channels={
            "xqc": DeliveredReport(10, events_delivered=18, events_duplicate=3),
            "forsen": DeliveredReport(10),
            "": DeliveredReport(events_delivered=2),
        },
        delivery_buckets=buckets,
        delivery_seconds=90000.4,
    )
    return replace(facts, producer=producer, token=TokenReport("valid", 1_700_003_600))


def values(text: str) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of their labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def test_every_metric_has_the_value_that_is_shown(tmp_path: Path) -> None:
    text, content_type = exposition(moment_of(tmp_path, busy()), "")
    assert content_type.startswith("text/plain; version=0.0.4")
    found = values(text.decode())
    assert found["twitch_messages_received_total", "xqc"] == 12
    assert found["twitch_messages_delivered_total", "xqc"] == 10
    assert found["twitch_messages_duplicate_total", "xqc"] == 0
    assert found["twitch_messages_lost_total", "xqc", "outbox_full"] == 1
    assert found["twitch_lines_rejected_total", "xqc", "malformed"] == 2
    assert found["twitch_emotes_rejected_total", "xqc"] == 5
    assert found["twitch_reader_joined", "forsen"] == 1
    assert found["twitch_reader_reconnects_total", "xqc"] == 3
    assert found["twitch_reader_offline_seconds_total", "xqc"] == 9.5
    assert found["twitch_reader_gap_seconds_total", "xqc"] == 7.5
    assert found["twitch_messages_backfilled_total", "xqc"] == 6
    assert found["twitch_last_message_timestamp_seconds", "xqc"] == 1_699_999_999.5
    assert found["twitch_handoff_pending_messages", "xqc"] == 4
    assert found["twitch_spool_messages",] == 7
    assert found["twitch_spool_bytes",] == 4096
    assert found["twitch_token_expires_timestamp_seconds",] == 1_700_003_600
    assert found["twitch_token_valid",] == 1
    assert found["twitch_worker_up", "producer"] == 1
    assert found["twitch_kafka_accepts",] == found["twitch_ready",] == 1
    assert found["twitch_problems", "bad"] == found["twitch_problems", "warning"] == 0


def test_the_histogram_is_cumulated_and_has_its_sum(tmp_path: Path) -> None:
    found = values(exposition(moment_of(tmp_path, busy()), "")[0].decode())
    assert found["twitch_delivery_seconds_bucket", "0.05"] == 0
    assert found["twitch_delivery_seconds_bucket", "0.1"] == 6
    assert found["twitch_delivery_seconds_bucket", "86400.0"] == 6
    assert found["twitch_delivery_seconds_bucket", "+Inf"] == found["twitch_delivery_seconds_count",] == 7
    assert found["twitch_delivery_seconds_sum",] == 90000.4


def test_names_and_labels_are_the_promised_ones(tmp_path: Path) -> None:
    text = exposition(moment_of(tmp_path, busy()), "")[0].decode()
    found = {sample.name: tuple(sample.labels) for family in read_text(text) for sample in family.samples}
    assert CONTRACT.items() <= found.items()
    assert found["twitch_delivery_seconds_bucket"] == ("le",)


def test_events_are_counted_only_where_there_is_a_topic_for_them(tmp_path: Path) -> None:
    text = exposition(moment_of(tmp_path, busy(), "events"), "")[0].decode()
    found = values(text)
    assert found["twitch_events_received_total", "xqc"] == 21
    assert found["twitch_events_delivered_total", "xqc"] == 18
    assert found["twitch_events_duplicate_total", "xqc"] == 3
    assert found["twitch_events_received_total", "forsen"] == 0
    # What belongs to no channel.
    assert found["twitch_events_delivered_total", ""] == 2
    assert ("twitch_events_received_total", "") not in found
    labels = {sample.name: tuple(sample.labels) for family in read_text(text) for sample in family.samples}
    assert EVENTS.items() <= labels.items()
    assert "twitch_events" not in exposition(moment_of(tmp_path, busy()), "")[0].decode()


def test_gaps_are_there_from_the_beginning(tmp_path: Path) -> None:
    found = values(exposition(moment_of(tmp_path, healthy("xqc")), "")[0].decode())
    assert found["twitch_reader_gap_seconds_total", "xqc"] == 0
    assert found["twitch_messages_backfilled_total", "xqc"] == 0


def test_losses_are_there_from_the_beginning_with_every_reason(tmp_path: Path) -> None:
    found = values(exposition(moment_of(tmp_path, healthy("xqc")), "")[0].decode())
    for reason in LOST_REASONS:
        assert found["twitch_messages_lost_total", "xqc", reason] == 0


def test_before_any_message_and_without_channels_it_can_be_read_too(tmp_path: Path) -> None:
    facts = with_reader(healthy("xqc"), "reader-xqc", ReaderReport())
    found = values(exposition(moment_of(tmp_path, facts), "")[0].decode())
    assert ("twitch_last_message_timestamp_seconds", "xqc") not in found
    assert found["twitch_delivery_seconds_bucket", "+Inf"] == 0
    text = exposition(moment_of(tmp_path, healthy()), "")[0].decode()
    assert values(text)["twitch_ready",] == 1


def test_openmetrics_is_spoken_where_it_is_asked_for(tmp_path: Path) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    text, content_type = exposition(moment_of(tmp_path, busy(), "events"), accept)
    assert content_type.startswith("application/openmetrics-text")
    families = read_openmetrics(text.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert names == {metric.name for metric in METRICS}


def test_hostile_labels_do_not_break_the_format(tmp_path: Path) -> None:
    report = ReaderReport(channels={"xqc": ChannelReport(rejected={'a"b\\c\nd': 1})})
    text = exposition(moment_of(tmp_path, with_reader(healthy("xqc"), "reader-xqc", report)), "")[0]
    assert values(text.decode())["twitch_lines_rejected_total", "xqc", 'a"b\\c\nd'] == 1


def test_names_follow_the_conventions_of_prometheus() -> None:
    counts = Counter(metric.name for metric in METRICS)
    assert set(counts.values()) == {1}
    for metric in METRICS:
        assert re.fullmatch(r"twitch_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.kind in ("counter", "gauge", "histogram")
        assert not metric.name.endswith("_total")
        assert metric.help.endswith(".")


@pytest.mark.parametrize("facts", [busy(), healthy()], ids=["busy", "empty"])
def test_promtool_finds_nothing_to_complain_about(tmp_path: Path, facts: Facts) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH; on Debian: apt-get install prometheus")
    text = exposition(moment_of(tmp_path, facts, "events"), "")[0]
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
