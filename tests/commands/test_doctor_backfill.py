"""The point of `make doctor` about the service that is asked for what was missed, against a fake one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import doctor_backfill
from commands.doctor_point import BAD, GOOD, UNTRIED, Point
from shared import settings
from shared.paths import Paths
from tests.fakes.fake_recent_messages import NOT_JOINED, FakeRecentMessages
from tests.processes.conftest import free_port


@pytest.fixture
def kept() -> Iterator[FakeRecentMessages]:
    with FakeRecentMessages() as kept:
        yield kept


def look(folder: Path, url: str, *channels: str) -> Point:
    @contextlib.contextmanager
    def waiting(_text: str) -> Iterator[None]:
        yield

    configured = settings.load(Paths(folder), {"BACKFILL_URL": url})
    return doctor_backfill.look(configured, channels, waiting)


def test_a_service_that_answers_is_well_and_is_asked_once_for_nothing(
    tmp_path: Path, kept: FakeRecentMessages
) -> None:
    assert look(tmp_path, kept.url, "xqc", "forsen") == Point("backfill", GOOD, "127.0.0.1 answers for #xqc")
    (request,) = kept.requests
    assert request.channel == "xqc"
    assert request.after == request.before
    assert list(tmp_path.iterdir()) == []


def test_without_a_service_or_a_channel_nobody_is_asked(tmp_path: Path, kept: FakeRecentMessages) -> None:
    point = look(tmp_path, "", "xqc")
    assert (point.sign, point.text.partition(":")[0]) == (UNTRIED, "BACKFILL_URL is empty")
    assert look(tmp_path, kept.url).sign == UNTRIED
    assert kept.requests == []


def test_what_the_service_says_of_the_channel_is_shown(tmp_path: Path, kept: FakeRecentMessages) -> None:
    kept.behave("xqc", error=NOT_JOINED, error_code="channel_not_joined")
    point = look(tmp_path, kept.url, "xqc")
    assert (point.sign, point.text) == (GOOD, "127.0.0.1 answers for #xqc")
    assert point.notes == (f"it says: {NOT_JOINED}; it enters a channel when it is first asked",)


@pytest.mark.parametrize(
    ("behaviour", "text", "remedy"),
    [
        ({"status": 404}, "127.0.0.1 answers 404: Not Found", "is BACKFILL_URL right? #xqc is asked for at"),
        (
            {"status": 403, "error": "it is excluded", "error_code": "channel_ignored"},
            "127.0.0.1 answers 403: it is excluded",
            "what is missed of #xqc cannot be had there; others may",
        ),
        ({"content": b"<html>"}, "127.0.0.1 answers with something else than it should", "is BACKFILL_URL"),
        ({"status": 429, "retry_after": "60"}, "127.0.0.1 answers 429", "look again later"),
        ({"status": 503, "retry_after": "60"}, "127.0.0.1 answers 503", "look again later"),
    ],
)
def test_what_it_refuses_is_a_failure_with_what_to_do(
    tmp_path: Path, kept: FakeRecentMessages, behaviour: dict[str, Any], text: str, remedy: str
) -> None:
    kept.behave("xqc", **behaviour)
    point = look(tmp_path, kept.url, "xqc")
    assert (point.sign, point.text) == (BAD, text)
    assert point.remedy.startswith(remedy)


def test_nobody_there_and_nobody_who_answers_cost_some_seconds_only(
    tmp_path: Path, kept: FakeRecentMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_backfill, "ANSWER_SECONDS", 1.0)
    point = look(tmp_path, f"http://127.0.0.1:{free_port()}/api", "xqc")
    assert (point.sign, point.text) == (BAD, "127.0.0.1 cannot be reached (Connection refused)")
    kept.behave("xqc", hang=True)
    point = look(tmp_path, kept.url, "xqc")
    assert (point.sign, point.text) == (BAD, "127.0.0.1 gives no answer in time")
