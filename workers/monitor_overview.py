"""From the facts to what is shown. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence

from shared.overview import (
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
from shared.reports import ChannelReport, DeliveredReport
from shared.settings import Settings
from shared.status_file import STALE_SECONDS
from workers.monitor_facts import Facts
from workers.monitor_history import History, Sample, quantile_seconds
from workers.monitor_problems import is_read, kafka_accepts, not_ready, problems_of, trouble_of


def sample_of(facts: Facts) -> Sample:
    """What the history keeps of the facts."""
    received = {
        (reader, name): channel.received
        for reader, report in facts.readers.items()
        if reader in facts.heads
        for name, channel in report.channels.items()
    }
    gaps = {channel: _gap_of(found) for channel in facts.sync.channels if (found := _reports(facts, channel))}
    return Sample(facts.now, received, facts.producer.delivery_buckets, losses_of(facts), gaps)


def losses_of(facts: Facts) -> Counter[tuple[str, str]]:
    """Everything that is known to be lost of the wanted channels, by channel and reason.

    The channel is empty for what was lost of nobody knows which one.
    """
    lost: Counter[tuple[str, str]] = Counter()
    for name in ("", *facts.sync.channels):
        for part in (_delivered(facts, name).lost, *(one.lost for one in _reports(facts, name))):
            for reason, count in part.items():
                lost[name, reason] += count
    return lost


def overview_of(facts: Facts, history: History, settings: Settings) -> Overview:
    """Everything that is shown, of one moment."""
    problems = problems_of(facts, settings, history.losses(), history.gaps())
    reasons = not_ready(facts)
    losses = losses_of(facts)
    channels = [_channel(facts, history, losses, name, settings) for name in facts.sync.channels]
    deliveries = history.deliveries()
    return Overview(
        time_ms=facts.time_ms,
        well=not problems,
        sentence=_sentence(problems, channels),
        problems=problems,
        ready=not reasons,
        not_ready=reasons,
        channels=channels,
        workers=_workers(facts),
        delivery=Delivery(
            quantile_seconds(0.5, deliveries), quantile_seconds(0.99, deliveries), sum(deliveries)
        ),
        kafka=Kafka(
            accepts=kafka_accepts(facts),
            addresses=list(settings.kafka_addresses),
            topic=settings.kafka_topic_chat_messages,
            events_topic=settings.kafka_topic_chat_events,
            embedded=settings.kafka_is_embedded,
            trouble=facts.producer.trouble,
        ),
        spool=Spool(facts.producer.spooled, facts.producer.spool_bytes, settings.spool_max_bytes),
        token=_token(facts),
        totals=_totals(channels, losses.total(), _events(facts, "", settings)),
    )


def _totals(channels: Sequence[Channel], lost: int, events: Events | None) -> Totals:
    """The sums; ``events`` are those of no channel."""
    rates = [one.per_second for one in channels if one.per_second is not None]
    if events is not None:
        known = [events, *(one.events for one in channels if one.events is not None)]
        events = Events(
            received=sum(one.received for one in known),
            delivered=sum(one.delivered for one in known),
            duplicate=sum(one.duplicate for one in known),
        )
    return Totals(
        per_second=sum(rates) if rates else None,
        received=sum(one.received for one in channels),
        delivered=sum(one.delivered for one in channels),
        duplicate=sum(one.duplicate for one in channels),
        events=events,
        gap_seconds=sum(one.gap_seconds for one in channels),
        backfilled=sum(one.backfilled for one in channels),
        lost=lost,
        rejected=sum(sum(one.rejected.values()) for one in channels),
        pending=sum(one.pending for one in channels),
    )


def _sentence(problems: Sequence[Problem], channels: Sequence[Channel]) -> str:
    if problems:
        more = len(problems) - 1
        others = f" (and {more} more problem{'s' * (more != 1)})" if more else ""
        text = problems[0].text
        return text[0].upper() + text[1:] + others + "."
    count = len(channels)
    # Without numbers that change every second: a screen reader would read it out again and again.
    read = "1 channel is" if count == 1 else f"{count} channels are"
    return f"All is well: {read} read, Kafka takes the messages."


def _reports(facts: Facts, channel: str) -> list[ChannelReport]:
    if not channel:
        return []
    found = (facts.readers[reader].channels.get(channel) for reader in facts.readers_of(channel))
    return [report for report in found if report is not None]


def _delivered(facts: Facts, channel: str) -> DeliveredReport:
    return facts.producer.channels.get(channel) or DeliveredReport()


def _events(facts: Facts, channel: str, settings: Settings) -> Events | None:
    """Of the channel, or those of none; None while there is no topic of events."""
    if settings.kafka_topic_chat_events is None:
        return None
    delivered = _delivered(facts, channel)
    return Events(
        received=sum(report.events_received for report in _reports(facts, channel)),
        delivered=delivered.events_delivered,
        duplicate=delivered.events_duplicate,
    )


def _gap_of(reports: Iterable[ChannelReport]) -> float:
    # What one reader of a channel has missed another one may have read.
    return min((report.gap_seconds for report in reports), default=0.0)


def _channel(
    facts: Facts, history: History, losses: Counter[tuple[str, str]], name: str, settings: Settings
) -> Channel:
    readers = facts.readers_of(name)
    alive = [reader for reader in readers if facts.is_alive(reader)]
    joined = is_read(facts, name)
    reports = _reports(facts, name)
    delivered = _delivered(facts, name)
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    rates = [rate for reader in readers if (rate := history.per_second(reader, name)) is not None]
    spans = zip(*(history.spans(reader, name) for reader in readers), strict=True)
    return Channel(
        name=name,
        state="joined" if joined else "not joined" if alive else "no reader",
        trouble="" if joined else trouble_of(facts, (alive or readers)[0], name),
        # Two readers of a channel read the same.
        per_second=max(rates, default=None),
        history=[_most(span) for span in spans],
        last_message_ms=max((report.last_ms for report in reports), default=0),
        reconnects=sum(report.reconnects for report in reports),
        offline_seconds=min((report.offline_seconds for report in reports), default=0.0),
        gap_seconds=_gap_of(reports),
        backfilled=sum(report.backfilled for report in reports),
        pending=sum(_pending(facts, reader, name) for reader in alive),
        received=sum(report.received for report in reports),
        delivered=delivered.delivered,
        duplicate=delivered.duplicate,
        events=_events(facts, name, settings),
        lost={reason: count for (channel, reason), count in losses.items() if channel == name and count},
        rejected=dict(rejected),
        emotes_rejected=sum(report.emotes_rejected for report in reports),
    )


def _pending(facts: Facts, reader: str, channel: str) -> int:
    report = facts.readers[reader]
    found = report.channels.get(channel)
    return report.pending if found is None or found.pending is None else found.pending


def _most(counts: Iterable[int | None]) -> int | None:
    return max((count for count in counts if count is not None), default=None)


def _workers(facts: Facts) -> list[Worker]:
    if facts.programs is None:
        return [
            Worker(name, "UNKNOWN", None, None, facts.watchdog.restarts.get(name, 0), None, None)
            for name in sorted(facts.heads)
        ]
    workers = []
    for program in facts.programs.values():
        usage = facts.usage.get(program.pid) if program.pid is not None else None
        silent = facts.silent_seconds(program.name)
        hangs = program.state == "RUNNING" and silent is not None and silent >= STALE_SECONDS
        workers.append(
            Worker(
                name=program.name,
                state="HANGS" if hangs else program.state,
                pid=program.pid,
                uptime_seconds=program.uptime_seconds,
                restarts=facts.watchdog.restarts.get(program.name, 0),
                cpu_percent=usage.cpu_percent if usage else None,
                memory_bytes=usage.memory_bytes if usage else None,
            )
        )
    return workers


def _token(facts: Facts) -> TokenStatus:
    token = facts.token
    remaining = token.expires_at - facts.time_ms / 1000 if token.expires_at else None
    return TokenStatus(token.state, token.login, token.scopes, token.expires_at, remaining)
