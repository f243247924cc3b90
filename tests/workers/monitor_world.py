"""A service as the monitor sees it, made by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shared.channel_list import reader_name
from shared.paths import Paths
from shared.reports import (
    ChannelReport,
    DeliveredReport,
    ProducerReport,
    ReaderReport,
    SyncReport,
    TokenReport,
    WatchdogReport,
)
from shared.settings import Settings, load
from shared.status_file import Head
from shared.supervisord import Program
from workers.monitor_facts import Facts

NOW = 5000.0
FIXED = ("channel-sync", "producer", "token-refresher", "watchdog", "monitor", "kafka")


def settings(tmp: Any, **values: str) -> Settings:
    """The defaults, and these."""
    return load(Paths(tmp), values)


def program(name: str, state: str = "RUNNING", uptime: float = 600.0) -> Program:
    runs = state in ("RUNNING", "STARTING", "STOPPING")
    return Program(name, state, 77 if runs else None, uptime if runs else None, f"{state} for ever")


def healthy(*channels: str, copies: int = 1) -> Facts:
    """Everything is well, and each channel has 10 messages."""
    readers = [reader_name(channel, copy) for channel in channels for copy in range(1, copies + 1)]
    names = (*FIXED, *readers)
    return Facts(
        now=NOW,
        time_ms=1_700_000_000_000,
        copies=copies,
        heads={name: Head(77, NOW - 1.0) for name in names if name != "kafka"},
        gone=frozenset(),
        readers={
            reader_name(channel, copy): ReaderReport(
                "joined", channels={channel: ChannelReport(True, received=10, last_ms=1_699_999_999_000)}
            )
            for channel in channels
            for copy in range(1, copies + 1)
        },
        producer=ProducerReport(
            kafka_accepts=True,
            readers=len(readers),
            channels={channel: DeliveredReport(delivered=10) for channel in channels},
        ),
        sync=SyncReport(list(channels), in_line=True),
        token=TokenReport("anonymous"),
        watchdog=WatchdogReport(),
        programs={name: program(name) for name in names},
        disk_free_bytes=10**12,
    )


def with_program(facts: Facts, changed: Program) -> Facts:
    return replace(facts, programs={**(facts.programs or {}), changed.name: changed})


def with_reader(facts: Facts, reader: str, report: ReaderReport) -> Facts:
    return replace(facts, readers={**facts.readers, reader: report})


def without_report(facts: Facts, name: str) -> Facts:
    heads = {known: head for known, head in facts.heads.items() if known != name}
    return replace(facts, heads=heads)


def silent(facts: Facts, name: str, seconds: float) -> Facts:
    heads: Mapping[str, Head] = {**facts.heads, name: Head(77, NOW - seconds)}
    return replace(facts, heads=dict(heads))
