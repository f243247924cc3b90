"""What all events have in common, and what those of a chatter have. Pure.

Every field says where its meaning is from: [doc] Twitch's documentation, [data] seen in real chat, [code]
read in public code that works with Twitch.
"""

from typing import Annotated

import msgspec

from shared.event_tags import Badge, Computed, Flag, Tag

Made = Computed()
"""The mark of a field that is made of more than one tag, or of none."""


class Emote(msgspec.Struct, gc=False):
    """One emote in a text, at one place."""

    id: str
    """Twitch's id of the emote: digits, or ``emotesv2_`` and 32 hexadecimal digits. [doc, data]"""
    text: str
    """The part of the text that the emote stands for. [doc]"""
    start: int
    """Place of the first character in ``text``, from 0, in code points (not bytes, not UTF-16 units). [doc,
    code]"""
    end: int
    """Place of the last character, which belongs to the emote. [doc]"""


class TwitchEvent(msgspec.Struct, tag_field="type", kw_only=True, omit_defaults=True, gc=False):
    """Anything that was said by Twitch."""

    channel: Annotated[str, Made]
    """Login of the channel, lower case, without ``#``; also the record's key. Empty for what concerns no
    channel but the whole connection: ``globaluserstate``, ``whisper`` and a ``notice`` to everybody."""
    id: Annotated[str, Made]
    """What tells this event from every other; also the record's header ``id``. Leave out what comes with an
    id for the second time. The same event has the same id however often it was read. [doc]"""
    id_derived: Annotated[bool, Made] = False
    """True where Twitch gave no id and this one was made of the line; see *Derived ids*."""
    timestamp: Annotated[int, Made]
    """When Twitch took the event, Unix milliseconds. Events of one channel may be a little out of the order
    of their timestamps. [doc, data]"""
    timestamp_derived: Annotated[bool, Made] = False
    """True where Twitch gave no time: ``timestamp`` is then when the line was received."""
    room_id: str | None = None
    """Twitch's number of the channel; it stays when the channel takes another login. May be empty in
    ``clearmsg``. [doc, data]"""
    historical: Flag | None = None
    """True for a line that was not heard but fetched afterwards from a recent-messages service, because the
    reader was away. [code]"""
    rm_received_ts: int | None = None
    """When the recent-messages service received the line, Unix milliseconds. [code]"""
    tags: Annotated[dict[str, str], Made] = {}
    """Every tag that has no field of its own, and every one whose very text could not be written again from
    its field, as name and unescaped text. Empty for nearly all events."""
    prefix: Annotated[str | None, Made] = None
    """Who sent the line, as it said; only where that is not what Twitch always writes for this kind of line:
    ``<login>!<login>@<login>.tmi.twitch.tv`` for what a user wrote, ``tmi.twitch.tv`` for the rest."""
    params: Annotated[list[str] | None, Made] = None
    """The line's parameters, only where they could not be written again from the other fields: where the
    channel's name had capital letters."""


class ChatterEvent(TwitchEvent, kw_only=True, omit_defaults=True, gc=False):
    """Something that a user of the channel said or did."""

    user_id: str | None = None
    """Twitch's number of the user; it stays when the user takes another login. [doc]"""
    user_login: Annotated[str | None, Tag("login")] = None
    """The user's login, lower case. [doc]"""
    display_name: str | None = None
    """The name as it is shown: the login with other capitals, or a name in Chinese, Japanese or Korean
    letters; may hold blanks; may be empty. [doc, data]"""
    badges: list[Badge] | None = None
    """The badges shown beside the name, in their order. [doc]"""
    badge_info: list[Badge] | None = None
    """More about some badges: for ``subscriber`` the exact months subscribed (``badges`` has the step of the
    picture), for ``predictions`` what was predicted. [doc, code]"""
    color: str | None = None
    """Colour of the name, ``#RRGGBB``; empty when the user never chose one. [doc]"""
    mod: Flag | None = None
    """Whether the user is a moderator of the channel; false for the broadcaster, who has the badge
    ``broadcaster``. [doc, data]"""
    subscriber: Flag | None = None
    """Whether the user is subscribed to the channel. Founders have the badge ``founder`` and may have false
    here. [doc, code]"""
    turbo: Flag | None = None
    """Whether the user has Twitch Turbo. [doc]"""
    vip: Flag | None = None
    """Whether the user is a VIP of the channel. A ``privmsg`` has it only where it is true. [doc, data]"""
    user_type: str | None = None
    """Empty for most users; ``mod``, ``admin``, ``global_mod`` or ``staff``. [doc, data]"""
    action: Annotated[bool, Made] = False
    """Whether ``text`` was sent with ``/me``. Its wrapper is not in ``text``. [doc]"""
    action_unclosed: Annotated[bool, Made] = False
    """Whether the wrapper of ``/me`` lacked its end, which is rare. [code]"""
    emotes: Annotated[list[Emote] | None, Made] = None
    """Twitch's own emotes in ``text``, in order of appearance; not those of BetterTTV, FrankerFaceZ and 7TV.
    An emote whose place does not lie within the text is left out. Absent where all of them with their ids
    would be longer than 65,536 characters, which no real message is: the tag then stands under ``tags``.
    [doc]"""
    flags: str | None = None
    """What AutoMod thought of parts of the text, such as ``0-6:S.7``: the place, one letter for the kind (A
    aggression, I identity, P profanity, S sexual) and a level. Mostly empty. [doc, code]"""
    msg_id: str | None = None
    """What kind of message or notice it is, in Twitch's words: see ``privmsg``; of a notice also the end of
    ``type``, but for copies in a shared chat. [doc]"""
    source_room_id: str | None = None
    """Number of the channel in which this was said or done; equal to ``room_id`` in that channel
    itself. Absent when the channel shares no chat. [doc]"""
    source_id: str | None = None
    """Id of the original. All copies have the same. [doc]"""
    source_badges: list[Badge] | None = None
    """The user's badges in the channel of the original. [doc]"""
    source_badge_info: list[Badge] | None = None
    """What ``badge_info`` is to ``badges``, for ``source_badges``. [doc]"""
    source_only: Flag | None = None
    """Whether this went to the channel of the original alone. [doc]"""
