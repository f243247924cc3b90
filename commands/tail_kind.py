"""What ``make tail`` may show: chat messages, or events."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from rich.console import Console

from commands.tail_events import EventLines, read_event
from commands.tail_lines import TextLines, read_message
from shared.errors import SettingsError
from shared.settings import Settings


@dataclass(frozen=True)
class Kind:
    """What is shown: the records of a topic, and how they are read."""

    topic: str
    noun: str
    """One of them, for people."""
    foreign: str
    """What to say of another record."""
    read: Callable[[bytes], Any]
    """Raises ValueError for the value of a record that is something else."""
    channel_of: Callable[[Any], str]
    lines: Callable[[Console, bool], TextLines | EventLines]
    """For people."""


def kind_of(configured: Settings, events: bool) -> Kind:
    """Chat messages, or events. Raises SettingsError when there is no topic of events."""
    if not events:
        topic = configured.kafka_topic_chat_messages
        return Kind(topic, "message", "is no chat message", read_message, attrgetter("channel_id"), TextLines)
    if configured.kafka_topic_chat_events is None:
        raise SettingsError(
            "KAFKA_TOPIC_CHAT_EVENTS is empty, so there is no topic of events: name one in .env, and restart "
            "the service"
        )
    topic = configured.kafka_topic_chat_events
    return Kind(topic, "event", "is no event", read_event, attrgetter("channel"), EventLines)
