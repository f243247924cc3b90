"""Points of `make doctor` about Twitch's chat: from the connection to the format and time of a message."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from commands.doctor_point import Point, Waiting, bad, good, untried
from commands.doctor_visit import Heard, Visit
from shared.paths import Paths
from shared.settings import Settings
from shared.token_advice import CHAT_SCOPE, advice_on_invalid
from shared.token_file import token_of_the_moment

POINTS = ("Twitch", "login", "join", "message", "format", "clock")
# Of more channels one is the more likely to be lively, and each takes one of the 20 JOINs of 10 s.
CHANNELS = 10
# Readers that start a hundred channels fill the gate for a minute.
GATE_SECONDS = 30.0
# Twitch's answer to a JOIN is waited for 10 s.
JOINED_SECONDS = 11.0
CLOCK_SECONDS = 5.0


class Look:
    """One visit, in points that each need the one before."""

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        channels: Sequence[str],
        wait_seconds: float,
        waiting: Waiting,
    ) -> None:
        self._settings = settings
        self._channels = channels[:CHANNELS]
        self._more = len(channels) - len(self._channels)
        self._wait_seconds = wait_seconds
        self._waiting = waiting
        self._schema = paths.root / "schema" / "chat-message.schema.json"
        self._visit = Visit(settings, paths)
        self._blocked = ""

    def points(self) -> Iterator[Point]:
        """One after the other; what cannot be tried any more says why."""
        steps: tuple[Callable[[], Point], ...] = (
            self._connect,
            self._log_in,
            self._join,
            self._message,
            self._format,
            self._clock,
        )
        try:
            for name, step in zip(POINTS, steps, strict=True):
                yield untried(name, self._blocked) if self._blocked else step()
        finally:
            self._visit.close()

    def _connect(self) -> Point:
        visit, address = self._visit, self._settings.twitch_irc_url
        place = visit.reserve("login")
        pause = place - time.monotonic()
        if pause > GATE_SECONDS:
            self._blocked = "needs a connection"
            reason = (
                f"readers are queued for their logins for another {pause:.0f} s, Twitch allows 20 in 10 s"
            )
            return untried("Twitch", reason, "look again after that")
        if pause > 0:
            with self._waiting(f"waiting {pause:.0f} s for a turn: Twitch allows 20 logins in 10 s"):
                visit.wait_until(place)
        with self._waiting(f"connecting to {address}"):
            seconds = visit.connect()
        if seconds is None:
            self._blocked = "needs a connection"
            remedy = "is TWITCH_IRC_URL right? Does a firewall or a proxy stand between?"
            if "certificate" in visit.closed:
                remedy = "is this machine's clock right? Behind a proxy that opens TLS set SSL_CERT_FILE"
            return bad("Twitch", f"{address}: {visit.closed}", remedy)
        tls = ", TLS included" if address.tls else ""
        return good("Twitch", f"{address} is reached in {seconds * 1000:.0f} ms{tls}")

    def _log_in(self) -> Point:
        visit = self._visit
        with self._waiting("waiting for Twitch's answer to the login"):
            taken = visit.log_in()
        if taken:
            kind = ", anonymously" if visit.login.startswith("justinfan") else ""
            return good("login", f"accepted as {visit.login}{kind}")
        self._blocked = "needs the login"
        if not visit.refused:
            return bad("login", f"not taken: {visit.closed}", "look again later")
        token = token_of_the_moment(self._settings.twitch_oauth_token, self._settings.twitch_token_file).token
        remedy = "it was an anonymous one: look again later"
        if token is not None:
            remedy = (
                f"{advice_on_invalid(token.source)}; where the token is valid, the account or the scope is "
                f"at fault ({CHAT_SCOPE} is needed)"
            )
        return bad("login", f"Twitch refuses it: {visit.closed}", remedy)

    def _join(self) -> Point:
        visit = self._visit
        if not self._channels:
            self._blocked = "needs a channel"
            return untried("join", "there is no channel to join")
        names = _hashed(self._channels)
        pause = visit.ask_to_join(self._channels)
        turn = f", after {pause:.0f} s: Twitch allows 20 JOINs in 10 s" if pause > 1 else ""
        with self._waiting(f"joining {names}{turn}"):
            refused = visit.wait_joined(min(max(0.0, pause), GATE_SECONDS) + JOINED_SECONDS)
        joined = sorted(visit.joined)
        if not joined:
            self._blocked = "needs a channel"
        if visit.closed:
            return bad("join", f"the connection has ended meanwhile: {visit.closed}", "look again later")
        if refused:
            text = "; ".join(f"not in #{channel}: {reason}" for channel, reason in refused.items())
            remedy = "is it written as in the channel's address? Else take it out of the channel list"
            return bad("join", text, remedy, *([f"in {_hashed(joined)}"] if joined else []))
        if not joined:
            return untried(
                "join", "readers are queued for their JOINs, Twitch allows 20 in 10 s", "look again"
            )
        left_out = self._more + len(self._channels) - len(joined)
        more = f"; the other {left_out} are not tried" if left_out else ""
        return good("join", f"in {_hashed(joined)}{more}")

    def _message(self) -> Point:
        visit, seconds = self._visit, self._wait_seconds
        names = _hashed(sorted(visit.joined))
        with self._waiting(f"waiting up to {seconds:g} s for a message in {names}"):
            visit.wait_message(seconds)
        if visit.heard is not None:
            return good("message", f"received in #{visit.heard.channel}")
        self._blocked = "needs a message"
        if visit.closed:
            return bad("message", f"the connection has ended meanwhile: {visit.closed}", "look again later")
        remedy = "name a lively channel, or wait longer: --wait SECONDS"
        return untried("message", f"no message in {seconds:g} s, is the chat quiet?", remedy)

    def _format(self) -> Point:
        heard = self._heard()
        if heard.record is None:
            return bad("format", f"the line could not be read ({heard.rejected})", "please report it")
        try:
            trouble = _against_schema(self._schema, heard.record.value)
        except (OSError, ValueError, SchemaError) as error:
            name = f"schema/{self._schema.name}"
            reason = getattr(error, "strerror", None) or type(error).__name__
            return bad("format", f"{name} cannot be used ({reason})", f"bring it back: git checkout {name}")
        if trouble:
            return bad("format", f"the record does not fit its schema: {trouble}", "please report it")
        return good("format", f"the record fits schema/{self._schema.name}")

    def _clock(self) -> Point:
        heard = self._heard()
        if heard.sent_ms is None:
            return untried("clock", "the message has no time of Twitch's")
        seconds = (heard.received_ms - heard.sent_ms) / 1000
        if abs(seconds) <= CLOCK_SECONDS:
            return good("clock", f"{abs(seconds):.1f} s {_side(seconds)} Twitch's time of the message")
        remedy = "set this machine's clock by NTP: timedatectl set-ntp true"
        return bad("clock", f"{abs(seconds):.0f} s {_side(seconds)} Twitch's time of the message", remedy)

    def _heard(self) -> Heard:
        assert self._visit.heard is not None
        return self._visit.heard


def _side(seconds: float) -> str:
    return "after" if seconds >= 0 else "before"


def _hashed(channels: Sequence[str]) -> str:
    return ", ".join(f"#{channel}" for channel in channels)


def _against_schema(path: Path, value: bytes) -> str:
    """Where the value differs from the schema; empty where it does not.

    Raises OSError, ValueError and SchemaError for a schema that cannot be used.
    """
    schema = json.loads(path.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    found = sorted(error.json_path for error in Draft202012Validator(schema).iter_errors(json.loads(value)))
    return ", ".join(found)
