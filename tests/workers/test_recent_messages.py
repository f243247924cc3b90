import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.fetch_gate import FetchGate, Turn
from shared.irc_line import parse_line
from shared.timing import Deadline
from tests.fakes.certificates import server_context
from tests.fakes.fake_recent_messages import FakeRecentMessages
from tests.fakes.fake_twitch_lines import chat_line
from tests.processes.service import free_port
from workers import recent_answers, recent_messages
from workers.recent_answers import KEPT_MS, LIMIT, Fetched
from workers.recent_messages import CLOCKS_MS, fetch

NOW_MS = time.time_ns() // 1_000_000
AFTER_MS = NOW_MS - 60_000


class Clock:
    """Goes on by itself, and by what is slept, which takes no time."""

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.slept

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class CountingGate(FetchGate):
    """Refuses after so many turns."""

    def __init__(self, path: Path, most: int = 100) -> None:
        self.clock = Clock()
        super().__init__(path, self.clock, self.clock.sleep)
        self.turns = 0
        self.most = most

    @contextlib.contextmanager
    def turn(self, deadline: Deadline) -> Iterator[Turn]:
        if self.turns == self.most:
            yield Turn("enough")
            return
        self.turns += 1
        with super().turn(deadline) as turn:
            yield turn


@pytest.fixture
def fake() -> Iterator[FakeRecentMessages]:
    with FakeRecentMessages() as fake:
        yield fake


@pytest.fixture
def gate(tmp_path: Path) -> CountingGate:
    return CountingGate(tmp_path / "gate")


def ask(
    url: str,
    gate: CountingGate,
    channel: str = "ronni",
    after_ms: int | None = AFTER_MS,
    seconds: float = 30.0,
) -> Fetched:
    return fetch(url, channel, after_ms, NOW_MS, gate, Deadline(seconds, gate.clock))


