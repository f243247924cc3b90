"""Settings: from the environment, then from ``.env`` in the project's root; the environment wins.

The only module that reads settings from ``os.environ``. Every setting stands once, in ``SETTINGS``, with its
default, its meaning and what is legal; `.env.example` is tested against that table.
"""

import difflib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dotenv

from shared.channel_list import LOGIN
from shared.errors import SettingsError
from shared.paths import Paths
from shared.token_file import PLACEHOLDER

LOG_LEVELS = ("trace", "debug", "info", "success", "warning", "error", "critical")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
SECURITY_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True)
class IrcAddress:
    """Where Twitch's chat is; ``tls`` for ``ircs://``."""

    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """As people write it, for logs."""
        return f"{'ircs' if self.tls else 'irc'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Setting:
    """One setting: its default as text, how to read it, and what is legal in words."""

    name: str
    default: str
    parse: Callable[[str], Any]
    legal: str
    secret: bool = False


def _text(value: str) -> str:
    return value


def _choice(*allowed: str) -> Callable[[str], str]:
    folded = {choice.casefold(): choice for choice in allowed}

    def parse(value: str) -> str:
        return folded[value.casefold()]

    return parse


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,19}", value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return parse


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse_or_none(value: str) -> Any:
        return parse(value) if value else None

    return parse_or_none


def _irc_address(value: str) -> IrcAddress:
    parts = urlsplit(value)
    tls = {"irc": False, "ircs": True}[parts.scheme]
    if not _is_host(parts.hostname) or parts.path.strip("/") or parts.username or parts.port == 0:
        raise ValueError
    return IrcAddress(parts.hostname or "", parts.port or (6697 if tls else 6667), tls)


def _is_host(host: str | None) -> bool:
    return host is not None and re.fullmatch(r"[^\s/@?#]+", host) is not None


def _token(value: str) -> str:
    # A blank or a line end would end the token and begin something else.
    if not PLACEHOLDER.fullmatch(value) and not re.fullmatch(r"[!-~]*", value):
        raise ValueError
    return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not _is_host(parts.hostname) or (parts.port or 1) < 1:
        raise ValueError
    return value


def _logins(value: str) -> tuple[str, ...]:
    if not value.isascii():
        raise ValueError
    logins = [part.strip().lower() for part in value.split(",") if part.strip()]
    if not all(LOGIN.fullmatch(login) for login in logins):
        raise ValueError
    return tuple(dict.fromkeys(logins))


def _login(value: str) -> str:
    if value and not (value.isascii() and LOGIN.fullmatch(value.lower())):
        raise ValueError
    return value.lower()


def _brokers(value: str) -> tuple[str, ...]:
    brokers = tuple(part.strip() for part in value.split(",") if part.strip())
    for broker in brokers:
        host, colon, port = broker.rpartition(":")
        if (
            not colon
            or not _is_host(host)
            or not port.isascii()
            or not port.isdigit()
            or not 0 < int(port) < 65536
        ):
            raise ValueError
    return brokers


def _topic(value: str) -> str:
    # Kafka's own rule (org.apache.kafka.common.internals.Topic).
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", value) or value in (".", ".."):
        raise ValueError
    return value


_PORT = _number(1, 65535)
_PORT_LEGAL = "a port, 1 to 65535"

