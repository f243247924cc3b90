"""When to ask Twitch for which channel. No socket and no clock of its own."""

from collections.abc import Callable, Iterable

from loguru import logger

from shared.timing import Backoff

ANSWER_SECONDS = 10.0
_NOTHING_DUE_SECONDS = 60.0


class _Wanted:
    def __init__(self) -> None:
        self.backoff = Backoff(first=10.0, longest=300.0)
        self.ask_at: float | None = None
        self.answer_until: float | None = None
        self.trouble = ""


class JoinSchedule:
    """The set of wanted channels, and for each of them when to ask, and until when an answer is waited for.

    ``reserve`` takes a place at the gate and gives its time. A channel that does not let us in is asked
    again after growing pauses, for ever, and never holds up the others.
    """

    def __init__(self, wanted: Iterable[str], reserve: Callable[[], float]) -> None:
        self.wanted = frozenset(wanted)
        self._reserve = reserve
        self._channels = {channel: _Wanted() for channel in sorted(self.wanted)}
        # The one that has a place at the gate which is still to come: the others take theirs after that, so
        # that a connection that breaks leaves one place unused, and not one for each channel.
        self._next = ""

    def want(self, wanted: Iterable[str]) -> None:
        """From here on these are wanted; what is known of those that stay counts on."""
        self.wanted = frozenset(wanted)
        known = self._channels
        self._channels = {channel: known.get(channel) or _Wanted() for channel in sorted(self.wanted)}
        if self._next not in self.wanted:
            self._next = ""

    def due(self, joined: set[str], now: float) -> tuple[list[str], float]:
        """The channels to ask for now, and the seconds until the next call makes sense."""
        ask: list[str] = []
        wait = _NOTHING_DUE_SECONDS
        for channel, state in self._channels.items():
            if channel in joined:
                self._forget_place(channel)
                continue
            if state.answer_until is not None:
                if now < state.answer_until:
                    wait = min(wait, state.answer_until - now)
                    continue
                self.failed(channel, "no answer to the JOIN, does the channel exist?", now)
            if state.ask_at is None:
                if self._next not in ("", channel):
                    continue
                self._next = channel
                state.ask_at = self._reserve()
            if now < state.ask_at:
                wait = min(wait, state.ask_at - now)
                continue
            if channel == self._next:
                self._next = ""
            state.ask_at = None
            state.answer_until = now + ANSWER_SECONDS
            wait = min(wait, ANSWER_SECONDS)
            ask.append(channel)
        return ask, wait

    def joined(self, channel: str) -> None:
        """The channel let us in: its next failure is a new story."""
        self._channels[channel] = _Wanted()
        self._forget_place(channel)

    def failed(self, channel: str, reason: str, now: float) -> None:
        """The channel did not let us in, or put us out; ask again after a pause."""
        self._forget_place(channel)
        state = self._channels[channel]
        pause = state.backoff.next_seconds()
        state.answer_until = None
        state.ask_at = now + pause
        state.trouble = reason
        logger.warning("not in #{}: {}; next attempt in {:.0f} s", channel, reason, pause)

    def trouble(self, channel: str) -> str:
        """Why the channel did not let us in; empty when it did, has not been asked, or is not wanted."""
        state = self._channels.get(channel)
        return state.trouble if state is not None else ""

    def new_connection(self) -> None:
        """Ask for every channel anew: what the old connection was refused says nothing of this one."""
        self._next = ""
        for state in self._channels.values():
            state.ask_at = state.answer_until = None

    def _forget_place(self, channel: str) -> None:
        if channel == self._next:
            self._next = ""
