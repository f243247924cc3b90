"""The edge to a recent-messages service (``BACKFILL_URL``), and the only HTTP in a reader. For a thread.

``GET <url>/<channel>?limit=&after=&before=``, the times in Unix ms of the receipt by the service; what it
answers is in ``recent_answers``. With another status than 200 there are no messages: 403 is
``channel_ignored``, by wish of the channel's owner, 400 ``invalid_channel_login``.
"""

import contextlib
import datetime
import email.utils
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import quote, urlencode, urlsplit

from shared.fetch_gate import FetchGate, Turn
from shared.timing import Deadline
from workers.recent_answers import LIMIT, Collected, Fetched, Page, printable, read_page, read_refusal

MAX_BYTES = 8 * 1024 * 1024
# A request with less time is not begun.
LEAST_SECONDS = 0.8
# One with less time that gets no answer tells nothing of the service.
FAIR_SECONDS = 3.0
# Whoever asks leaves room for this much between the clocks.
CLOCKS_MS = 2_000
_USER_AGENT = "twitch-ingestion-service (backfill)"


class _Failed(Exception):
    """The request has failed; the text is for people. ``again``: another try may succeed."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def fetch(
    url: str, channel: str, after_ms: int | None, before_ms: int, gate: FetchGate, deadline: Deadline
) -> Fetched:
    """Ask for what was said in ``channel`` between two times, Unix ms.

    ``url`` is one that the settings take. ``after_ms`` None asks once, for the newest lines there are. Else
    what is older is asked for until all is there or the deadline has passed; what has come by then is given.
    Where the service's clock is another than ours it is asked anew, for the times that this clock had.
    Returns by the deadline, but where a name server hangs, and raises nothing.
    """
    got = Collected(after_ms, before_ms)
    try:
        service = _Service(url, channel, gate, deadline)
        got.add(service.ask(after_ms, before_ms))
        if abs(service.ahead_ms) > CLOCKS_MS:
            got = Collected(after_ms, before_ms, service.ahead_ms)
        while got.wants_more:
            got.add(service.ask(got.after_ms, got.before_ms))
    except _Failed as error:
        got.trouble = str(error)
    return got.result()


class _Service:
    """Asks about one channel, one request after the other, until the deadline."""

    def __init__(self, url: str, channel: str, gate: FetchGate, deadline: Deadline) -> None:
        self.ahead_ms = 0
        """How far its clock was ahead of ours in the last answer; 0 where it does not tell."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._path = f"{quote(parts.path.rstrip('/'), safe='/%')}/{quote(channel, safe='')}"
        self._gate = gate
        self._deadline = deadline
        # Before the gate is held: a name server that hangs must not keep the others out.
        self._addresses = self._look_up()
        # The system's certificate authorities, and SSL_CERT_FILE, as for the chat.
        self._tls = ssl.create_default_context() if secure else None

    def _look_up(self) -> list[str]:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _Failed(f"the name {self._host} cannot be looked up") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def ask(self, after_ms: int | None, before_ms: int) -> Page:
        """Get one page; tries again after a pause of the gate's where that may help. Raises _Failed."""
        query = {"after": after_ms or 0, "before": before_ms, "limit": LIMIT}
        target = f"{self._path}?{urlencode(query)}"
        trouble = ""
        while True:
            with self._gate.turn(self._deadline) as turn:
                if turn.refusal:
                    raise _Failed(trouble or turn.refusal)
                if self._deadline.left_seconds() < LEAST_SECONDS:
                    turn.cut_short()
                    raise _Failed(trouble or "its turn came too late")
                try:
                    return self._request(target, turn)
                except _Failed as error:
                    if not error.again or not turn.guarded or self._deadline.passed():
                        raise
                    trouble = str(error)

    def _request(self, target: str, turn: Turn) -> Page:
        had_seconds = self._deadline.left_seconds()
        try:
            status, pause_seconds, content = self._exchange(target)
        except ssl.SSLCertVerificationError as error:
            raise _Failed(f"the certificate of {self._host} is refused: {error.verify_message}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            if self._deadline.passed():
                if had_seconds < FAIR_SECONDS:
                    turn.cut_short()
                raise _Failed(f"{self._host} gives no answer in time") from None
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise _Failed(f"{self._host} cannot be reached ({printable(reason)})", again=True) from None
        if status == 429 or status >= 500:
            turn.asked_to_wait(pause_seconds)
            raise _Failed(f"{self._host} answers {status}", again=status >= 500)
        turn.answered()
        if status != 200:
            raise _Failed(_refusal(self._host, status, content))
        try:
            return read_page(content)
        except ValueError:
            raise _Failed(f"{self._host} answers with something else than it should") from None

    def _exchange(self, target: str) -> tuple[int, float | None, bytes]:
        """Status, the pause it asks for, content. Raises OSError, HTTPException, ValueError, _Failed."""
        headers = {
            "User-Agent": _USER_AGENT,
            "Accept": "application/json",
            # A compressed answer could be a thousand times larger than what was received.
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        with self._connected() as connection:
            connection.request("GET", target, headers=headers)
            with contextlib.closing(connection.getresponse()) as response:
                self.ahead_ms = _ahead_ms(response.getheader("Date"))
                content = response.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise _Failed(f"{self._host} sends more than an answer")
                if response.length or self._deadline.passed():
                    raise http.client.IncompleteRead(b"")
                return response.status, _asked_seconds(response.getheader("Retry-After")), content

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        """A connection that is cut off at the deadline, whatever the server does. Raises OSError."""
        line = self._connect()
        # A time-out counts from one byte to the next: a server that dribbles reaches none.
        cutter = threading.Timer(self._deadline.left_seconds(), _cut, [line])
        cutter.daemon = True
        cutter.start()
        # Without the variables for proxies: chat knows none either.
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = line
        try:
            yield connection
        finally:
            cutter.cancel()
            cutter.join()
            connection.close()
            line.close()

    def _connect(self) -> socket.socket:
        """TLS included, which the socket's time-out bounds as a whole."""
        for left, address in zip(range(len(self._addresses), 0, -1), self._addresses, strict=True):
            # An address that does not answer leaves the others their share.
            timeout = max(0.01, self._deadline.left_seconds() / left)
            try:
                line = socket.create_connection((address, self._port), timeout)
                break
            except OSError:
                if left == 1:
                    raise
        line.settimeout(max(0.01, self._deadline.left_seconds()))
        if self._tls is None:
            return line
        try:
            return self._tls.wrap_socket(line, server_hostname=self._host)
        except (OSError, ValueError):
            line.close()
            raise


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # The plain one: that of TLS would change what the thread that reads is using.
        socket.socket.shutdown(line, socket.SHUT_RDWR)


def _refusal(host: str, status: int, content: bytes) -> str:
    if 300 <= status < 400:
        return f"{host} answers {status}, a redirection; BACKFILL_URL must be where it leads"
    reason = read_refusal(content)
    return f"{host} answers {status}: {reason}" if reason else f"{host} answers {status}"


def _asked_seconds(retry_after: str | None) -> float | None:
    """The pause of a Retry-After, in seconds or as a date; None when there is none that can be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    at = _unix_seconds(text)
    return None if at is None else max(0.0, at - time.time())


def _ahead_ms(date: str | None) -> int:
    """How far the clock behind a Date is ahead of ours; 0 when there is none that can be read."""
    at = _unix_seconds(date or "")
    # It tells whole seconds, what is behind them is cut off.
    return 0 if at is None else round((at + 0.5 - time.time()) * 1000)


def _unix_seconds(http_date: str) -> float | None:
    """None when it is none."""
    with contextlib.suppress(ValueError, OverflowError):
        at = email.utils.parsedate_to_datetime(http_date)
        # All dates of HTTP are UTC, whether they say so or not.
        return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
    return None
