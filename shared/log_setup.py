"""One log per process: a line per change of state, with the program's name, without secrets."""

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

_TOKEN = re.compile(r"oauth:[A-Za-z0-9]+", re.IGNORECASE)
# Tokens are renewed for years: the oldest ones are of no use to anybody any more.
_learned: deque[set[str]] = deque(maxlen=100)
_known: set[str] = set()
# Longest first: one may be part of another.
_hidden: list[str] = []
_PREFIX = re.compile(r"^oauth:", re.IGNORECASE)


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


# How the log was opened.
_opened: tuple[str, str, _Stream | None] | None = None


def set_up(
    program: str,
    level: str = "info",
    log_format: str = "text",
    secrets: Iterable[str] = (),
    stream: _Stream | None = None,
) -> None:
    """Send this process's log to ``stream`` (None: standard error), as ``text`` or ``json`` lines.

    ``level`` is the lowest that is shown. ``secrets`` never appear, and nothing that looks like a token does.
    Libraries that log by the standard ``logging`` are heard from WARNING on.
    """
    global _opened
    _learned.clear()
    _known.clear()
    _known.update(*(_spellings(secret) for secret in secrets))
    _sort_hidden()
    logger.configure(extra={"program": program})
    wanted = (level, log_format, stream)
    # Every reader would pay with memory for opening anew what it has of supervisord.
    if wanted != _opened:
        _open(*wanted)
        _opened = wanted


def _open(level: str, log_format: str, stream: _Stream | None) -> None:
    def write(message: "Message") -> None:
        # A fork has another standard error than its parent had.
        out = sys.stderr if stream is None else stream
        # JSON has its own spelling of some letters, so the texts are looked through before.
        out.write(_as_json(message.record) if log_format == "json" else _hide(str(message)))
        out.flush()

    logger.remove()
    logger.add(
        write,
        level=level.upper(),
        format="{time:YYYY-MM-DD HH:mm:ss.SSS} {level: <8} {extra[program]}: {message}",
        # Values of variables in a traceback would show tokens and passwords.
        diagnose=False,
        backtrace=False,
        colorize=False,
    )
    logging.basicConfig(handlers=[_ToLoguru()], level=logging.WARNING, force=True)
    # irc prints the login, token included, at DEBUG.
    logging.getLogger("irc").setLevel(logging.WARNING)


def hide_secret(secret: str) -> None:
    """Do not show this secret from now on; for one that was not known when the log was set up.

    Of those the latest hundred are kept in mind.
    """
    spellings = _spellings(secret)
    if spellings not in _learned:
        _learned.append(spellings)
        _sort_hidden()


def _hide(text: str) -> str:
    for secret in _hidden:
        text = text.replace(secret, "***")
    # After the secrets: it would leave the rest of one that is not letters and digits only.
    return _TOKEN.sub("oauth:***", text)


def _sort_hidden() -> None:
    _hidden[:] = sorted(_known.union(*_learned), key=len, reverse=True)


def _spellings(secret: str) -> set[str]:
    """The secret as it is, without the prefix of Twitch's tokens, and as a repr or JSON shows it."""
    plain = {secret, _PREFIX.sub("", secret)}
    # Short ones would black out harmless text.
    long = {text for text in plain if len(text) >= 6}
    quoted = {write(text)[1:-1] for text in long for write in (repr, ascii, json.dumps)}
    return long | quoted


def _as_json(record: "Record") -> str:
    line: dict[str, object] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        "program": record["extra"]["program"],
        "message": _hide(record["message"]),
    }
    if record["exception"] is not None and record["exception"].type is not None:
        line["exception"] = _hide(f"{record['exception'].type.__name__}: {record['exception'].value}")
    return json.dumps(line, ensure_ascii=False) + "\n"


class _ToLoguru(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # kafka-python repeats itself at every attempt while a broker is away; the producer says it once.
        level = "DEBUG" if record.name.partition(".")[0] == "kafka" else record.levelname
        logger.opt(exception=record.exc_info if level != "DEBUG" else None).log(
            level, "{}: {}", record.name, record.getMessage()
        )
