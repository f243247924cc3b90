"""Where the sign-in server listens: what ``TWITCH_REDIRECT_URI`` says, on loopback only."""

import contextlib
import errno
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from shared.errors import SettingsError

BEGIN_PATH = "/auth"
BACKLOG = 16
_NAME = "TWITCH_REDIRECT_URI"
# What a kernel without IPv6, or with IPv6 switched off, says.
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EINVAL})


@dataclass(frozen=True)
class RedirectAddress:
    """The parts of a redirect URI that leads to this machine; ``path`` is decoded, as requests have it."""

    uri: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, uri: str) -> "RedirectAddress":
        """Read ``TWITCH_REDIRECT_URI``. Raises SettingsError when it cannot lead to a server on loopback."""
        parts = urlsplit(uri)
        host, port = parts.hostname or "", 80 if parts.port is None else parts.port
        path = unquote(parts.path) or "/"
        legal = parts.scheme == "http" and _is_loopback(host) and port > 0 and path != BEGIN_PATH
        if not legal or parts.username is not None or parts.fragment:
            raise SettingsError(
                f"{_NAME}={uri!r} is not usable for `make auth`: legal is http://localhost:PORT/PATH "
                f"(also 127.0.0.1 or [::1]; PATH not {BEGIN_PATH}), as registered with Twitch. For a machine "
                "without a browser there is `make auth-device`; or forward the port from the one that has "
                "it, `ssh -L 3000:localhost:3000 …`, and open the address there"
            )
        return cls(uri, host, port, path)

    @property
    def origin(self) -> str:
        """``http://host:port``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def is_own_host(self, header: str) -> bool:
        """Whether a request with this Host header is for this server, and not for a name that leads here."""
        try:
            host = urlsplit(f"//{header}").hostname
        except ValueError:
            return False
        return host in {"localhost", "127.0.0.1", "::1", self.host}


def listen(address: RedirectAddress) -> list[socket.socket]:
    """Listen at the address; ``localhost`` is IPv4 and, where there is one, IPv6. Raises OSError."""
    if address.host != "localhost":
        return [_listen(address.host, address.port)]
    sockets = [_listen("127.0.0.1", address.port)]
    try:
        # Another program there would get what browsers send to localhost, so only its lack is no error.
        sockets.append(_listen("::1", address.port))
    except OSError as error:
        if error.errno not in _NO_IPV6:
            sockets[0].close()
            raise
    return sockets


def why_not(address: RedirectAddress, error: OSError) -> str:
    """What to tell the user when ``listen`` failed."""
    port = address.port
    other = f"choose another port in {_NAME}, and register that address with Twitch"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: end the program that has it (another `make auth`?), or {other}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} is not permitted to this user, those below 1024 are root's: {other}"
    return f"port {port} of {address.host} cannot be used ({error.strerror}): {other}"


def _is_loopback(host: str) -> bool:
    if host in ("localhost", "::1"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.IPv4Address(host).is_loopback
    return False


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # The connections of a server that has just ended would keep its port for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
