"""What to do about a token, and when. No I/O and no clock of its own.

Twitch wants a token validated at the start and every hour, and advises to refresh it when it is refused
rather than by the clock (https://dev.twitch.tv/docs/authentication/validate-tokens/, …/refresh-tokens/). A
chat login is only refused when it is too late, so it is also refreshed when little of its life is left.
"""

import random
from collections.abc import Callable
from typing import Literal

from shared.timing import Backoff
from shared.token_file import USUAL_LIFE_SECONDS

Step = Literal["validate", "refresh"]

VALIDATE_SECONDS = 3600.0
LEFT_OF_LIFE = 0.1
# However short the life: Twitch must not be flooded.
_REFRESH_AGAIN_SECONDS = 0.1
_QUIET_SECONDS = 180.0
_NEVER = float("inf")


class TokenPlan:
    """The plan for one token after the other; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float], random_unit: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._trouble = Backoff(1.0, 60.0, random_unit)
        self._doubts = Backoff(1.0, 60.0, random_unit)
        self._reported = False
        self._doubted_at = -_NEVER
        self._heed_doubts_at = -_NEVER
        self._not_before = -_NEVER
        self._can_refresh = False
        self._is_fresh = False
        self._life_seconds: float | None = None
        self._refresh_at = _NEVER
        self._low_at = _NEVER
        self._validate_at = _NEVER

    def nothing(self) -> None:
        """There is no token."""
        self._can_refresh = False
        self._refresh_at = self._low_at = self._validate_at = _NEVER

    def taken_up(self, has_access: bool, can_refresh: bool, fresh: bool) -> None:
        """Somebody else's token is to be looked after; without an access token it is refreshed at once.

        ``fresh``: it was issued just now. Of an older one only the rest of its life can be learned.
        """
        now = self._clock()
        self._is_fresh = fresh
        self._can_refresh = can_refresh
        self._life_seconds = None
        self._low_at = _NEVER
        self._validate_at = now if has_access else _NEVER
        self._refresh_at = now if can_refresh and not has_access else _NEVER
        self._not_before = -_NEVER
        self._reported = False
        self._trouble.reset()

    def validated(self, left_seconds: float | None) -> None:
        """Twitch says that the token is good for so long; None when it does not say, or 0."""
        now = self._clock()
        self._trouble.reset()
        self._validate_at = now + VALIDATE_SECONDS
        if self._reported:
            self._doubt()
        if left_seconds is None:
            # It is in its last second, unless it is one that can neither be refreshed nor expires.
            self._low_at = now
            return
        if self._life_seconds is None:
            self._life_seconds = left_seconds if self._is_fresh else max(left_seconds, USUAL_LIFE_SECONDS)
        self._low_at = now + left_seconds - LEFT_OF_LIFE * self._life_seconds

    def invalid(self) -> None:
        """Twitch says that the token is not good."""
        now = self._clock()
        self._trouble.reset()
        self._validate_at = now + VALIDATE_SECONDS
        if self._can_refresh:
            self._refresh_at = now
        elif self._reported:
            self._next_pause(now)
        self._reported = False

    def reported(self) -> bool:
        """A login with the token was refused: Twitch is asked for its word about it.

        False when that changes nothing: it is being done already, or it is too soon to do it again.
        """
        now = self._clock()
        if self._reported or self._refresh_at != _NEVER or self._validate_at == _NEVER:
            return False
        if not self._can_refresh and now < self._heed_doubts_at:
            return False
        self._reported = True
        self._validate_at = now
        return True

    def refreshed(self, life_seconds: float) -> None:
        """There is a new token that lives for so long."""
        now = self._clock()
        self._trouble.reset()
        self._life_seconds = life_seconds
        self._reported = False
        self._refresh_at = _NEVER
        self._low_at = now + life_seconds * (1.0 - LEFT_OF_LIFE)
        self._validate_at = now + VALIDATE_SECONDS
        self.put_off(_REFRESH_AGAIN_SECONDS)

    def refused_for_good(self) -> None:
        """The refresh token is of no use: only another token helps."""
        self._can_refresh = False
        self._refresh_at = self._low_at = _NEVER

    def no_answer(self) -> float:
        """The step failed and is to be tried again; gives the pause before that in seconds."""
        pause = self._trouble.next_seconds()
        self.put_off(pause)
        if self._reported:
            # Where only the validation is in trouble, the refresh is what counts.
            self._doubt()
        return pause

    def put_off(self, seconds: float) -> None:
        """Nothing is to be done for so long."""
        self._not_before = self._clock() + seconds

    def due(self) -> tuple[Step | None, float]:
        """What is to be done now, None for nothing, and the seconds until the next call makes sense."""
        now = self._clock()
        refresh_at = min(self._refresh_at, self._low_at) if self._can_refresh else _NEVER
        at = max(min(refresh_at, self._validate_at), self._not_before)
        if now < at:
            return None, at - now
        # A token that is to be replaced needs no validation.
        return ("refresh" if refresh_at <= now else "validate"), 0.0

    def _doubt(self) -> None:
        """The refused token may be good: another one is tried all the same, again after growing pauses."""
        self._reported = False
        at = self._next_pause(self._clock())
        if self._can_refresh:
            self._refresh_at = min(self._refresh_at, at)

    def _next_pause(self, now: float) -> float:
        """When to act on a report, which may be now; on the next one only after a longer pause."""
        if now - self._doubted_at > _QUIET_SECONDS:
            self._doubts.reset()
            self._heed_doubts_at = -_NEVER
        self._doubted_at = now
        at = max(now, self._heed_doubts_at)
        self._heed_doubts_at = at + self._doubts.next_seconds()
        return at
