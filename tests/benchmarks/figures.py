"""What was measured several times, as one figure."""

import statistics
from collections.abc import Iterable
from typing import NamedTuple


class Figure(NamedTuple):
    """The median with the least and the greatest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Figure":
        """Of one value at least."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])

    def text(self, digits: int) -> str:
        """Like ``12.3 (11.9-13.0)``."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"
