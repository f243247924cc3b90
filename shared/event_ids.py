"""Ids for events to which Twitch gave none. Pure."""

from hashlib import blake2b

import msgspec

from shared.irc_line import IrcLine

WINDOW_MS = 10_000
# Lines of several times come one after the other only while a reader catches up; more windows than these are
# never open at once.
_WINDOWS_KEPT = 8

_encode = msgspec.json.Encoder().encode


def digest(*parts: object) -> str:
    """A short text that is the same for the same parts only, whoever makes it."""
    return blake2b(_encode(parts), digest_size=16).hexdigest()


class EventIds:
    """Makes ids of lines.

    Readers of the same channel give the same line the same id, whether it was heard or fetched afterwards. A
    line that Twitch really says twice gets two.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, bool], dict[str, list[int]]] = {}

    def of_sent(self, line: IrcLine) -> str:
        """The id of a line that says when Twitch took it."""
        return digest(*_content(line))

    def of_received(self, line: IrcLine, received_ms: int) -> str:
        """The id of a line that does not, received at ``received_ms`` (Unix milliseconds).

        How often the very line came in the same ten seconds is part of it.
        """
        plain = digest(*_content(line))
        is_fetched = "rm-received-ts" in line.tags
        window = received_ms // WINDOW_MS
        times = self._window(window, is_fetched).setdefault(plain, [])
        # A service that is asked twice tells the same line twice, with the same time.
        if is_fetched and received_ms in times:
            return digest(plain, window, times.index(received_ms))
        times.append(received_ms)
        return digest(plain, window, len(times) - 1)

    def _window(self, window: int, is_fetched: bool) -> dict[str, list[int]]:
        seen = self._seen.setdefault((window, is_fetched), {})
        if len(self._seen) > _WINDOWS_KEPT:
            del self._seen[next(iter(self._seen))]
        return seen


def _content(line: IrcLine) -> tuple[object, ...]:
    # A recent-messages service adds these; the same line heard live does not have them.
    tags = [
        tag for tag in sorted(line.tags.items()) if tag[0] != "historical" and not tag[0].startswith("rm-")
    ]
    return line.command, line.prefix, line.params, tags
