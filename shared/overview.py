"""What the monitor tells about the whole service: the JSON of ``/api/status``. Pure.

The page, ``make status`` and ``/readyz`` show the same. Counters are totals over all lives of the workers;
None means that it is not known.
"""

from typing import Literal

import msgspec

HISTORY_SPANS = 60
SPAN_SECONDS = 10
"""A channel's history has so many spans of so many seconds: ten minutes."""
RATE_SECONDS = 10
"""Rates are those of the last seconds, about so many."""


class Problem(msgspec.Struct):
    """One thing that is not as it should be."""

    severity: Literal["bad", "warning"]
    """``bad``: messages are, or may soon be, missing or late; ``warning``: it can wait for a person."""
    subject: str
    """What it is about: ``channel <login>``, ``worker <program>``, ``kafka``, ``spool``, ``token``,
    ``supervisord``, ``channels`` or ``messages``."""
    text: str
    """One sentence without its full stop: what is wrong."""
    advice: str
    """What to do; empty where nothing is to be done but wait."""


class Events(msgspec.Struct):
    """What became of the events, as it is told of chat messages.

    The gaps are ``delivered`` as well, and nobody has ``received`` them.
    """

    received: int
    delivered: int
    duplicate: int


class Channel(msgspec.Struct):
    """One wanted channel; with several readers of it they are taken together."""

    name: str
    state: Literal["joined", "not joined", "no reader"]
    """``no reader``: none runs, or the one that does hangs."""
    trouble: str
    """Why it is not joined; empty when it is, or nothing is known."""
    per_second: float | None
    """Messages a second, now."""
    history: list[int | None]
    """Messages in each span, the oldest first; None for spans before the monitor's start."""
    last_message_ms: int
    """When the last message was read, Unix milliseconds; 0 when there was none."""
    reconnects: int
    offline_seconds: float
    """Out of the channel since the first join."""
    gap_seconds: float
    """Time of which everything that was said is missing for good: no reader heard it, and it could not be
    fetched afterwards."""
    backfilled: int
    """Lines that no reader heard and that were fetched afterwards; messages among them are ``received``."""
    pending: int
    """Read, and neither in Kafka nor in the spool yet; of both topics."""
    received: int
    """Chat messages, as in ``delivered`` and ``duplicate``."""
    delivered: int
    duplicate: int
    events: Events | None
    """None while there is no topic of events."""
    lost: dict[str, int]
    """By reason; empty is the promise. Of both topics."""
    rejected: dict[str, int]
    """Lines that could not be read as chat, by reason."""
    emotes_rejected: int


class Worker(msgspec.Struct):
    """One supervised program."""

    name: str
    state: str
    """supervisord's word (RUNNING, STARTING, BACKOFF, STOPPED, EXITED, FATAL, …), HANGS for one that runs and
    does not report, UNKNOWN when supervisord does not answer."""
    pid: int | None
    uptime_seconds: float | None
    restarts: int
    """How often supervisord had to start it again."""
    cpu_percent: float | None
    """Of one core, over the last seconds."""
    memory_bytes: int | None
    """What several share counts a part in each (PSS); all that is resident where the system tells no more."""


class Delivery(msgspec.Struct):
    """From the socket to Kafka's acknowledgement, of the messages of the last ten minutes."""

    p50_seconds: float | None
    p99_seconds: float | None
    messages: int


class Kafka(msgspec.Struct):
    """Whether Kafka takes messages."""

    accepts: bool
    addresses: list[str]
    topic: str
    events_topic: str | None
    """None: there is none."""
    embedded: bool
    trouble: str
    """Why it does not, and what to do; empty when it does or nothing is known."""


class Spool(msgspec.Struct):
    """Messages on disk that wait for Kafka."""

    messages: int
    bytes: int
    max_bytes: int


class TokenStatus(msgspec.Struct):
    """The account's token."""

    state: str
    """anonymous, unchecked, valid, renewing, refused, invalid, damaged; unknown: nobody has told."""
    login: str
    scopes: list[str]
    expires_at: int
    """Unix seconds; 0 when anonymous or not known."""
    remaining_seconds: float | None


class Totals(msgspec.Struct):
    """Over the wanted channels, and what belongs to none."""

    per_second: float | None
    received: int
    delivered: int
    duplicate: int
    events: Events | None
    """None while there is no topic of events."""
    gap_seconds: float
    backfilled: int
    lost: int
    rejected: int
    pending: int


class Overview(msgspec.Struct):
    """Everything."""

    time_ms: int
    """When this was put together, Unix milliseconds."""
    well: bool
    """Whether there is no problem."""
    sentence: str
    """The state of the whole in one sentence."""
    problems: list[Problem]
    """The worst first."""
    ready: bool
    """Every wanted reader is joined and Kafka accepts."""
    not_ready: list[str]
    """Why not."""
    channels: list[Channel]
    """In the order of the channel list."""
    workers: list[Worker]
    """By name."""
    delivery: Delivery
    kafka: Kafka
    spool: Spool
    token: TokenStatus
    totals: Totals
