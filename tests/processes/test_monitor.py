"""The monitor over a real service: what it tells is what happened, through kills, restarts and outages."""

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fakes.fake_recent_messages import FakeRecentMessages
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.broker import Broker
from tests.processes.conftest import free_port
from tests.processes.flow import Flow
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import Service, wait_until
from tests.processes.test_main_job import start

EVERYBODY = ("producer", "channel-sync", "token-refresher", "watchdog", "monitor")


class Watcher:
    """Asks the monitor of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.http = httpx.Client(base_url=service.monitor, timeout=10.0, trust_env=False)

    def status(self) -> Any:
        return self.http.get("/api/status").raise_for_status().json()

    def channel(self, name: str) -> Any:
        return next(one for one in self.status()["channels"] if one["name"] == name)

    def worker(self, name: str) -> Any:
        return next(one for one in self.status()["workers"] if one["name"] == name)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Values by name and the values of the labels."""
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(self.http.get("/metrics").text)
            for sample in family.samples
        }

    def wait_ready(self) -> None:
        def is_ready() -> bool:
            try:
                return self.http.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_ready, self.why_not, 60)

    def why_not(self) -> str:
        try:
            return f"ready, but {self.http.get('/readyz').text} {self.service.logs()}"
        except httpx.TransportError as error:
            return f"an answer, but {error} {self.service.logs()}"

    def wait_delivered(self, channel: str, counts: Container[int]) -> None:
        wait_until(
            lambda: self.channel(channel)["delivered"] in counts,
            lambda: f"{counts} delivered, is {self.channel(channel)}",
        )

    def wait_counted(self, channel: str, received: int, delivered: int) -> None:
        wait_until(
            lambda: (
                (self.channel(channel)["received"], self.channel(channel)["delivered"])
                == (received, delivered)
            ),
            lambda: f"{received} received, {delivered} delivered, is {self.channel(channel)}",
        )


@pytest.fixture
def watcher(service: Service) -> Iterator[Watcher]:
    watcher = Watcher(service)
    yield watcher
    watcher.http.close()


def kill(service: Service, program: str) -> None:
    """SIGKILL, and wait until supervisord runs it again."""
    before = service.pids()[program]
    psutil.Process(before).kill()
    wait_until(lambda: service.pids().get(program, before) != before, f"{program} again")


