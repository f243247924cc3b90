"""Every metric that the monitor has, as a table: names, meanings and where the numbers are. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from shared.overview import Channel, Events, Overview
from shared.reports import LOST_REASONS, ProducerReport

Values = Iterator[tuple[tuple[str, ...], float]]
"""The values of the labels, and the number."""
_TOKEN_TROUBLE = frozenset({"refused", "invalid", "damaged"})


@dataclass(frozen=True)
class Moment:
    """Of what the metrics are made; ``lost`` is by channel and reason, also of no channel's."""

    overview: Overview
    producer: ProducerReport
    lost: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Metric:
    """One metric: ``name`` without the ending that Prometheus gives counters and histograms."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    values: Callable[[Moment], Values]
    of_events: bool = False
    """Whether it is there only with a topic of events."""

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names under which it can be asked for."""
        if self.kind == "counter":
            return (f"{self.name}_total",)
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


def _by_channel(value: Callable[[Channel], float]) -> Callable[[Moment], Values]:
    return lambda moment: (((one.name,), value(one)) for one in moment.overview.channels)


def _one(value: Callable[[Moment], float]) -> Callable[[Moment], Values]:
    return lambda moment: iter([((), value(moment))])


def _events(value: Callable[[Events], float]) -> Callable[[Moment], Values]:
    def values(moment: Moment) -> Values:
        total = moment.overview.totals.events
        rest = 0.0 if total is None else value(total)
        for one in moment.overview.channels:
            if one.events is not None:
                yield (one.name,), value(one.events)
                rest -= value(one.events)
        if rest:
            yield ("",), rest

    return values


def _lost(moment: Moment) -> Values:
    # From the beginning: an alert on an increase would not see the first one otherwise.
    known = {(one.name, reason): 0 for one in moment.overview.channels for reason in LOST_REASONS}
    return iter((known | dict(moment.lost)).items())


def _rejected(moment: Moment) -> Values:
    for one in moment.overview.channels:
        for reason, count in one.rejected.items():
            yield (one.name, reason), count


def _problems(moment: Moment) -> Values:
    severities = [problem.severity for problem in moment.overview.problems]
    for severity in ("bad", "warning"):
        yield (severity,), severities.count(severity)


def _offered(moment: Moment) -> Values:
    for one in moment.overview.channels:
        if one.last_message_ms:
            yield (one.name,), one.last_message_ms / 1000


