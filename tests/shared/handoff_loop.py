"""Both ends of the hand-off in one loop, over a real Unix socket."""

import selectors
import time
from collections.abc import Callable
from pathlib import Path

from shared.handoff_client import HandoffClient
from shared.handoff_server import HandoffServer, PendingBatch
from shared.record import Record

WAIT_SECONDS = 10.0


def record(number: int, channel: str = "xqc", size: int = 20) -> Record:
    return Record(channel, f"id-{number}", 1, 1, "", "", b"x" * size)


class ServerLoop:
    """A producer without Kafka: keeps what it takes in until the test says that it is durable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        self.taken: list[tuple[Record, PendingBatch]] = []
        self.ids_made_durable: list[str] = []
        self.server = HandoffServer(
            folder / "handoff.sock",
            folder / "handoff.key",
            self.selector,
            lambda one, batch: self.taken.append((one, batch)),
        )
        self.server.open()

    @property
    def ids(self) -> list[str]:
        return [one.id for one, _batch in self.taken]

    def client(self, max_outbox_bytes: int = 32 * 1024 * 1024) -> HandoffClient:
        return HandoffClient(
            self.folder / "handoff.sock", self.folder / "handoff.key", "reader-xqc", max_outbox_bytes
        )

    def all_durable(self) -> None:
        for _one, batch in self.taken:
            self.server.record_is_durable(batch)
        self.ids_made_durable += self.ids
        self.taken.clear()
        self.server.acknowledge()

    def turn(self, *clients: HandoffClient) -> None:
        for key, _events in self.selector.select(0.01):
            key.data()
        self.server.acknowledge()
        for client in clients:
            client.pump()
            client.on_writable()
            client.on_readable()

    def run_until(self, condition: Callable[[], bool], *clients: HandoffClient) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            self.turn(*clients)

    def run_until_all_is_durable(self, client: HandoffClient) -> None:
        def nothing_is_pending() -> bool:
            self.all_durable()
            return client.pending == 0

        self.run_until(nothing_is_pending, client)

    def close(self) -> None:
        self.server.close()
        self.selector.close()