def test_what_is_told_is_what_happened(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha", "beta")
    watcher.wait_ready()
    twitch.play("alpha", [chat_line("alpha", f"message {number}") for number in range(50)])
    again = chat_line("alpha", "twice", id="twice")
    twitch.send("alpha", again, again, b":x!x@x PRIVMSG #alpha")
    twitch.chat("alpha", "broken emote", emotes="25:90-99")
    twitch.chat("beta", "one")
    topic.wait_for("alpha", 52)
    watcher.wait_counted("alpha", 53, 52)
    wait_until(lambda: watcher.channel("alpha")["duplicate"] == 1, "the duplicate counted")
    wait_until(lambda: watcher.channel("alpha")["pending"] == 0, "nothing pending told")
    metrics, status = watcher.metrics(), watcher.status()
    assert metrics["twitch_messages_received_total", "alpha"] == 53
    assert metrics["twitch_messages_delivered_total", "alpha"] == 52
    assert metrics["twitch_messages_duplicate_total", "alpha"] == 1
    assert metrics["twitch_messages_delivered_total", "beta"] == 1
    assert metrics["twitch_lines_rejected_total", "alpha", "no_text"] == 1
    assert metrics["twitch_emotes_rejected_total", "alpha"] == 1
    assert metrics["twitch_reader_joined", "alpha"] == metrics["twitch_reader_joined", "beta"] == 1
    assert metrics["twitch_delivery_seconds_count",] == 53
    assert 0 < metrics["twitch_delivery_seconds_sum",] < 53 * 30
    assert abs(metrics["twitch_last_message_timestamp_seconds", "alpha"] - time.time()) < 60
    assert metrics["twitch_handoff_pending_messages", "alpha"] == metrics["twitch_spool_messages",] == 0
    assert metrics["twitch_token_expires_timestamp_seconds",] == 0
    lost = [value for (name, *_labels), value in metrics.items() if name == "twitch_messages_lost_total"]
    assert set(lost) == {0}
    assert status["sentence"].startswith("All is well: 2 channels")
    everybody = dict.fromkeys((*EVERYBODY, "reader-alpha", "reader-beta"), "RUNNING")
    # supervisord calls a program STARTING for a second.
    wait_until(
        lambda: {one["name"]: one["state"] for one in watcher.status()["workers"]} == everybody,
        lambda: str(watcher.status()["workers"]),
    )
    assert {one["name"]: one["pid"] for one in status["workers"]} == service.pids()
    wait_until(lambda: watcher.worker("producer")["cpu_percent"] is not None, "a processor time")
    assert watcher.worker("producer")["memory_bytes"] > 10_000_000
    assert watcher.http.get("/healthz").status_code == 200


def test_totals_go_on_when_workers_are_killed_or_restarted(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    for number in range(5):
        twitch.chat("alpha", f"message {number}")
    watcher.wait_counted("alpha", 5, 5)
    kill(service, "reader-alpha")
    twitch.wait_joined("alpha")
    kill(service, "producer")
    service.wait_running("producer", "reader-alpha")
    for number in range(3):
        twitch.chat("alpha", f"more {number}")
    watcher.wait_counted("alpha", 8, 8)
    for program in ("producer", "reader-alpha"):
        wait_until(lambda name=program: watcher.worker(name)["restarts"] == 1, f"a restart of {program}")  # type: ignore[misc]
    assert watcher.channel("alpha")["offline_seconds"] > 0
    service.control("restart", "producer", "reader-alpha", "watchdog", "monitor")
    service.wait_running(*EVERYBODY, "reader-alpha")
    watcher.wait_ready()
    twitch.chat("alpha", "last")
    watcher.wait_counted("alpha", 9, 9)
    assert watcher.worker("producer")["restarts"] == 1, "a restart that somebody ordered is none"
    metrics = watcher.metrics()
    assert metrics["twitch_delivery_seconds_count",] == 9
    assert metrics["twitch_worker_restarts_total", "reader-alpha"] == 1
    service.shut_down()
    service.start()
    watcher.wait_ready()
    watcher.wait_counted("alpha", 9, 9)


def test_a_producer_that_is_killed_under_load_leaves_no_delivery_uncounted(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha", "beta")
    watcher.wait_ready()
    flows = {channel: Flow(twitch, channel, 300) for channel in ("alpha", "beta")}
    for least in (200, 1000, 2000):
        watcher.wait_delivered("alpha", range(least, 1_000_000))
        kill(service, "producer")
    for channel, flow in flows.items():
        ids = flow.finish()
        topic.wait_for_ids(channel, set(ids))
        watcher.wait_delivered(channel, [len(ids)])
        assert topic.ids(channel) == ids
    assert watcher.status()["totals"]["lost"] == 0


def test_a_producer_tells_from_where_its_deliveries_count_before_it_counts_any(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    # What it delivered in between, nobody would count if it were killed.
    service.set_channels("alpha")
    service.start()
    twitch.wait_joined("alpha")
    flow = Flow(twitch, "alpha", 300)
    told: dict[str, Any] = {}

    def has_offsets() -> bool:
        nonlocal told
        # supervisord may not have started it yet.
        with contextlib.suppress(FileNotFoundError):
            told = service.status_of("producer")
        return topic.topic in told.get("counted", {}).get("topics", {})

    wait_until(has_offsets, "the first offsets")
    assert told["channels"].get("alpha", {}).get("delivered", 0) == 0
    topic.wait_for_ids("alpha", set(flow.finish()))


def test_a_lost_connection_counts_as_reconnect_and_as_time_out_of_the_channel(
    service: Service, watcher: Watcher, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    assert watcher.channel("alpha")["offline_seconds"] == 0
    twitch.refuse_logins()
    twitch.close_all()
    wait_until(lambda: watcher.channel("alpha")["state"] == "not joined", "out of the channel")
    wait_until(lambda: "refuses the login" in watcher.channel("alpha")["trouble"], "the reason")
    answer = watcher.http.get("/readyz")
    assert answer.status_code == 503
    assert "reader-alpha is not in #alpha: Twitch refuses the login" in answer.text
    assert watcher.status()["sentence"] == "#alpha is not read."
    assert watcher.metrics()["twitch_reader_joined", "alpha"] == 0
    twitch.refuse_logins(0)
    watcher.wait_ready()
    wait_until(lambda: watcher.channel("alpha")["reconnects"] == 1, lambda: str(watcher.channel("alpha")))
    assert watcher.channel("alpha")["offline_seconds"] > 0.5
    assert watcher.status()["well"]


def test_events_gaps_and_what_was_fetched_afterwards_are_counted(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    with FakeRecentMessages() as kept:
        service.environment |= {
            "KAFKA_TOPIC_CHAT_EVENTS": f"{topic.topic}-events",
            "BACKFILL_URL": kept.url,
        }
        start(service, twitch, "alpha")
        watcher.wait_ready()
        twitch.chat("alpha", "heard")
        watcher.wait_counted("alpha", 1, 1)
        be_away(watcher, twitch, lambda: kept.keep("alpha", chat_line("alpha", "missed")))
        watcher.wait_counted("alpha", 2, 2)
        assert (watcher.channel("alpha")["backfilled"], watcher.channel("alpha")["gap_seconds"]) == (1, 0)
        kept.behave("alpha", status=404)
        be_away(watcher, twitch, lambda: None)
        wait_until(lambda: watcher.channel("alpha")["gap_seconds"] > 0, lambda: str(watcher.channel("alpha")))
    wait_until(
        lambda: is_all_delivered(watcher.channel("alpha")["events"]), lambda: str(watcher.channel("alpha"))
    )
    status, metrics = watcher.status(), watcher.metrics()
    (channel,) = status["channels"]
    # Both messages, and what the chat was like at each join.
    assert channel["events"]["received"] >= 3
    assert metrics["twitch_events_received_total", "alpha"] == channel["events"]["received"]
    assert metrics["twitch_events_delivered_total", "alpha"] == channel["events"]["delivered"]
    assert metrics["twitch_events_duplicate_total", "alpha"] == channel["events"]["duplicate"]
    assert metrics["twitch_messages_backfilled_total", "alpha"] == status["totals"]["backfilled"] == 1
    assert metrics["twitch_reader_gap_seconds_total", "alpha"] == status["totals"]["gap_seconds"]
    assert status["kafka"]["events_topic"] == f"{topic.topic}-events"
    # Some seconds are no problem, and a gap is over when it is known.
    assert (status["well"], status["ready"]) == (True, True)


def be_away(watcher: Watcher, twitch: FakeTwitch, meanwhile: Callable[[], None]) -> None:
    """The reader of #alpha is out of the channel, and in again."""
    twitch.refuse_logins()
    twitch.close_all()
    wait_until(lambda: watcher.channel("alpha")["state"] == "not joined", "out of the channel")
    meanwhile()
    twitch.refuse_logins(0)
    watcher.wait_ready()


def is_all_delivered(events: dict[str, int]) -> bool:
    # The gap is delivered, too, and nobody has received it.
    return events["received"] + 1 == events["delivered"] + events["duplicate"]


def test_a_broker_that_is_killed_or_frozen_shows_though_nobody_says_anything(
    service: Service, watcher: Watcher, twitch: FakeTwitch, own: Broker
) -> None:
    service.environment["KAFKA_BROKERS"] = own.address
    start(service, twitch, "alpha")
    watcher.wait_ready()
    for trouble, cure in ((own.kill, own.start), (own.freeze, own.thaw)):
        trouble()
        wait_until(lambda: not watcher.status()["kafka"]["accepts"], "an outage that shows", 10)
        answer = watcher.http.get("/readyz")
        assert answer.status_code == 503
        assert "Kafka takes no messages" in answer.text
        assert watcher.metrics()["twitch_kafka_accepts",] == 0
        flow = Flow(twitch, "alpha", 50)
        wait_until(lambda: watcher.status()["spool"]["messages"] > 10, "messages in the spool")
        assert "wait in the spool" in watcher.status()["sentence"]
        flow.finish()
        cure()
        watcher.wait_ready()
        wait_until(lambda: watcher.status()["spool"]["messages"] == 0, "an empty spool")
    assert watcher.status()["totals"]["lost"] == 0


def test_a_worker_that_was_stopped_or_hangs_shows_and_so_does_its_return(
    service: Service, watcher: Watcher, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha", "beta")
    watcher.wait_ready()
    service.control("stop", "reader-beta")
    wait_until(lambda: watcher.channel("beta")["state"] == "no reader", "a channel without a reader")
    wait_until(lambda: "supervisorctl start reader-beta" in watcher.channel("beta")["trouble"], "what to do")
    service.control("start", "reader-beta")
    watcher.wait_ready()
    os.kill(service.pids()["reader-alpha"], signal.SIGSTOP)
    wait_until(lambda: watcher.worker("reader-alpha")["state"] == "HANGS", "a worker that hangs")
    watcher.wait_ready()
    # The watchdog tells of it a moment after the reader is back.
    wait_until(lambda: watcher.worker("reader-alpha")["restarts"] == 1, "a restart")


def test_channels_come_and_go_with_the_list(service: Service, watcher: Watcher, twitch: FakeTwitch) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    service.set_channels("beta", "alpha")
    twitch.wait_joined("beta")
    wait_until(
        lambda: [one["name"] for one in watcher.status()["channels"]] == ["beta", "alpha"], "both channels"
    )
    service.set_channels("beta")
    wait_until(lambda: [one["name"] for one in watcher.status()["channels"]] == ["beta"], "one channel")
    watcher.wait_ready()


def test_two_readers_of_a_channel_are_told_of_as_one(
    service: Service, watcher: Watcher, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    service.environment["READERS_PER_CHANNEL"] = "2"
    service.set_channels("alpha")
    service.start()
    twitch.wait_joined("alpha", count=2, timeout=30)
    watcher.wait_ready()
    for number in range(10):
        twitch.chat("alpha", f"message {number}")
    topic.wait_for("alpha", 10)
    watcher.wait_counted("alpha", 20, 10)
    wait_until(lambda: watcher.channel("alpha")["duplicate"] == 10, lambda: str(watcher.channel("alpha")))
    service.control("stop", "reader-alpha-2")
    wait_until(lambda: watcher.http.get("/readyz").status_code == 503, "a reader that is missed")
    assert watcher.channel("alpha")["state"] == "joined"


def test_nobody_gets_in_by_another_name_or_from_elsewhere(
    service: Service, watcher: Watcher, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    for name in ("evil.example", "evil.example:9180", "127.0.0.1.evil.example"):
        assert watcher.http.get("/api/status", headers={"Host": name}).status_code == 400
    for name in ("localhost:9180", "127.0.0.1", "[::1]:9180"):
        assert watcher.http.get("/api/status", headers={"Host": name}).status_code == 200
    assert watcher.http.post("/api/status").status_code == 405
    assert watcher.http.get("/nowhere").status_code == 404
    for path in ("/", "/api/status", "/metrics", "/healthz", "/readyz"):
        answer = watcher.http.get(path)
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
    assert "default-src 'none'" in watcher.http.get("/").headers["content-security-policy"]
    listening = [
        one.laddr.ip
        for one in psutil.Process(service.pids()["monitor"]).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


def test_a_client_that_says_nothing_or_hangs_up_holds_up_neither_the_others_nor_the_stop(
    service: Service, watcher: Watcher, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    address = ("127.0.0.1", int(service.environment["MONITOR_PORT"]))
    silent = [socket.create_connection(address) for _ in range(50)]
    half = socket.create_connection(address)
    half.sendall(b"GET /api/status HT")
    gone = socket.create_connection(address)
    gone.sendall(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    gone.close()
    assert watcher.http.get("/healthz").status_code == 200
    before = service.pids()["monitor"]
    service.control("stop", "monitor")
    assert not psutil.pid_exists(before)
    assert "stopped" in service.log("monitor").splitlines()[-1]
    assert "Traceback" not in service.log("monitor")
    for one in (*silent, half):
        one.close()


def test_a_port_that_is_taken_is_one_line_and_keeps_nobody_else_from_working(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        service.environment["MONITOR_PORT"] = str(port)
        start(service, twitch, "alpha")
        line = f"port {port} cannot be used (Address already in use): set MONITOR_PORT to a free one"
        wait_until(lambda: line in service.log("monitor"), service.logs)
        topic.wait_for_ids("alpha", {twitch.chat("alpha", "hello")})
        assert "Traceback" not in service.log("monitor")
    watcher = Watcher(service)
    watcher.wait_ready()
    watcher.http.close()


def test_status_files_that_are_damaged_break_nothing(
    service: Service, watcher: Watcher, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    watcher.wait_ready()
    service.control("stop", "reader-alpha", "producer")
    folder = service.folder / "run" / "status"
    for name, content in (("reader-alpha", b"{"), ("producer", b'{"pid": "x"}'), ("watchdog", b"\xff")):
        (folder / f"{name}.json").write_bytes(content)
    assert watcher.http.get("/metrics").status_code == 200
    assert watcher.channel("alpha")["received"] == 0
    service.control("start", "producer", "reader-alpha")
    watcher.wait_ready()
    assert "Traceback" not in service.logs()


def test_no_secret_is_in_anything_that_the_monitor_tells(
    tmp_path_factory: pytest.TempPathFactory, twitch: FakeTwitch, broker: str
) -> None:
    secrets = {
        "TWITCH_OAUTH_TOKEN": "oauth:recognisable1",
        "TWITCH_CLIENT_SECRET": "recognisable2",
        "KAFKA_SASL_PASSWORD": "recognisable3",
    }
    service = Service(
        tmp_path_factory.mktemp("secrets"),
        TWITCH_IRC_URL=twitch.url,
        KAFKA_BROKERS=broker,
        KAFKA_TOPIC_CHAT_MESSAGES=f"secret-{free_port()}",
        LOG_LEVEL="trace",
        **secrets,
    )
    try:
        start(service, twitch, "alpha")
        watcher = Watcher(service)
        watcher.wait_ready()
        shown = "".join(watcher.http.get(path).text for path in ("/", "/api/status", "/metrics", "/readyz"))
        shown += service.logs() + "".join(path.read_text() for path in status_files(service.folder))
        assert "recognisable" not in shown
        assert json.loads((service.folder / "run/status/monitor.json").read_text())["program"] == "monitor"
        watcher.http.close()
    finally:
        service.end()


def status_files(folder: Path) -> list[Path]:
    return list((folder / "run" / "status").iterdir())
