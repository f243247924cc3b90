import gzip
import json
import re
from pathlib import Path

import psutil
import pytest
from jsonschema import Draft202012Validator

from tests.fakes.fake_twitch import FakeTwitch, chat_line
from tests.processes.kafka_reader import KafkaReader
from tests.processes.service import ROOT, Service, wait_until

SAMPLE = ROOT.parent / "shared" / "data" / "xqcow-2019-09-15.irc.gz"
SCHEMA = json.loads((ROOT / "schema" / "chat-message.schema.json").read_text())


def sample_lines() -> list[bytes]:
    if SAMPLE.exists():
        return [line.rstrip(b"\r") for line in gzip.decompress(SAMPLE.read_bytes()).split(b"\n") if line]
    return [chat_line("xqcow", f"message {number} Kappa", emotes="25:0-6") for number in range(4933)]


def id_of(line: bytes) -> str:
    found = re.search(rb"[;@]id=([^; ]+)", line)
    assert found is not None
    return found[1].decode()


def start(service: Service, twitch: FakeTwitch, *channels: str) -> None:
    service.set_channels(*channels)
    service.start()
    for channel in channels:
        twitch.wait_joined(channel, timeout=30)


def test_real_chat_of_three_channels_is_in_kafka_whole_once_and_in_order(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    channels = ("alpha", "beta", "gamma")
    start(service, twitch, *channels)
    lines = sample_lines()
    expected = [id_of(line) for line in lines if b" PRIVMSG " in line]
    assert len(expected) == 4933
    for channel in channels:
        twitch.play(channel, lines)
    validator = Draft202012Validator(SCHEMA)
    for channel in channels:
        topic.wait_for(channel, len(expected))
    topic.poll()
    for channel in channels:
        assert topic.ids(channel) == expected
        records = topic.by_channel[channel]
        assert len({record.partition for record in records}) == 1
        for record, value in zip(records, topic.values(channel), strict=True):
            validator.validate(value)
            assert value["channel_id"] == channel
            assert record.timestamp == value["timestamp"]
    assert "kafka" not in service.states()
    service.shut_down()


def test_channels_come_and_go_under_load_and_the_others_lose_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    start(service, twitch, "alpha", "beta")
    service.wait_running("reader-alpha", "reader-beta", "producer", "channel-sync")
    before = service.pids()
    lines = [chat_line("alpha", f"message {number}") for number in range(900)]
    playing = twitch.start_playing("alpha", lines, per_second=150)
    service.set_channels("alpha", "beta", "not a login", "delta")
    twitch.wait_joined("delta", timeout=5)
    service.set_channels("alpha", "delta")
    twitch.wait_left("beta", timeout=5)
    playing.result(30)
    topic.wait_for("alpha", len(lines))
    assert topic.ids("alpha") == [id_of(line) for line in lines]
    after = service.pids()
    for program in ("reader-alpha", "producer", "channel-sync", "watchdog"):
        assert after[program] == before[program]
    assert "reader-beta" not in after
    assert "line 3: 'not a login'" in service.log("channel-sync")


def test_a_list_that_is_away_or_empty_for_a_moment_throws_nobody_out(
    service: Service, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha")
    service.wait_running("reader-alpha")
    before = service.pids()["reader-alpha"]
    channels = service.folder / "channels.txt"
    channels.unlink()
    wait_until(lambda: "channels.txt is missing" in service.log("channel-sync"), "the warning")
    service.set_channels("alpha", "beta")
    twitch.wait_joined("beta")
    assert service.pids()["reader-alpha"] == before
    service.set_channels()
    twitch.wait_left("alpha")
    wait_until(lambda: "reader-alpha" not in service.states(), "no reader-alpha")


@pytest.mark.parametrize(
    "program", ["reader-alpha", "producer", "channel-sync", "token-refresher", "monitor", "watchdog"]
)
def test_a_killed_worker_is_running_again_within_three_seconds(
    service: Service, twitch: FakeTwitch, program: str
) -> None:
    start(service, twitch, "alpha")
    service.wait_running(program)
    killed = service.pids()[program]
    psutil.Process(killed).kill()
    wait_until(lambda: service.pids().get(program, killed) != killed, f"{program} again", 3)
    twitch.wait_joined("alpha")


def test_an_ordered_stop_of_twenty_channels_delivers_everything_and_leaves_nothing(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    channels = [f"channel{number}" for number in range(20)]
    start(service, twitch, *channels)
    service.wait_running("producer")
    ids = {channel: [twitch.chat(channel, f"last words {n}") for n in range(20)] for channel in channels}
    wait_until(
        lambda: all(
            service.status_of(f"reader-{channel}")["channels"][channel].get("received") == 20
            for channel in channels
        ),
        "every reader has read its messages",
    )
    service.shut_down()
    # Nothing took longer than supervisord gives it.
    assert "killing" not in service.log("supervisord")
    for channel in channels:
        topic.wait_for(channel, 20)
        assert topic.ids(channel) == ids[channel]
        assert "stopped, everything handed off" in service.log(f"reader-{channel}")


def test_channels_that_changed_while_everything_was_down_are_right_at_the_next_start(
    service: Service, twitch: FakeTwitch
) -> None:
    start(service, twitch, "alpha", "beta")
    service.wait_running("reader-alpha", "reader-beta")
    service.shut_down()
    service.set_channels("beta", "gamma")
    service.start()
    twitch.wait_joined("beta")
    twitch.wait_joined("gamma")
    wait_until(lambda: "reader-alpha" not in service.states(), "no reader-alpha")
    assert [join.channel for join in twitch.joins].count("alpha") == 1


def test_two_readers_of_a_channel_give_every_message_once(
    tmp_path: Path, service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    service.environment["READERS_PER_CHANNEL"] = "2"
    service.set_channels("alpha")
    service.start()
    twitch.wait_joined("alpha", count=2)
    ids = [twitch.chat("alpha", f"message {number}") for number in range(50)]
    topic.wait_for("alpha", 50)
    twitch.close_all()
    twitch.wait_joined("alpha", count=2, timeout=20)
    ids.append(twitch.chat("alpha", "after"))
    topic.wait_for("alpha", 51)
    assert topic.ids("alpha") == ids
    assert set(service.pids()) >= {"reader-alpha", "reader-alpha-2"}


def test_the_token_of_the_moment_logs_in_and_is_never_shown(
    service: Service, twitch: FakeTwitch, topic: KafkaReader
) -> None:
    service.environment["TWITCH_USERNAME"] = "MyBot"
    service.environment["LOG_LEVEL"] = "trace"
    tokens = service.folder / "tokenStore.json"
    tokens.write_text(json.dumps({"accessToken": "oauth:firsttoken1", "refreshToken": "refresh"}))
    start(service, twitch, "alpha")
    tokens.write_text(json.dumps({"accessToken": "secondtoken2", "refreshToken": "refresh"}))
    twitch.close_all()
    twitch.wait_logins(2)
    twitch.wait_joined("alpha")
    assert [login.password for login in twitch.logins] == ["oauth:firsttoken1", "oauth:secondtoken2"]
    twitch.chat("alpha", "from ourselves", login="mybot")
    wanted = twitch.chat("alpha", "from another")
    topic.wait_for("alpha", 1)
    topic.poll()
    assert topic.ids("alpha") == [wanted]
    shown = service.logs() + "".join(path.read_text() for path in (service.folder / "run/status").iterdir())
    assert "firsttoken1" not in shown
    assert "secondtoken2" not in shown


def test_a_bad_setting_is_named_in_one_line(service: Service) -> None:
    service.environment["KAFKA_TOPIC_PARTITIONS"] = "many"
    service.set_channels("alpha")
    service.start()
    wait_until(lambda: "KAFKA_TOPIC_PARTITIONS='many'" in service.log("producer"), "the line")
    assert "Traceback" not in service.logs()
