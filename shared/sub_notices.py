"""Events of the command USERNOTICE that have to do with subscriptions. Pure.

Marks as in ``event_base``.
"""

from shared.event_tags import Flag, TrueFalse
from shared.usernotices import UserNotice


class SubscriptionNotice(UserNotice, kw_only=True, omit_defaults=True, gc=False):
    """What notices about subscriptions have in common."""

    sub_plan: str | None = None
    """Kind of subscription: ``1000``, ``2000`` or ``3000`` for the tiers 1 to 3, or ``Prime``. [doc, data]"""
    goal_contribution_type: str | None = None
    """What the channel's goal counts, such as ``SUBS`` or ``SUB_POINTS``. This and the other ``goal_*``
    are there only while the channel has such a goal. [data]"""
    goal_current_contributions: int | None = None
    """How far the goal is. [data]"""
    goal_description: str | None = None
    """What the broadcaster wrote about the goal; may be empty. [data]"""
    goal_target_contributions: int | None = None
    """How far the goal has to get. [data]"""
    goal_user_contributions: int | None = None
    """How much this notice adds to the goal. [data]"""


class OwnSubscription(SubscriptionNotice, kw_only=True, omit_defaults=True, gc=False):
    """What ``sub`` and ``resub`` have in common."""

    sub_plan_name: str | None = None
    """Name of the subscription, the channel's own or one that Twitch makes. [doc]"""
    cumulative_months: int | None = None
    """Months subscribed in all. [doc]"""
    months: int | None = None
    """0 in lines of today. [data]"""
    should_share_streak: Flag | None = None
    """Whether the user wants the streak to be seen. [doc]"""
    streak_months: int | None = None
    """Months subscribed without a break; absent or 0 when the user does not share it. [doc, data]"""
    cumulative_tenure_months: int | None = None
    """Older name of ``cumulative_months``; in lines of 2019. [code]"""
    streak_tenure_months: int | None = None
    """Older name of ``streak_months``; in lines of 2019. [code]"""
    should_share_streak_tenure: TrueFalse | None = None
    """Older name of ``should_share_streak``; in lines of 2019. [code]"""
    multimonth_duration: int | None = None
    """For how many months was paid at once; 0 or 1 for a monthly subscription. [data]"""
    multimonth_tenure: int | None = None
    """How many months of those paid at once have passed. [data]"""
    was_gifted: TrueFalse | None = None
    """Whether the subscription is a gift of somebody else. [data]"""
    anon_gift: TrueFalse | None = None
    """Where ``was_gifted``: whether nobody knows from whom. [data]"""
    gift_months: int | None = None
    """Where ``was_gifted``: how many months the gift lasts: 1, 3, 6 or 12. [data, code]"""
    gift_month_being_redeemed: int | None = None
    """Where ``was_gifted``: which month of the gift this is. [data]"""
    gifter_id: str | None = None
    """Where ``was_gifted``: Twitch's number of the user who gave it. [data]"""
    gifter_login: str | None = None
    """Where ``was_gifted``: login of the user who gave it. [data]"""
    gifter_name: str | None = None
    """Where ``was_gifted``: shown name of the user who gave it. [data]"""


class Sub(OwnSubscription, tag="usernotice.sub", kw_only=True, omit_defaults=True, gc=False):
    """A user has subscribed for the first time. [doc]"""


class Resub(OwnSubscription, tag="usernotice.resub", kw_only=True, omit_defaults=True, gc=False):
    """A user shares that they are subscribed for a further month; ``text`` is what they say about it.

    Twitch sends it when the user shares it, not when the subscription is renewed. [doc, data]
    """


class ExtendSub(SubscriptionNotice, tag="usernotice.extendsub", kw_only=True, omit_defaults=True, gc=False):
    """A user has extended their subscription beforehand. In lines of 2019 and 2020. [data]"""

    cumulative_months: int | None = None
    """Months subscribed in all. [data]"""
    sub_benefit_end_month: int | None = None
    """Month of the year in which the subscription ends, 1 to 12. [data]"""


