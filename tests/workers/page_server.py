"""Serves the monitor's page with the monitor's headers, and an overview that the test sets."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import msgspec

from shared.overview import Overview
from tests.processes.conftest import free_port
from workers.monitor_app import PAGE, page_headers


class PageServer:
    """Use it as a context manager; ``stop`` and ``start`` have it go away and come back where it was."""

    def __init__(self, overview: Overview) -> None:
        page = PAGE.read_text("utf-8")
        self.headers = page_headers(page)
        self.page = page.encode()
        self.overview = overview
        self.raw: bytes | None = None
        """Is sent in place of the overview."""
        self.status = 200
        self.going_on = threading.Event()
        """While it is not set, ``/api/status`` gives no answer."""
        self.going_on.set()
        self.polls = 0
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        """Listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be away."""
        if self._server is not None:
            self.going_on.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _status_body(self) -> bytes:
        self.polls += 1
        self.going_on.wait()
        return msgspec.json.encode(self.overview) if self.raw is None else self.raw

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/":
                    self._send(200, "text/html; charset=utf-8", outer.page)
                elif self.path == "/api/status":
                    self._send(outer.status, "application/json", outer._status_body())
                else:
                    self._send(404, "text/plain", b"")

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                for name, value in (outer.headers | {"Content-Type": kind}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