SETTINGS = (
    Setting("TWITCH_CHANNELS_FILE", "channels.txt", _text, "a file's path"),
    Setting("TWITCH_CHANNEL", "", _logins, "channel logins (a-z, 0-9, _) separated by commas"),
    Setting("TWITCH_USERNAME", "", _login, "a login (a-z, 0-9, _)"),
    Setting("TWITCH_OAUTH_TOKEN", "", _token, "a token without blanks", secret=True),
    Setting("TWITCH_TOKEN_FILE", "tokenStore.json", _text, "a file's path"),
    Setting("TWITCH_CLIENT_ID", "", _text, "the application's client id"),
    Setting("TWITCH_CLIENT_SECRET", "", _text, "the application's secret", secret=True),
    Setting(
        "TWITCH_REDIRECT_URI",
        "http://localhost:3000/auth/callback",
        _web_address,
        "an http:// or https:// address",
    ),
    Setting("TWITCH_SCOPES", "chat:read", _text, "scopes separated by spaces"),
    Setting(
        "TWITCH_IRC_URL",
        "ircs://irc.chat.twitch.tv:6697",
        _irc_address,
        "irc://host:port or ircs://host:port",
    ),
    Setting("TWITCH_ID_URL", "https://id.twitch.tv", _web_address, "an http:// or https:// address"),
    Setting("KAFKA_BROKERS", "", _brokers, "host:port, several separated by commas"),
    Setting(
        "KAFKA_TOPIC_CHAT_MESSAGES",
        "twitch-chat-messages",
        _topic,
        "1 to 249 of letters, digits, dot, underscore, hyphen",
    ),
    Setting(
        "KAFKA_TOPIC_CHAT_EVENTS",
        "",
        _optional(_topic),
        "1 to 249 of letters, digits, dot, underscore, hyphen, or empty",
    ),
    Setting("KAFKA_TOPIC_PARTITIONS", "3", _number(1, 10_000), "1 to 10000"),
    Setting("KAFKA_REPLICATION_FACTOR", "", _optional(_number(1, 100)), "1 to 100, or empty"),
    Setting(
        "KAFKA_TOPIC_RETENTION_MS",
        "",
        _optional(_number(-1, 2**63 - 1)),
        "milliseconds, -1 for ever, or empty",
    ),
    Setting("KAFKA_CLIENT_ID", "twitch-ingestion-service", _text, "a name"),
    Setting("KAFKA_COMPRESSION", "none", _choice("none", "gzip", "lz4", "zstd"), "none, gzip, lz4 or zstd"),
    Setting(
        "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", _choice(*SECURITY_PROTOCOLS), ", ".join(SECURITY_PROTOCOLS)
    ),
    Setting(
        "KAFKA_SASL_MECHANISM",
        "",
        _optional(_choice(*SASL_MECHANISMS)),
        ", ".join(SASL_MECHANISMS) + ", or empty",
    ),
    Setting("KAFKA_SASL_USERNAME", "", _text, "a name"),
    Setting("KAFKA_SASL_PASSWORD", "", _text, "a password", secret=True),
    Setting("KAFKA_SSL_CAFILE", "", _text, "the path of a PEM file"),
    Setting("EMBEDDED_KAFKA_PORT", "9092", _PORT, _PORT_LEGAL),
    Setting("READERS_PER_CHANNEL", "1", _number(1, 2), "1 or 2"),
    Setting("CHANNELS_PER_READER", "1", _number(1, 100), "1 to 100"),
    Setting("SHARED_CHAT", "all", _choice("all", "own", "once"), "all, own or once"),
    Setting("BACKFILL_URL", "", _optional(_web_address), "an http:// or https:// address, or empty"),
    Setting("SPOOL_MAX_BYTES", "10737418240", _number(1_048_576, 2**62), "bytes, 1048576 or more"),
    Setting("MONITOR_PORT", "9180", _PORT, _PORT_LEGAL),
    Setting("LOG_LEVEL", "info", _choice(*LOG_LEVELS), ", ".join(LOG_LEVELS)),
    Setting("LOG_FORMAT", "text", _choice("text", "json"), "text or json"),
)
NAMES = tuple(setting.name for setting in SETTINGS)


