"""Asks the monitor of this installation."""

import httpx
import msgspec

from shared.errors import MonitorUnavailable
from shared.overview import Overview
from shared.settings import Settings

ANSWER_SECONDS = 6.0


class MonitorClient:
    """Use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.url = f"http://127.0.0.1:{settings.monitor_port}"
        # Without the environment's proxies: it is on this machine.
        self._http = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)

    def __enter__(self) -> "MonitorClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def status(self) -> bytes:
        """The JSON of ``/api/status``. Raises MonitorUnavailable."""
        try:
            answer = self._http.get("/api/status")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise MonitorUnavailable(
                f"the monitor at {self.url} does not answer ({_reason(error)}): start the service with "
                "make run; if it runs, see logs/monitor.log"
            ) from None
        return answer.content

    def overview(self) -> Overview:
        """The same, read. Raises MonitorUnavailable, also when another program answers there."""
        content = self.status()
        try:
            return msgspec.json.decode(content, type=Overview)
        except (msgspec.MsgspecError, UnicodeError):
            raise MonitorUnavailable(
                f"what answers at {self.url} is not this version's monitor: restart the service, or set "
                "MONITOR_PORT to a free port"
            ) from None


def _reason(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer in {ANSWER_SECONDS:.0f} s"
    return "nobody listens" if isinstance(error, httpx.ConnectError) else str(error)