class GiftNotice(SubscriptionNotice, kw_only=True, omit_defaults=True, gc=False):
    """What notices of gifts have in common."""

    sender_count: int | None = None
    """How many subscriptions the giver has given in this channel in all, this gift included; 0 or absent when
    the giver hides it, and in the ``subgift`` that come of a ``submysterygift``. [data, code]"""
    gift_theme: str | None = None
    """Picture of the gift that the giver chose: ``showlove``, ``party``, ``lul`` or ``biblethump``. [data,
    code]"""
    origin_id: str | None = None
    """One for all ``subgift`` that come of one ``submysterygift``, and for that; every other gift has its
    own. In lines of up to 2023 20 bytes in hexadecimal digits with blanks between, always the same in gifts
    that have no other. [data]"""
    community_gift_id: str | None = None
    """The same as ``origin_id`` in a gift that comes of a ``submysterygift``, and in that; absent in a gift
    to somebody chosen. [data, code]"""
    fun_string: str | None = None
    """Name of one of Twitch's texts, such as ``FunStringThree``; in anonymous gifts. [data]"""
    advertiser_name: str | None = None
    """Name of a sponsor who adds to the gift. [code]"""
    gift_sub_match_quantity: int | None = None
    """How many the sponsor adds. [code]"""


class SubGift(GiftNotice, tag="usernotice.subgift", kw_only=True, omit_defaults=True, gc=False):
    """A user has given somebody a subscription.

    Of a gift to many this comes once for every one who gets it, after one ``submysterygift`` with the same
    ``community_gift_id``. A giver who wants to stay unknown is ``ananonymousgifter``, user number 274598607.
    [doc, data]
    """

    sub_plan_name: str | None = None
    """Name of the subscription, the channel's own or one that Twitch makes. [doc]"""
    months: int | None = None
    """Months that the one who gets it has been subscribed in all. [doc]"""
    gift_months: int | None = None
    """How many months the gift lasts: 1, 3, 6 or 12. [doc, code]"""
    recipient_id: str | None = None
    """Twitch's number of the user who gets it. [doc]"""
    recipient_user_name: str | None = None
    """Login of the user who gets it. [doc]"""
    recipient_name: str | None = None
    """The same, in an example of Twitch's documentation. [doc]"""
    recipient_display_name: str | None = None
    """Shown name of the user who gets it. [doc]"""


class AnonSubGift(SubGift, tag="usernotice.anonsubgift", kw_only=True, omit_defaults=True, gc=False):
    """A gift of somebody unknown. Twitch sends ``subgift`` from ``ananonymousgifter`` today. [code]"""


class SubMysteryGift(GiftNotice, tag="usernotice.submysterygift", kw_only=True, omit_defaults=True, gc=False):
    """A user gives subscriptions to many whom Twitch chooses; a ``subgift`` for every one of them follows.

    To count subscriptions count the ``subgift``, or ``mass_gift_count`` here, never both. [doc, data]
    """

    mass_gift_count: int | None = None
    """How many subscriptions are given. [data]"""
    gift_match: str | None = None
    """Which promotion adds to the gift of somebody else, so that this notice is not a gift of the user's own:
    *We added 5 Gift Subs to …'s gift!* [code]"""
    gift_match_bonus_count: int | None = None
    """How many bonus gifts the promotion adds. [code]"""
    gift_match_extra_count: int | None = None
    """How many gifts the promotion adds besides. [code]"""
    gift_match_gifter_display_name: str | None = None
    """Shown name of the user to whose gift is added. [code]"""


class AnonSubMysteryGift(
    SubMysteryGift, tag="usernotice.anonsubmysterygift", kw_only=True, omit_defaults=True, gc=False
):
    """Gifts of somebody unknown to many. Twitch sends ``submysterygift`` from ``ananonymousgifter`` today.
    [code]"""


