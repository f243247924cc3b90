"""How the monitor's page asks, and what it shows while nobody answers, in a real browser."""

from pathlib import Path

import pytest

from tests.workers.overviews import TIME_MS, make_channel, make_overview, make_worker
from tests.workers.shown_page import STATE_IS, ShownPage

# Pauses are kept, and are none: of those that are not to end there is no end.
_NO_PAUSES = """(endless) => {
  window.pauses = [];
  const wait = setTimeout;
  window.setTimeout = (what, ms) => { pauses.push(ms); return ms === endless ? 0 : wait(what, 0); };
}"""
_HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


_COUNT_TOGETHER = """() => {
  const ask = fetch;
  let together = 0;
  window.most_together = 0;
  window.fetch = (...what) => {
    together += 1;
    most_together = Math.max(most_together, together);
    return ask(...what).finally(() => { together -= 1; });
  };
}"""


def wait_lost(page: ShownPage) -> None:
    page.browser.wait_for(STATE_IS, "lost")


def test_a_lost_connection_is_told_and_comes_back(tmp_path: Path) -> None:
    overview = make_overview(3)
    with ShownPage(tmp_path, overview) as page:
        assert page.is_hidden("#connection")
        page.evaluate("window.document_is = 'the same'")
        page.server.stop()
        wait_lost(page)
        assert not page.is_hidden("#connection")
        assert page.text("#connection-text").startswith("Connection lost since ")
        assert page.text("#connection-text").endswith(": the monitor cannot be reached.")
        page.wait_text("#next-try", lambda text: "Next try in" in text and "old." in text)
        assert page.evaluate("document.title").startswith("? No connection")
        assert page.value('[data-total="received"]') == str(overview.totals.received)
        dim = page.browser.style_of("#readiness", "color")
        assert page.browser.style_of('[data-total="received"]', "color") == dim
        page.server.overview = make_overview(4)
        page.server.start()
        page.browser.click("#try-now", loads=False)
        page.browser.wait_for(STATE_IS, "ok")
        assert page.is_hidden("#connection")
        assert len(page.channels()) == 4
        assert page.browser.style_of('[data-total="received"]', "color") != dim
        assert page.evaluate("window.document_is") == "the same"


def test_a_page_that_never_had_an_answer_says_so(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.server.status = 503
        page.browser.reload()
        wait_lost(page)
        assert page.text("#sentence") == "Nothing is known yet."
        assert page.text("#connection-text").startswith("No connection since ")
        assert page.text("#connection-text").endswith(": the monitor answers with status 503.")
        assert page.is_hidden("#data")
        page.server.status = 200
        page.browser.wait_for(STATE_IS, "ok")
        assert page.text("#sentence") == page.server.overview.sentence


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "the monitor's answer is not JSON."),
        (b'{"time_ms": 1}', "the monitor's answer is not understood, reload this page."),
    ],
)
def test_an_answer_that_is_none_is_a_lost_connection(tmp_path: Path, answer: bytes, words: str) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.server.raw = answer
        wait_lost(page)
        assert page.text("#connection-text").endswith(words)
        page.server.raw = None
        page.browser.wait_for(STATE_IS, "ok")


def test_an_answer_that_does_not_come_is_given_up_and_asked_for_once_at_a_time(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.evaluate(f"({_COUNT_TOGETHER})()")
        page.server.going_on.clear()
        page.wait_polls(1)
        page.evaluate("document.getElementById('try-now').click()")
        page.evaluate(_HIDE, False)
        wait_lost(page)
        assert "the monitor gives no answer within 5 s." in page.text("#connection-text")
        page.server.going_on.set()
        page.browser.wait_for(STATE_IS, "ok")
        assert page.evaluate("most_together") == 1


def test_pauses_grow_while_there_is_no_answer(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.server.stop()
        page.evaluate(_NO_PAUSES, None)
        page.browser.wait_for("pauses.length > 7")
        pauses = page.evaluate("pauses.filter((pause) => pause !== 0)")
        first = pauses.index(2000)
        assert pauses[first : first + 5] == [2000, 4000, 8000, 15000, 15000]


def test_a_page_that_nobody_sees_asks_rarely_and_at_once_when_it_is_seen(tmp_path: Path) -> None:
    with ShownPage(tmp_path, make_overview(1)) as page:
        page.evaluate(_NO_PAUSES, 15000)
        page.evaluate(_HIDE, True)
        page.browser.wait_for("pauses.at(-1) === 15000")
        asked = page.server.polls
        page.evaluate(_HIDE, False)
        page.browser.wait_for("pauses.at(-1) === 1000")
        assert page.server.polls > asked


def test_ages_go_on_between_answers_by_the_clock_of_the_server(tmp_path: Path) -> None:
    overview = make_overview(
        # This machine's clock is years ahead of the server's.
        time_ms=TIME_MS - 10**11,
        read=[make_channel(0, last_message_ms=TIME_MS - 10**11 - 5000)],
        workers=[make_worker("producer", uptime_seconds=100.0)],
    )
    with ShownPage(tmp_path, overview) as page:
        last = '[data-field="last_message_ms"]'
        assert page.text(last) == "5 s ago"
        assert page.text('[data-field="uptime_seconds"]') == "1 min 40 s"
        page.server.going_on.clear()
        page.wait_text(last, lambda text: int(text.split()[0]) > 6)
        page.wait_text('[data-field="uptime_seconds"]', lambda text: int(text.split()[2]) > 41)
        assert page.is_hidden("#connection")
