import os
import re
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.paths import Paths
from shared.settings import NAMES, SETTINGS, IrcAddress, Settings, load, secrets_of

ROOT = Path(__file__).parents[2]
DEFAULTS = {
    "TWITCH_CHANNELS_FILE": "channels.txt",
    "TWITCH_CHANNEL": "",
    "TWITCH_USERNAME": "",
    "TWITCH_OAUTH_TOKEN": "",
    "TWITCH_TOKEN_FILE": "tokenStore.json",
    "TWITCH_CLIENT_ID": "",
    "TWITCH_CLIENT_SECRET": "",
    "TWITCH_REDIRECT_URI": "http://localhost:3000/auth/callback",
    "TWITCH_SCOPES": "chat:read",
    "TWITCH_IRC_URL": "ircs://irc.chat.twitch.tv:6697",
    "TWITCH_ID_URL": "https://id.twitch.tv",
    "KAFKA_BROKERS": "",
    "KAFKA_TOPIC_CHAT_MESSAGES": "twitch-chat-messages",
    "KAFKA_TOPIC_CHAT_EVENTS": "",
    "KAFKA_TOPIC_PARTITIONS": "3",
    "KAFKA_REPLICATION_FACTOR": "",
    "KAFKA_TOPIC_RETENTION_MS": "",
    "KAFKA_CLIENT_ID": "twitch-ingestion-service",
    "KAFKA_COMPRESSION": "none",
    "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "",
    "KAFKA_SASL_USERNAME": "",
    "KAFKA_SASL_PASSWORD": "",
    "KAFKA_SSL_CAFILE": "",
    "EMBEDDED_KAFKA_PORT": "9092",
    "READERS_PER_CHANNEL": "1",
    "SHARED_CHAT": "all",
    "BACKFILL_URL": "",
    "SPOOL_MAX_BYTES": "10737418240",
    "MONITOR_PORT": "9180",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "text",
}
SECRETS = ("TWITCH_OAUTH_TOKEN", "TWITCH_CLIENT_SECRET", "KAFKA_SASL_PASSWORD")


