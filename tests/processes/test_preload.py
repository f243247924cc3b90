"""Workers that are forks of supervisord: that they share its memory, and behave as programs of their own."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.fake_twitch import FakeTwitch
from tests.processes.service import BIN, Service, wait_until

FIXED = ("producer", "channel-sync", "token-refresher", "monitor", "watchdog")
CHANNELS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
SECRET = "averysecrettoken123"


@pytest.fixture
def lonely(tmp_path: Path, twitch: FakeTwitch) -> Iterator[Service]:
    """A service without Kafka."""
    service = Service(tmp_path, TWITCH_IRC_URL=twitch.url, KAFKA_BROKERS="127.0.0.1:1")
    try:
        yield service
    finally:
        service.end()


def supervisord_of(service: Service) -> psutil.Process:
    return psutil.Process(int((service.folder / "run" / "supervisord.pid").read_text()))


def is_fork(pid: int) -> bool:
    # Only supervisord loads that.
    return "_setproctitle" in Path(f"/proc/{pid}/maps").read_text()


def received(service: Service, channel: str) -> int:
    channels = service.status_of(f"reader-{channel}")["channels"]
    return int(channels[channel].get("received", 0))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_workers_share_the_memory_of_supervisord_and_look_like_programs_of_their_own(
    lonely: Service, twitch: FakeTwitch
) -> None:
    lonely.environment |= {"TWITCH_OAUTH_TOKEN": f"oauth:{SECRET}", "TWITCH_USERNAME": "mybot"}
    lonely.set_channels(*CHANNELS)
    lonely.start()
    readers = [f"reader-{channel}" for channel in CHANNELS]
    lonely.wait_running(*FIXED, *readers)
    for channel in CHANNELS:
        twitch.wait_joined(channel, timeout=20)
    supervisord = supervisord_of(lonely)
    assert supervisord.name() == "supervisord"
    assert supervisord.cmdline()[1:] == [
        str(BIN / "supervisord"), "-c", str(lonely.folder / "supervisord.conf")
    ]  # fmt: skip
    python = supervisord.cmdline()[0]
    pids = lonely.pids()
    expected = {
        "producer": "-m workers.producer",
        "token-refresher": "-m workers.token_refresher",
        "monitor": "-m workers.monitor",
        "channel-sync": "supervisor/channel_sync.py",
        "watchdog": "supervisor/watchdog.py",
    } | {f"reader-{channel}": f"-m workers.reader {channel}" for channel in CHANNELS}
    assert pids.keys() == expected.keys()
    for program, pid in pids.items():
        process = psutil.Process(pid)
        assert is_fork(pid)
        assert process.ppid() == supervisord.pid
        assert process.name() == Path(python).name
        assert " ".join(process.cmdline()).strip() == f"{python} {expected[program]}"
        assert process.cmdline()[1:3] == f"{expected[program]} ".split(" ")[:2]
        assert SECRET not in "".join(process.cmdline())
        assert Path(process.cwd()) == lonely.folder
        assert lonely.status_of(program)["pid"] == pid
    for program in readers:
        memory = psutil.Process(pids[program]).memory_full_info()
        assert memory.uss < 0.5 * memory.rss
    lonely.shut_down()
    assert "Traceback" not in lonely.logs()
    for program in readers:
        assert "stopped" in lonely.log(program)


def test_readers_have_random_numbers_of_their_own(lonely: Service, twitch: FakeTwitch) -> None:
    lonely.set_channels(*CHANNELS)
    lonely.start()
    twitch.wait_logins(len(CHANNELS), timeout=20)
    # Anonymous logins end in a random number.
    assert len({login.nick for login in twitch.logins}) == len(CHANNELS)


def test_a_reader_that_is_killed_is_forked_again_and_works(lonely: Service, twitch: FakeTwitch) -> None:
    lonely.set_channels("alpha", "beta")
    lonely.start()
    lonely.wait_running("reader-alpha", "reader-beta")
    for number in (1, 2):
        twitch.wait_joined("alpha", count=1, timeout=20)
        before = lonely.pids()
        psutil.Process(before["reader-alpha"]).kill()
        wait_until(lambda: lonely.pids().get("reader-alpha", 0) not in (0, before["reader-alpha"]), "another")  # noqa: B023
        wait_until(lambda: [join.channel for join in twitch.joins].count("alpha") == number + 1, lonely.logs)  # noqa: B023
        assert is_fork(lonely.pids()["reader-alpha"])
        assert lonely.pids()["reader-beta"] == before["reader-beta"]
    count = received(lonely, "alpha")
    twitch.chat("alpha", "hello")
    wait_until(lambda: received(lonely, "alpha") == count + 1, lonely.logs)


def test_after_an_upgrade_a_worker_that_is_restarted_runs_the_new_code(
    lonely: Service, twitch: FakeTwitch
) -> None:
    lonely.set_channels("alpha", "beta")
    lonely.start()
    lonely.wait_running("reader-alpha", "reader-beta", "token-refresher")
    before = lonely.pids()
    assert is_fork(before["reader-alpha"])
    append(
        lonely.folder / "workers" / "presence.py", "\nimport sys\nprint('the new code', file=sys.stderr)\n"
    )
    lonely.control("restart", "reader-alpha", "token-refresher")
    lonely.wait_running("reader-alpha", "token-refresher")
    after = lonely.pids()
    assert not is_fork(after["reader-alpha"])
    assert not is_fork(after["token-refresher"])
    wait_until(lambda: [join.channel for join in twitch.joins].count("alpha") == 2, lonely.logs)
    assert "the new code" in lonely.log("reader-alpha")
    assert "the new code" not in lonely.log("reader-beta")
    assert after["reader-beta"] == before["reader-beta"]
    # What supervisord has loaded is not loaded anew by that.
    lonely.control("reload")
    wait_until(lambda: lonely.log("reader-beta").count("the new code") == 1, lonely.logs)
    lonely.wait_running("reader-beta")
    assert not is_fork(lonely.pids()["reader-beta"])


def test_workers_are_forks_after_a_reload_too(lonely: Service, twitch: FakeTwitch) -> None:
    lonely.set_channels("alpha")
    lonely.start()
    lonely.wait_running("reader-alpha")
    before = lonely.pids()
    lonely.control("reload")
    wait_until(lambda: lonely.pids().get("reader-alpha", 0) not in (0, before["reader-alpha"]), lonely.logs)
    twitch.wait_joined("alpha", count=1, timeout=20)
    lonely.wait_running(*FIXED, "reader-alpha")
    assert all(is_fork(pid) for pid in lonely.pids().values())


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("workers/absence.py", "preload: not possible, every worker loads its modules itself: .*SyntaxError"),
        ("supervisor/preload.py", "preload: does not work: SyntaxError"),
    ],
)
def test_what_cannot_be_loaded_keeps_no_other_worker_from_starting(
    lonely: Service, file: str, said: str
) -> None:
    append(lonely.folder / file, "\ndef\n")
    lonely.set_channels("alpha")
    lonely.start()
    lonely.wait_running(*FIXED)
    assert re.search(said, (lonely.folder / "logs" / "supervisord.log").read_text())
    assert not any(is_fork(pid) for pid in lonely.pids().values())
    if file == "workers/absence.py":
        wait_until(lambda: "SyntaxError" in lonely.log("reader-alpha"), lonely.logs)
    else:
        lonely.wait_running("reader-alpha")


def test_the_exit_code_of_a_worker_is_its_own(lonely: Service) -> None:
    lonely.environment["KAFKA_TOPIC_PARTITIONS"] = "many"
    lonely.start()
    log = lonely.folder / "logs" / "supervisord.log"
    wait_until(lambda: "exited: producer (exit status 2; not expected)" in log.read_text(), log.read_text)


def test_a_failure_before_the_worker_has_a_log_is_told(lonely: Service) -> None:
    (lonely.folder / "workers" / "monitor.py").write_text("x = 1 / 0\n")
    lonely.start()
    log = lonely.folder / "logs" / "supervisord.log"
    wait_until(lambda: "exited: monitor (exit status 1; not expected)" in log.read_text(), log.read_text)
    assert "ZeroDivisionError: division by zero\n" in lonely.log("monitor")
    lonely.wait_running("producer")


def test_a_worker_that_is_stopped_at_its_begin_ends(lonely: Service) -> None:
    lonely.start()
    lonely.wait_running("token-refresher")
    log = lonely.folder / "logs" / "supervisord.log"
    for _ in range(4):
        lonely.control("stop", "token-refresher")
        lonely.control("signal", "0", "monitor")
        lonely.control("start", "token-refresher")
    assert "killing 'token-refresher'" not in log.read_text()
    supervisord = supervisord_of(lonely)
    for seconds in (0.0, 0.005, 0.02, 0.05):
        before = {child.pid for child in supervisord.children()}
        psutil.Process(lonely.pids()["token-refresher"]).kill()
        wait_until(lambda: {child.pid for child in supervisord.children()} - before != set(), "a new one")  # noqa: B023
        (new,) = [child for child in supervisord.children() if child.pid not in before]
        time.sleep(seconds)
        new.send_signal(signal.SIGTERM)
        new.wait(3)
        wait_until(lambda: "token-refresher" in lonely.pids(), log.read_text)
