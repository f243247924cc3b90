"""Whether the producer takes messages in: while it does not, they are in the readers' memory only."""

import time

from tests.soak.workers import Supervisor

LOOK_EVERY_SECONDS = 0.5
# A new producer has to be found by the readers, and what they hand off has to become durable.
TAKES_IN_AFTER_SECONDS = 5.0


class ProducerWatch:
    """Follows the producer from its harm to the time when its successor has taken everything in."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.away_since: float | None = None
        """Since when the producer is hung, dead or not yet itself, of time.monotonic(); None: it is well."""
        self._supervisor = supervisor
        self._harmed_pid = 0
        self._back_at: float | None = None
        self._look_at = 0.0

    def is_harmed(self) -> None:
        """Note that the producer of this moment is about to be killed or hung."""
        if self.away_since is None:
            self.away_since = time.monotonic()
        self._harmed_pid = self._supervisor.programs().get("producer", {}).get("pid", 0)
        self._back_at = None

    def look(self, now: float) -> None:
        """See whether it is back; costs nothing while it is well."""
        if self.away_since is None or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_SECONDS
        info = self._supervisor.programs().get("producer", {})
        if info.get("statename") != "RUNNING" or info["pid"] == self._harmed_pid:
            self._back_at = None
        elif self._back_at is None:
            self._back_at = now
        elif now - self._back_at >= TAKES_IN_AFTER_SECONDS:
            self.away_since = None