@dataclass(frozen=True)
class Settings:
    """All settings, read and checked; None means "not set, the default of whoever uses it".

    ``warnings`` are lines that the process shall log once its log is open.
    """

    twitch_channels_file: Path
    twitch_channel: tuple[str, ...]
    twitch_username: str
    twitch_oauth_token: str
    twitch_token_file: Path
    twitch_client_id: str
    twitch_client_secret: str
    twitch_redirect_uri: str
    twitch_scopes: str
    twitch_irc_url: IrcAddress
    twitch_id_url: str
    kafka_brokers: tuple[str, ...]
    kafka_topic_chat_messages: str
    kafka_topic_chat_events: str | None
    kafka_topic_partitions: int
    kafka_replication_factor: int | None
    kafka_topic_retention_ms: int | None
    kafka_client_id: str
    kafka_compression: str
    kafka_security_protocol: str
    kafka_sasl_mechanism: str | None
    kafka_sasl_username: str
    kafka_sasl_password: str
    kafka_ssl_cafile: str
    embedded_kafka_port: int
    readers_per_channel: int
    channels_per_reader: int
    shared_chat: str
    backfill_url: str | None
    spool_max_bytes: int
    monitor_port: int
    log_level: str
    log_format: str
    warnings: tuple[str, ...] = ()

    @property
    def kafka_is_embedded(self) -> bool:
        """True when the user named no broker of their own."""
        return not self.kafka_brokers

    @property
    def kafka_addresses(self) -> tuple[str, ...]:
        """``host:port`` of the brokers to talk to, the embedded one where no other is named."""
        return self.kafka_brokers or (f"127.0.0.1:{self.embedded_kafka_port}",)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic of chat messages, and that of events where there is one."""
        events = self.kafka_topic_chat_events
        return (self.kafka_topic_chat_messages, events) if events else (self.kafka_topic_chat_messages,)

    def __repr__(self) -> str:
        """Without values: some are secrets, and a repr ends up in logs."""
        return "Settings(…)"


def load(paths: Paths, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    ``environment`` None means the process's own. Raises SettingsError on the first value that is not legal;
    its text names the setting, the value (secrets masked) and what is legal.
    """
    environment = os.environ if environment is None else environment
    from_file, warnings = _read_env_file(paths.root / ".env")
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        raw = environment.get(setting.name, from_file.get(setting.name, "")).strip() or setting.default
        try:
            value = setting.parse(raw)
        except (ValueError, KeyError):
            shown = "(not shown)" if setting.secret else repr(raw)
            raise SettingsError(f"{setting.name}={shown} is not usable: legal is {setting.legal}") from None
        values[setting.name.lower()] = value
    for name in ("twitch_channels_file", "twitch_token_file"):
        values[name] = paths.root / Path(values[name]).expanduser()
    _check_together(values)
    for name in ("twitch_oauth_token", "twitch_client_id", "twitch_client_secret"):
        if values[name] and PLACEHOLDER.fullmatch(values[name]):
            values[name] = ""
            warnings.append(
                f"{name.upper()} is a placeholder, it is ignored: enter a real one or leave it empty"
            )
    return Settings(**values, warnings=tuple(warnings))


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """The values that must never be shown, without empty ones."""
    values = (getattr(settings, setting.name.lower()) for setting in SETTINGS if setting.secret)
    return tuple(value for value in values if value)


def _check_together(values: Mapping[str, Any]) -> None:
    protocol = values["kafka_security_protocol"]
    if protocol.startswith("SASL"):
        for name in ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"):
            if not values[name]:
                raise SettingsError(f"{name.upper()} is empty: KAFKA_SECURITY_PROTOCOL={protocol} needs it")
    if values["kafka_topic_chat_events"] == values["kafka_topic_chat_messages"]:
        raise SettingsError(
            f"KAFKA_TOPIC_CHAT_EVENTS={values['kafka_topic_chat_events']!r} is not usable: legal is another "
            "topic than KAFKA_TOPIC_CHAT_MESSAGES, or empty"
        )
    if values["kafka_ssl_cafile"] and not Path(values["kafka_ssl_cafile"]).is_file():
        raise SettingsError(
            f"KAFKA_SSL_CAFILE={values['kafka_ssl_cafile']!r} is not usable: no such file; "
            "legal is the path of a PEM file"
        )
    if not values["kafka_brokers"] and protocol != "PLAINTEXT":
        raise SettingsError(
            f"KAFKA_SECURITY_PROTOCOL={protocol!r} is not usable without KAFKA_BROKERS: "
            "the embedded broker speaks PLAINTEXT on loopback only"
        )


class _Collect(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _read_env_file(path: Path) -> tuple[dict[str, str], list[str]]:
    if not path.exists():
        return {}, []
    if path.is_dir():
        raise SettingsError(f".env cannot be read: it is a folder; remove {path}")
    # python-dotenv tells about lines that it cannot read only through its logger.
    collect = _Collect()
    log = logging.getLogger("dotenv.main")
    propagate, log.propagate = log.propagate, False
    log.addHandler(collect)
    try:
        # Without interpolation: a password may hold a dollar sign.
        found = dotenv.dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {error}; mend or remove {path}") from None
    finally:
        log.removeHandler(collect)
        log.propagate = propagate
    warnings = [f".env: {line}" for line in collect.lines]
    values = {name: value for name, value in found.items() if value is not None}
    warnings += [f".env: {name} has no value, write {name}=…" for name in found if name not in values]
    for name in values:
        if name not in NAMES and name.startswith(("TWITCH_", "KAFKA_")):
            nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.0)
            warnings.append(f".env: {name} is not a setting, did you mean {nearest[0]}?")
    return values, warnings
