"""Whether Kafka takes messages."""

from collections.abc import Callable

from loguru import logger

from shared.timing import Reminder

SPOOL_AFTER_SECONDS = 3.0
REMIND_SECONDS = 60.0
# A slow Kafka changes between both all the time.
SAY_EVERY_SECONDS = 30.0


class Outage:
    """Begins when Kafka has not taken the oldest message for some seconds, and says so in the log.

    ``clock`` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.goes_on = False
        self._clock = clock
        # When the oldest that is on its way was sent; without a connection, since when there is none.
        self._waiting_since: float | None = clock()
        self._turn_reminders = {turn: Reminder(SAY_EVERY_SECONDS, clock) for turn in (True, False)}
        self._still_reminder = Reminder(REMIND_SECONDS, clock)

    def look(self, connected: bool, oldest_sent_at: float | None, spooled: int) -> None:
        """Decide anew; ``oldest_sent_at`` None when nothing is on its way."""
        now = self._clock()
        if connected:
            self._waiting_since = oldest_sent_at
        elif self._waiting_since is None:
            self._waiting_since = now
        before, self.goes_on = self.goes_on, self.left_seconds() == 0.0
        if self.goes_on != before:
            self._still_reminder.put_off()
            self._tell(spooled, quietly=not self._turn_reminders[self.goes_on].is_due())

    def left_seconds(self) -> float | None:
        """Seconds until it begins if nothing changes; None when nothing waits."""
        if self._waiting_since is None:
            return None
        return max(0.0, self._waiting_since + SPOOL_AFTER_SECONDS - self._clock())

    def remind(self, spooled: int) -> None:
        """Say once in a while that it goes on; ``spooled`` messages wait in the spool."""
        if self.goes_on and self._still_reminder.is_due():
            logger.warning("Kafka still takes no messages; {} wait in the spool", spooled)

    def _tell(self, spooled: int, quietly: bool) -> None:
        if self.goes_on:
            level = "DEBUG" if quietly else "WARNING"
            logger.log(
                level, "Kafka has taken nothing for {:.0f} s; messages go to the spool", SPOOL_AFTER_SECONDS
            )
        else:
            level = "DEBUG" if quietly else "INFO"
            logger.log(level, "Kafka takes messages; {} from the spool are sent first", spooled)
