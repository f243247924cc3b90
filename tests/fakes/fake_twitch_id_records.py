"""What the fake sign-in issued and saw, how a test waits for it, and how the server is told to misbehave."""

import json
import secrets
import string
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

WAIT_SECONDS = 10.0
_LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Issued:
    """A pair of tokens. All times are of time.monotonic()."""

    access_token: str
    refresh_token: str
    expires_at: float
    scopes: tuple[str, ...]
    life_seconds: float


@dataclass(frozen=True)
class Request:
    """Any request; ``status`` None was left without an answer.

    ``endpoint`` is token, validate, device or authorize, else the path. ``fields`` are those of the form or
    of the query; of a validation ``authorization``, the header.
    """

    endpoint: str
    at: float
    fields: dict[str, str]
    status: int | None


@dataclass(frozen=True)
class Refresh:
    """A refresh request; ``ok`` when tokens were issued, whether or not the answer was sent."""

    refresh_token: str
    at: float
    ok: bool
    reason: str
    """Why not; empty when ``ok``. The same in the other records."""


@dataclass(frozen=True)
class Validation:
    """A request to validate; ``ok`` when the token was found good, whether or not the answer was sent."""

    access_token: str
    at: float
    ok: bool
    reason: str


@dataclass(frozen=True)
class Exchange:
    """A request to trade the code of the redirect in; ``ok`` as in ``Refresh``."""

    code: str
    redirect_uri: str
    at: float
    ok: bool
    reason: str


@dataclass(frozen=True)
class Device:
    """A sign-in begun on a device, with the times of its polls, also of those that had a bad answer."""

    device_code: str
    user_code: str
    scopes: tuple[str, ...]
    at: float
    expires_at: float
    interval: float
    polls: tuple[float, ...] = ()
    pending: int = 0
    """How many polls were answered authorization_pending."""
    granted: bool = False


@dataclass(frozen=True)
class Violation:
    """What a client must not do: ``refresh_token_reused``, ``polled_too_soon``."""

    kind: str
    text: str
    at: float


@dataclass
class Behaviour:
    """What the server does otherwise than Twitch at its best; change it at any time.

    Endpoints are token, validate, device and authorize. Of several deviations of one endpoint the first in
    this order applies: ``hang``, ``fail_status``, ``fail_times``, ``garbage``; nothing is done then.
    """

    one_time_refresh_tokens: bool = True
    """False: an answer to a refresh holds no refresh token, and the one that was used stays good."""
    fail_status: dict[str, int] = field(default_factory=dict)
    """Status that every request to the endpoint is answered with."""
    fail_times: dict[str, int] = field(default_factory=dict)
    """So many next requests to the endpoint are answered 503."""
    hang: set[str] = field(default_factory=set)
    """Endpoints that neither do anything nor ever answer."""
    hang_after: set[str] = field(default_factory=set)
    """Endpoints that do their work (a refresh token is used up) and never answer."""
    dribble: set[str] = field(default_factory=set)
    """Endpoints that send their answer a byte every 0.2 s."""
    garbage: set[str] = field(default_factory=set)
    """Endpoints that answer 200 with an HTML page, as a hotel's network does."""
    scope_as_text: bool = False
    """Scopes in answers as one text, separated by blanks, instead of an array."""
    refuse_refresh: str | None = None
    """Refreshes are answered 400 with this message."""
    refuse_code: str | None = None
    """Exchanges of a code are answered 400 with this message."""
    approve: Literal["redirect", "page", "deny"] = "redirect"
    """What the user does with the sign-in page; "page" shows one, with two links."""
    device_pending: int = 1
    """Polls of each device code that are answered authorization_pending before it is granted; -1 for ever."""
    device_interval: float = 5
    device_life: float = 1800
    device_denied: bool = False
    device_slow_down: int = 0
    """So many next polls are answered slow_down; each makes the device's interval 5 s longer (RFC 8628)."""
    expires_in_whole_seconds: bool = True

    def take_failure(self, endpoint: str) -> int | None:
        """The status that the request has to fail with, None for none; counts ``fail_times`` down."""
        if endpoint in self.fail_status:
            return self.fail_status[endpoint]
        left = self.fail_times.get(endpoint, 0)
        if left > 0:
            self.fail_times[endpoint] = left - 1
        return 503 if left > 0 else None