METRICS = (
    Metric(
        "twitch_messages_received",
        "counter",
        "Chat messages read, by every reader of the channel.",
        ("channel",),
        _by_channel(lambda one: one.received),
    ),
    Metric(
        "twitch_messages_delivered",
        "counter",
        "Messages acknowledged by Kafka.",
        ("channel",),
        _by_channel(lambda one: one.delivered),
    ),
    Metric(
        "twitch_messages_duplicate",
        "counter",
        "Messages left out as already seen.",
        ("channel",),
        _by_channel(lambda one: one.duplicate),
    ),
    Metric(
        "twitch_messages_backfilled",
        "counter",
        "Lines that were missed and fetched afterwards, see BACKFILL_URL; received ones by now.",
        ("channel",),
        _by_channel(lambda one: one.backfilled),
    ),
    Metric(
        "twitch_events_received",
        "counter",
        "Events read, by every reader of the channel; messages are events, too.",
        ("channel",),
        _events(lambda events: events.received),
        of_events=True,
    ),
    Metric(
        "twitch_events_delivered",
        "counter",
        "Events acknowledged by Kafka; those that tell of a gap, too.",
        ("channel",),
        _events(lambda events: events.delivered),
        of_events=True,
    ),
    Metric(
        "twitch_events_duplicate",
        "counter",
        "Events left out as already seen.",
        ("channel",),
        _events(lambda events: events.duplicate),
        of_events=True,
    ),
    Metric(
        "twitch_messages_lost",
        "counter",
        "Messages and events known to be lost; 0 is the promise.",
        ("channel", "reason"),
        _lost,
    ),
    Metric(
        "twitch_lines_rejected",
        "counter",
        "Lines that could not be read as chat.",
        ("channel", "reason"),
        _rejected,
    ),
    Metric(
        "twitch_emotes_rejected",
        "counter",
        "Emote ranges outside their message's text.",
        ("channel",),
        _by_channel(lambda one: one.emotes_rejected),
    ),
    Metric(
        "twitch_reader_joined",
        "gauge",
        "1 while a reader is in the channel.",
        ("channel",),
        _by_channel(lambda one: one.state == "joined"),
    ),
    Metric(
        "twitch_reader_reconnects",
        "counter",
        "Connections to Twitch after the first one.",
        ("channel",),
        _by_channel(lambda one: one.reconnects),
    ),
    Metric(
        "twitch_reader_offline_seconds",
        "counter",
        "Time out of the channel since the first join.",
        ("channel",),
        _by_channel(lambda one: one.offline_seconds),
    ),
    Metric(
        "twitch_reader_gap_seconds",
        "counter",
        "Time that is missing for good: heard by no reader, and not to be had afterwards.",
        ("channel",),
        _by_channel(lambda one: one.gap_seconds),
    ),
    Metric(
        "twitch_last_message_timestamp_seconds",
        "gauge",
        "When the last message was read; missing before the first one.",
        ("channel",),
        _offered,
    ),
    Metric(
        "twitch_handoff_pending_messages",
        "gauge",
        "Messages and events read that are neither in Kafka nor in the spool yet.",
        ("channel",),
        _by_channel(lambda one: one.pending),
    ),
    Metric(
        "twitch_spool_messages",
        "gauge",
        "Messages and events on disk that wait for Kafka.",
        (),
        _one(lambda moment: moment.overview.spool.messages),
    ),
    Metric(
        "twitch_spool_bytes",
        "gauge",
        "Size of the spool on disk.",
        (),
        _one(lambda moment: moment.overview.spool.bytes),
    ),
    Metric(
        "twitch_spool_max_bytes",
        "gauge",
        "Its bound, SPOOL_MAX_BYTES.",
        (),
        _one(lambda moment: moment.overview.spool.max_bytes),
    ),
    Metric(
        "twitch_delivery_seconds",
        "histogram",
        "From the socket to Kafka's acknowledgement.",
        (),
        lambda _moment: iter(()),
    ),
    Metric(
        "twitch_kafka_accepts",
        "gauge",
        "1 while Kafka takes messages.",
        (),
        _one(lambda moment: moment.overview.kafka.accepts),
    ),
    Metric(
        "twitch_token_expires_timestamp_seconds",
        "gauge",
        "When the account's token expires; 0 when anonymous.",
        (),
        _one(lambda moment: moment.overview.token.expires_at),
    ),
    Metric(
        "twitch_token_valid",
        "gauge",
        "0 when logins with the token would be refused.",
        (),
        _one(lambda moment: moment.overview.token.state not in _TOKEN_TROUBLE),
    ),
    Metric(
        "twitch_worker_up",
        "gauge",
        "1 while the supervised program runs and reports.",
        ("program",),
        lambda moment: (((one.name,), one.state == "RUNNING") for one in moment.overview.workers),
    ),
    Metric(
        "twitch_worker_restarts",
        "counter",
        "Starts by supervisord after an end that nobody ordered.",
        ("program",),
        lambda moment: (((one.name,), one.restarts) for one in moment.overview.workers),
    ),
    Metric(
        "twitch_ready",
        "gauge",
        "1 when every wanted reader is joined and Kafka accepts, as /readyz.",
        (),
        _one(lambda moment: moment.overview.ready),
    ),
    Metric("twitch_problems", "gauge", "Problems that the page shows.", ("severity",), _problems),
)
"""Every metric that the monitor has."""
