"""kafka-python's network client, which wakes the thread that it works in up less often."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka.net import KafkaNetClient


class GatheringClient(KafkaNetClient):  # type: ignore[misc]
    """Makes few requests of what is sent together; to be given to a producer as its ``kafka_client``.

    A producer wakes its thread up for the first record of each partition. The thread then makes a request of
    that one record while the others are still being put together.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The thread that sends at the moment; 0 for none.
        self._sending = 0
        self._has_woken = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread sends meanwhile wakes the other one up at the end; it may be awake by itself."""
        self._has_woken = False
        self._sending = threading.get_ident()
        try:
            yield
        finally:
            self._sending = 0
            if self._has_woken:
                super().wakeup()

    def wakeup(self) -> None:
        """End the other thread's waiting, at once or at the end of ``together``."""
        if self._sending == threading.get_ident():
            self._has_woken = True
        else:
            super().wakeup()

    def poll(self, timeout_ms: float | None = None, future: Any = None) -> None:
        """Do what can be done, and wait for more up to that time."""
        if timeout_ms == 0 and future is None:
            # A request was made just now. The first round asks whether the socket takes it, and the second
            # one writes it; in between the producer would look through all its partitions for nothing.
            super().poll(timeout_ms)
        super().poll(timeout_ms, future)