class UpgradeNotice(SubscriptionNotice, kw_only=True, omit_defaults=True, gc=False):
    """What ``giftpaidupgrade`` and ``anongiftpaidupgrade`` have in common."""

    promo_name: str | None = None
    """Name of a promotion that goes on, such as ``Subtember 2018``; absent without one. [doc]"""
    promo_gift_total: int | None = None
    """How many gifts the giver has given during that promotion. [doc]"""


class GiftPaidUpgrade(
    UpgradeNotice, tag="usernotice.giftpaidupgrade", kw_only=True, omit_defaults=True, gc=False
):
    """A user goes on with a subscription that was a gift, and pays for it. [doc]"""

    sender_login: str | None = None
    """Login of the user who had given it. [doc]"""
    sender_name: str | None = None
    """Shown name of the user who had given it. [doc]"""


class AnonGiftPaidUpgrade(
    UpgradeNotice, tag="usernotice.anongiftpaidupgrade", kw_only=True, omit_defaults=True, gc=False
):
    """A user goes on with a subscription that was a gift of somebody unknown, and pays for it. [doc]"""


class PrimePaidUpgrade(
    SubscriptionNotice, tag="usernotice.primepaidupgrade", kw_only=True, omit_defaults=True, gc=False
):
    """A user who was subscribed with Prime pays for the subscription from now on. [data]"""


class PayForwardNotice(UserNotice, kw_only=True, omit_defaults=True, gc=False):
    """What ``standardpayforward`` and ``communitypayforward`` have in common."""

    prior_gifter_anonymous: TrueFalse | None = None
    """Whether nobody knows who had given this user a subscription. [data]"""
    prior_gifter_id: str | None = None
    """Twitch's number of the user who had given it; absent or empty when nobody knows. [data]"""
    prior_gifter_user_name: str | None = None
    """Login of the user who had given it. [data]"""
    prior_gifter_display_name: str | None = None
    """Shown name of the user who had given it. [data]"""


class StandardPayForward(
    PayForwardNotice, tag="usernotice.standardpayforward", kw_only=True, omit_defaults=True, gc=False
):
    """A user who was given a subscription gives one to somebody. [data]"""

    recipient_id: str | None = None
    """Twitch's number of the user who gets it. [data]"""
    recipient_user_name: str | None = None
    """Login of the user who gets it. [data]"""
    recipient_display_name: str | None = None
    """Shown name of the user who gets it. [data]"""


class CommunityPayForward(
    PayForwardNotice, tag="usernotice.communitypayforward", kw_only=True, omit_defaults=True, gc=False
):
    """A user who was given a subscription gives some to the community. [data]"""


class PrimeCommunityGiftReceived(
    UserNotice, tag="usernotice.primecommunitygiftreceived", kw_only=True, omit_defaults=True, gc=False
):
    """A viewer got something for a game from a member of Prime. Seen about 2019. [data]"""

    gift_name: str | None = None
    """What was given. [data]"""
    middle_man: str | None = None
    """Login of the channel's broadcaster. [data]"""
    recipient: str | None = None
    """Login of the viewer who got it. [data]"""
    sender: str | None = None
    """Shown name of the user who gave it. [data]"""


class RewardGift(UserNotice, tag="usernotice.rewardgift", kw_only=True, omit_defaults=True, gc=False):
    """What a user did, such as giving many subscriptions, has brought others in the channel something.
    [doc]"""

    domain: str | None = None
    """Name of the event of Twitch's that it belongs to. [data]"""
    selected_count: int | None = None
    """How many others got something. [data]"""
    total_reward_count: int | None = None
    """How many got something in all. [data]"""
    trigger_amount: int | None = None
    """How much of ``trigger_type`` was done. [data]"""
    trigger_type: str | None = None
    """What was done: ``CHEER`` or ``SUBGIFT``. [data]"""
    bits_amount: int | None = None
    """How many Bits were cheered; in old lines. [code]"""
    min_cheer_amount: int | None = None
    """How many Bits had to be cheered for it; in old lines. [code]"""