def loaded(root: Path, env_file: str | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    if env_file is not None:
        (root / ".env").write_text(env_file, encoding="utf-8")
    return load(Paths(root), environment if environment is not None else {})


def refusal(root: Path, environment: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(Paths(root), environment)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


# --- Names and defaults ---


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_has_the_default_of_the_interface(name: str) -> None:
    assert {setting.name: setting.default for setting in SETTINGS}.get(name) == DEFAULTS[name]


def test_every_setting_stands_once_and_has_its_field() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(SETTINGS)
    assert {name.lower() for name in NAMES} <= set(Settings.__dataclass_fields__)
    assert all(setting.legal for setting in SETTINGS)


def test_exactly_the_secrets_are_marked_as_such() -> None:
    assert {setting.name for setting in SETTINGS if setting.secret} == set(SECRETS)


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = re.findall(r"^(?:# ?)?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE)
    assert dict(listed) == {setting.name: setting.default for setting in SETTINGS}
    assert len(listed) == len(SETTINGS)


def test_the_example_file_with_every_line_switched_on_changes_nothing(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    switched_on = re.sub(r"^# ?([A-Z][A-Z0-9_]+=)", r"\1", text, flags=re.MULTILINE)
    assert loaded(tmp_path, switched_on) == loaded(tmp_path, "")


def test_with_nothing_set_everything_has_its_default_below_the_root(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.twitch_channels_file == tmp_path / "channels.txt"
    assert settings.twitch_token_file == tmp_path / "tokenStore.json"
    assert settings.twitch_channel == ()
    assert settings.twitch_irc_url == IrcAddress("irc.chat.twitch.tv", 6697, tls=True)
    assert (settings.kafka_topic_partitions, settings.readers_per_channel) == (3, 1)
    assert settings.kafka_replication_factor is settings.kafka_topic_retention_ms is None
    assert settings.spool_max_bytes == 10 * 2**30
    assert (settings.embedded_kafka_port, settings.monitor_port) == (9092, 9180)
    assert settings.kafka_is_embedded
    assert [address.rpartition(":")[2] for address in settings.kafka_addresses] == ["9092"]
    assert settings.warnings == ()
    assert secrets_of(settings) == ()


# --- Where a value comes from ---


def test_the_environment_comes_before_the_file_and_the_file_before_the_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "MONITOR_PORT=1111\nLOG_LEVEL=debug\n", {"MONITOR_PORT": "2222"})
    assert (settings.monitor_port, settings.log_level, settings.log_format) == (2222, "debug", "text")


def test_the_environment_is_the_processs_own_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_CLIENT_ID", "from-the-process")
    assert load(Paths(tmp_path)).kafka_client_id == "from-the-process"


def test_loading_does_not_change_the_environment(tmp_path: Path) -> None:
    before = dict(os.environ)
    (tmp_path / ".env").write_text("KAFKA_CLIENT_ID=file\nMY_OWN_NAME=x\n")
    load(Paths(tmp_path))
    assert dict(os.environ) == before


def test_an_env_file_in_the_working_folder_or_above_the_root_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "above" / "root", tmp_path / "elsewhere"
    root.mkdir(parents=True)
    elsewhere.mkdir()
    for folder in (elsewhere, root.parent):
        (folder / ".env").write_text("KAFKA_CLIENT_ID=wrong\n")
    monkeypatch.chdir(elsewhere)
    assert loaded(root).kafka_client_id == "twitch-ingestion-service"


@pytest.mark.parametrize(
    ("line", "password"),
    [
        ("KAFKA_SASL_PASSWORD=pa$word", "pa$word"),
        ("KAFKA_SASL_PASSWORD=pa${HOME}word", "pa${HOME}word"),
        ("KAFKA_SASL_PASSWORD=$$$", "$$$"),
        ("KAFKA_SASL_PASSWORD='quo ted$HOME'", "quo ted$HOME"),
        ('KAFKA_SASL_PASSWORD="a${LOG_LEVEL}b"', "a${LOG_LEVEL}b"),
        ("export KAFKA_SASL_PASSWORD=a=b#c", "a=b#c"),
        ("KAFKA_SASL_PASSWORD=pässwörd😀", "pässwörd😀"),
    ],
)
def test_a_value_in_the_file_is_taken_to_the_letter(tmp_path: Path, line: str, password: str) -> None:
    assert loaded(tmp_path, line + "\n", {"HOME": "/x"}).kafka_sasl_password == password


def test_paths_and_lists_are_read(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        None,
        {
            "TWITCH_CHANNELS_FILE": "/etc/my-channels.txt",
            "TWITCH_TOKEN_FILE": "secret/token.json",
            "TWITCH_CHANNEL": "XQC, forsen",
            "TWITCH_IRC_URL": "irc://127.0.0.1:6667",
            "KAFKA_BROKERS": "one:9092, two.example.org:19092",
            "KAFKA_TOPIC_RETENTION_MS": "-1",
            "KAFKA_REPLICATION_FACTOR": "2",
            "READERS_PER_CHANNEL": "2",
        },
    )
    assert settings.twitch_channels_file == Path("/etc/my-channels.txt")
    assert settings.twitch_token_file == tmp_path / "secret" / "token.json"
    assert settings.twitch_channel == ("xqc", "forsen")
    assert settings.twitch_irc_url == IrcAddress("127.0.0.1", 6667, tls=False)
    assert settings.kafka_brokers == settings.kafka_addresses == ("one:9092", "two.example.org:19092")
    assert not settings.kafka_is_embedded
    assert (settings.kafka_topic_retention_ms, settings.kafka_replication_factor) == (-1, 2)
    assert settings.readers_per_channel == 2


def test_the_embedded_broker_is_reached_on_its_port_on_this_machine(tmp_path: Path) -> None:
    settings = loaded(tmp_path, None, {"EMBEDDED_KAFKA_PORT": "19999"})
    assert settings.kafka_addresses in (("127.0.0.1:19999",), ("localhost:19999",))


def test_the_own_login_is_comparable_with_a_messages_username(tmp_path: Path) -> None:
    assert loaded(tmp_path, None, {"TWITCH_USERNAME": "MyBot"}).twitch_username == "mybot"


# --- Bad values ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, port)
            for name in ("EMBEDDED_KAFKA_PORT", "MONITOR_PORT")
            for port in ("0", "65536", "-1", "http")
        ),
        *(("READERS_PER_CHANNEL", value) for value in ("0", "3", "two", "1.5", "1_0", "\u0662")),
        *(("KAFKA_TOPIC_PARTITIONS", value) for value in ("0", "-3", "3.0", "9" * 5000)),
        ("KAFKA_REPLICATION_FACTOR", "0"),
        ("KAFKA_TOPIC_RETENTION_MS", "-2"),
        ("KAFKA_TOPIC_RETENTION_MS", "7 days"),
        ("SPOOL_MAX_BYTES", "10GB"),
        ("SPOOL_MAX_BYTES", "-1"),
        ("KAFKA_COMPRESSION", "snappy"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "MD5"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        *(
            ("KAFKA_BROKERS", value)
            for value in (
                "localhost",
                "localhost:",
                ":9092",
                "a:99999",
                "a:b",
                "a:1 b:2",
                "a b:1",
                "http://a:1",
            )
        ),
        *(("KAFKA_TOPIC_CHAT_MESSAGES", value) for value in ("two words", "t/x", "t" * 250, ".", "..")),
        *(
            ("TWITCH_IRC_URL", value)
            for value in (
                "http://x:1",
                "irc.chat.twitch.tv:6697",
                "irc://",
                "irc://x:99999",
                "irc://x:0",
                "irc://a b:1",
            )
        ),
        ("TWITCH_ID_URL", "ftp://id.twitch.tv"),
        ("TWITCH_REDIRECT_URI", "localhost:3000"),
        ("TWITCH_CHANNEL", "xqc,no login!"),
        ("TWITCH_CHANNEL", "\u212aai"),
        ("TWITCH_USERNAME", "two words"),
    ],
    ids=lambda part: ascii(part[:30]),
)
def test_a_bad_value_is_refused_with_name_value_and_what_is_legal(
    tmp_path: Path, name: str, value: str
) -> None:
    text = refusal(tmp_path, {name: value})
    assert name in text
    assert value[:40] in text or ascii(value)[1:-1][:40] in text
    assert next(setting.legal for setting in SETTINGS if setting.name == name) in text


def test_a_bad_value_in_the_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_FORMAT=xml\n")
    text = refusal(tmp_path, {})
    assert "LOG_FORMAT" in text
    assert "xml" in text


def test_a_bad_value_in_the_file_does_not_matter_where_the_environment_has_a_good_one(tmp_path: Path) -> None:
    assert loaded(tmp_path, "LOG_FORMAT=xml\n", {"LOG_FORMAT": "json"}).log_format == "json"


@pytest.mark.parametrize("value", ["s3cr3t\r\nJOIN #x", "s3cr3t with blanks"], ids=ascii)
def test_a_token_that_cannot_be_one_is_refused_without_showing_it(tmp_path: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="TWITCH_OAUTH_TOKEN") as caught:
        loaded(tmp_path, None, {"TWITCH_OAUTH_TOKEN": value})
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_never_shown(tmp_path: Path, name: str) -> None:
    settings = loaded(
        tmp_path, "TWITCH_OAUTH_TOKN=hush-hush\nKAFKA_SASL_PASWORD=hush-hush\n", {name: "s3cr3t"}
    )
    assert "s3cr3t" not in f"{settings!r} {settings} {settings.warnings}"
    assert not any("hush" in warning for warning in settings.warnings)
    assert len(settings.warnings) == 2
    assert "s3cr3t" in {secret.removeprefix("oauth:") for secret in secrets_of(settings)}


# --- Warnings ---


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("KAFKA_BROKER", "KAFKA_BROKERS"),
        ("TWITCH_CHANEL", "TWITCH_CHANNEL"),
        ("TWITCH_OAUTH", "TWITCH_OAUTH_TOKEN"),
        ("KAFKA_TOPIC_PARTITION", "KAFKA_TOPIC_PARTITIONS"),
        ("TWITCH_CHANNELS_FILES", "TWITCH_CHANNELS_FILE"),
    ],
)
def test_an_unknown_name_in_the_file_is_answered_with_the_nearest(
    tmp_path: Path, unknown: str, nearest: str
) -> None:
    settings = loaded(tmp_path, f"{unknown}=x\n")
    assert len(settings.warnings) == 1
    words = re.findall(r"[A-Z_]{4,}", settings.warnings[0])
    assert unknown in words
    assert nearest in words


