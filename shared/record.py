"""What readers hand off and Kafka gets. Pure."""

import msgspec


class Record(msgspec.Struct, array_like=True, gc=False):
    """One record on its way to Kafka."""

    channel: str
    """Key of the record: the channel's login."""
    id: str
    """Twitch's message id; for an event without one it is made of the line. Empty for chat without one."""
    timestamp_ms: int
    """Timestamp of the record, Unix milliseconds, never so far ahead that Kafka refuses it."""
    received_ms: int
    """When the line was read from the socket, Unix milliseconds."""
    source_id: str
    """Id of the original of a message mirrored by a shared chat; empty for others."""
    source_room_id: str
    """Room of that original; empty for others."""
    value: bytes
    """JSON, UTF-8: a ChatMessage, or an event where ``type`` says so."""
    type: str = ""
    """Type of an event, for the topic of events; empty for a chat message. The last field, as the spool may
    hold records that an older version wrote."""
