"""What supervisord tells about its programs, by its XML-RPC over the Unix socket."""

import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from shared.errors import SupervisordUnavailable

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """A supervised program; ``state`` is supervisord's word for it."""

    name: str
    state: str
    pid: int | None
    """None when it does not run."""
    uptime_seconds: float | None
    """None when it does not run."""
    description: str
    """supervisord's own words, as ``supervisorctl status`` shows them."""


class _Transport(SupervisorTransport):  # type: ignore[misc]
    """The library's, which waits for ever where supervisord hangs."""

    def __init__(self, socket_path: Path, seconds: float) -> None:
        super().__init__(None, None, serverurl=f"unix://{socket_path}")
        make: Callable[[], HTTPConnection] = self._get_connection  # type: ignore[has-type]

        def connect() -> HTTPConnection:
            connection = make()
            connection.connect()
            connection.sock.settimeout(seconds)
            return connection

        self._get_connection = connect


def programs(socket_path: Path, answer_seconds: float = ANSWER_SECONDS) -> list[Program]:
    """Every program of the supervisord that serves the socket, by name. Blocks until it has answered.

    Raises SupervisordUnavailable when none runs, or when it does not answer in ``answer_seconds``.
    """
    transport = _Transport(socket_path, answer_seconds)
    try:
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            infos: Any = server.supervisor.getAllProcessInfo()
    except (FileNotFoundError, ConnectionRefusedError):
        raise SupervisordUnavailable("supervisord does not run; make run starts the service") from None
    except (OSError, xmlrpc.client.Error, HTTPException) as error:
        reason = getattr(error, "faultString", None) or getattr(error, "strerror", None) or str(error)
        raise SupervisordUnavailable(
            f"supervisord does not answer ({reason}); is it just starting or stopping?"
        ) from None
    return [_program(info) for info in sorted(infos, key=lambda info: str(info["name"]))]


def _program(info: dict[str, Any]) -> Program:
    runs = info["pid"] != 0
    return Program(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"] if runs else None,
        uptime_seconds=float(max(0, info["now"] - info["start"])) if runs else None,
        description=info["description"],
    )
