"""What the monitor's page shows, in a real browser: that it equals the JSON."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.overview import Channel, Delivery, Events, Overview, Problem, Spool, TokenStatus
from tests.commands.browser import Browser
from tests.workers.overviews import TIME_MS, make_bad_overview, make_channel, make_overview, make_worker
from tests.workers.page_server import PageServer
from tests.workers.shown_page import ShownPage

EVENT_COUNTS = ("received", "delivered", "duplicate")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"&amp;"


def raw(value: object) -> str:
    """As JavaScript writes it."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def shown_values(page: ShownPage, kind: str, name: str) -> dict[str, str]:
    found: dict[str, str] = page.evaluate(
        """(kind, name) => {
          const rows = [...document.querySelectorAll(`[data-${kind}]`)];
          const row = rows.find((one) => one.dataset[kind] === name);
          const cells = [...row.querySelectorAll("[data-field][data-value]")];
          return Object.fromEntries(cells.map((cell) => [cell.dataset.field, cell.dataset.value]));
        }""",
        kind,
        name,
    )
    return found


def channel_values(channel: Channel) -> dict[str, str]:
    values: dict[str, Any] = msgspec.structs.asdict(channel)
    for field in ("name", "trouble", "history"):
        del values[field]
    events = values.pop("events")
    for field in EVENT_COUNTS:
        values[f"events_{field}"] = getattr(events, field, None)
    for field in ("lost", "rejected"):
        values[field] = sum(values[field].values())
    return {field: raw(value) for field, value in values.items()}


@pytest.mark.parametrize("overview", [make_overview(7), make_bad_overview(20)], ids=["well", "bad"])
def test_everything_shown_equals_the_json(tmp_path: Path, overview: Overview) -> None:
    with ShownPage(tmp_path, overview) as page:
        assert page.text("#sentence") == overview.sentence
        totals = msgspec.structs.asdict(overview.totals)
        events = totals.pop("events")
        for field, value in totals.items():
            assert page.value(f'[data-total="{field}"]') == raw(value)
        for field in EVENT_COUNTS:
            assert page.value(f'[data-events="{field}"]') == raw(getattr(events, field, None))
        for channel in overview.channels:
            assert shown_values(page, "channel", channel.name) == channel_values(channel)
            assert page.text(f'[data-channel="{channel.name}"] [data-field="trouble"]') == channel.trouble
        for worker in overview.workers:
            values = {field: raw(value) for field, value in msgspec.structs.asdict(worker).items()}
            assert shown_values(page, "worker", worker.name) == values
        assert page.value('[data-spool="messages"]') == raw(overview.spool.messages)
        assert page.value('[data-delivery="p50_seconds"]') == raw(overview.delivery.p50_seconds)
        assert page.value('[data-delivery="p99_seconds"]') == raw(overview.delivery.p99_seconds)
        assert page.text('[data-kafka="addresses"]') == ", ".join(overview.kafka.addresses)
        assert page.text('[data-kafka="topic"]') == overview.kafka.topic
        assert page.text('[data-kafka="events_topic"]') == (overview.kafka.events_topic or "")
        assert page.text("#kafka-trouble") == overview.kafka.trouble
        shown = page.evaluate(
            "[...document.querySelectorAll('[data-problem]')].map((one) => one.textContent)"
        )
        for problem in overview.problems:
            assert {problem.subject, problem.text, problem.advice} <= set(shown)
        assert page.channels() == [channel.name for channel in overview.channels]
        assert page.browser.warnings == []


def test_numbers_are_written_for_people(tmp_path: Path) -> None:
    channel = make_channel(0, per_second=3.44, offline_seconds=3725.0, last_message_ms=TIME_MS - 65_000)
    overview = make_overview(
        read=[channel],
        workers=[
            make_worker("producer", uptime_seconds=93_784.0, memory_bytes=47 * 1024**2, cpu_percent=0.44)
        ],
        delivery=Delivery(0.0004, 61.0, 1),
        spool=Spool(1_234_567, 3 * 1024**3, 10 * 1024**3),
    )
    with ShownPage(tmp_path, overview) as page:
        row = f'[data-channel="{channel.name}"] '
        for selector, text in {
            '[data-total="received"]': "1,234,567",
            row + '[data-field="per_second"]': "3.4",
            row + '[data-field="offline_seconds"]': "1 h 2 min",
            row + '[data-field="last_message_ms"]': "1 min ago",
            '[data-worker] [data-field="uptime_seconds"]': "1 d 2 h",
            '[data-worker] [data-field="memory_bytes"]': "47 MiB",
            '[data-worker] [data-field="cpu_percent"]': "0.4 %",
            '[data-delivery="p50_seconds"]': "<1 ms",
            '[data-delivery="p99_seconds"]': "1 min 1 s",
            "#spool-size": "3 GiB of 10 GiB used, 30 %",
        }.items():
            assert page.text(selector) == text


