"""Time budgets and pauses, without a clock of their own where a caller can hand one in."""

import random
import time
from collections.abc import Callable


class Deadline:
    """One budget of time that several steps share.

    ``seconds`` is the budget, counted from the construction; ``clock`` gives monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left_seconds(self) -> float:
        """Seconds that are left; 0.0 when the budget is used up, never negative."""
        return max(0.0, self._end - self._clock())

    def passed(self) -> bool:
        """True when nothing is left."""
        return self.left_seconds() == 0.0


class Backoff:
    """Pauses of about ``first``, twice that, … up to ``longest`` seconds, each with jitter.

    The jitter takes up to a fifth off, so that many processes that fail together do not come back together
    and ``longest`` is never exceeded.
    """

    def __init__(
        self, first: float = 1.0, longest: float = 60.0, random_unit: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._random_unit = random_unit
        self._step = 0

    def next_seconds(self) -> float:
        """The length of the next pause in seconds."""
        # 2**30 pauses of the first length are beyond any `longest`; the bound keeps the number small.
        full = min(self._longest, self._first * float(1 << min(self._step, 30)))
        self._step += 1
        return full * (1.0 - 0.2 * self._random_unit())

    def reset(self) -> None:
        """Start with the first pause again."""
        self._step = 0


class Reminder:
    """Says when it is time to say something again: at once, then every ``seconds``.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due_at = float("-inf")

    def is_due(self) -> bool:
        """True when it is time, and then not for a while."""
        if self._clock() < self._due_at:
            return False
        self.put_off()
        return True

    def put_off(self) -> None:
        """It was just said in another way."""
        self._due_at = self._clock() + self._seconds

    def reset(self) -> None:
        """Say it at once the next time: it would be a new story."""
        self._due_at = float("-inf")
