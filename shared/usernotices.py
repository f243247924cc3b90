"""Events of the command USERNOTICE: raids, announcements, milestones and the like. Pure.

What has to do with subscriptions is in ``sub_notices``. Marks as in ``event_base``.
"""

from typing import Annotated

from shared.event_base import ChatterEvent, Made
from shared.event_tags import Tag, TrueFalse


class UserNotice(ChatterEvent, tag="usernotice", kw_only=True, omit_defaults=True, gc=False):
    """A notice of a kind that this service does not know.

    Twitch adds kinds without a word. ``msg_id`` has the kind, and ``tags`` what Twitch says about it.
    """

    system_msg: str | None = None
    """The sentence that Twitch shows for the notice, in English; empty where there is none, as in
    announcements. [doc, data]"""
    text: Annotated[str | None, Made] = None
    """What the user wrote along with it. Absent when there is none, which is not the same as an empty text.
    [doc]"""
    source_msg_id: str | None = None
    """Shared chat: kind of the original notice. ``msg_id`` is ``sharedchatnotice`` then. [doc]"""


class Announcement(UserNotice, tag="usernotice.announcement", kw_only=True, omit_defaults=True, gc=False):
    """A moderator or the broadcaster used ``/announce``; ``text`` is the announcement."""

    announcement_color: Annotated[str | None, Tag("msg-param-color")] = None
    """Colour of the frame: ``PRIMARY`` (the channel's own), ``BLUE``, ``GREEN``, ``ORANGE`` or ``PURPLE``.
    [data]"""


class Raid(UserNotice, tag="usernotice.raid", kw_only=True, omit_defaults=True, gc=False):
    """Another broadcaster has brought viewers along. ``user_login`` is that broadcaster."""

    raider_login: Annotated[str | None, Tag("msg-param-login")] = None
    """Login of the broadcaster who raids. [doc]"""
    raider_display_name: Annotated[str | None, Tag("msg-param-displayName")] = None
    """Shown name of the broadcaster who raids. [doc]"""
    viewer_count: Annotated[int | None, Tag("msg-param-viewerCount")] = None
    """How many viewers came along. [doc]"""
    profile_image_url: Annotated[str | None, Tag("msg-param-profileImageURL")] = None
    """Address of the raider's picture. In lines of today it holds ``%s`` where a size such as ``70x70``
    belongs. [data]"""


class Unraid(UserNotice, tag="usernotice.unraid", kw_only=True, omit_defaults=True, gc=False):
    """The broadcaster has called off the raid that was about to leave this channel. [doc]"""


class Ritual(UserNotice, tag="usernotice.ritual", kw_only=True, omit_defaults=True, gc=False):
    """A newcomer greeted the chat. In old lines. [data]"""

    ritual_name: str | None = None
    """Always ``new_chatter``. [data]"""


class BitsBadgeTier(UserNotice, tag="usernotice.bitsbadgetier", kw_only=True, omit_defaults=True, gc=False):
    """A user has earned a higher badge for Bits and shares it. [doc]"""

    threshold: int | None = None
    """The Bits cheered in all that the badge stands for, such as 1000. [doc]"""


class Modiversary(UserNotice, tag="usernotice.modiversary", kw_only=True, omit_defaults=True, gc=False):
    """A moderator shares for how long they have been one. ``system_msg`` begins without the name. [doc,
    data]"""

    months: int | None = None
    """Months as a moderator of this channel. [doc]"""


class ViewerMilestone(
    UserNotice, tag="usernotice.viewermilestone", kw_only=True, omit_defaults=True, gc=False
):
    """A viewer shares a milestone, such as a streak of streams watched. [doc]"""

    category: str | None = None
    """Kind of milestone: ``watch-streak``. [doc]"""
    milestone_id: Annotated[str | None, Tag("msg-param-id")] = None
    """Twitch's id of the milestone; not the id of the event. [doc]"""
    value: int | None = None
    """For ``watch-streak`` how many streams were watched in a row. [doc]"""
    copo_reward: Annotated[int | None, Tag("msg-param-copoReward")] = None
    """Channel points that the viewer got for it. [data]"""


class SocialSharingBadge(
    UserNotice, tag="usernotice.socialsharingbadge", kw_only=True, omit_defaults=True, gc=False
):
    """A user has earned a badge for sharing the channel elsewhere, and shares that. [data]"""

    current_badge_level: int | None = None
    """Which step of the badge. [data]"""


