"""Everything that Twitch says in a chat, as typed events. Pure.

``Event`` is all of them: ``msgspec.json.decode(value, type=Event)`` reads the value of a record. Marks as in
``event_base``.
"""

from typing import Annotated, get_args

import msgspec

from shared import sub_notices, usernotices
from shared.event_base import ChatterEvent, Made, TwitchEvent
from shared.event_tags import Badge, Flag, Tag


class PrivMsg(ChatterEvent, tag="privmsg", kw_only=True, omit_defaults=True, gc=False):
    """A message in the chat.

    ``msg_id``, where there is one, says that it is a special one: ``highlighted-message``,
    ``skip-subs-mode-message``, ``gigantified-emote-message``, ``animated-message``, ``user-intro``,
    ``crowd-chant``.
    """

    user_login: Annotated[str | None, Made] = None
    """The sender's login, lower case; from who sent the line. [doc]"""
    text: Annotated[str, Made]
    """What was said, exactly, blanks and control characters included; without the wrapper of ``/me``. An
    answer begins with ``@name`` of whom it answers. [doc]"""
    highlighted: Annotated[bool, Made] = False
    """Whether the user paid channel points for *Highlight My Message*; made of ``msg_id``. [data]"""
    bits: int | None = None
    """Bits cheered with the message; absent without a cheer. [doc]"""
    first_msg: Flag | None = None
    """Whether it is the user's first message in this channel ever. [data]"""
    returning_chatter: Flag | None = None
    """Whether Twitch shows the user as a returning chatter, somebody new who has written before. [data]"""
    emote_only: Flag | None = None
    """Whether the text is nothing but Twitch's emotes; absent otherwise. [data]"""
    client_nonce: str | None = None
    """What the sender's program put there to know its own message again. [doc]"""
    custom_reward_id: str | None = None
    """Id of the channel points reward of the channel's own that this message goes with. [data]"""
    animation_id: str | None = None
    """Which effect an ``animated-message`` has, such as ``simmer`` or ``rainbow-eclipse``. [data]"""
    gifs: str | None = None
    """Pictures of GIPHY in the text, as ``start-end|id|address``: the place counts as that of an emote, the
    id is GIPHY's. Since 2026. [data]"""
    crowd_chant_parent_msg_id: str | None = None
    """For ``crowd-chant``: id of the message that is chanted. [code]"""
    sent_ts: int | None = None
    """When the sender's program sent the message, Unix milliseconds; in old lines. [code]"""
    reply_parent_msg_id: str | None = None
    """Answer: id of the message that is answered. Absent when it is no answer, like all ``reply_*``. [doc]"""
    reply_parent_user_id: str | None = None
    """Answer: Twitch's number of who said that message. [doc]"""
    reply_parent_user_login: str | None = None
    """Answer: login of who said that message. [doc]"""
    reply_parent_display_name: str | None = None
    """Answer: shown name of who said that message. [doc]"""
    reply_parent_msg_body: str | None = None
    """Answer: text of that message. [doc]"""
    reply_thread_parent_msg_id: str | None = None
    """Answer: id of the message that began the thread. [doc]"""
    reply_thread_parent_user_id: str | None = None
    """Answer: Twitch's number of who began the thread. [data]"""
    reply_thread_parent_user_login: str | None = None
    """Answer: login of who began the thread. [doc]"""
    reply_thread_parent_display_name: str | None = None
    """Answer: shown name of who began the thread. [data]"""
    pinned_chat_paid_amount: int | None = None
    """Hype Chat: what was paid, in the smallest unit of the currency. In lines of 2022 and 2023. [data]"""
    pinned_chat_paid_canonical_amount: int | None = None
    """Hype Chat: the same as ``pinned_chat_paid_amount``; in lines of 2022 the amount in whole units.
    [data]"""
    pinned_chat_paid_currency: str | None = None
    """Hype Chat: currency in three letters (ISO 4217). [data]"""
    pinned_chat_paid_exponent: int | None = None
    """Hype Chat: how many digits of the amount are behind the point. [data]"""
    pinned_chat_paid_level: str | None = None
    """Hype Chat: step in words, ``ONE`` to ``TEN``. [data]"""
    pinned_chat_paid_is_system_message: Flag | None = None
    """Hype Chat: whether the user wrote nothing and ``text`` is a sentence of Twitch's. [data]"""
    rm_deleted: Flag | None = None
    """True where the recent-messages service knew that the message had been deleted before it was fetched.
    [code]"""


