import io
import json
import logging

import pytest
from loguru import logger

from shared import log_setup


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def test_a_line_has_time_level_program_and_text(stream: io.StringIO) -> None:
    log_setup.set_up("reader-xqc", stream=stream)
    logger.info("joined #{}", "xqc")
    date, clock, level, program, *text = stream.getvalue().split()
    assert (len(date), len(clock), level, program) == (10, 12, "INFO", "reader-xqc:")
    assert text == ["joined", "#xqc"]


def test_json_lines_are_one_object_each(stream: io.StringIO) -> None:
    log_setup.set_up("producer", log_format="json", stream=stream)
    logger.warning("two\nlines {braces}")
    line = json.loads(stream.getvalue())
    assert line["level"] == "warning"
    assert line["program"] == "producer"
    assert line["message"] == "two\nlines {braces}"
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_and_tokens_never_appear_not_even_in_tracebacks(stream: io.StringIO, log_format: str) -> None:
    log_setup.set_up("producer", "trace", log_format, secrets=["hunter2-password"], stream=stream)
    password = "hunter2-password"
    logger.info("PASS oauth:abcdef123456 and {}", password)
    try:
        raise ValueError(f"refused {password}")
    except ValueError:
        logger.exception("failed")
    assert "hunter2" not in stream.getvalue()
    assert "abcdef123456" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 3


def test_values_of_variables_are_not_in_a_traceback(stream: io.StringIO) -> None:
    log_setup.set_up("producer", stream=stream)
    unlisted = "only-in-a-variable"
    try:
        unlisted.index("nowhere")
    except ValueError:
        logger.exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "only-in-a-variable" not in stream.getvalue()


def test_the_level_decides_and_irc_never_shows_the_login(stream: io.StringIO) -> None:
    log_setup.set_up("reader-xqc", "trace", stream=stream)
    logging.getLogger("irc.client").debug("TO SERVER: PASS oauth:abc")
    assert stream.getvalue() == ""
    log_setup.set_up("reader-xqc", "warning", stream=stream)
    logger.info("not shown")
    assert stream.getvalue() == ""


def test_kafkas_own_repeated_warnings_are_for_debugging(stream: io.StringIO) -> None:
    log_setup.set_up("producer", "info", stream=stream)
    logging.getLogger("kafka.conn").error("connect failed")
    assert stream.getvalue() == ""


def test_what_was_opened_once_goes_on_with_another_name_other_secrets_and_another_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", first)
    log_setup.set_up("supervisord", secrets=["old-secret"])
    logger.info("old-secret new-secret")
    monkeypatch.setattr("sys.stderr", second)
    # Only the first one makes a handler, which in a fork is memory that is not shared.
    monkeypatch.setattr(log_setup, "_open", None)
    log_setup.set_up("reader-xqc", secrets=["new-secret"])
    logger.info("old-secret new-secret")
    logging.getLogger("irc.client").warning("heard")
    assert first.getvalue().endswith(" supervisord: *** new-secret\n")
    one, two = second.getvalue().splitlines()
    assert one.endswith(" reader-xqc: old-secret ***")
    assert two.endswith(" reader-xqc: irc.client: heard")