class UserAnniversary(
    UserNotice, tag="usernotice.useranniversary", kw_only=True, omit_defaults=True, gc=False
):
    """A user shares for how long they have been on Twitch. Known from Twitch's own web page only. [code]"""

    years: int | None = None
    """How many years. [code]"""


class CharityDonation(
    UserNotice, tag="usernotice.charitydonation", kw_only=True, omit_defaults=True, gc=False
):
    """A user has given money to the charity for which the channel collects. [data]"""

    charity_name: str | None = None
    """Name of the charity. [data]"""
    donation_amount: int | None = None
    """How much, in the smallest unit of the currency: 1500 with ``exponent`` 2 is 15.00. [data]"""
    donation_currency: str | None = None
    """Currency in three letters (ISO 4217), such as ``USD``. [data]"""
    exponent: int | None = None
    """How many digits of ``donation_amount`` are behind the point. [data]"""


class Charity(UserNotice, tag="usernotice.charity", kw_only=True, omit_defaults=True, gc=False):
    """How far a collection of Twitch's own, all over the site, has got. In old lines. [code]"""

    charity_name: str | None = None
    """Name of the charity. [code]"""
    charity_learn_more: str | None = None
    """Address of a page about it. [code]"""
    charity_hashtag: str | None = None
    """Hashtag that has to be in a cheer for it to count. [code]"""
    charity_hours_remaining: int | None = None
    """Hours until the collection ends. [code]"""
    charity_days_remaining: int | None = None
    """Days until the collection ends. [code]"""
    total: int | None = None
    """How much was collected. [code]"""


class OneTapNotice(UserNotice, kw_only=True, omit_defaults=True, gc=False):
    """What notices of a combo have in common: viewers send the same gift, paid in Bits, one after the
    other."""

    gift_id: str | None = None
    """Which gift, such as ``heart``, ``awww``, ``dino`` or ``horselul``. [data]"""


class OneTapStreakStarted(
    OneTapNotice, tag="usernotice.onetapstreakstarted", kw_only=True, omit_defaults=True, gc=False
):
    """A combo has begun. [data]"""

    ms_remaining: int | None = None
    """Milliseconds until it ends if nobody joins in. [data]"""


class OneTapGiftRedeemed(
    OneTapNotice, tag="usernotice.onetapgiftredeemed", kw_only=True, omit_defaults=True, gc=False
):
    """A viewer has sent a gift to a combo. [code]"""

    bits_spent: int | None = None
    """Bits paid for it. [code]"""
    user_display_name: str | None = None
    """Shown name of the viewer. [code]"""


class OneTapBreakpointAchieved(
    OneTapNotice, tag="usernotice.onetapbreakpointachieved", kw_only=True, omit_defaults=True, gc=False
):
    """A combo has reached a step. [code]"""

    breakpoint_number: int | None = None
    """Which step. [code]"""
    breakpoint_threshold_bits: int | None = None
    """Bits of the combo that make the step. [code]"""


class OneTapStreakExpired(
    OneTapNotice, tag="usernotice.onetapstreakexpired", kw_only=True, omit_defaults=True, gc=False
):
    """A combo has ended. [code]"""

    streak_size_bits: int | None = None
    """Bits paid in all. [code]"""
    streak_size_taps: int | None = None
    """Gifts sent in all. [code]"""
    largest_contributor_count: int | None = None
    """How many of the viewers who sent most are named, 3 at most. [code]"""
    channel_display_name: str | None = None
    """Shown name of the channel. [code]"""
    contributor_1: str | None = None
    """Shown name of the viewer who sent most. [code]"""
    contributor_1_taps: int | None = None
    """How many gifts they sent. [code]"""
    contributor_2: str | None = None
    """Shown name of the viewer who sent second most. [code]"""
    contributor_2_taps: int | None = None
    """How many gifts they sent. [code]"""
    contributor_3: str | None = None
    """Shown name of the viewer who sent third most. [code]"""
    contributor_3_taps: int | None = None
    """How many gifts they sent. [code]"""


class MidnightSquid(UserNotice, tag="usernotice.midnightsquid", kw_only=True, omit_defaults=True, gc=False):
    """A viewer has cheered with money instead of Bits, which Twitch tried out. [code]"""

    amount: int | None = None
    """How much, in the smallest unit of the currency. [code]"""
    currency: str | None = None
    """Currency in three letters (ISO 4217). [code]"""
    exponent: int | None = None
    """How many digits of ``amount`` are behind the point. [code]"""
    is_highlighted: TrueFalse | None = None
    """Whether the message is shown highlighted. [code]"""
    pill_type: str | None = None
    """How the amount is shown. [code]"""
