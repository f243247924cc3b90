"""A line to a server on loopback that delays what the server says, on chosen connections."""

import contextlib
import socket
import threading
import time
from typing import Self


class SlowLine:
    """Passes TCP connections on to ``port``; those with a number up to ``slow`` hear everything late."""

    def __init__(self, port: int, delay_seconds: float, slow: int = 1) -> None:
        self._target = port
        self._delay_seconds = delay_seconds
        self._slow = slow
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"irc://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                number += 1
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [client, server]
                delay = self._delay_seconds if number <= self._slow else 0.0
                for one, other, late in ((client, server, 0.0), (server, client, delay)):
                    threading.Thread(target=_pass_on, args=(one, other, late), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, delay_seconds: float) -> None:
    """Every piece arrives so much later, and the line takes as many pieces at once as there are."""
    pieces: list[tuple[float, bytes]] = []
    ready = threading.Condition()

    def read() -> None:
        data = b"more"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            with ready:
                pieces.append((time.monotonic() + delay_seconds, data))
                ready.notify()

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(OSError):
        while True:
            with ready:
                ready.wait_for(lambda: pieces)
                due, data = pieces.pop(0)
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)