def test_what_comes_from_elsewhere_is_text(tmp_path: Path) -> None:
    channel = make_channel(
        0, name=HOSTILE, state="not joined", trouble=HOSTILE, lost={HOSTILE: 1}, rejected={HOSTILE: 2}
    )
    overview = make_bad_overview(2)
    overview.channels = [channel]
    overview.sentence = overview.kafka.trouble = overview.kafka.topic = overview.token.login = HOSTILE
    overview.kafka.addresses = overview.token.scopes = overview.not_ready = [HOSTILE]
    overview.problems = [Problem("bad", HOSTILE, HOSTILE, HOSTILE)]
    overview.workers = [make_worker(HOSTILE, state=HOSTILE), make_worker(f"reader-{HOSTILE}", state=HOSTILE)]
    with ShownPage(tmp_path, overview) as page:
        assert page.channels() == [HOSTILE]
        assert page.text("[data-channel] button") == HOSTILE
        assert page.text('[data-problem="text"]') == HOSTILE
        assert HOSTILE in page.text("[data-channel] .lost")
        assert (
            page.evaluate("document.querySelectorAll('img, script:not(:last-child), style + style').length")
            == 0
        )
        assert "owned" not in page.evaluate("document.title")
        assert page.browser.overflow() <= 0
        assert page.browser.warnings == []


@pytest.mark.parametrize(
    ("problems", "state", "title"),
    [
        ([], "ok", "✓ All is well"),
        ([Problem("warning", "token", "the token has expired", "")], "warning", "! 1 warning"),
        ([Problem("bad", "kafka", "a", ""), Problem("warning", "token", "b", "")], "bad", "✕ 2 problems"),
    ],
)
def test_tab_and_icon_say_how_it_is(tmp_path: Path, problems: list[Problem], state: str, title: str) -> None:
    with ShownPage(tmp_path, make_overview(1, well=not problems, problems=problems)) as page:
        assert page.evaluate("document.documentElement.dataset.state") == state
        assert page.evaluate("document.title").startswith(f"{title} ·")
        colour = {"ok": "12743b", "warning": "f0b429", "bad": "b3261e"}[state]
        assert colour in page.evaluate("document.getElementById('icon').href")
        assert page.is_hidden("#problems") == (not problems)
        assert page.browser.warnings == []


def test_what_is_missing_and_what_was_fetched_afterwards_is_told_where_there_is_any(tmp_path: Path) -> None:
    gap, fetched = '[data-total="gap_seconds"]', '[data-total="backfilled"]'
    row = '[data-channel="channel000"] '
    offline = f'{row}td[data-field="offline_seconds"]'
    with ShownPage(tmp_path, make_overview(1)) as page:
        assert page.is_hidden(gap)
        assert page.is_hidden(fetched)
        assert page.browser.attribute_of(offline, "title") is None
        page.show(make_overview(read=[make_channel(0, gap_seconds=3725.0, backfilled=1234)]))
        assert not page.is_hidden(gap)
        assert page.text(gap) == "and 1 h 2 min missing"
        assert page.text(fetched) == "1,234 fetched later"
        assert page.browser.attribute_of(offline, "title") == "1 h 2 min missing for good"
        page.browser.click(f"{row}button", loads=False)
        assert page.text(f'{row}[data-field="gap_seconds"]') == "1 h 2 min"
        assert page.text(f'{row}[data-field="backfilled"]') == "1,234"
        # It is over: no word of it in the sentence, and the row is not in trouble.
        page.browser.click("#only-problems", loads=False)
        page.evaluate("document.activeElement.blur()")
        page.show(make_overview(read=[make_channel(0, gap_seconds=0.4)]))
        assert page.text(gap) == "and <1 s missing"
        assert page.channels() == []


def test_events_are_told_of_where_there_is_a_topic_for_them(tmp_path: Path) -> None:
    row = '[data-channel="channel000"] '
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.browser.click(f"{row}button", loads=False)
        assert page.is_hidden("#events")
        assert page.is_hidden(f'{row}[data-field="events_received"]')
        overview = make_overview(read=[make_channel(0, events=Events(1234, 1230, 4))])
        overview.kafka.events_topic = "all-events"
        page.show(overview)
        assert not page.is_hidden(f'{row}[data-field="events_received"]')
        assert page.text("#events").replace("\n", " ") == (
            "events in all-events: 1,234 received, 1,230 delivered, 4 duplicates"
        )


