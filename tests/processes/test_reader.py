"""A real reader process between a fake Twitch and a real hand-off."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import server_context
from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.fakes.fake_twitch_lines import number_of
from tests.fakes.slow_line import SlowLine
from tests.processes.service import copy_project, wait_until
from tests.shared.handoff_loop import ServerLoop
from workers.handover import LAST_WORDS


class ReaderProcess:
    """``python -m workers.reader alpha`` in a folder of its own, with this test as its producer."""

    def __init__(self, folder: Path) -> None:
        copy_project(folder)
        self.folder = folder
        self.loop = ServerLoop(folder / "run")
        self.ids: list[str] = []
        self.events: list[tuple[str, str]] = []
        """Type and id of every event."""
        self._output = (folder / "reader.log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, url: str, **settings: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workers.reader", "alpha"],
            cwd=self.folder,
            env={**os.environ, "TWITCH_IRC_URL": url, **settings},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    @property
    def log(self) -> str:
        return (self.folder / "reader.log").read_text()

    def wait_for_ids(self, *wanted: str, seconds: float = 20.0) -> None:
        def there() -> bool:
            self.loop.turn()
            self.ids += self.loop.ids
            self.events += [(one.type, one.id) for one, _batch in self.loop.taken if one.type]
            self.loop.all_durable()
            return set(wanted) <= set(self.ids)

        wait_until(there, lambda: f"{len(wanted)} messages, have {len(self.ids)}; {self.log}", seconds)

    def wait_for_log(self, text: str, seconds: float = 20.0) -> None:
        wait_until(lambda: text in self.log, lambda: f"{text!r} in {self.log}", seconds)

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self.loop.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ReaderProcess]:
    reader = ReaderProcess(tmp_path / "project")
    try:
        yield reader
    finally:
        reader.end()


@pytest.fixture(autouse=True)
def folder_for_the_project(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir(exist_ok=True)


def test_tls_with_a_private_authority_reads_a_burst_whole(tmp_path: Path, reader: ReaderProcess) -> None:
    context, authority = server_context(tmp_path)
    with FakeTwitch(tls=context) as twitch:
        reader.start(twitch.url, SSL_CERT_FILE=str(authority))
        twitch.wait_joined("alpha")
        first = twitch.chat("alpha", "alone")
        reader.wait_for_ids(first)
        lines = [chat_line("alpha", f"message {number}", id=f"id{number}") for number in range(20_000)]
        playing = twitch.start_playing("alpha", lines)
        reader.wait_for_ids(*(f"id{number}" for number in range(20_000)), seconds=40)
        playing.result(10)
        assert reader.ids == [first, *(f"id{number}" for number in range(20_000))]


@pytest.mark.parametrize("name", ["unknown authority", "wrong name"])
def test_a_certificate_that_is_not_right_is_refused_and_said(
    tmp_path: Path, reader: ReaderProcess, name: str
) -> None:
    names = ("chat.example",) if name == "wrong name" else ()
    context, authority = server_context(tmp_path, *names)
    trusted = {"SSL_CERT_FILE": str(authority)} if name == "wrong name" else {}
    with FakeTwitch(tls=context) as twitch:
        reader.start(twitch.url, **trusted)
        reader.wait_for_log("certificate refused")
        assert twitch.logins == []


def test_a_handshake_that_hangs_is_given_up(tmp_path: Path, reader: ReaderProcess) -> None:
    context, authority = server_context(tmp_path)
    with FakeTwitch(tls=context) as twitch:
        twitch.behaviour.hang_handshakes = 1
        reader.start(twitch.url, SSL_CERT_FILE=str(authority))
        reader.wait_for_log("no answer in 10 s")
        twitch.wait_joined("alpha", timeout=20)


def test_reconnect_makes_the_new_connection_before_the_old_one_is_left(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        lines = [chat_line("alpha", f"message {number}", id=f"id{number}") for number in range(300)]
        playing = twitch.start_playing("alpha", lines, per_second=100)
        reader.wait_for_ids("id50")
        twitch.reconnect(close_after=2.0)
        playing.result(20)
        reader.wait_for_ids(*(f"id{number}" for number in range(300)))
        assert len(twitch.logins) == 2
        assert list(dict.fromkeys(reader.ids)) == [f"id{number}" for number in range(300)]


def test_reconnect_loses_nothing_and_moves_nothing_when_the_old_connection_is_slow(
    reader: ReaderProcess,
) -> None:
    with FakeTwitch() as twitch, SlowLine(twitch.port, delay_seconds=0.3) as line:
        reader.start(line.url)
        twitch.wait_joined("alpha")
        lines = [chat_line("alpha", f"message {number}", id=f"id{number}") for number in range(600)]
        playing = twitch.start_playing("alpha", lines, per_second=200)
        reader.wait_for_ids("id50")
        twitch.reconnect(close_after=2.0)
        playing.result(20)
        reader.wait_for_ids(*(f"id{number}" for number in range(600)))
        assert list(dict.fromkeys(reader.ids)) == [f"id{number}" for number in range(600)]


@pytest.mark.parametrize("delay_seconds", [0.0, 0.3])
def test_a_notice_that_both_connections_say_at_a_reconnect_is_one_event(
    reader: ReaderProcess, delay_seconds: float
) -> None:
    on = "@msg-id=slow_on :tmi.twitch.tv NOTICE #alpha :This room is now in slow mode."
    off = "@msg-id=slow_off :tmi.twitch.tv NOTICE #alpha :This room is no longer in slow mode."
    slow = f"@room-id={number_of('alpha')};slow=30 :tmi.twitch.tv ROOMSTATE #alpha"
    with FakeTwitch() as twitch, SlowLine(twitch.port, delay_seconds) as line:
        reader.start(line.url, KAFKA_TOPIC_CHAT_EVENTS="events")
        twitch.wait_joined("alpha")
        before = twitch.chat("alpha", "before")
        reader.wait_for_ids(before)
        # The old connection is left when its answer is overdue, which gives time to say something to both.
        twitch.behaviour.answers_ping = False
        twitch.reconnect()
        twitch.wait_joined("alpha", 2)
        # What the old one has heard before that says nothing of what it may have missed since.
        twitch.wait_for(
            lambda: any(LAST_WORDS.encode() in line.raw for line in twitch.lines), 20, "the old one is asked"
        )
        twitch.send("alpha", on, off, slow, off)
        twitch.wait_closed(1)
        after = twitch.chat("alpha", "after")
        reader.wait_for_ids(after)
    kinds = [kind for kind, _id in reader.events]
    # The answer to the second JOIN is the new connection's alone.
    said = ["notice", "notice", "roomstate", "notice", "roomstate"]
    assert kinds == ["roomstate", "privmsg", *said, "privmsg"]
    assert len(set(reader.events)) == len(reader.events)


def test_a_dead_line_is_noticed_within_ten_seconds(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        twitch.freeze()
        reader.wait_for_log("silent, no answer to PING", seconds=12)
        twitch.wait_logins(2)
        twitch.wait_joined("alpha")


def test_a_quiet_connection_that_answers_is_kept(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        twitch.wait_for(
            lambda: sum(line.raw.startswith(b"PING") for line in twitch.lines) >= 2, 20, "two PINGs"
        )
        assert len(twitch.logins) == 1


def test_lines_that_cannot_be_read_are_counted_and_end_nothing(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        twitch.send_raw(
            b":a!a@a PRIVMSG #alpha\r\nPRIVMSG #alpha :no sender\r\nPING\r\nQUIT\r\n \r\n:x\r\n"
            b":tmi NOTICE\r\n\xff\xfe\r\n" + b"x" * 1_000_000 + b"\r\n"
        )
        wanted = twitch.chat("alpha", "after")
        reader.wait_for_ids(wanted)
        reader.wait_for_log("lines could not be read")
        assert len(twitch.logins) == 1


def test_a_stream_of_single_bytes_is_read(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        twitch.behaviour.write_bytes = 1
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        wanted = [twitch.chat("alpha", f"grüße 😀 {number}") for number in range(3)]
        reader.wait_for_ids(*wanted)


def test_a_refused_login_is_said_with_what_to_do_and_tried_again(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        twitch.refuse_logins(times=1)
        reader.start(twitch.url, TWITCH_OAUTH_TOKEN="oauth:expired1234", TWITCH_USERNAME="bot")
        reader.wait_for_log("Twitch refuses the login")
        twitch.wait_joined("alpha")
        assert "expired1234" not in reader.log


def test_a_closed_channel_is_said_and_tried_again(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        twitch.suspend("alpha")
        reader.start(twitch.url)
        reader.wait_for_log("not in #alpha")
        twitch.reopen("alpha")
        twitch.wait_joined("alpha", timeout=20)


def test_a_server_that_closes_at_once_meets_growing_pauses(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        twitch.behaviour.close_after_login = True
        reader.start(twitch.url)
        twitch.wait_logins(3, timeout=15)
        times = [login.at for login in twitch.logins]
        assert times[2] - times[1] > times[1] - times[0] > 0.7


def test_a_stop_hands_off_what_was_read_and_ends_with_zero(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        wanted = twitch.chat("alpha", "hello")
        reader.wait_for_ids(wanted)
        assert reader.stop() == 0
        assert "stopped, everything handed off" in reader.log


def test_a_port_where_nobody_listens_is_one_line(reader: ReaderProcess) -> None:
    reader.start("ircs://127.0.0.1:1")
    reader.wait_for_log("cannot connect")
    assert "Traceback" not in reader.log


def test_messages_in_quick_succession_are_handed_off_together(reader: ReaderProcess) -> None:
    with FakeTwitch() as twitch:
        reader.start(twitch.url)
        twitch.wait_joined("alpha")
        lines = [chat_line("alpha", f"message {number}", id=f"id{number}") for number in range(400)]
        twitch.start_playing("alpha", lines, per_second=400)
        batches: set[int] = set()

        def all_there() -> bool:
            reader.loop.turn()
            batches.update(batch.number for _one, batch in reader.loop.taken)
            reader.ids += reader.loop.ids
            reader.loop.all_durable()
            return len(reader.ids) == 400

        wait_until(all_there, lambda: f"400 messages, have {len(reader.ids)}; {reader.log}")
        assert reader.ids == [f"id{number}" for number in range(400)]
        # In a second it reads every 4 ms.
        assert len(batches) < 300
