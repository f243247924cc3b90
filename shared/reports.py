"""What the workers tell in their status files, by program. Pure.

Counters are totals over all lives of a worker: each begins with what its predecessor left. Every field has a
default, so that a file of an older version can be read.
"""

import msgspec

LOST_OUTBOX = "outbox_full"
LOST_NOT_STORED = "not_stored"
LOST_SPOOL_FULL = "spool_full"
LOST_SPOOL_DAMAGED = "spool_damaged"
LOST_REFUSED = "refused_by_kafka"
LOST_NO_TOPIC = "no_topic"
LOST_REASONS = (
    LOST_OUTBOX,
    LOST_NOT_STORED,
    LOST_SPOOL_FULL,
    LOST_SPOOL_DAMAGED,
    LOST_REFUSED,
    LOST_NO_TOPIC,
)
"""Why a message can be lost: no producer took it for too long; it could not be put into the spool at a stop;
the spool was full; or damaged; Kafka refuses it for good; the topic of events was switched off while an event
waited."""

Offsets = dict[str, dict[int, int]]
"""By topic and partition."""

_SHORT = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BUCKET_SECONDS = (*_SHORT, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""Upper bounds of the histogram of delivery times; what took longer has a last bucket of its own."""


class ChannelReport(msgspec.Struct):
    """One channel of a reader."""

    joined: bool = False
    trouble: str = ""
    """Why it is not joined; empty when it is, or nothing is known."""
    pending: int | None = None
    """Read and not durable yet; None: all that the reader's report says, it has no other channel."""
    received: int = 0
    last_ms: int = 0
    """When the last message was read, Unix milliseconds; 0 when there was none."""
    reconnects: int = 0
    offline_seconds: float = 0.0
    """Out of the channel since the first join; a death of the reader counts, an ordered stop does not."""
    lost: dict[str, int] = {}
    rejected: dict[str, int] = {}
    """Lines by reason; those that name no channel count for the reader's first one."""
    emotes_rejected: int = 0
    events_received: int = 0
    room_id: str = ""
    """Twitch's number of the channel; empty until it was joined."""
    joined_since_ms: int = 0
    """Since when it is in the channel, Unix milliseconds; 0 when it is not."""
    heard_ms: int = 0
    """Up to when all that was said in the channel was read, Unix milliseconds; 0 when it is not joined."""
    absent_since_ms: int = 0
    """Since when what was said is missing and may still be got, Unix milliseconds; 0 when nothing is, -1 when
    nothing was ever read."""
    last_ids: list[str] = []
    """Ids of the last lines before it left the channel; only while it is out."""
    gap_seconds: float = 0.0
    """What is missing for good, as time."""
    gap_until_ms: int = 0
    """Until when something is missing for good, the last time that this was told; Unix milliseconds."""
    backfilled: int = 0
    """Lines that were missed and got afterwards."""


class ReaderReport(msgspec.Struct):
    """``reader-<login>``, or ``readers-<number>``."""

    state: str = ""
    pending: int = 0
    channels: dict[str, ChannelReport] = {}


class DeliveredReport(msgspec.Struct):
    """One channel of the producer."""

    delivered: int = 0
    """Chat messages; events have counters of their own."""
    duplicate: int = 0
    lost: dict[str, int] = {}
    """Of both."""
    events_delivered: int = 0
    events_duplicate: int = 0


class Counted(msgspec.Struct):
    """Up to where the producer has counted what it delivered: a successor counts what is behind that."""

    addresses: list[str] = []
    topics: Offsets = {}
    """The first that were not counted."""


class ProducerReport(msgspec.Struct):
    """``producer``."""

    kafka_accepts: bool = False
    trouble: str = ""
    """Why Kafka cannot be used and what to do; empty when it can, or nothing is known."""
    readers: int = 0
    """Connected to it now."""
    pending: int = 0
    spooled: int = 0
    spool_bytes: int = 0
    channels: dict[str, DeliveredReport] = {}
    """What was lost of nobody knows which channel has the name ``""``."""
    delivery_buckets: list[int] = []
    """Messages in each bucket, of ``BUCKET_SECONDS`` and the last one, not cumulated."""
    delivery_seconds: float = 0.0
    """Their sum."""
    counted: Counted = msgspec.field(default_factory=Counted)


class SyncReport(msgspec.Struct):
    """``channel-sync``."""

    channels: list[str] = []
    """The wanted ones."""
    in_line: bool = False
    """Whether supervisord was told of all of them."""
    groups: dict[str, int] = {}
    """The number of each channel's reader, where readers have several channels; else empty."""


class TokenReport(msgspec.Struct):
    """``token-refresher``."""

    state: str = "unknown"
    expires_at: int = 0
    """Unix seconds; 0 when anonymous or not known."""
    login: str = ""
    scopes: list[str] = []
    validations: int = 0
    refreshes: int = 0


class WatchdogReport(msgspec.Struct):
    """``watchdog``."""

    looks: int = 0
    """Since its start."""
    kills: dict[str, int] = {}
    """Workers that hung, by program."""
    restarts: dict[str, int] = {}
    """Starts by supervisord after an end that nobody ordered, by program."""


class MonitorReport(msgspec.Struct):
    """``monitor``."""

    requests: int = 0