def test_many_problems_are_shown_when_asked_for(tmp_path: Path) -> None:
    problems = [Problem("bad", f"worker w{number}", f"w{number} is stopped", "") for number in range(20)]
    with ShownPage(tmp_path, make_overview(1, well=False, problems=problems)) as page:
        count = "document.querySelectorAll('#problems li:not([hidden])').length"
        assert page.evaluate(count) == 6
        assert page.text("#more-problems") == "Show all 20"
        page.browser.click("#more-problems", loads=False)
        assert page.evaluate(count) == 20
        page.show(make_overview(1))
        assert page.is_hidden("#problems")
        assert page.is_hidden("#more-problems")


@pytest.mark.parametrize(
    ("spool", "accepts", "words"),
    [
        (Spool(0, 0, 1000), True, "Everything that was read is in Kafka, or on its way there."),
        (Spool(5, 500, 1000), False, "They wait on disk, and follow in order when Kafka is back."),
        (Spool(5, 500, 1000), True, "They are on their way into Kafka, in order."),
    ],
)
def test_the_spool_says_what_it_means(tmp_path: Path, spool: Spool, accepts: bool, words: str) -> None:
    overview = make_overview(1, spool=spool)
    overview.kafka.accepts = accepts
    with ShownPage(tmp_path, overview) as page:
        assert page.text("#spool-text") == words
        assert page.text("#spool-size").endswith(f"used, {spool.bytes // 10} %")
        assert (
            page.evaluate("document.querySelector('#spool-bar span').style.width") == f"{spool.bytes // 10}%"
        )
        assert page.text("#kafka-state") == ("Takes messages" if accepts else "Takes no messages")


@pytest.mark.parametrize(
    ("token", "state", "words"),
    [
        (TokenStatus("anonymous", "", [], 0, None), "Anonymous", "Chat is public: no token is needed."),
        (TokenStatus("valid", "bot", ["chat:read"], 1, 11_590.5), "Valid", "It expires in 3 h 13 min."),
        (TokenStatus("valid", "bot", [], 1, -3700.0), "Expired", "It expired 1 h 1 min ago."),
        (TokenStatus("valid", "bot", [], 0, None), "Valid", "When it expires is not known."),
        (TokenStatus("refused", "bot", [], 0, None), "Cannot be renewed", "Sign in anew with make auth."),
        (TokenStatus("unknown", "", [], 0, None), "Not known", "The token-refresher has not told."),
    ],
)
def test_the_token_is_told_in_words(tmp_path: Path, token: TokenStatus, state: str, words: str) -> None:
    with ShownPage(tmp_path, make_overview(1, token=token)) as page:
        assert page.text("#token-state") == state
        assert page.text("#token-text") == words
        assert page.is_hidden("#token-account") == (not token.login)


def test_a_service_without_channels_says_what_to_do(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(0, delivery=Delivery(None, None, 0))) as page:
        assert "channels.txt" in page.text("#no-channels")
        assert not page.is_hidden("#no-channels")
        assert page.is_hidden("#channel-table")
        assert page.text("#delivery-text") == "No messages yet."
        page.show(make_overview(1))
        assert page.is_hidden("#no-channels")
        assert not page.is_hidden("#channel-table")


def test_the_last_ten_minutes_have_gaps_where_nothing_was_observed(tmp_path: Path) -> None:
    history = [None] * 50 + [0, 5, 10, None, 0, 0, 0, 0, 0, 7]
    overview = make_overview(read=[make_channel(0, history=history), make_channel(1, history=[None] * 60)])
    with ShownPage(tmp_path, overview) as page:
        path, nothing = page.evaluate(
            "[...document.querySelectorAll('path')].map((one) => one.getAttribute('d'))"
        )
        assert nothing == ""
        assert path == ("M50 20V19.0h1V10.0h1V0.0h1V20zM54 20V19.0h1V19.0h1V19.0h1V19.0h1V19.0h1V6.0h1V20z")
        words = page.evaluate("[...document.querySelectorAll('svg')].map((one) => one.ariaLabel)")
        assert words == [
            "Messages in each 10 s of the last ten minutes: 0 to 10, 7 in the latest; "
            "8 min 30 s of the ten minutes were not observed",
            "Not observed yet",
        ]


def test_without_javascript_it_says_what_else_there_is(tmp_path: Path) -> None:
    with PageServer(make_overview(1)) as server, Browser(tmp_path / "profile") as browser:
        browser.open(server.url)
        assert "make status" in browser.text_of("noscript")
        assert browser.style_of("noscript p", "display") == "block"
        assert server.polls == 0
