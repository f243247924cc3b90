"""One log per process: a line per change of state, with the program's name, without secrets."""

import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

_TOKEN = re.compile(r"oauth:[A-Za-z0-9]+", re.IGNORECASE)


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


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
    out = sys.stderr if stream is None else stream
    # Short secrets would black out harmless text.
    hidden = sorted((secret for secret in secrets if len(secret) >= 6), key=len, reverse=True)

    def write(message: "Message") -> None:
        text = _as_json(message.record) if log_format == "json" else str(message)
        text = _TOKEN.sub("oauth:***", text)
        for secret in hidden:
            text = text.replace(secret, "***")
        out.write(text)
        out.flush()

    logger.remove()
    logger.configure(extra={"program": program})
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


def _as_json(record: "Record") -> str:
    line: dict[str, object] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name.lower(),
        "program": record["extra"]["program"],
        "message": record["message"],
    }
    if record["exception"] is not None and record["exception"].type is not None:
        line["exception"] = f"{record['exception'].type.__name__}: {record['exception'].value}"
    return json.dumps(line, ensure_ascii=False) + "\n"


class _ToLoguru(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # kafka-python repeats itself at every attempt while a broker is away; the producer says it once.
        level = "DEBUG" if record.name.partition(".")[0] == "kafka" else record.levelname
        logger.opt(exception=record.exc_info if level != "DEBUG" else None).log(
            level, "{}: {}", record.name, record.getMessage()
        )
