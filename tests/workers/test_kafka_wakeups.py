"""When the thread of kafka-python wakes up, without a broker."""

import threading
import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from workers.kafka_wakeups import GatheringClient

LONG_MS = 20_000


@pytest.fixture
def client() -> Iterator[GatheringClient]:
    client = GatheringClient(bootstrap_servers=["127.0.0.1:1"])
    yield client
    client.close()


class Waiting:
    """A thread that waits in the client, until something wakes it up."""

    def __init__(self, client: GatheringClient) -> None:
        self.thread = threading.Thread(target=client.poll, args=(LONG_MS,))
        self.thread.start()

    def ends(self) -> bool:
        self.thread.join(LONG_MS / 2000)
        return not self.thread.is_alive()


def test_a_wake_up_waits_for_the_end_of_what_is_sent_together(client: GatheringClient) -> None:
    waiting = Waiting(client)
    with client.together():
        client.wakeup()
        client.wakeup()
        # Nobody may have woken it up: so it does not end.
        waiting.thread.join(0.3)
        assert waiting.thread.is_alive()
    assert waiting.ends()


def test_nothing_sent_wakes_nobody_up(client: GatheringClient) -> None:
    waiting = Waiting(client)
    with client.together():
        pass
    waiting.thread.join(0.3)
    assert waiting.thread.is_alive()
    client.wakeup()
    assert waiting.ends()


def test_a_failure_on_the_way_does_not_keep_the_wake_up(client: GatheringClient) -> None:
    waiting = Waiting(client)
    with pytest.raises(ValueError, match="on the way"), client.together():
        client.wakeup()
        raise ValueError("on the way")
    assert waiting.ends()


def test_other_threads_are_not_held_up(client: GatheringClient) -> None:
    waiting = Waiting(client)
    with client.together():
        other = threading.Thread(target=client.wakeup)
        other.start()
        other.join()
        assert waiting.ends()