class ClearChat(TwitchEvent, tag="clearchat.clear", kw_only=True, omit_defaults=True, gc=False):
    """A moderator has removed all messages of the chat. [doc]"""


class Timeout(TwitchEvent, tag="clearchat.timeout", kw_only=True, omit_defaults=True, gc=False):
    """A user may not write for a time, and their messages are removed. Twitch does not say who did it.
    [doc]"""

    target_user_login: Annotated[str, Made]
    """Login of the user. [doc]"""
    target_user_id: str | None = None
    """Twitch's number of the user. [doc]"""
    ban_reason: str | None = None
    """Why, in the moderator's words; in old lines. [code]"""
    ban_duration: int | None = None
    """For how many seconds. [doc]"""


class Ban(TwitchEvent, tag="clearchat.ban", kw_only=True, omit_defaults=True, gc=False):
    """A user may not write any more, and their messages are removed. Twitch does not say who did it. [doc]"""

    target_user_login: Annotated[str, Made]
    """Login of the user. [doc]"""
    target_user_id: str | None = None
    """Twitch's number of the user. [doc]"""
    ban_reason: str | None = None
    """Why, in the moderator's words; in old lines. [code]"""


class ClearMsg(TwitchEvent, tag="clearmsg", kw_only=True, omit_defaults=True, gc=False):
    """A moderator has removed one message. [doc]"""

    user_login: Annotated[str | None, Tag("login")] = None
    """Login of the user who had written it. [doc]"""
    target_msg_id: str | None = None
    """``id`` of the message. [doc]"""
    text: Annotated[str, Made]
    """Text of the message, as Twitch repeats it. [doc]"""


class Notice(TwitchEvent, tag="notice", kw_only=True, omit_defaults=True, gc=False):
    """Something that Twitch tells the reader: the chat's mode has changed, or something went wrong."""

    msg_id: str | None = None
    """What it is about, such as ``slow_on`` or ``msg_channel_suspended``; absent in a notice to everybody.
    [doc]"""
    target_user_id: str | None = None
    """Twitch's number of the user it is about. [doc]"""
    text: Annotated[str, Made]
    """The sentence, in English. [doc]"""


class RoomState(TwitchEvent, tag="roomstate", kw_only=True, omit_defaults=True, gc=False):
    """How the chat is set: everything when the reader joins, then only what has changed.

    A field that is absent has not changed.
    """

    emote_only: Flag | None = None
    """Whether only emotes may be written. [doc]"""
    followers_only: int | None = None
    """Minutes for which one must have followed to write; 0 for any follower, -1 when everybody may write.
    [doc]"""
    r9k: Flag | None = None
    """Whether messages of more than 9 characters must be unlike those before. [doc]"""
    slow: int | None = None
    """Seconds that one must wait between two messages; 0 for none. [doc]"""
    subs_only: Flag | None = None
    """Whether only subscribers and moderators may write. [doc]"""
    rituals: Flag | None = None
    """Whether the channel had rituals; in old lines. [data]"""
    broadcaster_lang: str | None = None
    """Language that the chat had to be in; in old lines. [code]"""


class UserState(TwitchEvent, tag="userstate", kw_only=True, omit_defaults=True, gc=False):
    """What the reader's own account is in this channel: when it joins and when it writes."""

    display_name: str | None = None
    """The account's shown name. [doc]"""
    badges: list[Badge] | None = None
    """Its badges in this channel. [doc]"""
    badge_info: list[Badge] | None = None
    """More about some badges, as in ``privmsg``. [doc]"""
    color: str | None = None
    """Colour of the name, ``#RRGGBB``; empty when none was chosen. [doc]"""
    emote_sets: list[str] | None = None
    """The sets of emotes that the account may use. [doc]"""
    mod: Flag | None = None
    """Whether the account is a moderator of the channel. [doc]"""
    subscriber: Flag | None = None
    """Whether the account is subscribed to the channel. [doc]"""
    turbo: Flag | None = None
    """Whether the account has Twitch Turbo. [doc]"""
    user_type: str | None = None
    """Empty, ``mod``, ``admin``, ``global_mod`` or ``staff``. [doc]"""
    client_nonce: str | None = None
    """After a message of the account: what its program put there to know it again. [code]"""


