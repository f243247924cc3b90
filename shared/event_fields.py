"""Which tag is which field of which event. Pure."""

from shared.event_base import TwitchEvent
from shared.event_tags import TagField, tag_fields
from shared.twitch_events import EVENTS
from shared.usernotices import UserNotice


def _fields_of(event: type[TwitchEvent]) -> list[TagField]:
    common = UserNotice.__struct_fields__ if issubclass(event, UserNotice) else event.__struct_fields__
    return tag_fields(event, lambda name: "" if name in common else "msg-param-")


TAG_FIELDS: dict[type[TwitchEvent], list[TagField]] = {event: _fields_of(event) for event in EVENTS.values()}
"""The fields of every event that are made of one tag each."""
