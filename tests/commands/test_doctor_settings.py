"""The points of `make doctor` about the settings and the channel list."""

from pathlib import Path

import pytest

from commands.doctor_point import BAD, GOOD, Point
from commands.doctor_settings import channels, load
from shared import settings
from shared.paths import Paths

SECRET = "abcdefghij0123456789klmnopqrst"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.NAMES:
        monkeypatch.delenv(name, raising=False)


def channels_of(paths: Paths, **environment: str) -> tuple[Point, tuple[str, ...]]:
    return channels(settings.load(paths, environment), paths)


def test_without_anything_all_is_at_its_default(paths: Paths) -> None:
    point, configured = load(paths)
    assert (point.sign, point.text, point.notes) == (
        GOOD,
        "no .env, none is needed; all have their defaults",
        (),
    )
    assert configured is not None


def test_each_setting_that_is_not_the_default_is_told_with_its_source(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (paths.root / ".env").write_text(
        f"KAFKA_BROKERS=a:1, b:2\nTWITCH_OAUTH_TOKEN={SECRET}\nLOG_LEVEL=debug\nTWITCH_TOKEN_FILE=mine.json\n"
        "READERS_PER_CHANNEL=1\nKAFKA_TOPIC_RETENTION_MS=-1\n"
    )
    monkeypatch.setenv("LOG_LEVEL", "error")
    monkeypatch.setenv("TWITCH_IRC_URL", "irc://localhost")
    point, _ = load(paths)
    assert point.sign == GOOD
    assert point.notes == (
        "TWITCH_OAUTH_TOKEN=***  (.env)",
        "TWITCH_TOKEN_FILE=mine.json  (.env)",
        "TWITCH_IRC_URL=irc://localhost:6667  (environment)",
        "KAFKA_BROKERS=a:1,b:2  (.env)",
        "KAFKA_TOPIC_RETENTION_MS=-1  (.env)",
        "LOG_LEVEL=error  (environment)",
    )


def test_what_is_read_besides_chat_messages_is_told(paths: Paths) -> None:
    (paths.root / ".env").write_text(
        "KAFKA_TOPIC_CHAT_EVENTS=events\nSHARED_CHAT=once\nBACKFILL_URL=https://example.org/api\n"
    )
    point, _ = load(paths)
    assert point.notes == (
        "KAFKA_TOPIC_CHAT_EVENTS=events  (.env)",
        "SHARED_CHAT=once  (.env)",
        "BACKFILL_URL=https://example.org/api  (.env)",
    )


def test_warnings_are_shown(paths: Paths) -> None:
    (paths.root / ".env").write_text("KAFKA_BROKER=a:1\nTWITCH_CLIENT_ID=your_client_id\n")
    point, _ = load(paths)
    assert point.sign == GOOD
    assert [note for note in point.notes if not note.startswith("warning: ")] == []
    assert "did you mean KAFKA_BROKERS?" in point.notes[0]
    assert "TWITCH_CLIENT_ID is a placeholder" in point.notes[1]


def test_a_value_that_is_not_legal_is_named_with_what_is(paths: Paths) -> None:
    (paths.root / ".env").write_text("EMBEDDED_KAFKA_PORT=many\n")
    point, configured = load(paths)
    assert configured is None
    assert point.sign == BAD
    assert point.text == "EMBEDDED_KAFKA_PORT='many' is not usable: legal is a port, 1 to 65535"
    assert ".env" in point.remedy


def test_a_file_that_is_none_is_named(paths: Paths) -> None:
    (paths.root / ".env").mkdir()
    point, configured = load(paths)
    assert configured is None
    assert (point.sign, ".env cannot be read" in point.text) == (BAD, True)


def test_an_illegal_value_that_the_environment_hides_is_a_warning(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (paths.root / ".env").write_text("EMBEDDED_KAFKA_PORT=many\n")
    monkeypatch.setenv("EMBEDDED_KAFKA_PORT", "9093")
    point, configured = load(paths)
    assert configured is not None
    assert point.sign == GOOD
    assert point.notes[0] == "EMBEDDED_KAFKA_PORT=9093  (environment or .env)"
    assert "warning: in .env EMBEDDED_KAFKA_PORT='many' is not usable" in point.notes[1]


def test_channels_of_the_file_and_of_the_setting_count_once_each(paths: Paths) -> None:
    (paths.root / "channels.txt").write_text("xqc\nforsen\n")
    point, logins = channels_of(paths, TWITCH_CHANNEL="forsen,lirik")
    assert logins == ("forsen", "lirik", "xqc")
    assert point.sign == GOOD
    assert point.text == "3 channels in channels.txt and TWITCH_CHANNEL: forsen, lirik, xqc"


def test_a_long_list_is_shortened(paths: Paths) -> None:
    (paths.root / "channels.txt").write_text("".join(f"c{number}\n" for number in range(100)))
    point, logins = channels_of(paths)
    assert len(logins) == 100
    assert point.text == "100 channels in channels.txt: c0, c1, c2, c3, c4, …"


def test_lines_that_are_no_login_are_warnings(paths: Paths) -> None:
    (paths.root / "channels.txt").write_text("xqc\nnot a login\n")
    point, logins = channels_of(paths)
    assert logins == ("xqc",)
    assert point.sign == GOOD
    assert point.text == "1 channel in channels.txt: xqc"
    assert "warning: channels.txt line 2: 'not a login' is no channel login" in point.notes[0]


def test_a_missing_file_is_named_with_the_command_that_makes_it(paths: Paths) -> None:
    point, logins = channels_of(paths)
    assert logins == ()
    assert point.sign == BAD
    assert point.text == "channels.txt is missing"
    assert "cp channels.example.txt channels.txt" in point.remedy


def test_a_missing_file_is_a_warning_where_the_setting_has_channels(paths: Paths) -> None:
    point, logins = channels_of(paths, TWITCH_CHANNEL="xqc", TWITCH_CHANNELS_FILE="lists/mine.txt")
    assert logins == ("xqc",)
    assert point.sign == GOOD
    assert point.text == "1 channel in TWITCH_CHANNEL: xqc"
    assert point.notes == ("warning: lists/mine.txt is missing, only TWITCH_CHANNEL counts",)


@pytest.mark.parametrize("content", ["", "# nothing yet\n\n", "#xqc\n"])
def test_a_file_without_a_channel_is_a_failure(paths: Paths, content: str) -> None:
    (paths.root / "channels.txt").write_text(content)
    point, logins = channels_of(paths)
    assert logins == ()
    assert (point.sign, point.text) == (BAD, "channels.txt names no channel")
    assert point.remedy == "write one login a line into channels.txt"
    assert bool(point.notes) == content.startswith("#xqc")


def test_a_folder_in_the_place_of_the_file_is_named(paths: Paths) -> None:
    (paths.root / "channels.txt").mkdir()
    point, logins = channels_of(paths)
    assert logins == ()
    assert point.sign == BAD
    assert "channels.txt cannot be read (Is a directory)" in point.text