def test_names_of_other_programs_and_of_the_environment_are_nobodys_business(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "MY_NAME=x\nKAFKAESQUE=y\n", {"KAFKA_HOME": "/opt/kafka", "TWITCH_X": "1"})
    assert settings.warnings == ()


@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize(
    "placeholder", ["your_token_here", "oauth:your_token_here", "<token>", "YOUR_TOKEN_HERE"]
)
def test_a_placeholder_is_no_token_and_gets_a_warning(tmp_path: Path, placeholder: str, source: str) -> None:
    in_file = f"TWITCH_OAUTH_TOKEN={placeholder}\n" if source == "file" else ""
    in_environment = {"TWITCH_OAUTH_TOKEN": placeholder} if source == "environment" else {}
    settings = loaded(tmp_path, in_file, in_environment)
    assert settings.twitch_oauth_token == ""
    assert len(settings.warnings) == 1
    assert "TWITCH_OAUTH_TOKEN" in settings.warnings[0]


@pytest.mark.parametrize("token", ["abcdefghij0123456789abcdefghij", "oauth:abcdefghij0123456789abcdefghij"])
def test_a_real_token_is_taken_without_a_warning(tmp_path: Path, token: str) -> None:
    settings = loaded(tmp_path, None, {"TWITCH_OAUTH_TOKEN": token})
    assert settings.twitch_oauth_token.removeprefix("oauth:") == "abcdefghij0123456789abcdefghij"
    assert settings.warnings == ()