class GlobalUserState(TwitchEvent, tag="globaluserstate", kw_only=True, omit_defaults=True, gc=False):
    """What the reader's own account is on Twitch: after the login of an account that is not anonymous."""

    user_id: str | None = None
    """Twitch's number of the account. [doc]"""
    display_name: str | None = None
    """Its shown name. [doc]"""
    badges: list[Badge] | None = None
    """Its badges that are the same in all channels. [doc]"""
    badge_info: list[Badge] | None = None
    """More about some badges, as in ``privmsg``. [doc]"""
    color: str | None = None
    """Colour of the name, ``#RRGGBB``; empty when none was chosen. [doc]"""
    emote_sets: list[str] | None = None
    """The sets of emotes that the account may use. [doc]"""
    turbo: Flag | None = None
    """Whether the account has Twitch Turbo. [doc]"""
    user_type: str | None = None
    """Empty, ``admin``, ``global_mod`` or ``staff``. [doc]"""


class Whisper(ChatterEvent, tag="whisper", kw_only=True, omit_defaults=True, gc=False):
    """A private message to the reader's own account. [doc]"""

    user_login: Annotated[str | None, Made] = None
    """The sender's login, lower case; from who sent the line. [doc]"""
    recipient_login: Annotated[str, Made]
    """Login of the account that got it. [doc]"""
    message_id: str | None = None
    """Number of the message within its thread; ``id`` is made of the line. [doc]"""
    thread_id: str | None = None
    """The numbers of both users, joined by ``_``. [doc]"""
    text: Annotated[str, Made]
    """What was written, without the wrapper of ``/me``. [doc]"""


class Other(TwitchEvent, tag="other", kw_only=True, omit_defaults=True, gc=False):
    """A line that is none of the others: of a command that is not known, or not of its command's shape.

    ``tags`` has all its tags.
    """

    command: Annotated[str, Made]
    """The command, upper case."""
    prefix: Annotated[str | None, Made] = None
    """Who sent the line; empty when it named nobody."""
    params: Annotated[list[str] | None, Made] = None
    """The line's parameters."""


class Gap(TwitchEvent, tag="gap", kw_only=True, omit_defaults=True, gc=False):
    """Not said by Twitch but by this service: for a time nobody heard the channel.

    What was said in that time could not be got afterwards either. ``timestamp`` is ``to``. Events of that
    time may be there all the same, before and behind this one: the channel was away for that long at most.
    """

    from_ms: Annotated[int, Made] = msgspec.field(name="from")
    """From when on something may be missing, Unix milliseconds."""
    to_ms: Annotated[int, Made] = msgspec.field(name="to")
    """Until when, Unix milliseconds."""
    reason: Annotated[str, Made]
    """Why, for people."""


Event = (
    PrivMsg
    | usernotices.UserNotice
    | usernotices.Announcement
    | usernotices.Raid
    | usernotices.Unraid
    | usernotices.Ritual
    | usernotices.BitsBadgeTier
    | usernotices.Modiversary
    | usernotices.ViewerMilestone
    | usernotices.SocialSharingBadge
    | usernotices.UserAnniversary
    | usernotices.CharityDonation
    | usernotices.Charity
    | usernotices.OneTapStreakStarted
    | usernotices.OneTapGiftRedeemed
    | usernotices.OneTapBreakpointAchieved
    | usernotices.OneTapStreakExpired
    | usernotices.MidnightSquid
    | sub_notices.Sub
    | sub_notices.Resub
    | sub_notices.ExtendSub
    | sub_notices.SubGift
    | sub_notices.AnonSubGift
    | sub_notices.SubMysteryGift
    | sub_notices.AnonSubMysteryGift
    | sub_notices.GiftPaidUpgrade
    | sub_notices.AnonGiftPaidUpgrade
    | sub_notices.PrimePaidUpgrade
    | sub_notices.StandardPayForward
    | sub_notices.CommunityPayForward
    | sub_notices.PrimeCommunityGiftReceived
    | sub_notices.RewardGift
    | ClearChat
    | Timeout
    | Ban
    | ClearMsg
    | Notice
    | RoomState
    | UserState
    | GlobalUserState
    | Whisper
    | Other
    | Gap
)
"""Any event: the value of a record is one of these, told apart by ``type``."""
EVENTS: dict[str, type[TwitchEvent]] = {str(event.__struct_config__.tag): event for event in get_args(Event)}
"""The events by their ``type``."""
