"""`make record` as a real process, against the fake Twitch."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.line_file import LineFile
from tests.commands.conftest import Command
from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.replay_process import Replaying
from tests.processes.service import wait_until

HOSTILE = [
    b"@id=1;tmi-sent-ts=1 :r!r@r PRIVMSG #alpha :a\nb\rc\x00\x01\xff\xe2\x80\xa8",
    b":recorder.local PRIVMSG #alpha :RECEIVED 1",
    b"\x1f\x8b\x08 no gzip \x00",
    b"@tmi-sent-ts=x;b=\\s\\: :r NOTICE #alpha",
    "@id=2;tmi-sent-ts=2 :r!r@r PRIVMSG #alpha :\N{PARTY POPPER}  ".encode(),
]


@pytest.fixture
def twitch() -> Iterator[FakeTwitch]:
    with FakeTwitch() as twitch:
        yield twitch


@pytest.fixture
def recording(tmp_path: Path, twitch: FakeTwitch) -> Iterator[Replaying]:
    recording = Replaying(tmp_path, TWITCH_IRC_URL=twitch.url, KAFKA_BROKERS="127.0.0.1:1")
    yield recording
    recording.end()


@pytest.mark.parametrize("name", ["chat.irc.gz", "chat.irc"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_line_is_kept_as_it_came_until_a_signal_ends_it(
    recording: Replaying, twitch: FakeTwitch, name: str, number: signal.Signals
) -> None:
    # Tests that run under nohup would hand on that it is ignored.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        command = recording.record("alpha", "beta", name=name)
    finally:
        signal.signal(signal.SIGHUP, before)
    twitch.send("alpha", *HOSTILE)
    twitch.chat("beta", "hello", id="in-beta")
    recording.wait_recorded(b"id=in-beta", HOSTILE[-1])
    assert command.stop(number) == 0
    lines = recording.lines
    assert [line for line in lines if line in HOSTILE] == HOSTILE
    assert any(b" 001 " in line for line in lines)
    assert any(b"ROOMSTATE #beta" in line for line in lines)
    for path in recording.files:
        file = LineFile(Path(path))
        assert sum(1 for _ in file)
        assert file.trouble == ""
    assert command.out.startswith(f"record: {len(lines)} lines in ")
    assert command.out.endswith(f"{Path(recording.files[-1]).name}\n")
    assert "2 of 2 channels joined" in command.log


def test_under_nohup_the_end_of_the_terminal_ends_nothing(recording: Replaying, twitch: FakeTwitch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        command = recording.record("alpha")
    finally:
        signal.signal(signal.SIGHUP, before)
    command.process.send_signal(signal.SIGHUP)
    twitch.chat("alpha", "after", id="after")
    recording.wait_recorded(b"id=after")
    assert command.stop() == 0


def test_what_a_killed_one_has_left_is_read_and_the_next_one_goes_on_behind_it(
    recording: Replaying, twitch: FakeTwitch
) -> None:
    for life in ("first", "second"):
        command = recording.record("alpha")
        twitch.chat("alpha", life, id=life)
        recording.wait_recorded(f"id={life}".encode())
        command.kill()
    command = recording.record("alpha")
    assert command.stop() == 0
    lines = recording.lines
    assert [b"id=first" in line or b"id=second" in line for line in lines].count(True) == 2
    assert sum(b" 001 " in line for line in lines) == 3


def test_it_goes_on_after_twitch_has_closed_the_connection(recording: Replaying, twitch: FakeTwitch) -> None:
    command = recording.record("alpha")
    twitch.close_all()
    command.wait_shown("disconnected: closed by Twitch")
    wait_until(lambda: twitch.accepted == 2, lambda: command.shown)
    twitch.wait_joined("alpha", timeout=60)
    twitch.chat("alpha", "after", id="after")
    recording.wait_recorded(b"id=after")
    assert command.stop() == 0


def test_no_secret_is_in_the_file_or_shown(recording: Replaying, twitch: FakeTwitch) -> None:
    command = recording.record("alpha", TWITCH_OAUTH_TOKEN="oauth:sesame0penmachtauf")
    assert command.stop() == 0
    assert twitch.logins[0].password == "oauth:sesame0penmachtauf"
    assert any(b"GLOBALUSERSTATE" in line for line in recording.lines)
    assert not any(b"sesame0penmachtauf" in line for line in recording.lines)
    assert "sesame0penmachtauf" not in command.shown


def test_it_takes_its_places_at_the_gate_of_the_readers(recording: Replaying, twitch: FakeTwitch) -> None:
    channels = [f"channel{number}" for number in range(30)]
    command = recording.start(
        "commands.record", str(recording.kept / "chat.irc"), TWITCH_CHANNEL=",".join(channels)
    )
    wait_until(lambda: len(twitch.joins) == 20, lambda: command.shown)
    assert command.stop() == 0
    assert not twitch.violations
    assert (recording.folder / "run" / "login-gate").exists()


def test_channels_are_those_of_the_list_and_of_the_setting(recording: Replaying, twitch: FakeTwitch) -> None:
    (recording.folder / "channels.txt").write_text("alpha\nno login\nbeta\n")
    command = recording.start(
        "commands.record", str(recording.kept / "chat.irc"), TWITCH_CHANNEL="gamma,beta"
    )
    command.wait_shown("3 of 3 channels joined")
    assert command.stop() == 0
    assert "record: channels.txt line 2: 'no login' is no channel login" in command.log
    assert sorted(join.channel for join in twitch.joins) == ["alpha", "beta", "gamma"]


def test_a_channel_that_is_closed_does_not_keep_the_others_out(
    recording: Replaying, twitch: FakeTwitch
) -> None:
    twitch.suspend("closed")
    command = recording.start(
        "commands.record", str(recording.kept / "chat.irc"), TWITCH_CHANNEL="closed,alpha"
    )
    twitch.wait_joined("alpha", timeout=60)
    twitch.chat("alpha", "hello", id="hello")
    recording.wait_recorded(b"id=hello", b"msg_channel_suspended")
    assert command.stop() == 0


def test_that_nobody_reads_the_progress_ends_nothing(recording: Replaying, twitch: FakeTwitch) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "commands.record", str(recording.kept / "chat.irc.gz")],
        cwd=recording.folder,
        env=recording.environment | {"TWITCH_CHANNEL": "alpha"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        # Before it says that it has joined.
        process.stderr.close()
        twitch.wait_joined("alpha", timeout=30)
        twitch.chat("alpha", "after", id="after")
        recording.wait_recorded(b"id=after")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def end_of(command: Command) -> tuple[int, str]:
    return command.wait_end(), command.shown


def test_what_cannot_work_is_one_line_that_says_what_to_do(recording: Replaying) -> None:
    kept = recording.kept
    many = ",".join(f"channel{number}" for number in range(101))
    for file, channels, said in (
        (kept / "chat.irc", "", "there is no channel to record: write one login a line into channels.txt"),
        (kept / "chat.irc", many, "101 channels are too many"),
        (kept, "alpha", f"{kept} is a folder: name a file in it, such as {kept / 'chat.irc.gz'}"),
        (kept / "gone" / "chat.irc", "alpha", f"the folder {kept / 'gone'} does not exist"),
    ):
        code, shown = end_of(recording.start("commands.record", str(file), TWITCH_CHANNEL=channels))
        assert (code, shown.count("\n")) == (2, 1)
        assert shown.startswith(f"record: {said}")
    assert recording.files == []
    long = kept / ("x" * 300)
    code, shown = end_of(recording.start("commands.record", str(long), TWITCH_CHANNEL="alpha"))
    assert (code, shown) == (1, f"record: {long} cannot be used: File name too long\n")


def test_a_disk_that_takes_no_more_ends_it_with_one_line(recording: Replaying, twitch: FakeTwitch) -> None:
    command = recording.record("alpha", name="chat.irc")
    before = command.log
    # As a full disk does, writing fails in the middle.
    command.process.rlimit(psutil.RLIMIT_FSIZE, (4096, 4096))
    twitch.send("alpha", *(f"@tmi-sent-ts=1;id={number} PRIVMSG #alpha :text" for number in range(200)))
    assert command.wait_end() == 1
    said = command.log.removeprefix(before)
    assert said == f"record: {recording.files[0]} cannot be written: File too large\n"
    command = recording.record("alpha", name="chat.irc")
    assert command.stop() == 0
    numbers = [line for line in recording.lines if b"PRIVMSG" in line]
    assert numbers
    assert numbers == [
        f"@tmi-sent-ts=1;id={number} PRIVMSG #alpha :text".encode() for number in range(len(numbers))
    ]