# --- A file that cannot be read ---


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder whose ``.env`` this process may not read; its rights come back after the test."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / ".env").write_text("LOG_LEVEL=debug\n")
        (folder / ".env").chmod(0)
        if os.geteuid() != 0:
            yield folder
            return
        try:
            os.seteuid(65534)
        except PermissionError:
            pytest.skip("root without the right to be somebody else can read everything")
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_an_env_file_without_the_right_to_read_it_is_an_error_that_names_it(foreign_folder: Path) -> None:
    assert ".env" in refusal(foreign_folder, {})


def test_a_folder_in_the_place_of_the_env_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert ".env" in refusal(tmp_path, {})


@pytest.mark.parametrize("line", ["no setting at all", 'KAFKA_SASL_PASSWORD "hush"', 'KAFKA_CLIENT_ID="hush'])
def test_a_line_that_is_no_setting_gets_a_warning_that_does_not_show_it(tmp_path: Path, line: str) -> None:
    settings = loaded(tmp_path, f"LOG_LEVEL=debug\n{line}\n")
    assert settings.log_level == "debug"
    assert len(settings.warnings) == 1
    assert ".env" in settings.warnings[0]
    assert "hush" not in settings.warnings[0]


def test_an_env_file_that_is_no_utf_8_is_an_error_that_names_it_and_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LOG_LEVEL=debug\nKAFKA_SASL_PASSWORD=hush\xff\n")
    text = refusal(tmp_path, {})
    assert ".env" in text
    assert "hush" not in text


def test_an_empty_env_file_is_none(tmp_path: Path) -> None:
    without_file = loaded(tmp_path)
    assert loaded(tmp_path, "") == loaded(tmp_path, "# only a comment\n\n") == without_file