def keep(fake: FakeRecentMessages, count: int, per_ms: int = 1, last_ms: int = NOW_MS - 1) -> list[str]:
    """Say 0, 1, … up to ``last_ms``; gives the texts."""
    texts = [str(number) for number in range(count)]
    for number, text in enumerate(texts):
        fake.keep("ronni", chat_line("ronni", text), last_ms - (count - 1 - number) // per_ms)
    return texts


def texts_of(fetched: Fetched) -> list[str]:
    return [line.params[-1] for line in fetched.lines]


def test_what_was_said_between_the_times_comes_in_order_with_its_tags(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    line = chat_line("ronni", "¿qué? 🎉", system_msg="a b;c")
    fake.keep("ronni", chat_line("ronni", "too old"), AFTER_MS - 1)
    fake.keep("ronni", line, NOW_MS - 20)
    fake.keep("ronni", "@room-id=1;slow=5 :tmi.twitch.tv ROOMSTATE #ronni", NOW_MS - 10)
    fetched = ask(fake.url, gate)
    expected = parse_line(line)
    assert expected is not None
    said, state = fetched.lines
    added = {"historical": "1", "rm-received-ts": str(NOW_MS - 20)}
    assert said == expected._replace(tags=expected.tags | added)
    assert state.command == "ROOMSTATE"
    assert (fetched.since_ms, fetched.trouble, fetched.unreadable) == (AFTER_MS, "", 0)


def test_the_request_names_the_service_and_carries_nothing_else(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    ask(fake.url.replace("//", "//user:secret@") + "/", gate)
    (request,) = fake.requests
    assert (request.channel, request.after, request.before) == ("ronni", AFTER_MS, NOW_MS)
    assert request.limit == LIMIT
    assert "twitch-ingestion-service" in request.headers["user-agent"]
    assert not request.headers.keys() & {"authorization", "cookie"}


def test_a_name_with_odd_letters_stays_a_name(fake: FakeRecentMessages, gate: CountingGate) -> None:
    fetched = ask(fake.url, gate, channel="../a?b=1#c d\r\né")
    assert fake.requests[0].channel == "../a?b=1#c d\r\né"
    assert "Invalid channel login" in fetched.trouble
    assert fetched.trouble.isprintable()


def test_silence_is_whole(fake: FakeRecentMessages, gate: CountingGate) -> None:
    assert ask(fake.url, gate) == Fetched([], AFTER_MS)


@pytest.mark.parametrize("keeps", [800, 500])
@pytest.mark.parametrize("per_ms", [1, 3, 7])
def test_after_a_full_answer_what_is_older_is_asked_for(
    fake: FakeRecentMessages, gate: CountingGate, per_ms: int, keeps: int
) -> None:
    fake.behave("ronni", keeps=keeps)
    texts = keep(fake, 1900, per_ms)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts
    assert (fetched.since_ms, fetched.trouble) == (AFTER_MS, "")
    assert fake.most_at_once == 1


def test_what_a_full_answer_does_not_show_counts(fake: FakeRecentMessages, gate: CountingGate) -> None:
    texts = keep(fake, 1000, last_ms=NOW_MS - 500)
    for number in range(300):
        fake.keep("ronni", ":ronni!r@r PART #ronni", NOW_MS - 400 + number)
    assert texts_of(ask(fake.url, gate)) == texts


def test_a_millisecond_with_more_than_an_answer_ends_the_asking(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    texts = keep(fake, 2000, per_ms=2000, last_ms=NOW_MS - 5)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts[-LIMIT:]
    assert fetched.since_ms == NOW_MS - 5
    assert "nothing older" in fetched.trouble


def test_pages_that_came_before_the_end_are_given(fake: FakeRecentMessages, tmp_path: Path) -> None:
    texts = keep(fake, 3000)
    fetched = ask(fake.url, CountingGate(tmp_path / "gate", most=2))
    assert texts_of(fetched) == texts[-len(fetched.lines) :]
    assert LIMIT < len(fetched.lines) < 2 * LIMIT
    assert fetched.since_ms == NOW_MS - len(fetched.lines)
    assert fetched.trouble == "enough"


def test_more_than_so_many_lines_are_not_asked_for(
    fake: FakeRecentMessages, gate: CountingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_answers, "MAX_LINES", 1500)
    texts = keep(fake, 3000)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts[-len(fetched.lines) :]
    assert 1500 <= len(fetched.lines) < 1500 + LIMIT
    assert fetched.since_ms == NOW_MS - len(fetched.lines)
    assert fetched.trouble == "no more than 1500 messages are asked for"


def test_a_service_that_knows_no_times_is_asked_once_when_it_goes_back_far_enough(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    fake.behave("ronni", ignores_times=True)
    fake.keep("ronni", chat_line("ronni", "too old"), AFTER_MS - 1)
    texts = keep(fake, 600)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts
    assert (fetched.since_ms, fetched.trouble, gate.turns) == (AFTER_MS, "", 1)


def test_a_service_that_knows_no_times_gives_what_it_has(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    fake.behave("ronni", ignores_times=True)
    texts = keep(fake, 2000)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts[-LIMIT:]
    assert fetched.since_ms == NOW_MS - LIMIT
    assert "nothing older" in fetched.trouble


def test_what_is_older_than_a_day_is_not_to_be_had(fake: FakeRecentMessages, gate: CountingGate) -> None:
    texts = keep(fake, 3)
    fetched = ask(fake.url, gate, after_ms=NOW_MS - 2 * KEPT_MS)
    assert texts_of(fetched) == texts
    assert fetched.since_ms == NOW_MS - KEPT_MS
    assert "24 hours" in fetched.trouble


@pytest.mark.parametrize("ahead_ms", [30_000, -30_000, 7_200_000, -7_200_000])
def test_a_clock_of_the_service_that_is_another_hides_nothing(
    fake: FakeRecentMessages, gate: CountingGate, ahead_ms: int
) -> None:
    fake.behave("ronni", ahead_ms=ahead_ms)
    fake.keep("ronni", chat_line("ronni", "too old"), AFTER_MS - 20_000)
    # Who asks leaves room for what a Date does not tell.
    fake.keep("ronni", chat_line("ronni", "first"), AFTER_MS + CLOCKS_MS)
    texts = ["first", *keep(fake, 1000, last_ms=NOW_MS - CLOCKS_MS)]
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts
    assert (fetched.since_ms, fetched.trouble) == (AFTER_MS, "")
    assert texts_of(ask(fake.url, gate, after_ms=None)) == texts[-LIMIT:]


@pytest.mark.parametrize("ahead_ms", [30_000, -30_000])
def test_since_when_the_lines_are_whole_is_told_by_our_clock(
    fake: FakeRecentMessages, tmp_path: Path, ahead_ms: int
) -> None:
    fake.behave("ronni", ahead_ms=ahead_ms)
    keep(fake, 3000, last_ms=NOW_MS - CLOCKS_MS)
    gate = CountingGate(tmp_path / "gate", most=3)
    fetched = ask(fake.url, gate)
    assert (fetched.trouble, gate.turns) == ("enough", 3)
    assert fetched.since_ms == pytest.approx(NOW_MS - CLOCKS_MS - len(fetched.lines), abs=CLOCKS_MS)
    past = ask(fake.url, CountingGate(tmp_path / "other"), after_ms=NOW_MS - 2 * KEPT_MS)
    assert past.since_ms == NOW_MS - KEPT_MS


@pytest.mark.parametrize("date", ["", "today", "9" * 400, "Mon, 99 Foo 2026 25:00:00 GMT", "²"])
def test_without_a_date_the_clocks_count_as_equal(
    fake: FakeRecentMessages, gate: CountingGate, date: str
) -> None:
    fake.behave("ronni", date=date, ahead_ms=500)
    texts = keep(fake, 3, last_ms=NOW_MS - 1000)
    assert texts_of(ask(fake.url, gate)) == texts
    assert gate.turns == 1


def test_a_date_without_a_zone_is_utc(
    fake: FakeRecentMessages, gate: CountingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        fake.behave("ronni", date=time.strftime("%a, %d %b %Y %H:%M:%S", time.gmtime()))
        assert ask(fake.url, gate).trouble == ""
    finally:
        monkeypatch.undo()
        time.tzset()
    assert gate.turns == 1


def test_the_first_time_the_newest_lines_come(fake: FakeRecentMessages, gate: CountingGate) -> None:
    texts = keep(fake, 1000)
    fetched = ask(fake.url, gate, after_ms=None)
    assert texts_of(fetched) == texts[-LIMIT:]
    assert (fetched.since_ms, fetched.trouble) == (NOW_MS - LIMIT, "")
    (request,) = fake.requests
    assert request.after == 0


def test_a_service_that_is_not_in_the_channel_gives_lines_and_no_promise(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    texts = keep(fake, 3)
    fake.behave("ronni", error="The bot is currently not joined", error_code="channel_not_joined")
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts
    assert fetched.since_ms is None
    assert fetched.trouble == "the service says: The bot is currently not joined"


def test_a_server_in_trouble_is_asked_again_after_a_pause(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    texts = keep(fake, 3)
    fake.behave("ronni", status=503, times=2)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == texts
    assert gate.turns == 3
    # Pauses of 2 and 4 s, less what the requests took.
    assert gate.clock.slept > 4.0


def test_a_connection_that_breaks_is_made_again(fake: FakeRecentMessages, gate: CountingGate) -> None:
    texts = keep(fake, 3)
    fake.behave("ronni", cut=True, times=1)
    assert texts_of(ask(fake.url, gate)) == texts


def test_a_refused_connection_is_tried_until_the_deadline(gate: CountingGate) -> None:
    fetched = ask(f"http://127.0.0.1:{free_port()}/api", gate, seconds=25.0)
    assert fetched == Fetched(trouble="127.0.0.1 cannot be reached (Connection refused)")
    # At once and after pauses of 2, 4 and 8 s; that of 16 s would end after the deadline.
    assert gate.turns == 4 + 1


def test_a_name_that_nobody_knows_is_told(gate: CountingGate) -> None:
    fetched = ask("http://nobody.invalid/api", gate)
    assert fetched == Fetched(trouble="the name nobody.invalid cannot be looked up")


def test_too_many_requests_are_not_followed_by_another(fake: FakeRecentMessages, gate: CountingGate) -> None:
    fake.behave("ronni", status=429, retry_after="170", times=1)
    fetched = ask(fake.url, gate)
    assert (fetched.trouble, gate.turns) == ("127.0.0.1 answers 429", 1)
    assert ask(fake.url, gate, channel="other", seconds=300.0).trouble == ""
    assert gate.clock.slept > 100.0


def test_a_pause_may_be_asked_for_as_a_date(fake: FakeRecentMessages, gate: CountingGate) -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    fake.behave("ronni", status=503, retry_after=later)
    assert ask(fake.url, gate).trouble == "127.0.0.1 answers 503"
    assert "left alone for" in ask(fake.url, gate, channel="other").trouble


@pytest.mark.parametrize("retry_after", ["soon", "", "²", "1e9", "Mon, 99 Foo", "9" * 400])
def test_a_pause_that_makes_no_sense_does_no_harm(
    fake: FakeRecentMessages, gate: CountingGate, retry_after: str
) -> None:
    fake.behave("ronni", status=429, retry_after=retry_after)
    assert ask(fake.url, gate).trouble == "127.0.0.1 answers 429"


def test_a_refusal_is_told_with_its_reason(fake: FakeRecentMessages, gate: CountingGate) -> None:
    fake.behave("ronni", status=403, error="`ronni` is excluded\nfrom this service")
    assert ask(fake.url, gate).trouble == "127.0.0.1 answers 403: `ronni` is excludedfrom this service"
    fake.behave("ronni", status=404, content=b"<html>")
    assert ask(fake.url, gate).trouble == "127.0.0.1 answers 404"
    assert gate.turns == 2


def test_a_redirection_is_not_followed(fake: FakeRecentMessages, gate: CountingGate) -> None:
    with FakeRecentMessages() as other:
        fake.behave("ronni", status=302, location=other.url)
        fetched = ask(fake.url, gate)
        assert "redirection" in fetched.trouble
        assert other.requests == []
    assert gate.turns == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>welcome to the hotel</html>",
        b"\xff\xfe",
        b"[]",
        b'{"messages": null}',
        b'{"messages": "text"}',
        b'{"error": null}',
        b"[" * 100_000,
        b'{"messages": ["\xff"]}',
    ],
)
def test_an_answer_that_is_none_is_told(fake: FakeRecentMessages, gate: CountingGate, content: bytes) -> None:
    fake.behave("ronni", content=content)
    fetched = ask(fake.url, gate)
    assert fetched == Fetched(trouble="127.0.0.1 answers with something else than it should")


def test_messages_that_are_no_lines_are_counted(fake: FakeRecentMessages, gate: CountingGate) -> None:
    line = ":r!r@r PRIVMSG #ronni :hello"
    messages = [1, None, "", "@only=tags", "a\r\nb", "x" * 70_000, line, line + "\r\n"]
    fake.behave("ronni", content=json.dumps({"messages": messages}).encode())
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == ["hello", "hello"]
    assert fetched.unreadable == 6


def test_stamps_that_are_none_do_no_harm(fake: FakeRecentMessages, gate: CountingGate) -> None:
    messages = [f"@rm-received-ts={stamp} PRIVMSG #ronni {stamp}" for stamp in ("²", "-1", "9" * 400, "")]
    fake.behave("ronni", content=json.dumps({"messages": messages * 200}).encode())
    fetched = ask(fake.url, gate)
    assert len(fetched.lines) == 800
    assert fetched.since_ms is None
    assert "nothing older" in fetched.trouble


def test_an_answer_without_end_is_not_read_to_its_end(fake: FakeRecentMessages, gate: CountingGate) -> None:
    fake.behave("ronni", huge=True)
    assert ask(fake.url, gate) == Fetched(trouble="127.0.0.1 sends more than an answer")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("how", [{"hang": True}, {"drip": True, "huge": True}], ids=["hang", "drip"])
def test_a_server_that_takes_its_time_is_left_at_the_deadline(
    tmp_path: Path, gate: CountingGate, monkeypatch: pytest.MonkeyPatch, how: dict[str, bool], secure: bool
) -> None:
    context, authority = server_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with FakeRecentMessages(tls=context if secure else None) as fake:
        fake.behave("ronni", **how)
        fetched = ask(fake.url, gate, seconds=1.5)
        assert fetched == Fetched(trouble="127.0.0.1 gives no answer in time")
        assert ask(fake.url, gate, channel="other").trouble == ""


def test_a_request_that_could_not_end_in_time_is_not_made(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    assert ask(fake.url, gate, seconds=0.7).trouble == "its turn came too late"
    assert fake.requests == []
    # And the service is not to be left alone for it.
    assert ask(fake.url, gate).trouble == ""
    assert gate.clock.slept < 1.0


@pytest.mark.parametrize(("fair_seconds", "blamed"), [(3.0, False), (1.0, True)])
def test_a_request_that_had_little_time_keeps_nobody_from_asking(
    fake: FakeRecentMessages,
    gate: CountingGate,
    monkeypatch: pytest.MonkeyPatch,
    fair_seconds: float,
    blamed: bool,
) -> None:
    monkeypatch.setattr(recent_messages, "FAIR_SECONDS", fair_seconds)
    fake.behave("ronni", hang=True)
    assert ask(fake.url, gate, seconds=1.5) == Fetched(trouble="127.0.0.1 gives no answer in time")
    assert ask(fake.url, gate, channel="other").trouble == ""
    assert (gate.clock.slept > 1.0) is blamed


def test_without_a_gate_a_service_in_trouble_is_asked_once(fake: FakeRecentMessages) -> None:
    fake.behave("ronni", status=503)
    fetched = ask(fake.url, CountingGate(Path("/nowhere/gate")))
    assert fetched.trouble == "127.0.0.1 answers 503"
    assert len(fake.requests) == 1


def test_the_certificate_is_checked(
    tmp_path: Path, gate: CountingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = server_context(tmp_path)
    with FakeRecentMessages(tls=context) as fake:
        fake.keep("ronni", chat_line("ronni", "secret"), NOW_MS - 1)
        fetched = ask(fake.url, gate)
        assert fetched.lines == []
        assert fetched.trouble.startswith("the certificate of 127.0.0.1 is refused")
        assert gate.turns == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert texts_of(ask(fake.url, gate)) == ["secret"]


def test_variables_for_proxies_are_not_heeded(
    fake: FakeRecentMessages, gate: CountingGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = keep(fake, 1)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert texts_of(ask(fake.url, gate)) == texts


def test_a_deletion_marks_what_it_deletes_and_nothing_is_left_out(
    fake: FakeRecentMessages, gate: CountingGate
) -> None:
    fake.keep("ronni", chat_line("ronni", "bad", id="one"), NOW_MS - 30)
    fake.keep("ronni", chat_line("ronni", "good", id="two"), NOW_MS - 20)
    fake.keep("ronni", "@target-msg-id=one :tmi.twitch.tv CLEARMSG #ronni :bad", NOW_MS - 10)
    fetched = ask(fake.url, gate)
    assert texts_of(fetched) == ["bad", "good", "bad"]
    assert [line.tags.get("rm-deleted") for line in fetched.lines] == ["1", None, None]
