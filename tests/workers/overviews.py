"""Overviews of the service as the monitor tells them, for tests of what shows them."""

from typing import Any

from shared.overview import (
    HISTORY_SPANS,
    Channel,
    Delivery,
    Events,
    Kafka,
    Overview,
    Problem,
    Spool,
    TokenStatus,
    Totals,
    Worker,
)

TIME_MS = 1_764_000_000_000
PROGRAMS = ("channel-sync", "kafka", "monitor", "producer", "token-refresher", "watchdog")


def make_channel(number: int, **more: Any) -> Channel:
    """A channel of its own numbers; ``more`` are fields that are otherwise."""
    received = 1_234_567 // (number + 1)
    values: dict[str, Any] = {
        "name": f"channel{number:03}",
        "state": "joined",
        "trouble": "",
        "per_second": round(37.3 / (number + 1), 2),
        "history": [None] * (number % 20)
        + [wave(number, span) for span in range(number % 20, HISTORY_SPANS)],
        # Long ago, so that only what a test changes changes.
        "last_message_ms": TIME_MS - 7_300_000 * (number + 1),
        "reconnects": number % 7,
        "offline_seconds": 1.5 * (number % 5),
        "gap_seconds": 0.0,
        "backfilled": 0,
        "pending": number % 4,
        "received": received,
        "delivered": received - 12 - number % 4,
        "duplicate": 12,
        "events": None,
        "lost": {},
        "rejected": {"no_tags": 2} if number == 1 else {},
        "emotes_rejected": number % 3,
    }
    return Channel(**values | more)


def wave(number: int, span: int) -> int:
    """Messages in a span, up and down."""
    return (span * (number + 3) + number) % 41 * 10 // (number + 1)


def make_worker(name: str, number: int = 0, **more: Any) -> Worker:
    """A worker that runs."""
    values: dict[str, Any] = {
        "name": name,
        "state": "RUNNING",
        "pid": 4000 + number,
        "uptime_seconds": 93_784.5 + 60 * number,
        "restarts": number % 3,
        "cpu_percent": 0.4 + number % 9,
        "memory_bytes": (22 + number % 40) * 1024**2,
    }
    return Worker(**values | more)


def make_overview(channels: int = 3, **more: Any) -> Overview:
    """A service that is well with so many channels; ``more`` are fields that are otherwise."""
    read = more.pop("read", [make_channel(number) for number in range(channels)])
    names = sorted([*PROGRAMS, *(f"reader-{channel.name}" for channel in read)])
    values: dict[str, Any] = {
        "time_ms": TIME_MS,
        "well": True,
        "sentence": f"All is well: {len(read)} channels are read, Kafka takes the messages.",
        "problems": [],
        "ready": True,
        "not_ready": [],
        "channels": read,
        "workers": [make_worker(name, number) for number, name in enumerate(names)],
        "delivery": Delivery(0.0123, 0.2345, 98_765),
        "kafka": Kafka(True, ["127.0.0.1:9092"], "twitch-chat-messages", None, True, ""),
        "spool": Spool(0, 32_768, 10 * 1024**3),
        "token": TokenStatus("anonymous", "", [], 0, None),
        "totals": totals_of(read),
    }
    return Overview(**values | more)


def make_bad_overview(channels: int = 20) -> Overview:
    """A service with everything that can be wrong."""
    read = [make_channel(number) for number in range(channels)]
    bad = [Problem("bad", "kafka", "Kafka takes no messages, 12,345 wait in the spool", "is the broker up?")]
    if read:
        read[0] = make_channel(
            0, state="not joined", trouble="no answer to the JOIN: is the name right?", per_second=0.0
        )
        bad.append(Problem("bad", "channel channel000", "#channel000 is not read", read[0].trouble))
    if len(read) > 5:
        read[3] = make_channel(3, state="no reader", trouble="the reader is FATAL", per_second=None)
        read[5] = make_channel(5, lost={"spool_full": 1234, "outbox_full": 5}, pending=81_234)
        read[4] = make_channel(4, offline_seconds=4000.5, gap_seconds=3725.0, backfilled=1_234)
    for channel in read:
        received = channel.received * 2
        channel.events = Events(received, received - 1, 1)
    problems = [*bad, Problem("warning", "token", "the token has expired", "see logs/token-refresher.log")]
    overview = make_overview(
        read=read,
        well=False,
        sentence="Kafka takes no messages, 12,345 wait in the spool (and 2 more problems).",
        problems=problems,
        ready=False,
        not_ready=["Kafka takes no messages: is the broker up?", "reader-channel000 is not in #channel000"],
        kafka=Kafka(
            False, ["10.0.0.1:9092", "10.0.0.2:9092"], "chat", "chat-events", False, "no broker answers"
        ),
        spool=Spool(12_345, 9 * 1024**3, 10 * 1024**3),
        token=TokenStatus("valid", "testbot", ["chat:read"], TIME_MS // 1000 - 60, -60.0),
    )
    for worker in overview.workers:
        if worker.name == "reader-channel003":
            worker.state, worker.pid, worker.uptime_seconds = "FATAL", None, None
            worker.cpu_percent = worker.memory_bytes = None
        elif worker.name == "producer":
            worker.state = "HANGS"
    return overview


def totals_of(channels: list[Channel]) -> Totals:
    """The sums of the channels."""
    events = [channel.events for channel in channels if channel.events is not None]
    return Totals(
        per_second=sum(channel.per_second or 0.0 for channel in channels) if channels else None,
        received=sum(channel.received for channel in channels),
        delivered=sum(channel.delivered for channel in channels),
        duplicate=sum(channel.duplicate for channel in channels),
        events=Events(
            sum(one.received for one in events),
            sum(one.delivered for one in events),
            sum(one.duplicate for one in events),
        )
        if events
        else None,
        gap_seconds=sum(channel.gap_seconds for channel in channels),
        backfilled=sum(channel.backfilled for channel in channels),
        lost=sum(sum(channel.lost.values()) for channel in channels),
        rejected=sum(sum(channel.rejected.values()) for channel in channels),
        pending=sum(channel.pending for channel in channels),
    )