class Observed:
    """The tokens, and what the server saw, for tests to read and to wait for.

    The lists are copies. Everything changes only while ``changed`` is held.
    """

    def __init__(self, life_seconds: float) -> None:
        self.behaviour = Behaviour()
        self.changed = threading.Condition()
        self.life_seconds = life_seconds
        """Of the access tokens issued from now on."""
        self._issued: list[Issued] = []
        self._access: dict[str, Issued] = {}
        self._refresh: dict[str, Issued] = {}
        self._used: set[str] = set()
        self._uses: Counter[str] = Counter()
        self._requests: list[Request] = []
        self._refreshes: list[Refresh] = []
        self._validations: list[Validation] = []
        self._exchanges: list[Exchange] = []
        self._devices: dict[str, Device] = {}
        self._violations: list[Violation] = []

    @property
    def issued(self) -> list[Issued]:
        """Every pair of tokens, in the order they were issued."""
        with self.changed:
            return list(self._issued)

    @property
    def requests(self) -> list[Request]:
        """Every request, those to unknown paths too."""
        with self.changed:
            return list(self._requests)

    @property
    def refreshes(self) -> list[Refresh]:
        """Every refresh request."""
        with self.changed:
            return list(self._refreshes)

    @property
    def uses(self) -> Counter[str]:
        """How many refresh requests carried each refresh token, those that failed too."""
        with self.changed:
            return Counter(self._uses)

    @property
    def validations(self) -> list[Validation]:
        """Every request to validate."""
        with self.changed:
            return list(self._validations)

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request to trade a code in."""
        with self.changed:
            return list(self._exchanges)

    @property
    def devices(self) -> list[Device]:
        """Every sign-in begun on a device, as far as it is now."""
        with self.changed:
            return list(self._devices.values())

    @property
    def violations(self) -> list[Violation]:
        """What the clients must not do and did."""
        with self.changed:
            return list(self._violations)

    def issue(self, life_seconds: float | None = None, scopes: Iterable[str] = ("chat:read",)) -> Issued:
        """Give out a pair of tokens, as if somebody had signed in."""
        return self._issue(random_text(50), tuple(scopes), life_seconds)

    def write_file(self, path: Path, issued: Issued | None = None, **other_keys: object) -> Issued:
        """Replace the token file as the service does; ``issued`` None issues a new pair.

        ``other_keys`` go into the file too, or in the place of its own keys. None of an old file stay.
        """
        issued = issued or self.issue()
        fields = {
            "accessToken": f"oauth:{issued.access_token}",
            "refreshToken": issued.refresh_token,
            "expiresAt": int((time.time() + issued.expires_at - time.monotonic()) * 1000),
        }
        target = path.resolve()
        # Beside it and then in its place: a reader must not find half of it.
        new = target.with_name(f".{target.name}.{random_text(8)}")
        new.touch(0o600)
        new.write_text(json.dumps(fields | other_keys, indent=2) + "\n")
        new.replace(target)
        return issued

    def is_valid(self, password_or_token: str) -> bool:
        """Whether the access token is good now, with or without its ``oauth:``."""
        return self._valid(password_or_token.removeprefix("oauth:")) is not None

    def revoke(self, access_token: str) -> None:
        """Make an access token bad; its refresh token stays good."""
        with self.changed:
            self._access.pop(access_token.removeprefix("oauth:"), None)
            self.changed.notify_all()

    def revoke_all(self) -> None:
        """Make all tokens bad, as when the user disconnects the application."""
        with self.changed:
            self._access.clear()
            self._refresh.clear()
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = WAIT_SECONDS) -> None:
        """Wait for something to happen here; AssertionError when it does not.

        ``condition`` may read everything here; the server waits meanwhile.
        """
        with self.changed:
            if not self.changed.wait_for(condition, timeout):
                raise AssertionError(f"not within {timeout:g} s: {what}; {self}")

    def wait_refreshes(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many refreshes were asked for since the start."""
        self.wait_for(lambda: len(self._refreshes) >= count, f"{count} refreshes", timeout)

    def wait_validations(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Wait until so many validations were asked for since the start."""
        self.wait_for(lambda: len(self._validations) >= count, f"{count} validations", timeout)

    def __str__(self) -> str:
        with self.changed:
            last = [f"{one.endpoint} {one.status or 'unanswered'}" for one in self._requests[-8:]]
            refreshes = [one.reason or "ok" for one in self._refreshes[-8:]]
            violations = [one.text for one in self._violations]
            return (
                f"seen: {len(self._requests)} requests, the last {last}; {len(self._refreshes)} refreshes, "
                f"the last {refreshes}; {len(self._validations)} validations; "
                f"{len(self._issued)} pairs issued; violations {violations}"
            )

    def _issue(
        self, refresh_token: str, scopes: tuple[str, ...], life_seconds: float | None = None
    ) -> Issued:
        with self.changed:
            life = self.life_seconds if life_seconds is None else life_seconds
            issued = Issued(random_text(30), refresh_token, time.monotonic() + life, scopes, life)
            self._issued.append(issued)
            self._access[issued.access_token] = issued
            self._refresh[refresh_token] = issued
            self.changed.notify_all()
            return issued

    def _valid(self, access_token: str) -> Issued | None:
        with self.changed:
            issued = self._access.get(access_token)
            return issued if issued and issued.expires_at > time.monotonic() else None


def random_text(length: int, letters: str = _LETTERS) -> str:
    """Letters and digits as in Twitch's tokens, or others."""
    return "".join(secrets.choice(letters) for _ in range(length))
